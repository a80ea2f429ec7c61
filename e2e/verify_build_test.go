// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"bytes"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// mixed is a Dockerfile that puts a program of amd64 into the image of every platform.
func mixed(t testing.TB, more string) string {
	base := registry(t) + "/busybox"
	return "FROM --platform=linux/amd64 " + base + " AS tools\nFROM " + base + "\nWORKDIR /srv\n" +
		"COPY --from=tools /bin/busybox /opt/tool\n" + more
}

// refusedBuild fails the test unless a build ended because linux/arm64 has the tool of mixed, and said how that came.
func refusedBuild(t testing.TB, out output) {
	t.Helper()
	if out.code != 5 {
		t.Fatalf("exit code %d\n%s", out.code, out.stderr)
	}
	row := regexp.MustCompile(`(?m)^linux/arm64 +/opt/tool +linux/amd64 +linux/arm64 +layer \d \([0-9a-f]{12}, Dockerfile:4\): COPY /bin/busybox /opt/tool # buildkit$`)
	if !row.MatchString(out.stderr) {
		t.Errorf("it does not name path and step:\n%s", out.stderr)
	}
	for _, want := range []string{
		"mab: error: checking the result: linux/arm64 has a program that it does not run\n", "mab: hint: ", "$TARGETARCH", "--verify-exempt", "mab.verify.exempt",
	} {
		if !strings.Contains(out.stderr, want) {
			t.Errorf("it does not say %q:\n%s", want, out.stderr)
		}
	}
	if out.stdout != "" {
		t.Errorf("standard output %q", out.stdout)
	}
}

// wellBuilt fails the test unless a build ended well and spoke of the tool or not.
func wellBuilt(t testing.TB, out output, told bool) {
	t.Helper()
	if out.code != 0 || strings.Contains(out.stderr, "linux/arm64  /opt/tool") != told {
		t.Errorf("exit code %d\n%s", out.code, out.stderr)
	}
}

// bytesRead is what progress says of an image of which layers are read. What images share is read for the first.
var bytesRead = regexp.MustCompile(`linux/a[a-z0-9]+ [0-9.]+[kM]?B / `)

func TestBuildVerify(t *testing.T) {
	l := newLab(t)
	const both = "linux/amd64,linux/arm64"
	dir := l.context(map[string]string{"Dockerfile": mixed(t, "")})
	ref := registry(t) + "/verify/app:"
	build := func(l *lab, dir string, more ...string) output {
		return l.mab(append([]string{"build", "--platform", both}, append(more, dir)...)...)
	}
	t.Run("a push is refused, and nothing comes into the registry", func(t *testing.T) {
		l := l.on(t)
		name := registry(t) + "/verify/refused"
		refusedBuild(t, build(l, dir, "-t", name+":1", "--push"))
		if tags, err := remote.List(reference(t, name+":1").Context()); err == nil {
			t.Errorf("there is the repository, with %v", tags)
		}
	})
	t.Run("a layout is not written", func(t *testing.T) {
		l := l.on(t)
		dest := filepath.Join(l.dir, "layout")
		refusedBuild(t, build(l, dir, "-o", "type=oci,tar=false,dest="+dest))
		refusedBuild(t, build(l, dir, "-o", "type=oci,dest="+dest+".tar"))
		left, err := os.ReadDir(l.dir)
		if err != nil || len(left) > 0 {
			t.Errorf("there is %v, %v", left, err)
		}
	})
	t.Run("files are no image", func(t *testing.T) {
		l := l.on(t)
		wellBuilt(t, build(l, dir, "-o", filepath.Join(l.dir, "files")), false)
		wellBuilt(t, build(l, dir, "-o", "type=tar,dest="+filepath.Join(l.dir, "files.tar")), false)
	})
	t.Run("it is told, and pushed", func(t *testing.T) {
		l := l.on(t)
		out := build(l, dir, "--verify", "warn", "-t", ref+"warn", "--push")
		wellBuilt(t, out, true)
		if !strings.Contains(out.stderr, "mab: warning: checking the contents: one thing is wrong\n") {
			t.Error(out.stderr)
		}
		pull(t, ref+"warn")
	})
	t.Run("nobody looks", func(t *testing.T) {
		l := l.on(t)
		out := build(l, dir, "--verify=off", "-t", ref+"off", "--push")
		wellBuilt(t, out, false)
		if strings.Contains(out.stderr, "checking linux/") {
			t.Error(out.stderr)
		}
		if again := build(l, dir, "--verify=warn", "-t", ref+"off", "--push"); again.stdout != out.stdout {
			t.Errorf("unchecked it is %s, checked %s", out.stdout, again.stdout)
		}
		wellBuilt(t, build(l.setting("MAB_VERIFY=off"), dir, "-t", ref+"off", "--push"), false)
		refusedBuild(t, build(l.setting("MAB_VERIFY=off"), dir, "--verify=strict", "-t", ref+"strict", "--push"))
	})
	t.Run("what is meant to be there", func(t *testing.T) {
		l := l.on(t)
		wellBuilt(t, build(l, dir, "--verify-exempt", "/srv", "--verify-exempt", "/opt/t*", "-t", ref+"flag", "--push"), false)
		labelled := l.context(map[string]string{"Dockerfile": mixed(t, "LABEL mab.verify.exempt=/srv,/opt\n")})
		wellBuilt(t, build(l, labelled, "-t", ref+"label", "--push"), false)
		file := filepath.Join(l.dir, "config.toml")
		sound(t, os.WriteFile(file, []byte("[verify]\nexempt = [\"/opt/tool\"]\n"), 0o600))
		wellBuilt(t, build(l.setting("MAB_CONFIG="+file), dir, "-t", ref+"file", "--push"), false)
		refusedBuild(t, build(l, dir, "--verify-exempt", "/opt/other", "-t", ref+"strict", "--push"))
	})
	t.Run("each platform is told of that fails by itself", func(t *testing.T) {
		l := l.on(t)
		out := l.mab("build", "--platform", both+",linux/s390x", "--keep-going", "-t", ref+"going", "--push", dir)
		if out.code != 5 || exists(t, ref+"going") {
			t.Errorf("exit code %d", out.code)
		}
		for _, want := range []string{
			"\nlinux/arm64  /opt/tool", "\nlinux/s390x  /opt/tool", "result: linux/arm64 has a program", "result: linux/s390x has a program",
		} {
			if strings.Count(out.stderr, want) != 1 {
				t.Errorf("it does not say %q once:\n%s", want, out.stderr)
			}
		}
	})
	t.Run("layers are read once", func(t *testing.T) {
		l := l.on(t)
		salted := l.context(map[string]string{"Dockerfile": mixed(t, "COPY salt /\n"), "salt": t.Name()})
		first := build(l, salted, "--verify=warn", "-t", ref+"once", "--push")
		second := build(l, salted, "--verify=warn", "-t", ref+"once", "--push")
		wellBuilt(t, first, true)
		wellBuilt(t, second, true)
		if !bytesRead.MatchString(first.stderr) || bytesRead.MatchString(second.stderr) || !strings.Contains(second.stderr, "checking linux/arm64") {
			t.Errorf("first\n%s\nthen\n%s", first.stderr, second.stderr)
		}
	})
	t.Run("what no step needed of a base image", func(t *testing.T) {
		l := newLab(t) // It has never seen the base image.
		use := l.context(map[string]string{"Dockerfile": "FROM " + ref + "warn\nENV a=b\n"})
		for range 2 {
			out := build(l, use, "-t", ref+"lazy", "--push")
			if out.code != 5 || !strings.Contains(out.stderr, "linux/arm64  /opt/tool") || exists(t, ref+"lazy") {
				t.Errorf("exit code %d\n%s", out.code, out.stderr)
			}
		}
		use = l.context(map[string]string{"Dockerfile": "FROM " + registry(t) + "/busybox\nENV a=b\n"})
		wellBuilt(t, build(l, use, "-t", ref+"lazy", "--push"), false)
		pull(t, ref+"lazy")
	})
	t.Run("a solver that is not mab's", func(t *testing.T) {
		node := "--node=unix://" + foreigner(t, filepath.Join(l.root, "solver.sock"))
		// This machine has not checked anything yet.
		state := t.TempDir()
		l := l.on(t).setting("MAB_ROOT="+state, "MAB_RUNTIME_DIR="+state)
		note := "the layers of linux/amd64, linux/arm64 are read here to check them"
		first := build(l, dir, node, "-t", ref+"foreign", "--push")
		refusedBuild(t, first)
		if !strings.Contains(first.stderr, note) || !bytesRead.MatchString(first.stderr) || exists(t, ref+"foreign") {
			t.Errorf("it does not say %q:\n%s", note, first.stderr)
		}
		second := build(l, dir, node, "-t", ref+"foreign", "--push")
		refusedBuild(t, second)
		if strings.Contains(second.stderr, note) {
			t.Errorf("the layers are read again:\n%s", second.stderr)
		}
		refusedBuild(t, build(l, dir, node, "-o", "type=oci,dest="+filepath.Join(l.dir, "a.tar")))
		wellBuilt(t, build(l, dir, node, "-t", ref+"foreign", "--push", "--verify-exempt=/opt"), false)
	})
}

// foreigner is a socket that leads to a solver which does not say to be mab's.
func foreigner(t testing.TB, solver string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "mab-e2e-")
	sound(t, err)
	listener, err := net.Listen("unix", filepath.Join(dir, "s"))
	sound(t, err)
	t.Cleanup(func() {
		_ = listener.Close()
		_ = os.RemoveAll(dir)
	})
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			to, err := net.Dial("unix", solver)
			if err != nil {
				_ = conn.Close()
				return
			}
			go func() { _, _ = io.Copy(to, conn); _ = to.Close() }()
			go func() { _, _ = io.Copy(renamed{conn}, to); _ = conn.Close() }()
		}
	}()
	return filepath.Join(dir, "s")
}

// renamed gives the labels by which a solver says that it is mab's another name. A label is in one piece: it is in a small answer.
type renamed struct{ io.Writer }

func (r renamed) Write(p []byte) (int, error) {
	return r.Writer.Write(bytes.ReplaceAll(p, []byte("build.mab."), []byte("build.not.")))
}

// TestBuildVerifyFarm: layers are read where they are.
func TestBuildVerifyFarm(t *testing.T) {
	l := newSplitLab(t, hosts("one", "two")...)
	const platforms = "linux/amd64,linux/arm64"
	for _, name := range []string{"one", "two"} {
		l.must("build", "--platform", platforms, l.archContext("warm", ""), "--node", name)
	}
	// What nobody can compress, in the image that is refused.
	dir := l.context(map[string]string{"Dockerfile": mixed(t, "ARG TARGETARCH\nRUN [ $TARGETARCH = amd64 ] || head -c 20000000 /dev/urandom > /random\n")})
	args := func(l *splitLab, tag string) []string {
		return l.farmBuild(registry(t)+"/verify/farm:"+tag, platforms, dir, "--node=one,two", "--no-split")
	}
	t.Run("a refused image does not leave its node", func(t *testing.T) {
		l := l.on(t)
		before := l.sizeOf("one", "two")
		refusedBuild(t, l.mab(args(l, "refused")...))
		if moved := l.sizeOf("one", "two") - before; moved > 4_000_000 {
			t.Errorf("%d bytes went over the links", moved)
		}
		if exists(t, registry(t)+"/verify/farm:refused") {
			t.Error("it is tagged")
		}
	})
	t.Run("nor is more of one read than is pushed", func(t *testing.T) {
		l := l.on(t)
		before := l.sizeOf("one", "two")
		pushed := l.pushed(append(args(l, "exempt"), "--verify-exempt=/opt")...)
		pull(t, pushed)
		if len(l.nodesOf()) < 2 {
			t.Errorf("all was built on %v", l.nodesOf())
		}
		// To the registry it goes, and not here.
		if moved := l.sizeOf("one", "two") - before; moved < 20_000_000 || moved > 25_000_000 {
			t.Errorf("%d bytes went over the links", moved)
		}
	})
}
