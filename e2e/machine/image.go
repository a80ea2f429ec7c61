// SPDX-License-Identifier: Apache-2.0

//go:build linux

package machine

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/mab-build/mab/e2e/bases"
)

//go:embed boot.sh
var bootScript []byte

//go:embed sshd_config
var sshdConfig []byte

// suite is the Debian release of a machine: its kernel has binfmt_misc for user namespaces (6.7 and later).
const suite = "trixie"

// The disk has one partition, by whose identity the kernel finds it: which of two disks gets which name is a matter of chance. Its
// length is that of the root file system, in bytes; what is free of it takes no room here.
const (
	diskSize       = 6 << 30
	sectorSize     = 512
	partitionStart = 1 << 20
	diskSignature  = 0x6d616221
)

// Config says where images are kept. Its zero value works.
type Config = bases.Config

// Image is a machine that can be started any number of times, also at once: starting one changes none of its files.
type Image struct {
	// Kernel and Root are files in the cache: a kernel that boots by itself, and a disk with an ext4 file system.
	Kernel, Root string
}

const (
	libraries = "usr/lib/aarch64-linux-gnu/*.so*"
	modules   = "usr/lib/modules/*/kernel/"
)

// kernelPackage depends on the package of the newest kernel for virtual machines, which has NVMe and ext4 built in.
const kernelPackage = "linux-image-cloud-arm64"

var kernelFiles = []string{
	"boot/vmlinuz-*",
	modules + "net/core/failover.ko.xz", modules + "drivers/net/net_failover.ko.xz", modules + "drivers/net/virtio_net.ko.xz",
	modules + "fs/overlayfs/overlay.ko.xz", modules + "fs/binfmt_misc.ko.xz",
}

// picks are the packages besides the kernel, and what is taken of them. Those with libraries are the closure of what sshd
// links to (readelf -d). There is no runc: mab brings its own.
var picks = []struct {
	pkg  string
	keep []string
}{
	{"busybox-static", []string{"usr/bin/busybox"}},
	{"qemu-user", []string{"usr/bin/qemu-x86_64", "usr/bin/qemu-arm"}},
	{"openssh-server", []string{"usr/bin/sshd", "usr/lib/openssh/sshd-auth", "usr/lib/openssh/sshd-session"}},
	{"libc6", []string{"usr/lib/ld-linux-aarch64.so.1", libraries}},
	{"libaudit1", []string{libraries}},
	{"libcap-ng0", []string{libraries}},
	{"libcom-err2", []string{libraries}},
	{"libcrypt1", []string{libraries}},
	{"libgssapi-krb5-2", []string{libraries}},
	{"libk5crypto3", []string{libraries}},
	{"libkeyutils1", []string{libraries}},
	{"libkrb5-3", []string{libraries}},
	{"libkrb5support0", []string{libraries}},
	{"libpam0g", []string{libraries}},
	{"libpcre2-8-0", []string{libraries}},
	{"libselinux1", []string{libraries}},
	{"libsqlite3-0", []string{libraries}},
	{"libssl3t64", []string{libraries}},
	{"libwrap0", []string{libraries}},
	{"libwtmpdb0", []string{libraries}},
	{"libzstd1", []string{libraries}},
	{"zlib1g", []string{libraries}},
}

// files are those that no package has.
var files = []struct{ name, content string }{
	{"etc/passwd", "root:x:0:0:root:/root:/bin/sh\nsshd:x:100:65534:sshd:/run/sshd:/usr/sbin/nologin\n" +
		"nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"},
	{"etc/resolv.conf", "nameserver 10.0.2.3\n"},
	{"etc/inittab", "::respawn:/usr/sbin/sshd -D -e\n"},
}

// Build returns the image, which it makes if the cache has none of this recipe: about 100 MB of packages are downloaded. It
// needs Debian's apt-get and dpkg-deb, and mke2fs, but not root.
func Build(ctx context.Context, cfg Config) (Image, error) {
	dir, err := bases.Keep(ctx, cfg, bases.Artifact{
		Name: "machine", Platform: "linux/arm64", Suite: suite,
		Recipe: fmt.Sprint(kernelPackage, kernelFiles, picks, files, diskSize, partitionStart, diskSignature, string(bootScript), string(sshdConfig)),
		Make:   makeImage,
	})
	return imageIn(dir), err
}

func imageIn(dir string) Image {
	return Image{Kernel: filepath.Join(dir, "kernel"), Root: filepath.Join(dir, "root.ext4")}
}

func makeImage(ctx context.Context, packages *bases.Packages, dir string) error {
	tree, err := makeTree(ctx, packages)
	if err != nil {
		return err
	}
	root := filepath.Join(dir, "root")
	if err := tree.Extract(root); err != nil {
		return err
	}
	kernels, err := filepath.Glob(filepath.Join(root, "boot", "vmlinuz-*"))
	if err != nil {
		return err
	}
	if len(kernels) != 1 {
		return fmt.Errorf("%d kernels", len(kernels))
	}
	image := imageIn(dir)
	if err := os.Rename(kernels[0], image.Kernel); err != nil {
		return err
	}
	return errors.Join(makeFileSystem(ctx, image.Root, root), os.RemoveAll(root))
}

func makeTree(ctx context.Context, packages *bases.Packages) (bases.Tree, error) {
	kernel, err := kernelName(ctx, packages)
	if err != nil {
		return nil, err
	}
	names := []string{kernel}
	for _, pick := range picks {
		names = append(names, pick.pkg)
	}
	debs, err := packages.Download(ctx, names...)
	if err != nil {
		return nil, err
	}
	tree := bases.NewTree()
	if err := tree.AddDeb(ctx, debs[0], kernelFiles); err != nil {
		return nil, err
	}
	for i, pick := range picks {
		if err := tree.AddDeb(ctx, debs[i+1], pick.keep); err != nil {
			return nil, err
		}
	}
	for _, file := range files {
		tree.AddFile(file.name, []byte(file.content), 0o644)
	}
	tree.AddFile("etc/boot", bootScript, 0o755)
	tree.AddFile("etc/ssh/sshd_config", sshdConfig, 0o644)
	tree.AddDirectory("mnt", 0o755)
	return tree, tree.AddApplets()
}

// kernelName returns the name of the package that holds the newest kernel.
func kernelName(ctx context.Context, packages *bases.Packages) (string, error) {
	debs, err := packages.Download(ctx, kernelPackage)
	if err != nil {
		return "", err
	}
	names, err := bases.Dependencies(ctx, debs[0])
	if err != nil {
		return "", err
	}
	i := slices.IndexFunc(names, func(name string) bool { return strings.HasPrefix(name, "linux-image-") })
	if i < 0 {
		return "", fmt.Errorf("package %q depends on no kernel", kernelPackage)
	}
	return names[i], nil
}

// makeFileSystem makes file a disk with an ext4 file system of what is in dir, all owned by root.
func makeFileSystem(ctx context.Context, file, dir string) error {
	// Users other than root do not have its directory in their PATH.
	cmd := exec.CommandContext(ctx, "/sbin/mke2fs", "-q", "-t", "ext4", "-L", "root",
		"-E", fmt.Sprintf("offset=%d", partitionStart), "-d", dir, file, fmt.Sprintf("%dK", diskSize>>10))
	if uid := os.Getuid(); uid != 0 {
		// In there the caller's files are root's.
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{HostID: uid, Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
		}
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("making a file system: %w: %s", err, bytes.TrimSpace(out))
	}
	return partition(file)
}

// partition writes a table of partitions with one entry, as UEFI 2.10, 5.2.1 (legacy master boot record) has it.
func partition(file string) error {
	sector := make([]byte, sectorSize)
	binary.LittleEndian.PutUint32(sector[440:], diskSignature)
	entry := sector[446:]
	entry[4] = 0x83 // Linux
	binary.LittleEndian.PutUint32(entry[8:], partitionStart/sectorSize)
	binary.LittleEndian.PutUint32(entry[12:], diskSize/sectorSize)
	binary.LittleEndian.PutUint16(sector[510:], 0xaa55)
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(sector, 0)
	return errors.Join(err, f.Truncate(partitionStart+diskSize), f.Close())
}
