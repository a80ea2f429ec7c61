// SPDX-License-Identifier: Apache-2.0

package emulation

import "github.com/mab-build/mab/platforms"

// troubles are those that somebody met and described, each with its source. Distributions mend some of them in versions of the same
// number, which cannot be told from here.
var troubles = []Trouble{
	{
		Guest: platforms.MustParse("arm64"), Before: "5.0",
		What:    "ldconfig of Debian 11 and newer ends with a segmentation fault, so that libc-bin cannot be installed",
		Sources: []string{"https://github.com/moby/moby/issues/43039", "https://bugs.launchpad.net/qemu/+bug/1749393"},
	},
	{
		Guest: platforms.MustParse("arm64"), From: "5.1", Before: "6.0",
		What:    "programs end with a segmentation fault at their start now and then",
		Sources: []string{"https://github.com/docker/buildx/issues/542", "https://github.com/go-debos/debos/pull/261"},
	},
	{
		Guest: platforms.MustParse("arm64"), From: "9.2.0", Before: "9.2.2",
		What:    "ldconfig of Debian 11 and Ubuntu 22.04 ends with a segmentation fault, so that libc-bin cannot be installed",
		Sources: []string{"https://github.com/tonistiigi/binfmt/issues/240", "https://gitlab.com/qemu-project/qemu/-/issues/1913"},
	},
	{
		Guest: platforms.MustParse("arm64"), From: "9.2", Before: "10.1.3", Says: "Cannot open: Invalid argument",
		What:    "tar of current distributions cannot open files, if QEMU was built with musl, as in images of tonistiigi/binfmt",
		Sources: []string{"https://github.com/tonistiigi/binfmt/pull/287", "https://gitlab.com/qemu-project/qemu/-/issues/3262"},
	},
	{
		Guest: platforms.MustParse("arm64"), Says: "qemu: uncaught target signal 11",
		What: "programs crash now and then where the kernel randomizes more of the addresses than 28 bits, as that of Ubuntu 24.04 does",
		Mend: "another version (mab emulation install --image REF), or as root on that machine: sysctl vm.mmap_rnd_bits=28",
		Sources: []string{
			"https://github.com/tonistiigi/binfmt/issues/215", "https://github.com/tonistiigi/binfmt/issues/245",
			"https://github.com/home-assistant/builder/pull/229",
		},
	},
	{
		Before: "9.2", Says: "Cannot open: Function not implemented",
		What:    "tar of Ubuntu 26.04 cannot open files",
		Sources: []string{"https://github.com/abiosoft/colima/issues/1613"},
	},
	{
		What: "the .NET SDK crashes or hangs: its makers do not support QEMU",
		Mend: "run it in a stage FROM --platform=$BUILDPLATFORM, with dotnet publish --arch",
		Sources: []string{
			"https://github.com/dotnet/runtime/issues/95120", "https://github.com/dotnet/dotnet-docker/issues/5355",
			"https://gitlab.com/qemu-project/qemu/-/issues/249",
		},
	},
	{
		What: "programs of many threads, such as uv and micromamba, hang now and then",
		Mend: "`--emulated-timeout`, and fewer threads, as by UV_CONCURRENT_INSTALLS=1",
		Sources: []string{
			"https://github.com/METR/hawk/pull/234", "https://github.com/mamba-org/mamba/issues/1611",
		},
	},
	{
		Guest: platforms.MustParse("arm/v7"), Says: "Value too large for defined data type",
		What: "programs that were built with 32-bit file offsets, as cargo's, cmake's and vcpkg's for Debian 12, cannot list directories on ext4",
		Mend: "RUN --mount=type=tmpfs,target=DIR for such a directory if it need not stay, or the state of the solver on XFS (--root)",
		Sources: []string{
			"https://github.com/docker/buildx/issues/395", "https://github.com/rust-lang/cargo/issues/8719",
			"https://github.com/microsoft/vcpkg/issues/21755", "https://lkml.org/lkml/2018/12/27/157",
		},
	},
	{
		Guest: platforms.MustParse("arm/v7"),
		What:  "npm of Node.js 20 and newer hangs",
		Mend:  "run it in a stage FROM --platform=$BUILDPLATFORM, or on a machine that runs arm",
		Sources: []string{
			"https://github.com/nodejs/docker-node/issues/1946", "https://github.com/nodejs/docker-node/issues/2077",
			"https://gitlab.com/qemu-project/qemu/-/issues/1729",
		},
	},
	{
		Guest: platforms.MustParse("386"), Host: "arm64", Says: "Value too large for defined data type",
		What:    "programs that were built with 32-bit file offsets cannot list directories on ext4",
		Mend:    "RUN --mount=type=tmpfs,target=DIR for such a directory if it need not stay, or the state of the solver on XFS (--root)",
		Sources: []string{"https://github.com/docker/buildx/issues/395", "https://lkml.org/lkml/2018/12/27/157"},
	},
	{
		Guest: platforms.MustParse("s390x"), Before: "6.1",
		What:    "Java ends with an illegal instruction",
		Sources: []string{"https://github.com/multiarch/qemu-user-static/issues/129", "https://github.com/openzipkin/docker-java/pull/52"},
	},
	{
		Guest: platforms.MustParse("riscv64"),
		What:  "g++ ends with a segmentation fault on some sources",
		Mend:  "another version (mab emulation install --image REF), or a machine that runs riscv64",
		Sources: []string{
			"https://gitlab.com/qemu-project/qemu/-/issues/1895", "https://github.com/felixonmars/archriscv-packages/pull/2969",
		},
	},
	{
		Guest: platforms.MustParse("amd64"), Host: "arm64", Says: "lfstack.push",
		What: "programs made by Go before 1.25.4 end with a fatal error: lfstack.push or taggedPointerPack",
		Mend: "build Go programs in a stage FROM --platform=$BUILDPLATFORM, or with a newer Go",
		Sources: []string{
			"https://github.com/golang/go/issues/69255", "https://github.com/editorconfig-checker/editorconfig-checker/issues/613",
		},
	},
	{
		Guest: platforms.MustParse("amd64"), Host: "arm64", Says: "qemu: uncaught target signal 11",
		What: "programs that use high addresses, such as Nix 2.35 and uv, end with a segmentation fault",
		Mend: "run them with QEMU_GUEST_BASE=0x800000000000 in their environment",
		Sources: []string{
			"https://github.com/NixOS/nix/issues/16184", "https://github.com/astral-sh/uv/issues/16024",
		},
	},
}
