// SPDX-License-Identifier: Apache-2.0

package coordinator_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/mab-build/mab/coordinator"
	"github.com/mab-build/mab/nodes"
	"github.com/mab-build/mab/sandbox"
	"github.com/mab-build/mab/solver"
)

// serveVar has this program be a solver of the state in that directory.
const serveVar = "MAB_TEST_SERVE"

// TestMain is a solver where a test wants one.
func TestMain(m *testing.M) {
	if os.Getenv("MAB_SANDBOX") == "" {
		os.Exit(m.Run())
	}
	if err := serveHere(os.Getenv(serveVar)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serveHere(root string) error {
	if root == "" {
		return errors.New("no test wants a solver here")
	}
	if err := sandbox.Enter(); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	return solver.Serve(ctx, solver.ServeConfig{State: solver.State{Root: root}, Ready: func() { fmt.Println("ready") }})
}

// solvers is a coordinator over so many solvers of this machine, which end with the test.
func solvers(t *testing.T, names ...string) *coordinator.Coordinator {
	t.Helper()
	c, _ := mortal(t, nil, names...)
	return c
}

// mortal is solvers that show what they do, with a way to kill each by its name.
func mortal(t *testing.T, display *solver.Display, names ...string) (c *coordinator.Coordinator, kill func(name string)) {
	t.Helper()
	if testing.Short() {
		t.Skip("it starts solvers")
	}
	if _, err := exec.LookPath("busybox"); err != nil || os.Geteuid() != 0 {
		if os.Getenv("MAB_E2E") == "all" {
			t.Fatal("there is no busybox, or this is not root")
		}
		t.Skip("there is no busybox, or this is not root")
	}
	cfg := coordinator.Config{Display: display, Attach: solver.AttachConfig{State: solver.State{Root: t.TempDir(), Runtime: t.TempDir()}}}
	kills := map[string]func(){}
	for _, name := range names {
		root, kill := serve(t)
		kills[name] = kill
		socket := (solver.State{Root: root, Runtime: root}).Socket()
		cfg.Nodes = append(cfg.Nodes, nodes.Entry{Name: name, URL: "unix://" + socket, Slots: 1})
	}
	return coordinator.New(cfg), func(name string) { kills[name]() }
}

// serve starts a solver, and returns its root.
func serve(t *testing.T) (root string, kill func()) {
	t.Helper()
	root, err := os.MkdirTemp("", "mab-several-")
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
	var cmd *exec.Cmd
	started, ended := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(ended)
		// The solver is killed when the thread that started it ends.
		runtime.LockOSThread()
		var err error
		cmd, err = sandbox.Start(sandbox.Config{Env: append(os.Environ(), serveVar+"="+root), Stdout: w, Stderr: log})
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
	}()
	if err := errors.Join(<-started, w.Close()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		kill := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
		defer kill.Stop()
		<-ended
	})
	if line, err := bufio.NewReader(r).ReadString('\n'); line != "ready\n" {
		text, _ := os.ReadFile(log.Name())
		t.Fatalf("the solver did not start: %v\n%s", err, text)
	}
	return root, func() { _ = cmd.Process.Kill() }
}
