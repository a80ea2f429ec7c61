// SPDX-License-Identifier: Apache-2.0

package coordinator_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"github.com/mab-build/mab/coordinator"
)

// take claims the less claimed of a and b, and returns what was claimed before.
func take(t *testing.T, c *coordinator.Claims) (node string, before map[string]int) {
	t.Helper()
	err := c.With(t.Context(), func(claimed map[string]int) (map[string]int, error) {
		before = claimed
		node = "a"
		if claimed["b"] < claimed["a"] {
			node = "b"
		}
		return map[string]int{node: 1}, nil
	})
	if err != nil {
		t.Error(err)
	}
	return node, before
}

func opened(t *testing.T, dir string) *coordinator.Claims {
	t.Helper()
	c := coordinator.OpenClaims(dir)
	t.Cleanup(c.Close)
	return c
}

func TestClaims(t *testing.T) {
	t.Run("builds at once see each other", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "run", "claims")
		got := map[string]int{}
		var mu sync.Mutex
		var group errgroup.Group
		for range 8 {
			c := opened(t, dir)
			group.Go(func() error {
				node, _ := take(t, c)
				mu.Lock()
				defer mu.Unlock()
				got[node]++
				return nil
			})
		}
		_ = group.Wait()
		if diff := cmp.Diff(map[string]int{"a": 4, "b": 4}, got); diff != "" {
			t.Errorf("want -, got +:\n%s", diff)
		}
	})
	t.Run("what is changed, planned anew or given back counts so", func(t *testing.T) {
		dir := t.TempDir()
		mine, other := opened(t, dir), opened(t, dir)
		look := func(want map[string]int) {
			t.Helper()
			err := other.With(t.Context(), func(claimed map[string]int) (map[string]int, error) {
				if diff := cmp.Diff(want, claimed); diff != "" {
					t.Errorf("want -, got +:\n%s", diff)
				}
				return nil, nil
			})
			if err != nil {
				t.Error(err)
			}
		}
		take(t, mine)
		look(map[string]int{"a": 1})
		mine.Change(map[string]int{"a": 2, "b": 1, "odd": -3})
		look(map[string]int{"a": 2, "b": 1, "odd": 0})
		if _, before := take(t, mine); len(before) != 0 {
			t.Errorf("a build sees its own claim: %v", before)
		}
		look(map[string]int{"a": 1})
		mine.Close()
		mine.Close()
		look(map[string]int{})
		other.Close()
		if left, err := os.ReadDir(dir); err != nil || len(left) != 1 || left[0].Name() != "lock" {
			t.Errorf("left %v, error %v", left, err)
		}
	})
	t.Run("a plan that fails takes nothing, and its error comes back", func(t *testing.T) {
		dir := t.TempDir()
		wrong := errors.New("no node")
		got := opened(t, dir).With(t.Context(), func(map[string]int) (map[string]int, error) { return map[string]int{"a": 1}, wrong })
		if _, before := take(t, opened(t, dir)); !errors.Is(got, wrong) || len(before) != 0 {
			t.Errorf("error %v, claimed %v", got, before)
		}
	})
	t.Run("what was damaged does not count", func(t *testing.T) {
		dir := t.TempDir()
		take(t, opened(t, dir))
		files, err := filepath.Glob(filepath.Join(dir, "*.json"))
		if err != nil || len(files) != 1 {
			t.Fatalf("files %v, error %v", files, err)
		}
		if err := os.WriteFile(files[0], []byte(`{"a":`), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, before := take(t, opened(t, dir)); len(before) != 0 {
			t.Errorf("claimed %v", before)
		}
	})
	t.Run("a directory that cannot be, and an end, do not keep a build from being planned", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		planned := 0
		plan := func(claimed map[string]int) (map[string]int, error) {
			planned += 1 + len(claimed)
			return map[string]int{"a": 1}, nil
		}
		for _, c := range []*coordinator.Claims{opened(t, file), opened(t, t.TempDir())} {
			if err := c.With(ctx, plan); err != nil {
				t.Error(err)
			}
			c.Change(map[string]int{"b": 1})
		}
		if planned != 2 {
			t.Errorf("planned %d times", planned)
		}
	})
}

// claimIn makes the test program a build that claims and is killed.
const claimIn = "MAB_TEST_CLAIM_IN"

func TestClaimsOfOtherProcesses(t *testing.T) {
	if dir := os.Getenv(claimIn); dir != "" {
		c := coordinator.OpenClaims(dir)
		_, before := take(t, c)
		_, _ = os.Stdout.WriteString(strconv.Itoa(before["a"]+before["b"]) + "\n")
		_, _ = os.Stdin.Read(make([]byte, 1))
		return
	}
	dir := t.TempDir()
	var running []*exec.Cmd
	for i := range 2 {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestClaimsOfOtherProcesses$")
		cmd.Env = append(os.Environ(), claimIn+"="+dir)
		// Nothing is ever written to it.
		if _, err := cmd.StdinPipe(); err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		answer := make([]byte, 2)
		if n, err := out.Read(answer); err != nil || string(answer[:n]) != strconv.Itoa(i)+"\n" {
			t.Fatalf("process %d saw %q claims, error %v", i, answer[:n], err)
		}
		running = append(running, cmd)
	}
	mine := opened(t, dir)
	_, before := take(t, mine)
	if diff := cmp.Diff(map[string]int{"a": 1, "b": 1}, before); diff != "" {
		t.Errorf("while they live: want -, got +:\n%s", diff)
	}
	for _, cmd := range running {
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // It was killed.
	}
	_, before = take(t, mine)
	if len(before) != 0 {
		t.Errorf("killed builds claim %v", before)
	}
	if files, err := filepath.Glob(filepath.Join(dir, "*.lock")); err != nil || len(files) != 1 {
		t.Errorf("files %v, error %v", files, err)
	}
}
