// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"context"
	"debug/elf"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// release returns the path of the program that is released for Linux on an architecture, as make dist has made it. $MAB_DIST is
// another directory than dist.
func release(t testing.TB, arch string) string {
	t.Helper()
	name := "mab-linux-" + arch
	dir := os.Getenv("MAB_DIST")
	if dir == "" {
		dir = "../dist"
	}
	path := filepath.Join(dir, name)
	_, err := os.Stat(path)
	switch {
	case err == nil:
	case errors.Is(err, fs.ErrNotExist) && !everything():
		t.Skipf("no release to test; run: make dist/%s", name)
	default:
		t.Fatal(err)
	}
	return path
}

// copyFile copies a program.
func copyFile(t testing.TB, from, to string) {
	t.Helper()
	content, err := os.ReadFile(from)
	if err == nil {
		err = errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), os.WriteFile(to, content, 0o755))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// inEmptyRoot runs a script in a root directory that has what a kernel gives. Processes and mounts are gone afterwards. The code is 99 if
// a mount got out of the solver's namespace.
func inEmptyRoot(t testing.TB, root, script string) output {
	t.Helper()
	for _, dir := range []string{"proc", "sys", "dev"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	// Shared, as systemd has them: a mount that got out would be seen.
	const enter = `mount --make-rshared / && mount -t proc proc "$0/proc" && mount --rbind /sys "$0/sys" && mount --rbind /dev "$0/dev" || exit
before=$(cat /proc/self/mountinfo)
chroot "$0" /bin/sh -c "$1"
code=$?
test "$before" = "$(cat /proc/self/mountinfo)" || { cat /proc/self/mountinfo >&2; echo "mounts got out" >&2; exit 99; }
exit $code`
	cmd := exec.CommandContext(ctx, "unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", enter, root, script)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "BUILDKIT_PROGRESS=plain"}
	cmd.WaitDelay = 5 * time.Second
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return output{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

func TestReleaseAlone(t *testing.T) {
	need(t, "unshare", "chroot", "mount", "busybox")
	program := release(t, runtime.GOARCH)
	root, err := os.MkdirTemp("", "mab-e2e-empty-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(root); err != nil {
			t.Errorf("removing the root directory: %v", err)
		}
	})
	shell, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	copyFile(t, program, filepath.Join(root, "mab"))
	copyFile(t, shell, filepath.Join(root, "bin", "sh"))
	// Nothing here can resolve a name.
	local := strings.Replace(registry(t), "localhost", "127.0.0.1", 1)
	app := "/release/app:alone"
	foreign := foreignPlatform()
	dockerfile := `FROM --platform=$BUILDPLATFORM ` + local + `/busybox AS make
ARG TARGETARCH
RUN echo "made for $TARGETARCH on $(uname -m)" > /made
FROM ` + local + `/busybox
COPY --from=make /made /made
`
	if err := errors.Join(os.Mkdir(filepath.Join(root, "src"), 0o755), os.WriteFile(filepath.Join(root, "src", "Dockerfile"), []byte(dockerfile), 0o644)); err != nil {
		t.Fatal(err)
	}
	out := inEmptyRoot(t, root, `PATH=/nowhere
/mab build --platform `+hostPlatform()+","+foreign+` -t `+local+app+` --push /src || exit
exec /mab serve --stop`)
	if out.code != 0 {
		t.Fatalf("exit code %d\n%s\nthe solver's log:\n%s", out.code, out.stderr, read(t, filepath.Join(root, "var/lib/mab/solver.log")))
	}
	index := pull(t, registry(t)+app)
	if diff := cmp.Diff(hostPlatform()+","+foreign, platformsOf(t, index)); diff != "" {
		t.Errorf("platforms of the index (-want +got):\n%s", diff)
	}
	for _, platform := range []string{hostPlatform(), foreign} {
		_, arch, _ := strings.Cut(platform, "/")
		want := "made for " + arch + " on " + machineOf(t, hostPlatform()).uname
		if diff := cmp.Diff(want, rootfsOf(t, imageOf(t, index, platform)).text(t, "made")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", platform, diff)
		}
	}
	if !strings.Contains(out.stderr, foreign+" on local: cross") {
		t.Errorf("%s is not cross:\n%s", foreign, out.stderr)
	}
	carried, err := filepath.Glob(filepath.Join(root, "var/lib/mab/runc/*/runc"))
	if err != nil || len(carried) != 1 {
		t.Errorf("unpacked: %q, %v", carried, err)
	}
}

func TestReleaseIsStatic(t *testing.T) {
	program := release(t, runtime.GOARCH)
	f, err := elf.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for _, segment := range f.Progs {
		if segment.Type == elf.PT_INTERP || segment.Type == elf.PT_DYNAMIC {
			t.Errorf("%s has a segment %v", program, segment.Type)
		}
	}
}
