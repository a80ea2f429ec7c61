// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"fmt"
	"strings"
)

// The scripts are for any POSIX shell, dash and busybox among them, and are handed over by the user's login shell, which may be any: a line
// in single quotes, without what some shell takes for its own there: ', a newline, two backslashes, and ! unless a space follows.

// scriptPlaces makes the places where mab may be the positional parameters, the best first, and has two questions about them: whether
// nobody but the user may write to a directory (one in /tmp may be somebody's trap), and how many KB are free.
const scriptPlaces = `LC_ALL=C; export LC_ALL; u=$(id -u); h=${XDG_CACHE_HOME:-${HOME:+$HOME/.cache}}; ` +
	`set -- ${h:+"$h/mab/bin"} "/var/tmp/mab-$u" ${XDG_RUNTIME_DIR:+"$XDG_RUNTIME_DIR/mab/bin"} "/tmp/mab-$u"; ` +
	`own() { x=$(ls -ldn "$1" 2>/dev/null) || return 1; set -- $x; case "$1 $3" in drwx?-??-?*" $u") return 0;; esac; return 1; }; ` +
	`room() { x=$(df -Pk "$1" 2>/dev/null | tail -n 1); set -- $x; echo "$4"; }; `

// scriptRun executes mab if it is there in the version for this machine, else tells what the machine is.
const scriptRun = `m=$(uname -m); d=; case $(uname -s)/$m in %s esac; ` +
	`if [ -n "$d" ]; then for p in "$@"; do f=$p/mab-$d; if [ -f "$f" ] && [ -x "$f" ] && own "$p"; then exec "$f" agent %s; fi; done; fi; ` +
	`z=no; command -v gzip >/dev/null 2>&1 && z=gzip; echo; echo "` + Mark + `none $(uname -s) $m $z"`

// scriptBring finds a place for mab, reads it from standard input, and has it checked and put there by itself. What was wrong with each place is
// told. A reader that gets nothing for a while is ended: behind a link that was cut it would wait for hours. Who watches over it ends with it
// untold, too: a signal to a shell that has just begun may be lost (dash).
const scriptBring = `umask 077; say() { echo; echo "` + Mark + `$*"; }; t=; g=; w=; ` +
	`away() { rm -f "$t"; kill $g $w 2>/dev/null; exit 1; }; trap away HUP INT TERM PIPE; ` +
	`for p in "$@"; do t=; mkdir -p "$p" 2>/dev/null; ` +
	`if [ -d "$p" ]; then :; else say place absent "$p"; continue; fi; ` +
	`own "$p" || { say place foreign "$p"; continue; }; ` +
	`a=$(room "$p"); if [ "$a" -lt %[1]d ] 2>/dev/null; then say place full "$p"; continue; fi; ` +
	`t=$p/.new-%[2]s; { printf "#\041/bin/sh\nexit 0\n" >"$t"; } 2>/dev/null || { [ -e "$t" ] && rm -f "$t" && say place full "$p" || say place readonly "$p"; t=; continue; }; ` +
	`chmod 700 "$t"; "$t" 2>/dev/null || { rm -f "$t"; t=; say place noexec "$p"; continue; }; ` +
	`break; done; ` +
	`[ -n "$t" ] || exit 1; ` +
	`exec 3<&0; %[3]s <&3 >"$t" & g=$! ; ` +
	`( s=; end() { kill $s; exit; }; trap end TERM; o=; while [ -e "$t" ] && kill -0 $g; do sleep 15 & s=$! ; wait $s; n=$(wc -c <"$t"); ` +
	`[ "$n" = "$o" ] && kill $g; o=$n; done ) </dev/null >/dev/null 2>&1 3<&- & w=$! ; ` +
	`wait $g; r=$?; kill $w; g=; w=; exec 3<&-; ` +
	// Who says something to a link that was cut is ended by it: first things first.
	`if [ $r -ne 0 ]; then rm -f "$t"; say broken $r "$p"; exit 1; fi; ` +
	`chmod 700 "$t"; "$t" agent install %[4]s 2>&1; r=$?; [ $r -eq 0 ] || { rm -f "$t"; say damaged $r "$p"; exit 1; }`

// command has the node's sh run a script, whatever the login shell is.
func command(script string) string { return "exec sh -c '" + script + "'" }

// runLine is the command line that executes mab agent with these arguments where the node has one of the programs.
func runLine(programs []program, args string) string {
	var cases strings.Builder
	for _, p := range programs {
		for _, m := range machines {
			if m.arch == p.arch {
				fmt.Fprintf(&cases, "Linux/%s) d=%s;; ", m.name, p.digest)
			}
		}
	}
	// A case without a pattern is no error to POSIX, but one with is none to anybody.
	cases.WriteString("*) ;;")
	return command(scriptPlaces + fmt.Sprintf(scriptRun, cases.String(), args))
}

// bringLine is the command line that takes a program of size bytes in, packed as said: gzip or not at all.
func bringLine(p program, token string, packed bool) string {
	reader := "cat"
	if packed {
		reader = "gzip -dc"
	}
	const kb = 1024
	return command(scriptPlaces + fmt.Sprintf(scriptBring, p.size/kb+kb, token, reader, p.digest))
}

// machines are what uname -m calls the machines of Go's architectures, as Linux does (UTS_MACHINE in its arch/*/Makefile).
var machines = []struct{ name, arch string }{
	{"x86_64", "amd64"},
	{"aarch64", "arm64"},
	{"riscv64", "riscv64"},
	{"armv6l", "arm"},
	{"armv7l", "arm"},
	{"armv8l", "arm"},
	{"i386", "386"},
	{"i486", "386"},
	{"i586", "386"},
	{"i686", "386"},
	{"loongarch64", "loong64"},
	{"ppc64le", "ppc64le"},
	{"ppc64", "ppc64"},
	{"s390x", "s390x"},
	{"mips64", "mips64"},
	{"mips", "mips"},
}

func archOf(machine string) (string, bool) {
	for _, m := range machines {
		if m.name == machine {
			return m.arch, true
		}
	}
	return "", false
}
