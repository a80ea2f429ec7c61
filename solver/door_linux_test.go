// SPDX-License-Identifier: Apache-2.0

package solver_test

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mab-build/mab/solver"
)

func TestDoor(t *testing.T) {
	state := solver.State{Root: t.TempDir(), Runtime: t.TempDir(), Version: "1"}
	stale := filepath.Join(state.Runtime, "solver.0123456789ab.sock")
	if err := os.WriteFile(stale, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	door, err := solver.OpenDoor(t.Context(), state, solver.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = door.Close() }()
	if _, err := os.Stat(stale); err == nil {
		t.Error("the door of a solver that was killed is left")
	}
	enter := func() (here, there net.Conn) {
		t.Helper()
		here, err := net.Dial("unix", state.Door(solver.Config{}))
		if err == nil {
			there, err = door.Accept()
		}
		if err != nil {
			t.Fatal(err)
		}
		return here, there
	}
	t.Run("nobody replaces the solver while somebody is inside", func(t *testing.T) {
		here, there := enter()
		if solver.Alone(t.Context(), state) {
			t.Error("it is replaced")
		}
		if err := errors.Join(here.Close(), there.Close()); err != nil {
			t.Fatal(err)
		}
		// gRPC closes twice.
		_ = there.Close()
		if !solver.Alone(t.Context(), state) {
			t.Error("it is held")
		}
	})
	t.Run("nobody gets in while the solver is replaced", func(t *testing.T) {
		release := solver.HoldAlone(t, state)
		late, err := net.Dial("unix", state.Door(solver.Config{}))
		if err != nil {
			t.Fatal(err)
		}
		accepted := make(chan net.Conn)
		go func() {
			conn, _ := door.Accept()
			accepted <- conn
		}()
		if _, err := late.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("got %v", err)
		}
		release()
		next, err := net.Dial("unix", state.Door(solver.Config{}))
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join((<-accepted).Close(), next.Close()); err != nil {
			t.Error(err)
		}
	})
}

func TestDoorNames(t *testing.T) {
	a := solver.State{Runtime: "/run/mab", Version: "1"}
	b := solver.State{Runtime: "/run/mab", Version: "2"}
	file := filepath.Join(t.TempDir(), "buildkitd.toml")
	if err := os.WriteFile(file, []byte("[registry.\"r.example\"]\n  http = true\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	other, err := solver.ReadConfig(file)
	if err != nil {
		t.Fatal(err)
	}
	if got := a.Door(solver.Config{}); got == b.Door(solver.Config{}) || got == a.Door(other) || got != a.Door(solver.Config{}) {
		t.Errorf("doors %q, %q, %q", got, b.Door(solver.Config{}), a.Door(other))
	}
	a.Runtime = "/" + strings.Repeat("x", 90)
	if got := a.Door(solver.Config{}); got != "" {
		t.Errorf("no socket has the path %q", got)
	}
}
