// SPDX-License-Identifier: Apache-2.0

package sandbox_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mab-build/mab/sandbox"
)

// orphan makes a process whose parent is dead and which ends when end is called. The test inherits it.
func orphan(t *testing.T) (pid int, end func()) {
	t.Helper()
	r, w := pipe(t)
	cmd := exec.CommandContext(t.Context(), "sh", "-c", "cat <&3 >/dev/null 2>&1 & echo $!")
	cmd.ExtraFiles = []*os.File{r}
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if pid, err = strconv.Atoi(strings.TrimSpace(string(out))); err != nil {
		t.Fatal(err)
	}
	return pid, func() { _ = w.Close() }
}

// exited waits until a child has ended and leaves it uncollected. It returns false if somebody has collected it.
func exited(t *testing.T, pid int) bool {
	t.Helper()
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		switch {
		case err == nil:
			return true
		case errors.Is(err, unix.ECHILD):
			return false
		case !errors.Is(err, unix.EINTR):
			t.Fatal(err)
		}
	}
}

func TestReapRound(t *testing.T) {
	subreaper(t)
	t.Run("an orphan is collected in the second round that sees it dead", func(t *testing.T) {
		pid, end := orphan(t)
		seen := sandbox.ReapRound(nil)
		if len(seen) > 0 {
			t.Fatalf("the living are taken for dead: %v", seen)
		}
		end()
		if !exited(t, pid) {
			t.Fatal("it is gone already")
		}
		seen = sandbox.ReapRound(seen)
		if !seen[pid] || !exited(t, pid) {
			t.Fatalf("after the first round, seen: %v", seen)
		}
		if seen = sandbox.ReapRound(seen); len(seen) > 0 || exited(t, pid) {
			t.Errorf("after the second round, seen: %v", seen)
		}
	})
	t.Run("a child is left to who waits for it", func(t *testing.T) {
		cmd := exec.CommandContext(t.Context(), "true")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if !exited(t, cmd.Process.Pid) {
			t.Fatal("it is gone already")
		}
		seen := sandbox.ReapRound(nil)
		if !seen[cmd.Process.Pid] {
			t.Errorf("its end is not seen: %v", seen)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("waiting: %v", err)
		}
		if seen = sandbox.ReapRound(seen); len(seen) > 0 {
			t.Errorf("what is collected is seen still: %v", seen)
		}
	})
}

func TestReap(t *testing.T) {
	subreaper(t)
	pid, end := orphan(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		sandbox.Reap(ctx, time.Millisecond)
	}()
	end()
	for exited(t, pid) {
		if ctx.Err() != nil {
			t.Fatal("the orphan was not collected")
		}
		runtime.Gosched()
	}
	cancel()
	<-done
}

func TestZombie(t *testing.T) {
	const comm = "/proc/self/comm"
	name, err := os.ReadFile(comm)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := os.WriteFile(comm, name, 0); err != nil {
			t.Error(err)
		}
	}()
	if err := os.WriteFile(comm, []byte("a) Z 1 (b"), 0); err != nil {
		t.Fatal(err)
	}
	if sandbox.Zombie(os.Getpid()) {
		t.Error("a process is taken for dead by its name")
	}
	if sandbox.Zombie(1 << 30) {
		t.Error("a process that is not there is taken for dead")
	}
}
