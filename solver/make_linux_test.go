// SPDX-License-Identifier: Apache-2.0

package solver_test

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"

	"github.com/mab-build/mab/sandbox"
	"github.com/mab-build/mab/solver"
)

// maker is a solver of a test.
type maker struct {
	*solver.Client
	cmd *exec.Cmd
}

// kill ends it at once, as a crash would.
func (d *maker) kill() { _ = d.cmd.Process.Kill() }

// serveMaker starts a solver that ends with the test.
func serveMaker(t testing.TB) *maker {
	t.Helper()
	root, err := os.MkdirTemp("", "mab-make-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	log, err := os.Create(filepath.Join(root, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	d := &maker{}
	started, ended := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(ended)
		// The solver is killed when the thread that started it ends.
		runtime.LockOSThread()
		var err error
		d.cmd, err = sandbox.Start(sandbox.Config{Env: append(os.Environ(), serveVar+"="+root), Stdout: w, Stderr: log})
		started <- err
		if err == nil {
			_ = d.cmd.Wait()
		}
	}()
	if err := errors.Join(<-started, w.Close()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = d.cmd.Process.Signal(syscall.SIGTERM)
		kill := time.AfterFunc(20*time.Second, d.kill)
		defer kill.Stop()
		<-ended
	})
	if line, err := bufio.NewReader(r).ReadString('\n'); line != "ready\n" {
		text, _ := os.ReadFile(log.Name())
		t.Fatalf("the solver did not start: %v\n%s", err, text)
	}
	if d.Client, err = solver.Dial(t.Context(), "unix://"+(solver.State{Root: root, Runtime: root}).Socket()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

// request is one for an empty context.
func request(t testing.TB) *solver.Request {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte("FROM scratch\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return &solver.Request{Context: dir}
}

func marshal(t testing.TB, st llb.State) func(context.Context) (*pb.Definition, error) {
	t.Helper()
	def, err := st.Marshal(t.Context(), llb.LinuxAmd64)
	if err != nil {
		t.Fatal(err)
	}
	return func(context.Context) (*pb.Definition, error) { return def.ToPB(), nil }
}

func TestMake(t *testing.T) {
	d := serveMaker(t)
	def := marshal(t, llb.Scratch().File(llb.Mkfile("/hello", 0o644, []byte("hello"))))
	for range 5 {
		began := time.Now()
		made, err := d.Make(t.Context(), solver.Make{Request: request(t), Definition: def})
		if err != nil {
			t.Fatal(err)
		}
		t.Log(time.Since(began), made.Ref(), made.Size, made.Steps, made.Cached)
		began = time.Now()
		if err := made.Close(); err != nil {
			t.Error(err)
		}
		t.Log("close", time.Since(began))
	}
}
