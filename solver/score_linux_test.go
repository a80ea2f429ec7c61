// SPDX-License-Identifier: Apache-2.0

package solver_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/mab-build/mab/emulation"
	"github.com/mab-build/mab/platforms"
	"github.com/mab-build/mab/solver"
)

func found(emulator string) []emulation.Support {
	support := func(name string, how emulation.How, interpreter string) emulation.Support {
		return emulation.Support{Platform: platforms.MustParse(name), How: how, Interpreter: interpreter}
	}
	return []emulation.Support{
		support("linux/amd64", emulation.Native, ""), support("linux/amd64/v2", emulation.Native, ""),
		support("linux/arm/v7", emulation.Emulated, emulator), support("linux/arm/v6", emulation.Emulated, emulator),
		support("linux/s390x", emulation.None, ""),
	}
}

func scored(survey []emulation.Support) (scores []float64) {
	for _, s := range survey {
		scores = append(scores, s.Score)
	}
	return scores
}

func names(survey []emulation.Support) (names []string) {
	for _, s := range survey {
		names = append(names, s.Platform.String())
	}
	return names
}

func TestScoresAreKept(t *testing.T) {
	here := solver.Machine{Kernel: "6.1", Model: "EPYC"}
	for _, test := range []struct {
		rule    string
		on      solver.Machine
		change  func(t *testing.T, path, emulator string)
		want    []float64
		unknown []string
	}{
		{"variants share what runs them, and the best counts", here, nil, []float64{185, 185, 22.1, 22.1, 0}, nil},
		{"another kernel has none", solver.Machine{Kernel: "6.2", Model: "EPYC"}, nil, []float64{0, 0, 0, 0, 0}, []string{"linux/amd64", "linux/arm/v7"}},
		{"another CPU has none", solver.Machine{Kernel: "6.1", Model: "Xeon"}, nil, []float64{0, 0, 0, 0, 0}, []string{"linux/amd64", "linux/arm/v7"}},
		{"another emulator under the same path has none", here, func(t *testing.T, _, emulator string) {
			if err := os.WriteFile(emulator, []byte("newer"), 0o700); err != nil {
				t.Fatal(err)
			}
		}, []float64{185, 185, 0, 0, 0}, []string{"linux/arm/v7"}},
		{"a damaged file has none", here, func(t *testing.T, path, _ string) {
			if err := os.Truncate(path, 20); err != nil {
				t.Fatal(err)
			}
		}, []float64{0, 0, 0, 0, 0}, []string{"linux/amd64", "linux/arm/v7"}},
		{"what is gone is forgotten", here, func(t *testing.T, path, emulator string) {
			if err := solver.AddScore(path, here, found(emulator)[:2], found(emulator)[0], 180); err != nil {
				t.Fatal(err)
			}
		}, []float64{185, 185, 0, 0, 0}, []string{"linux/arm/v7"}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			dir := t.TempDir()
			path, emulator := filepath.Join(dir, "scores.json"), filepath.Join(dir, "qemu-arm")
			if err := os.WriteFile(emulator, []byte("old"), 0o700); err != nil {
				t.Fatal(err)
			}
			survey := found(emulator)
			for _, part := range []float64{0.5, 1, 0.9} {
				err := errors.Join(solver.AddScore(path, here, survey, survey[0], part*184.96), solver.AddScore(path, here, survey, survey[2], part*22.0501))
				if err != nil {
					t.Fatal(err)
				}
			}
			if test.change != nil {
				test.change(t, path, emulator)
			}
			unknown := solver.FillScores(path, test.on, survey)
			if diff := cmp.Diff(test.want, scored(survey)); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
			if diff := cmp.Diff(test.unknown, names(unknown)); diff != "" {
				t.Errorf("unknown: want -, got +:\n%s", diff)
			}
		})
	}
}

func label(t *testing.T, w solver.Watch) (scores []float64, surveyed string) {
	t.Helper()
	text, surveyed := w.Labels()
	var survey []emulation.Support
	if err := json.Unmarshal([]byte(text), &survey); err != nil {
		t.Fatal(err)
	}
	return scored(survey), surveyed
}

func TestScoringGivesWayToBuilds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "scores.json")
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var began int
		w := solver.NewWatch(path, found(""), func(ctx context.Context, p platforms.Platform, _ string) (float64, error) {
			began++
			if nice, err := unix.Getpriority(unix.PRIO_PROCESS, 0); err != nil || nice != 1 { // The system call returns 20 - nice.
				t.Errorf("priority %d, %v", nice, err)
			}
			select {
			case <-ctx.Done():
				return 0, ctx.Err()
			case <-time.After(100 * time.Millisecond):
				return map[string]float64{"amd64": 185, "arm": 22}[p.Architecture], nil
			}
		})
		_, surveyed := label(t, w)
		check := func(rule string, attempts int, want ...float64) {
			t.Helper()
			synctest.Wait()
			got, now := label(t, w)
			if diff := cmp.Diff(append(want, 0), got); diff != "" || began != attempts || now != surveyed {
				t.Errorf("%s: %d attempts, surveyed %s; want -, got +:\n%s", rule, began, now, diff)
			}
		}
		done := make(chan bool)
		w.Builds(1)
		go func() { done <- w.ScoreUntil(ctx, nil) }()
		time.Sleep(time.Minute)
		check("not during a build", 0, 0, 0, 0, 0)
		w.Builds(-1)
		time.Sleep(1900 * time.Millisecond)
		check("nor right after one", 0, 0, 0, 0, 0)
		time.Sleep(150 * time.Millisecond)
		check("but when it is calm", 1, 0, 0, 0, 0)
		w.Builds(1)
		time.Sleep(30 * time.Millisecond)
		w.Builds(-1)
		time.Sleep(time.Second)
		check("a build that begins ends it", 1, 0, 0, 0, 0)
		time.Sleep(1120 * time.Millisecond)
		check("it goes on later, and tells at once what it knows", 3, 185, 185, 0, 0)
		time.Sleep(time.Minute)
		check("up to the last", 3, 185, 185, 22, 22)
		cancel()
		if <-done {
			t.Error("it would go on though the solver ends")
		}
	})
	// What was found out once is known, and found out again.
	survey := found("")
	if again := solver.FillScores(path, solver.Machine{}, survey); len(again) != 2 || survey[0].Score != 185 {
		t.Errorf("%v, and %v are open", scored(survey), names(again))
	}
	again := solver.NewWatch(path, found(""), nil)
	end := make(chan os.Signal, 1)
	end <- unix.SIGHUP
	if !again.ScoreUntil(t.Context(), end) {
		t.Error("a survey ended the solver")
	}
}

func TestScoreThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := solver.NewWatch(filepath.Join(t.TempDir(), "scores.json"), found(""), func(ctx context.Context, p platforms.Platform, _ string) (float64, error) {
			if p.Architecture == "amd64" {
				<-ctx.Done() // It hangs.
				return 0, ctx.Err()
			}
			return 22, nil
		})
		end := make(chan os.Signal)
		done := make(chan bool)
		go func() { done <- w.ScoreUntil(t.Context(), end) }()
		time.Sleep(time.Minute)
		end <- unix.SIGHUP
		if !<-done {
			t.Error("it ended")
		}
		if got, _ := label(t, w); !cmp.Equal([]float64{0, 0, 22, 22, 0}, got) {
			t.Errorf("%v", got)
		}
	})
}
