// SPDX-License-Identifier: Apache-2.0

package crossbuild

import (
	"fmt"
	"path"
	"strings"
)

// ccOut is where the step that gets the native packages leaves what is mounted.
const ccOut = "/mab-cc"

// ccScript is what gets the native programs for tools: it unpacks their packages, and makes for each a script that stands in its place. A package
// that is not to be had, or is of another source than the tool, gives a script that runs the tool itself; so a mirror that has moved on
// since the packages were compared changes nothing but the time.
func ccScript(tools []CTool) string {
	var s strings.Builder
	s.WriteString(ccBegin)
	for _, t := range tools {
		fmt.Fprintf(&s, "get %s '%s (= %s)' %s %s <<'MAB'\n%sMAB\n", t.Native, t.Source.Name, t.Source.Version, path.Base(t.Path), t.Program, t.wrapper())
	}
	return s.String()
}

// ccBegin defines get: package, source, name of the program, its path in the package; its script comes from standard input.
// The packages are downloaded only, as nothing that they depend on is run but libraries, which the compiler of the image has too.
const ccBegin = `set -eu
out=` + ccOut + `
mkdir -p $out/bin $out/lib $out/native $out/plain /tmp/mab-cc/root
cd /tmp/mab-cc
: > $out/status
apt-get -q -o APT::Update::Error-Mode=any update
if apt-get -q download busybox-static; then
	dpkg-deb -x busybox-static_*.deb root
	for f in root/bin/busybox root/usr/bin/busybox; do
		[ ! -f $f ] || cp $f $out/busybox
	done
fi
get() {
	touch $out/plain/$3
	printf '#!/bin/sh\nexec ` + ccDir + `/plain/%s "$@"\n' $3 > $out/bin/$3
	cat > script
	if [ -x $out/busybox ] && apt-get -q download $1; then
		dpkg-deb -W --showformat='Package: ${Package}\nStatus: install ok installed\nArchitecture: ${Architecture}\nSource: ${source:Package} (${source:Version})\nBuilt-Using: ${Built-Using}\n\n' $1_*.deb >> $out/status
		case ", $(dpkg-deb -W --showformat='${source:Package} (= ${source:Version}), ${Built-Using}' $1_*.deb)," in
		*", $2,"*)
			dpkg-deb -x $1_*.deb root
			if libraries root$4; then
				cp root$4 $out/native/$3
				cp script $out/bin/$3
			fi
		esac
	fi
	chmod 755 $out/bin/$3
}
libraries() {
	LD_LIBRARY_PATH=$(echo $PWD/root/usr/lib/*-linux-gnu*/ | tr ' ' :) ldd $1 > needed
	! grep -q 'not found' needed || { cat needed >&2; return 1; }
	for lib in $(sed -n 's/.*=> \(\/[^ ]*\) .*/\1/p' needed); do cp $lib $out/lib/; done
	cp $(sed -n 's/^[[:space:]]*\(\/[^ ]*ld[^ ]*\) .*/\1/p' needed) $out/lib/ld.so
}
`

// ccNative runs a native program by its own loader, with its own libraries.
const ccNative = `exec $d/lib/ld.so --library-path $d/lib --argv0 "$0" $d/native/`

// wrapper is the script that runs the native program in the place of t. A compiler gets the directories of the root's headers that a cross compiler
// does not look into by itself, in gcc's order, but that the compiler's own headers come after those in /usr/local. What it cannot do the
// same is done by the program of the root: where both have a header of one name, with the root's plug-ins, with character sets, of which it has
// no tables, and with headers of another prefix.
func (t CTool) wrapper() string {
	name := path.Base(t.Path)
	begin := "#!" + ccDir + "/busybox sh\nd=" + ccDir + "\n"
	if !strings.HasPrefix(name, "cc1") {
		return begin + ccNative + name + ` "$@"` + "\n"
	}
	variable, cxx := "C_INCLUDE_PATH", ""
	if name == "cc1plus" {
		variable = "CPLUS_INCLUDE_PATH"
		cxx = strings.Join([]string{"/usr/include/c++/" + t.major, path.Join("/usr/include", t.port.Multiarch, "c++", t.major), path.Join("/usr/include/c++", t.major, "backward")}, " ")
	}
	return begin + strings.NewReplacer(
		"VARIABLE", variable, "NAME", name, "PREFIX", path.Join("/usr/lib/gcc", t.port.GNU, t.major)+"/", "CXX", cxx,
		"TRIPLET", t.port.GNU, "MULTIARCH", t.port.Multiarch,
	).Replace(ccCompiler) + ccNative + name + ` "$@"` + "\n"
}

const ccCompiler = `plain() { exec $d/plain/NAME "$@"; }
local='/usr/local/include/MULTIARCH /usr/local/include'
more="CXX $local"
[ ! -e /usr/TRIPLET/include ] || plain "$@"
for a in "$@"; do
	case $a in
	-fplugin*|-isysroot*|-iprefix*|-iwithprefix*|-imultilib*|-finput-charset*|-fexec-charset*|-fwide-exec-charset*|@*) plain "$@" ;;
	-nostdinc) more= ;;
	-nostdinc++) more=${more:+$local} ;;
	esac
done
for dir in $more; do
	[ -d $dir ] || continue
	case $dir in /usr/local/*)
		for f in PREFIXinclude/*; do
			[ ! -e $dir/${f##*/} ] || plain "$@"
		done
	esac
	VARIABLE=${VARIABLE:+$VARIABLE:}$dir
	export VARIABLE
done
set -- -iprefix PREFIX "$@"
`
