#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes the runc that a release of mab carries for an architecture, static and with seccomp: runc/carried/ARCH.zst and ARCH.json.
# Usage: make.sh ARCH, on Debian. LIBSECCOMP=FILE.tar.gz is the source of another libseccomp, such as one that you changed.
set -euo pipefail
# A path that was given is from here.
[ -z "${LIBSECCOMP:-}" ] || LIBSECCOMP=$(realpath "$LIBSECCOMP")
cd "$(dirname "$0")"

# The newest that a release of Debian has. The digest is that of libseccomp's own release, which Debian ships unchanged.
seccomp=2.6.0 suite=trixie
seccomp_sha256=83b6085232d1588c379dc9b9cae47bb37407cf262e6e74993c61ba72d2a784dc

# Debian's packages of compiler and C library, and the names that GNU and QEMU have for the architecture.
arch=$1
case $arch in
amd64) triplet=x86_64-linux-gnu qemu=qemu-x86_64-static packages="gcc libc6-dev" ;;
arm64) triplet=aarch64-linux-gnu qemu=qemu-aarch64-static packages="gcc-aarch64-linux-gnu libc6-dev-arm64-cross" ;;
riscv64) triplet=riscv64-linux-gnu qemu=qemu-riscv64-static packages="gcc-riscv64-linux-gnu libc6-dev-riscv64-cross" ;;
*) echo "make runc: no runc for $arch: amd64, arm64 or riscv64" >&2; exit 2 ;;
esac
# Debian's amd64 compiler has its triplet in its name, too, and so has arm64's own on arm64.
for tool in "$triplet-gcc" make gperf; do
	command -v "$tool" >/dev/null || {
		echo "make runc: $tool is missing; run: apt-get install --no-install-recommends $packages make gperf" >&2
		exit 1
	}
done

carried=$PWD/../carried
work=$carried/work-$arch
rm -rf "$work"
mkdir -p "$work"
trap 'rm -rf "$work"' EXIT
tarball=${LIBSECCOMP:-$carried/libseccomp-$seccomp.tar.gz}

# fetch gets the sources by apt, with lists of its own: the machine's are of another suite, and have no sources.
fetch() {
	local mirror options dir=$work/apt
	mirror=$(apt-get indextargets --format '$(REPO_URI) $(COMPONENT)' 'Created-By: Packages' |
		awk '$2 == "main" && $1 ~ "/debian/?$" { print $1; exit }')
	[ -n "$mirror" ] || { echo "make runc: apt knows no mirror of Debian; give libseccomp's sources: LIBSECCOMP=libseccomp-$seccomp.tar.gz" >&2; exit 1; }
	mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial"
	echo "deb-src $mirror $suite main" >"$dir/sources"
	options=(-qq -o "Dir::Etc::sourcelist=$dir/sources" -o Dir::Etc::sourceparts=/dev/null -o "Dir::State::lists=$dir/lists"
		-o "Dir::Cache=$dir/cache" -o APT::Update::Error-Mode=any -o APT::Sandbox::User=root)
	apt-get "${options[@]}" update
	(cd "$dir" && apt-get "${options[@]}" source --download-only libseccomp)
	mv "$dir/libseccomp_$seccomp.orig.tar.gz" "$tarball"
}
[ -e "$tarball" ] || fetch
[ -n "${LIBSECCOMP:-}" ] || echo "$seccomp_sha256  $tarball" | sha256sum --quiet --check

# The library. No path of this machine may get into it.
export SOURCE_DATE_EPOCH=0 LC_ALL=C
mkdir "$work/source"
tar -xzf "$tarball" -C "$work/source" --strip-components=1
library() {
	cd "$work/source" &&
		./configure --quiet --host="$triplet" --prefix="$work/lib" --disable-shared --enable-static CFLAGS="-O2 -ffile-prefix-map=$PWD=." &&
		make --quiet -j"$(nproc)" -C include install && make --quiet -j"$(nproc)" -C src install
}
(library) >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }

number() { awk -v name="$1" '$2 == name { print $3 }'; }
header=$work/lib/include/seccomp.h
seccomp=$(number SCMP_VER_MAJOR <"$header").$(number SCMP_VER_MINOR <"$header").$(number SCMP_VER_MICRO <"$header")
macros=$("$triplet-gcc" -E -dM -include features.h -x c /dev/null)
libc=$(number __GLIBC__ <<<"$macros").$(number __GLIBC_MINOR__ <<<"$macros")

# runc, at the version that go.mod says.
# PKG_CONFIG: what it would say of libseccomp is in the flags.
export CGO_ENABLED=1 GOOS=linux GOARCH=$arch CC=$triplet-gcc PKG_CONFIG=true
export CGO_CFLAGS="-O2 -I$work/lib/include" CGO_LDFLAGS="-O2 -L$work/lib/lib -lseccomp"
go build -trimpath -tags 'seccomp netgo osusergo' -o "$work/runc" \
	-ldflags "-s -w -buildid= -linkmode external -extldflags '-static -Wl,--build-id=none'" github.com/opencontainers/runc
version=$(go list -m -f '{{.Version}}' github.com/opencontainers/runc)
version=${version#v}

# It says itself what it is, wherever something here can run it.
run=()
[ "$arch" = "$(env -u GOOS -u GOARCH go env GOARCH)" ] || run=("$qemu")
if [ ${#run[@]} = 0 ] || command -v "${run[0]}" >/dev/null; then
	said=$("${run[@]}" "$work/runc" --version)
	if ! grep -qx "runc version $version" <<<"$said" || ! grep -qx "libseccomp: $seccomp" <<<"$said"; then
		echo "make runc: $arch: not runc $version with libseccomp $seccomp: $said" >&2
		exit 1
	fi
else
	echo "make runc: $arch: made, but not run: ${run[0]} is missing" >&2
fi
cd ../..
env -u GOOS -u GOARCH CGO_ENABLED=0 go run ./runc/carry -arch "$arch" -version "$version" -seccomp "$seccomp" -libc "$libc" "$work/runc" "$carried"
