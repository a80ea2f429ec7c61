// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mab-build/mab/e2e/bases"
)

// six are the platforms that every base image has.
const six = "linux/amd64,linux/arm64,linux/arm/v7,linux/riscv64,linux/s390x,linux/ppc64le"

// everything reports whether a missing tool fails a test instead of skipping it.
func everything() bool { return os.Getenv("MAB_E2E") == "all" }

// mabBinary is the program under test: $MAB_BIN, which carries or has beside it what reads bake files, else one that is built here.
var mabBinary string

// toolDir is where tool puts what it builds.
var toolDir string

func TestMain(m *testing.M) { os.Exit(mainCode(m)) }

func mainCode(m *testing.M) int {
	dir, err := os.MkdirTemp("", "mab-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	toolDir = dir
	mabBinary = os.Getenv("MAB_BIN")
	if mabBinary == "" {
		mabBinary = filepath.Join(dir, "mab")
		// The second reads bake files for the first, which finds it beside itself.
		for program, source := range map[string]string{mabBinary: "../cmd/mab", filepath.Join(dir, "mab-bake"): "../bake/module"} {
			build := exec.Command("go", "build", "-o", program, ".")
			build.Dir = source
			build.Env = append(os.Environ(), "CGO_ENABLED=0")
			if out, err := build.CombinedOutput(); err != nil {
				fmt.Fprintf(os.Stderr, "building %s: %v\n%s", source, err, out)
				return 1
			}
		}
	}
	before := processes(mabBinary)
	code := m.Run()
	if sharedUsed.Load() {
		if r, err := shared(); err == nil {
			err = r.Close()
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 1
			}
		}
	}
	for _, p := range processes(mabBinary) {
		if !slices.Contains(before, p) {
			fmt.Fprintln(os.Stderr, "left behind:", p)
			code = 1
		}
	}
	return code
}

// need skips the test, or fails it where everything must run, if a program is missing or the test is not run by root.
func need(t testing.TB, programs ...string) {
	t.Helper()
	missing := ""
	if os.Getuid() != 0 {
		missing = "root"
	}
	for _, p := range append([]string{"runc", "qemu-s390x-static"}, programs...) {
		if _, err := exec.LookPath(p); err != nil {
			missing = p
		}
	}
	switch {
	case missing != "" && everything():
		t.Fatalf("%s is missing", missing)
	case missing != "":
		t.Skipf("%s is missing", missing)
	}
}

// shared is the registry with base images that all tests pull from and push to.
var shared = sync.OnceValues(func() (*bases.Registry, error) {
	return bases.Serve(context.Background(), bases.Config{}, bases.Image{Name: "busybox"})
})

var sharedUsed atomic.Bool

// registry returns the address of a registry that holds localhost:PORT/busybox:latest for six platforms.
func registry(t testing.TB) string {
	t.Helper()
	sharedUsed.Store(true)
	r, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return r.Addr()
}

// lab is a solver of the test's own, with its own state. Its solver is stopped and its state removed when the test ends.
type lab struct {
	// patience is how long a command may take. Zero: five minutes.
	patience time.Duration
	t        testing.TB
	root     string
	// program is what runs mab: the program, or others that do it.
	program []string
	// attr is how it is started.
	attr syscall.SysProcAttr
	// dir is the working directory of commands.
	dir string
	env []string
}

func newLab(t testing.TB) *lab {
	t.Helper()
	need(t)
	// A socket's path is short, t.TempDir's is not.
	root, err := os.MkdirTemp("", "mab-e2e-root-")
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{t: t, root: root, program: []string{mabBinary}, dir: t.TempDir()}
	l.env = append(os.Environ(), "MAB_ROOT="+root, "MAB_RUNTIME_DIR="+root, "BUILDKIT_PROGRESS=plain", "MAB_NODES=", "MAB_NODES_FILE=", "MAB_LINK_PERSIST=0")
	t.Cleanup(func() {
		if out := l.mab("serve", "--stop"); out.code != 0 {
			t.Errorf("stopping the solver: %s", out.stderr)
		}
		if err := os.RemoveAll(root); err != nil {
			t.Errorf("removing the state: %v", err)
		}
	})
	return l
}

// output is what a finished command left.
type output struct {
	stdout, stderr string
	code           int
}

// mab runs the program and waits for it, for as long as the lab has patience.
func (l *lab) mab(args ...string) output {
	l.t.Helper()
	return l.start(args...).wait()
}

// must is mab that fails the test unless the program ends well. It returns standard output without the last newline.
func (l *lab) must(args ...string) string {
	l.t.Helper()
	out := l.mab(args...)
	if out.code != 0 {
		l.t.Fatalf("mab %s: exit code %d\n%s", strings.Join(args, " "), out.code, out.stderr)
	}
	return strings.TrimSuffix(out.stdout, "\n")
}

// running is a command under way.
type running struct {
	t              testing.TB
	cmd            *exec.Cmd
	stdout, stderr *bytes.Buffer
	cancel         context.CancelFunc
}

// start runs the program in the background. The caller waits for it.
func (l *lab) start(args ...string) *running {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), cmp.Or(l.patience, 5*time.Minute))
	r := &running{t: l.t, stdout: &bytes.Buffer{}, stderr: &bytes.Buffer{}, cancel: cancel}
	line := slices.Concat(l.program, args)
	r.cmd = exec.CommandContext(ctx, line[0], line[1:]...)
	r.cmd.Dir, r.cmd.Env = l.dir, l.env
	r.cmd.Stdout, r.cmd.Stderr = r.stdout, r.stderr
	attr := l.attr
	// A signal for the test must not reach the program.
	attr.Setpgid = true
	r.cmd.SysProcAttr = &attr
	if err := r.cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	return r
}

// wait waits for the end. A program that was killed has code -1.
func (r *running) wait() output {
	r.t.Helper()
	defer r.cancel()
	var exit *exec.ExitError
	if err := r.cmd.Wait(); err != nil && !errors.As(err, &exit) {
		r.t.Fatal(err)
	}
	return output{r.stdout.String(), r.stderr.String(), r.cmd.ProcessState.ExitCode()}
}

// context writes files into a new directory and returns it. Names may have slashes.
func (l *lab) context(files map[string]string) string {
	l.t.Helper()
	dir := l.t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
			l.t.Fatal(err)
		}
	}
	return dir
}

// processes lists the processes that run a program, as pid and command line.
func processes(program string) []string {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	var out []string
	for _, dir := range dirs {
		if exe, err := os.Readlink(dir + "/exe"); err != nil || strings.TrimSuffix(exe, " (deleted)") != program {
			continue
		}
		line, _ := os.ReadFile(dir + "/cmdline")
		out = append(out, filepath.Base(dir)+" "+strings.ReplaceAll(string(line), "\x00", " "))
	}
	return out
}

// eventually waits until a condition holds, and fails the test if it never does.
func eventually(t testing.TB, within time.Duration, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(within)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", within, what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// read returns the content of a file.
func read(t testing.TB, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
