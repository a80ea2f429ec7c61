// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/mab-build/mab/emulation"
	"github.com/mab-build/mab/sandbox"
	"github.com/mab-build/mab/solver"
)

// problem is an error on its way out of a sandbox.
type problem struct {
	Text string `json:"text"`
	Hint string `json:"hint"`
}

func newProblem(err error) *problem {
	if err == nil {
		return nil
	}
	return &problem{err.Error(), hintOf(err)}
}

// Error is the error's own text.
func (p *problem) Error() string { return p.Text }

// inside is what a sandbox shows. Refused: there is none.
type inside struct {
	Refused *problem          `json:"refused"`
	Mode    sandbox.Mode      `json:"mode"`
	Short   *sandbox.Shortage `json:"short"`
	IDs     int64             `json:"ids"`
	// Shared tells why there is no private instance of binfmt_misc.
	Shared       *problem            `json:"shared"`
	Survey       []emulation.Support `json:"survey"`
	SurveyFailed *problem            `json:"survey_failed"`
	// Layers is containerd's name of how file systems are kept.
	Layers       string       `json:"layers"`
	Limit        solver.Limit `json:"limit"`
	LayersFailed *problem     `json:"layers_failed"`
}

// lookInside starts this program in a sandbox such as the solver's. File systems are tried in dir; "" tries none.
func lookInside(ctx context.Context, state solver.State, dir string) inside {
	out, err := startInside(ctx, state, dir)
	if err != nil {
		return inside{Refused: newProblem(err)}
	}
	return out
}

func startInside(ctx context.Context, state solver.State, dir string) (inside, error) {
	read, write, err := os.Pipe()
	if err != nil {
		return inside{}, fmt.Errorf("looking from the solver's namespaces: %w", err)
	}
	defer func() { _ = read.Close() }()
	// The sandbox is killed when the thread that started it ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	child, err := sandbox.Start(sandbox.Config{Args: []string{"--root", state.Root, "--runtime", state.Runtime, "doctor", "--inside", dir}, Stdout: write})
	_ = write.Close()
	if err != nil {
		return inside{}, err
	}
	stop := context.AfterFunc(ctx, func() { _ = child.Process.Kill() })
	defer stop()
	var out inside
	err = json.NewDecoder(read).Decode(&out)
	ended := child.Wait()
	switch {
	case err == nil:
		return out, nil
	case ctx.Err() != nil:
		ended = errors.New(noAnswer(insideWait))
	case ended == nil:
		ended = err
	}
	return inside{}, fmt.Errorf("looking from the solver's namespaces: %w", ended)
}

// Inside is what Examine runs in a sandbox, through the command line mab doctor --inside DIR: it writes what it finds to w, as
// JSON.
func Inside(ctx context.Context, state solver.State, dir string, w io.Writer) error {
	var out inside
	if err := sandbox.Enter(); err != nil {
		out.Refused = newProblem(err)
		return json.NewEncoder(w).Encode(out)
	}
	out.Mode = sandbox.Own()
	if short, ok := sandbox.Short(); ok {
		out.Short = &short
	}
	ids, _ := os.ReadFile("/proc/self/uid_map") // Without it the number stays unknown.
	out.IDs = countIDs(string(ids))
	var err error
	out.Survey, err = solver.Emulate(ctx, solver.EmulateConfig{Store: state.Emulators(), Log: slog.New(slog.DiscardHandler)})
	out.SurveyFailed = newProblem(err)
	if sandbox.OwnUser() {
		out.Shared = newProblem(shared())
	}
	if dir != "" {
		out.Layers, out.Limit, err = solver.Layers(dir)
		out.LayersFailed = newProblem(err)
	}
	return json.NewEncoder(w).Encode(out)
}

// shared tells why solver.Emulate had to use the host's instance of binfmt_misc; nil if it did not.
func shared() error {
	_, err := emulation.MountPrivate(emulation.HostDir)
	if errors.Is(err, unix.EBUSY) {
		return nil // It is mounted there already (mount(2)).
	}
	return err
}

// countIDs sums up a map of ids, whose lines are "inside outside length" (user_namespaces(7)).
func countIDs(text string) int64 {
	var out int64
	for line := range strings.Lines(text) {
		if fields := strings.Fields(line); len(fields) == 3 {
			n, _ := strconv.ParseInt(fields[2], 10, 64) // The kernel writes numbers.
			out += n
		}
	}
	return out
}
