// SPDX-License-Identifier: Apache-2.0

package contents_test

import (
	"debug/elf"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/mab-build/mab/manifestlist/contents"
	"github.com/mab-build/mab/platforms"
)

// exempt are files of linux/arm64 images, by the rule that allows them; those of no rule are refused. The paths are those of
// packages: Debian's, npm's, wheels, Java archives, NuGet.
var exempt = []struct {
	rule   string
	of     string // the platform of the file
	path   string
	beside []string // other files of the image
}{
	{"firmware", "arm/v7", "lib/firmware/qcom/sdm845/modem.mbn", nil},
	{"firmware", "386", "usr/lib/firmware/intel/a.elf", nil},
	{"", "amd64", "opt/lib/firmware-tool/run", nil},
	{"boot", "riscv64", "usr/lib/riscv64-linux-gnu/opensbi/generic/fw_jump.elf", nil},
	{"boot", "386", "usr/lib/syslinux/modules/bios/cat.c32", nil},
	{"boot", "386", "usr/lib/grub/i386-pc/kernel.img", nil},
	{"", "amd64", "usr/lib/grub/i386-pc/grub-bios-setup", nil},
	{"guest", "s390x", "usr/share/qemu/s390-ccw.img", nil},
	{"guest", "riscv64", "opt/qemu/share/qemu/opensbi-riscv64-generic-fw_dynamic.elf", nil},
	{"", "amd64", "usr/bin/qemu-system-riscv64", nil},
	{"testdata", "386", "usr/local/go/src/debug/elf/testdata/gcc-386-freebsd-exec", nil},
	{"testdata", "amd64", "usr/share/go-1.19/src/debug/elf/testdata/gcc-amd64-linux-exec", nil},
	{"testdata", "amd64", "go/pkg/mod/github.com/a/b@v1.0.0/testdata/x", nil},
	{"", "amd64", "go/pkg/mod/golang.org/toolchain@v0.0.1-go1.26.0.linux-amd64/bin/go", nil},
	{"", "amd64", "usr/local/go/bin/go", nil},
	{"", "amd64", "app/testdata/tool", nil},
	{"toolchain", "arm/v7", "usr/arm-linux-gnueabihf/lib/ld-linux-armhf.so.3", nil},
	{"toolchain", "amd64", "usr/lib/gcc-cross/x86_64-linux-gnu/12/libgcc_s.so.1", nil},
	{"toolchain", "ppc64le", "opt/x-tools/powerpc64le-linux-gnu/powerpc64le-linux-gnu/lib/libc.so.6", nil},
	{"toolchain", "amd64", "opt/x86_64-linux-musl-cross/x86_64-linux-musl/lib/libc.so", nil},
	{"toolchain", "riscv64", "root/.rustup/toolchains/stable-aarch64-unknown-linux-gnu/lib/rustlib/riscv64gc-unknown-linux-gnu/lib/libstd-1.so", nil},
	{"", "amd64", "usr/arm-linux-gnueabihf/lib/libc.so.6", nil},
	{"", "amd64", "usr/lib/gcc-cross/riscv64-linux-gnu/12/cc1", nil},
	{"", "amd64", "root/.rustup/toolchains/stable-x86_64-unknown-linux-gnu/bin/rustc", nil},
	{"sysroot", "amd64", "opt/sdk/sysroots/core2-64-poky-linux/usr/bin/busybox", nil},
	{"ndk", "386", "opt/android-sdk/ndk/26.1.10909125/prebuilt/gdbserver", nil},
	{"multiarch", "amd64", "usr/lib/x86_64-linux-gnu/libc.so.6", []string{"var/lib/dpkg/arch"}},
	{"", "amd64", "usr/lib/x86_64-linux-gnu/libc.so.6", []string{"usr/lib/aarch64-linux-gnu/libc.so.6"}},
	{"", "amd64", "usr/lib/aarch64-linux-gnu/libc.so.6", []string{"var/lib/dpkg/arch"}},
	{"", "amd64", "usr/lib32/libc.so.6", nil},
	{"collection", "amd64", "app/node_modules/bcrypt/prebuilds/linux-x64/bcrypt.glibc.node", []string{"app/node_modules/bcrypt/prebuilds/linux-arm64/bcrypt.glibc.node"}},
	{"collection", "amd64", "app/node_modules/bcrypt/prebuilds/linux-x64/bcrypt.glibc.node", []string{"app/node_modules/bcrypt/prebuilds/darwin-arm64/bcrypt.node"}},
	{"collection", "amd64", "app/node_modules/@esbuild/linux-x64/bin/esbuild", []string{"app/node_modules/@esbuild/linux-arm64/bin/esbuild"}},
	{"collection", "amd64", "app/node_modules/@swc/core-linux-x64-gnu/swc.linux-x64-gnu.node", []string{"app/node_modules/@swc/core-linux-arm64-gnu/swc.linux-arm64-gnu.node"}},
	{"collection", "amd64", "app/node_modules/.pnpm/@esbuild+linux-x64@0.19.1/node_modules/@esbuild/linux-x64/bin/esbuild", []string{"app/node_modules/.pnpm/@esbuild+linux-arm64@0.19.1/node_modules/@esbuild/linux-arm64/bin/esbuild"}},
	{"collection", "amd64", "app/node_modules/7zip-bin/linux/x64/7za", []string{"app/node_modules/7zip-bin/linux/arm64/7za"}},
	{"collection", "arm/v7", "app/node_modules/bufferutil/prebuilds/linux-arm/armv7.node", []string{"app/node_modules/bufferutil/prebuilds/linux-x64/a.node"}},
	{"", "amd64", "app/node_modules/@esbuild/linux-x64/bin/esbuild", nil},
	{"", "amd64", "app/node_modules/@esbuild/linux-x64-gnu/esbuild", []string{"app/node_modules/@esbuild/linux-x64-musl/esbuild"}},
	{"", "amd64", "app/node_modules/@esbuild/linux-x64/bin/esbuild", []string{"app/node_modules/@esbuild/other-linux-arm64/bin/esbuild"}},
	{"", "amd64", "app/node_modules/bcrypt/prebuilds/linux-arm64/bcrypt.node", []string{"app/node_modules/bcrypt/prebuilds/linux-x64/bcrypt.node"}},
	{"", "amd64", "app/node_modules/bcrypt/build/Release/bcrypt_lib.node", []string{"app/node_modules/bcrypt/prebuilds/linux-arm64/bcrypt.node"}},
	{"collection", "amd64", "usr/lib/python3/dist-packages/debugpy/attach_linux_amd64.so", []string{"usr/lib/python3/dist-packages/debugpy/attach_linux_x86.so"}},
	{"collection", "amd64", "app/runtimes/linux-x64/native/libe_sqlite3.so", []string{"app/runtimes/linux-musl-arm64/native/libe_sqlite3.so"}},
	{"collection", "amd64", "app/org/xerial/snappy/native/Linux/x86_64/libsnappyjava.so", []string{"app/org/xerial/snappy/native/Linux/aarch64/libsnappyjava.so"}},
	{"collection", "amd64", "app/META-INF/native/libnetty_epoll_x86_64.so", []string{"app/META-INF/native/libnetty_epoll_aarch_64.so"}},
	{"collection", "amd64", "srv/downloads/tool-linux-amd64", []string{"srv/downloads/tool-linux-arm64"}},
	{"", "amd64", "opt/tool/bin/tool", nil},
	{"", "amd64", "usr/local/bin/tool", nil},
	{"", "amd64", "usr/local/bin/tool-linux-amd64", nil},
	{"", "amd64", "usr/lib/libtool.so", nil},
	{"", "amd64", "boot-tool/run", nil},
}

func TestRules(t *testing.T) {
	met := map[string]bool{"device": true, "multilib": true} // by tests of their own
	for _, test := range exempt {
		t.Run(test.rule+" "+test.path, func(t *testing.T) {
			members := []member{{name: test.path, content: program{platform: test.of}.bytes(t)}}
			for _, name := range test.beside {
				members = append(members, member{name: name, content: []byte("a")})
			}
			r := report(t, "arm64", nil, members)
			met[test.rule] = true
			if test.rule == "" {
				if len(r.Findings) != 1 || len(r.Exempted) != 0 {
					t.Errorf("got %+v", r)
				}
				return
			}
			if len(r.Findings) != 0 || len(r.Exempted) != 1 || r.Exempted[0].Rule != test.rule || r.Exempted[0].First != "/"+test.path {
				t.Errorf("findings %+v, exempted %+v", r.Findings, r.Exempted)
			}
		})
	}
	for _, rule := range contents.Rules() {
		if !met[rule.Name] {
			t.Errorf("no file for the rule %q", rule.Name)
		}
	}
}

func TestDevices(t *testing.T) {
	for _, machine := range []elf.Machine{elf.EM_BPF, elf.EM_CUDA, elf.EM_AMDGPU, elf.EM_AVR} {
		file := program{row: platforms.ELF{Machine: machine, Class: elf.ELFCLASS64, Data: elf.ELFDATA2LSB}}.bytes(t)
		r := report(t, "arm64", nil, []member{{name: "opt/a", content: file}})
		if len(r.Findings) != 0 || len(r.Exempted) != 1 || r.Exempted[0].Rule != "device" {
			t.Errorf("%s: got %+v", machine, r)
		}
	}
}

func TestMultilib(t *testing.T) {
	row, _ := platforms.MustParse("amd64").ELF()
	row.Class = elf.ELFCLASS32
	r := report(t, "amd64", nil, []member{{name: "libx32/a.so", content: program{row: row}.bytes(t)}, {name: "lib32/b.so", content: program{platform: "arm64"}.bytes(t)}})
	if diff := cmp.Diff([]string{"/lib32/b.so"}, paths(r)); diff != "" || len(r.Exempted) != 1 || r.Exempted[0].Rule != "multilib" {
		t.Errorf("%s%+v", diff, r.Exempted)
	}
}

func TestOwnExemptions(t *testing.T) {
	members := []member{{name: "opt/a/b/c", content: program{}.bytes(t)}, {name: "opt/d", content: program{}.bytes(t)}}
	for _, test := range []struct {
		rule        string
		globs       []string
		label, want string
	}{
		{"none", nil, "", "/opt/a/b/c /opt/d"},
		{"a file", []string{"/opt/d"}, "", "/opt/a/b/c"},
		{"a directory", []string{"opt/a"}, "", "/opt/d"},
		{"any directories", []string{"**/c"}, "", "/opt/d"},
		{"one name", []string{"/opt/*/c"}, "", "/opt/a/b/c /opt/d"},
		{"two globs", []string{"/opt/a", "/opt/d"}, "", ""},
		{"an exception", []string{"/opt", "!/opt/d"}, "", "/opt/d"},
		{"a label with commas", nil, "/opt/a/**, /opt/d", ""},
		{"a label with lines", nil, "/opt/a\n/opt/d\n", ""},
		{"both", []string{"/opt/a"}, "/opt/d", ""},
	} {
		t.Run(test.rule, func(t *testing.T) {
			l := newLayout(t)
			root := l.image("arm64", func(c *ocispec.Image) { c.Config.Labels = map[string]string{contents.ExemptLabel: test.label} }, members)
			r, err := l.check(root, contents.Config{Exempt: test.globs})
			must(t, err)
			if got := strings.Join(paths(r.Images[0]), " "); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
	if _, err := contents.New(contents.Config{Exempt: []string{"a", "["}}); err == nil {
		t.Error("no error for a glob that cannot be read")
	}
}

// TestRulesAreDocumented: docs/verify.md has a row for each rule, in order, with its reason and all its paths.
func TestRulesAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/verify.md")
	must(t, err)
	var want strings.Builder
	for _, rule := range contents.Rules() {
		where := "`/" + strings.Join(rule.Paths, "`, `/") + "`"
		if len(rule.Paths) == 0 {
			where = "anywhere"
		}
		where = strings.ReplaceAll(where, "`/**/", "`**/")
		switch {
		case len(rule.Machines) > 0:
			var names []string
			for _, machine := range rule.Machines {
				names = append(names, strings.TrimPrefix(machine.String(), "EM_"))
			}
			where += ", of the machines " + strings.Join(names, ", ")
		case rule.OwnMachine:
			where += ", of the platform's own machine"
		case rule.Needs != "":
			where += ", if there is `/" + rule.Needs + "`"
		case rule.Collection:
			where += ", if its name or that of a directory tells its architecture, and the same for another platform is beside it"
		}
		want.WriteString("| " + rule.Name + " | " + where + " | " + rule.Reason + " |\n")
	}
	if !strings.Contains(string(page), want.String()) {
		t.Errorf("its table should be:\n%s", want.String())
	}
}
