// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	nothing "github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// emulatorImage pushes an image as tonistiigi/binfmt is, of these files, and returns its reference.
func emulatorImage(t testing.TB, name string, files ...tarFile) string {
	t.Helper()
	ref := registry(t) + "/" + name + ":1"
	platform := &v1.Platform{OS: "linux", Architecture: runtime.GOARCH}
	index := mutate.AppendManifests(nothing.Index, mutate.IndexAddendum{Add: imageOfFiles(t, files...), Descriptor: v1.Descriptor{Platform: platform}})
	if err := remote.WriteIndex(reference(t, ref), index); err != nil {
		t.Fatal(err)
	}
	return ref
}

func imageOfFiles(t testing.TB, files ...tarFile) v1.Image {
	t.Helper()
	return withFiles(t, nothing.Image, files...)
}

// withFiles is an image with one more layer.
func withFiles(t testing.TB, image v1.Image, files ...tarFile) v1.Image {
	t.Helper()
	var content bytes.Buffer
	w := tar.NewWriter(&content)
	for _, f := range files {
		f.Mode, f.Size = 0o755, int64(len(f.content))
		if err := w.WriteHeader(&f.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(f.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	out, err := mutate.AppendLayers(image, layer)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

type tarFile struct {
	tar.Header
	content []byte
}

// emulatorFile is this machine's own QEMU for an architecture, as an image has it.
func emulatorFile(t testing.TB, qemu string) tarFile {
	t.Helper()
	need(t, "qemu-"+qemu+"-static")
	path, err := exec.LookPath("qemu-" + qemu + "-static")
	if err != nil {
		t.Fatal(err)
	}
	return tarFile{tar.Header{Name: "usr/bin/qemu-" + qemu}, readFile(t, path)}
}

// emulatorsIn lists what the lab has installed.
func (l *lab) emulatorsIn() []string {
	l.t.Helper()
	files, err := filepath.Glob(filepath.Join(l.root, "emulators", "sha256-*", "qemu-*"))
	if err != nil {
		l.t.Fatal(err)
	}
	var out []string
	for _, f := range files {
		out = append(out, filepath.Base(f))
	}
	return out
}

// foreignArchitectures are two that this machine does not run: names for mab, and for QEMU.
func foreignArchitectures() (first, second machine) {
	var out []machine
	for _, m := range machines {
		if !m.native() && (m.platform == foreignPlatform() || m.platform == "linux/s390x") {
			out = append(out, m)
		}
	}
	return out[0], out[1]
}

func (m machine) arch() string { return strings.TrimPrefix(m.platform, "linux/") }

// runsFor builds for a platform, with a step that tells where it ran.
func (l *lab) runsFor(m machine, args ...string) output {
	l.t.Helper()
	dir := l.contextOn(map[string]string{"Dockerfile": "FROM BASE\nRUN uname -m > /machine\n"})
	out := l.mab(append([]string{"build", "--platform", m.platform, "-o", "files-" + m.qemu, dir}, args...)...)
	if out.code == 0 {
		if got := strings.TrimSpace(read(l.t, filepath.Join(l.dir, "files-"+m.qemu, "machine"))); got != m.uname {
			l.t.Errorf("the step ran on %q", got)
		}
	}
	return out
}

// TestEmulationInstall is the life of an emulator on a machine without QEMU.
func TestEmulationInstall(t *testing.T) {
	first, second := foreignArchitectures()
	l := newLab(t)
	l.hide(first.qemu, second.qemu)
	before := hostBinfmt(t)
	image := emulatorImage(t, "emulation/both", emulatorFile(t, first.qemu), emulatorFile(t, second.qemu), tarFile{
		tar.Header{Name: "usr/bin/binfmt"}, []byte("#!/bin/sh\nexit 1\n"),
	})
	every := l.contextOn(map[string]string{"Dockerfile": "FROM BASE\nRUN uname -m\n"})

	t.Run("without one, a build says how to get it", func(t *testing.T) {
		l := l.on(t)
		words := []string{"no node can build " + first.platform, "mab emulation install " + first.arch(), "--emulation-image default"}
		nothingRan(t, l, l.refused(3, words, "build", "--platform", first.platform, every))
		l.refused(3, words, "plan", "--platform", first.platform, every)
	})
	t.Run("a solver that runs takes it", func(t *testing.T) {
		l := l.on(t)
		out := l.mab("emulation", "install", "--image", image, first.arch())
		if out.code != 0 || !strings.HasPrefix(out.stdout, first.platform+" ") ||
			!regexp.MustCompile(`mab: note: emulators for `+first.platform+` from `+image+`, manifest sha256:[0-9a-f]{64} \([1-9][0-9]* bytes read\)`).MatchString(out.stderr) {
			t.Fatalf("%+v", out)
		}
		if diff := cmp.Diff([]string{"qemu-" + first.qemu}, l.emulatorsIn()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if out := l.runsFor(first); out.code != 0 {
			t.Errorf("exit code %d\n%s", out.code, out.stderr)
		}
		if out := l.runsFor(second); out.code != 3 {
			t.Errorf("exit code %d\n%s", out.code, out.stderr)
		}
		if n := l.starts(); n != 1 {
			t.Errorf("the solver was started %d times", n)
		}
	})
	t.Run("it is not downloaded again", func(t *testing.T) {
		l := l.on(t)
		if out := l.mab("emulation", "install", "--image", image, first.platform); out.code != 0 || !strings.Contains(out.stderr, "nothing read") {
			t.Errorf("%+v", out)
		}
	})
	t.Run("it comes before the system's, and ls says so", func(t *testing.T) {
		l := l.on(t)
		// Unlike the lab's solver, ls sees the system's.
		out := l.mab("emulation", "ls")
		i := slices.IndexFunc(strings.Split(out.stdout, "\n"), func(line string) bool {
			return strings.HasPrefix(line, first.platform+" ") && strings.Contains(line, filepath.Join(l.root, "emulators"))
		})
		if out.code != 0 || i < 0 || !strings.Contains(out.stderr, "mab emulation uninstall "+first.arch()) {
			t.Errorf("%s\n%s", out.stdout, out.stderr)
		}
	})
	t.Run("a build under way keeps what is taken back", func(t *testing.T) { uninstallInBuild(t, l.on(t), first) })
	t.Run("then it is gone", func(t *testing.T) {
		l := l.on(t)
		if files := l.emulatorsIn(); len(files) > 0 {
			t.Errorf("left behind: %q", files)
		}
		if out := l.mab("emulation", "uninstall"); out.code != 0 || !strings.Contains(out.stderr, "no such emulator") {
			t.Errorf("%+v", out)
		}
		if out := l.mab("build", "--no-cache", "--platform", first.platform, every); out.code != 3 {
			t.Errorf("exit code %d\n%s", out.code, out.stderr)
		}
	})
	t.Run("a build may say where to take it from", func(t *testing.T) { emulationImage(t, l.on(t), image) })
	if diff := cmp.Diff(before, hostBinfmt(t)); diff != "" {
		t.Errorf("the host (-before +now):\n%s", diff)
	}
	if n := l.starts(); n != 1 {
		t.Errorf("the solver was started %d times", n)
	}
}

// uninstallInBuild takes an emulator away between two steps that need it.
func uninstallInBuild(t *testing.T, l *lab, m machine) {
	step := newHalt(t)
	dir := l.contextOn(map[string]string{"Dockerfile": "FROM BASE\nRUN wget -q -O /answer " + step.URL + "\nRUN uname -m > /machine\n"})
	build := l.start("build", "--platform", m.platform, "-o", "kept", dir)
	step.wait(build)
	out := l.mab("emulation", "uninstall", m.arch())
	step.release()
	if out.code != 0 || !strings.Contains(out.stdout, "qemu-"+m.qemu) || !strings.Contains(out.stderr, "a build is under way") {
		t.Errorf("%+v", out)
	}
	if out := build.wait(); out.code != 0 {
		t.Errorf("exit code %d\n%s", out.code, out.stderr)
	}
	if got := strings.TrimSpace(read(t, filepath.Join(l.dir, "kept/machine"))); got != m.uname {
		t.Errorf("the step ran on %q", got)
	}
}

// emulationImage needs a lab whose solver runs neither of the two.
func emulationImage(t *testing.T, l *lab, image string) {
	first, second := foreignArchitectures()
	t.Run("a plan promises it and takes nothing", func(t *testing.T) {
		l := l.on(t)
		dir := l.contextOn(map[string]string{"Dockerfile": "FROM BASE\nRUN uname -m\n"})
		out := l.mab("plan", "--emulation-image", image, "--platform", second.platform, dir)
		if out.code != 0 || !strings.Contains(out.stdout, "emulated") ||
			!strings.Contains(out.stderr, "mab: note: build takes the emulators for "+second.platform+" from "+image) {
			t.Errorf("%+v", out)
		}
		if files := l.emulatorsIn(); len(files) > 0 {
			t.Errorf("it took %q", files)
		}
	})
	t.Run("what needs none takes none", func(t *testing.T) {
		l := l.on(t)
		dir := l.contextOn(map[string]string{"Dockerfile": "FROM --platform=$BUILDPLATFORM BASE AS b\nRUN uname -m > /on\nFROM scratch\nCOPY --from=b /on /\n"})
		if out := l.mab("build", "--emulation-image", "registry.invalid/nothing", "--platform", second.platform, dir); out.code != 0 {
			t.Errorf("exit code %d\n%s", out.code, out.stderr)
		}
	})
	t.Run("an image that cannot be had ends it before the first step", func(t *testing.T) {
		l := l.on(t)
		dir := l.contextOn(map[string]string{"Dockerfile": "FROM BASE\nRUN uname -m\n"})
		nothingRan(t, l, l.refused(1, []string{`mab: error: taking emulators out of "` + registry(t) + "/emulation/nothing", "mab: hint: "},
			"build", "--emulation-image", registry(t)+"/emulation/nothing", "--platform", second.platform, dir))
	})
	t.Run("only the missing one is taken, and that is said", func(t *testing.T) {
		l := l.on(t)
		out := l.runsFor(second, "--emulation-image", image)
		said := regexp.MustCompile(`(?m)^mab: note: emulators for ` + second.platform + ` from ` + image + `, manifest sha256:[0-9a-f]{64} \([1-9][0-9]* bytes read\)$`)
		if out.code != 0 || !said.MatchString(out.stderr) {
			t.Errorf("exit code %d\n%s", out.code, out.stderr)
		}
		if diff := cmp.Diff([]string{"qemu-" + second.qemu}, l.emulatorsIn()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if out := l.runsFor(second, "--emulation-image", image, "--no-cache"); out.code != 0 || strings.Contains(out.stderr, "mab: note: emulators") {
			t.Errorf("exit code %d\n%s", out.code, out.stderr)
		}
	})
	t.Run("by the environment, too", func(t *testing.T) {
		l := l.on(t).setting("MAB_EMULATION_IMAGE=" + image)
		if out := l.runsFor(first); out.code != 0 {
			t.Errorf("exit code %d\n%s", out.code, out.stderr)
		}
	})
}

// TestEmulationRefused: an image that is damaged, or made to do harm, leaves nothing.
func TestEmulationRefused(t *testing.T) {
	first, _ := foreignArchitectures()
	l := newLab(t)
	good := emulatorFile(t, first.qemu)
	name := good.Name
	secret := filepath.Join(l.dir, "secret")
	if err := os.WriteFile(secret, []byte("kept"), 0o600); err != nil {
		t.Fatal(err)
	}
	bad := newBadRegistry(t)
	for _, test := range []struct {
		rule, want string
		image      func(t *testing.T) string
	}{
		{"a path out of the image", "outside of itself", func(t *testing.T) string {
			return emulatorImage(t, "emulation/outside", tarFile{tar.Header{Name: "usr/bin/../../../../../.." + secret}, []byte("lost")})
		}},
		{"a link for an emulator", "is a symbolic link", func(t *testing.T) string {
			return emulatorImage(t, "emulation/link", tarFile{tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: secret}, nil})
		}},
		{"a script for an emulator", "not an ELF program", func(t *testing.T) string {
			return emulatorImage(t, "emulation/script", tarFile{tar.Header{Name: name}, []byte("#!/bin/sh\nrm -f " + secret + "\nexit 42\n")})
		}},
		{"a program that is no emulator", "is no good: probing", func(t *testing.T) string {
			return emulatorImage(t, "emulation/program", tarFile{tar.Header{Name: name}, readFile(t, mabBinary)})
		}},
		{"a layer that was damaged on its way", "reading layer sha256:", func(t *testing.T) string {
			bad.push("emulation/good:1", imageOfFiles(t, good))
			bad.spoiled(bad.onLayer(bad.corrupt))
			return bad.host + "/emulation/good:1"
		}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			l := l.on(t)
			l.refused(1, []string{`mab: error: taking emulators out of "`, test.want, "mab: hint: "}, "emulation", "install", "--image", test.image(t), first.arch())
			if got := tree(t, filepath.Join(l.root, "emulators")); !slices.Equal(got, []string{"lock"}) {
				t.Errorf("left behind: %q", got)
			}
			if read(t, secret) != "kept" {
				t.Error("it changed a file")
			}
		})
	}
}

// TestEmulationHost registers on a host that is none: an instance of binfmt_misc of the test's own.
func TestEmulationHost(t *testing.T) {
	need(t, "unshare", "mount")
	first, second := foreignArchitectures()
	l := newLab(t)
	before := hostBinfmt(t)
	image := emulatorImage(t, "emulation/host", emulatorFile(t, first.qemu), emulatorFile(t, second.qemu))
	cmd := exec.CommandContext(t.Context(), "unshare", "--user", "--mount", "--map-root-user", "sh", "-ec", `
test -d /etc/binfmt.d || { mount -t tmpfs none /etc; mkdir /etc/binfmt.d; }
mount -t tmpfs none /etc/binfmt.d
echo "# install"
"$0" emulation install --host --persist --image "$1"
cat /proc/sys/fs/binfmt_misc/mab-$2
ls /etc/binfmt.d
echo "# others"
echo ":docker:E::e2e::/bin/false:" > /proc/sys/fs/binfmt_misc/register
"$0" emulation uninstall $3 || echo "exit code $?"
"$0" emulation uninstall --host
echo "# left"
ls /proc/sys/fs/binfmt_misc /etc/binfmt.d`, mabBinary, image, first.qemu, first.arch())
	cmd.Env, cmd.Dir = l.env, l.dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, out, &stderr)
	}
	text := string(out)
	for _, want := range []string{
		"interpreter " + l.root + "/emulators/bin/qemu-" + first.qemu + "\nflags: POCF\n",
		"mab-" + first.qemu + ".conf\n",
		"# others\nexit code 2\n",
		"# left\n/etc/binfmt.d:\n\n/proc/sys/fs/binfmt_misc:\ndocker\nregister\nstatus\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s\n%s", want, text, &stderr)
		}
	}
	for _, want := range []string{
		"mab: note: " + first.platform + ": registered on the host as mab-" + first.qemu + ", and at each start by /etc/binfmt.d/mab-" + first.qemu + ".conf",
		"mab: hint: as root: mab emulation uninstall --host " + first.arch(),
	} {
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("no %q in:\n%s", want, &stderr)
		}
	}
	if files := l.emulatorsIn(); len(files) > 0 {
		t.Errorf("left behind: %q", files)
	}
	if diff := cmp.Diff(before, hostBinfmt(t)); diff != "" {
		t.Errorf("the host (-before +now):\n%s", diff)
	}
}

// TestEmulationBench has two files of QEMU for an architecture, and a build run under the one that was measured faster.
func TestEmulationBench(t *testing.T) {
	first, _ := foreignArchitectures()
	l := newLab(t)
	l.must("emulation", "install", "--image", emulatorImage(t, "emulation/bench", emulatorFile(t, first.qemu)), first.arch())
	type measured struct {
		Platform, Emulator, Digest string
		Integer, Exec, Relative    float64
	}
	list := decode[[]measured](t, l.must("emulation", "bench", "--json", "--platform", first.platform))
	// The file that was installed is a copy of the system's: both are of one digest.
	if len(list) < 3 || list[0].Emulator != "" || list[1].Digest != list[2].Digest || !strings.HasPrefix(list[1].Emulator, l.root) {
		t.Fatalf("%+v", list)
	}
	for i, m := range list {
		if m.Integer <= 0 || m.Exec <= 0 || i > 0 && (m.Relative <= 0 || m.Relative >= 1) {
			t.Errorf("%+v", m)
		}
	}
	kept := filepath.Join(l.root, "emulation.json")
	used := func() (path, choice string) {
		t.Helper()
		for _, s := range decode[[]struct{ Platform, Interpreter, Choice string }](t, l.must("emulation", "ls", "--json")) {
			if s.Platform == first.platform {
				return s.Interpreter, s.Choice
			}
		}
		t.Fatal("it is not listed")
		return "", ""
	}
	if path, choice := used(); path != list[1].Emulator || choice != "" {
		t.Errorf("of two that are equal %s serves: %q", path, choice)
	}
	// The same, but for one byte that QEMU does not read, and half as fast as the other.
	dir := filepath.Dir(list[1].Emulator)
	file, err := os.OpenFile(filepath.Join(dir, filepath.Base(list[1].Emulator)), os.O_APPEND|os.O_WRONLY, 0)
	sound(t, err)
	_, err = file.WriteString("\x00")
	sound(t, errors.Join(err, file.Close()))
	l.must("emulation", "bench", "--platform", first.platform)
	text := string(readFile(t, kept))
	var all struct {
		Kernel   string           `json:"kernel"`
		Model    string           `json:"model"`
		Measured []map[string]any `json:"measured"`
	}
	sound(t, json.Unmarshal([]byte(text), &all))
	for _, m := range all.Measured {
		if m["emulator"] == list[1].Emulator {
			for _, test := range []string{"integer", "exec"} {
				m[test] = m[test].(float64) / 10
			}
		}
	}
	slow, err := json.Marshal(all)
	sound(t, err)
	sound(t, os.WriteFile(kept, slow, 0o600))
	path, choice := used()
	if path != list[2].Emulator || !strings.Contains(choice, "times as fast as QEMU") {
		t.Errorf("%s serves: %q", path, choice)
	}
	if out := l.runsFor(first); out.code != 0 {
		t.Errorf("exit code %d\n%s", out.code, out.stderr)
	}
	if out := l.mab("emulation", "ls"); !strings.Contains(out.stderr, path+" serves: measured ") {
		t.Errorf("ls says nothing of it:\n%s", out.stderr)
	}
	l.must("emulation", "bench", "--forget")
	if path, choice := used(); path != list[1].Emulator || choice != "" {
		t.Errorf("when all is forgotten %s serves: %q", path, choice)
	}
}

// TestKnownTrouble has a step write what programs write that meet a known fault of QEMU's, and fail.
func TestKnownTrouble(t *testing.T) {
	l := newLab(t)
	out := l.mab("build", "--platform", foreignPlatform(), l.context(map[string]string{
		"Dockerfile": "FROM " + registry(t) + "/busybox\nRUN echo 'tar: f: Cannot open: Function not implemented'; exit 1\n",
	}))
	if out.code != 1 {
		t.Errorf("exit code %d", out.code)
	}
	version := decode[[]struct{ Platform, Version string }](t, l.must("emulation", "ls", "--json"))
	at := slices.IndexFunc(version, func(s struct{ Platform, Version string }) bool { return s.Platform == foreignPlatform() })
	if old := !strings.HasPrefix(version[at].Version, "10."); old != strings.Contains(out.stderr, "mab: hint: QEMU is known for this: ") {
		t.Errorf("QEMU %s:\n%s", version[at].Version, out.stderr)
	}
}
