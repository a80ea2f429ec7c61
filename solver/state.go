// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/mab-build/mab/emulation"
	"github.com/mab-build/mab/manifestlist/contents"
)

// maxSocketPath is the longest path a unix socket can have: sun_path holds 108 bytes with the closing zero (unix(7)).
const maxSocketPath = 107

// State is where a solver keeps what it owns. The zero value is the state of the current user.
type State struct {
	// Root is the directory of cache, history, log and locks. Empty: /var/lib/mab for root, else $XDG_STATE_HOME/mab.
	Root string
	// Runtime is the directory of the socket. Empty: Root, but for root without a Root /run/mab, and where a socket's path would be too
	// long $XDG_RUNTIME_DIR/mab.
	Runtime string
	// Version is what mab calls itself, in messages and in what it leaves in Root. Empty: dev.
	Version string
}

// Resolve fills in the defaults and makes both paths absolute. It creates nothing.
func (s State) Resolve() (State, error) {
	root, err := pick(s.Root, "/var/lib/mab", "XDG_STATE_HOME", ".local/state")
	if err != nil {
		return State{}, err
	}
	runtime := s.Runtime
	if runtime == "" {
		runtime = s.Root
	}
	// The socket of a plain user is beside the cache: $XDG_RUNTIME_DIR is not the same in a session, under cron and su, and it goes
	// with the last session, but the solver does not.
	if runtime == "" && os.Getuid() != 0 && len(State{Runtime: root}.Socket()) <= maxSocketPath {
		runtime = root
	}
	if runtime, err = pick(runtime, "/run/mab", "XDG_RUNTIME_DIR", ".cache"); err != nil {
		return State{}, err
	}
	out := State{Root: root, Runtime: runtime, Version: s.Version}
	if len(out.Socket()) > maxSocketPath {
		return State{}, &pathError{path: out.Socket()}
	}
	return out, nil
}

func pick(given, system, env, home string) (string, error) {
	switch {
	case given != "":
		return filepath.Abs(given)
	case os.Getuid() == 0:
		return system, nil
	case os.Getenv(env) != "":
		return filepath.Join(os.Getenv(env), "mab"), nil
	}
	dir, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("finding a directory for the solver's state: %w", err)
	}
	return filepath.Join(dir, home, "mab"), nil
}

// Socket is the path of the unix socket that speaks BuildKit's API.
func (s State) Socket() string { return filepath.Join(s.Runtime, "solver.sock") }

// near is the socket for builds on this machine: see doors.
func (s State) near() string { return filepath.Join(s.Runtime, "near.sock") }

// Log is the path of the log of a solver that was started on demand.
func (s State) Log() string { return filepath.Join(s.Root, "solver.log") }

// Scores is the path of the file in which a solver keeps how fast programs of each platform run.
func (s State) Scores() string { return filepath.Join(s.Root, "scores.json") }

// Checks is what checks of images keep of the layers that they have read: those of the solver, and of builds of this user.
func (s State) Checks() contents.CacheDir {
	return contents.CacheDir{Dir: filepath.Join(s.Root, "checks")}
}

// Toolchains is the path of the file in which builds of this user keep which images hold a toolchain.
func (s State) Toolchains() string { return filepath.Join(s.Root, "toolchains.json") }

// StepTimes is the path of the file in which builds of this user keep how long steps took that were wholly emulated.
func (s State) StepTimes() string { return filepath.Join(s.Root, "steptimes.json") }

// Measurements is the path of the file in which is kept how fast emulators are: see emulation.Measurements.
func (s State) Measurements() string { return filepath.Join(s.Root, "emulation.json") }

// Emulators is where the emulators are that mab took out of images.
func (s State) Emulators() emulation.Store {
	return emulation.Store{Dir: filepath.Join(s.Root, "emulators")}
}

func (s State) lock() string  { return filepath.Join(s.Root, "solver.lock") }
func (s State) start() string { return filepath.Join(s.Runtime, "start.lock") }
func (s State) use() string   { return filepath.Join(s.Runtime, "use.lock") }
func (s State) temp() string  { return filepath.Join(s.Root, "tmp") }
func (s State) runc() string  { return filepath.Join(s.Root, "runc") }

// workers are the directories of BuildKit's worker, one for each snapshotter that was ever used: layers, and what describes them.
func (s State) workers() []string {
	entries, err := os.ReadDir(s.Root)
	if err != nil {
		return nil
	}
	var out []string
	for _, e := range entries {
		if e.IsDir() && strings.HasPrefix(e.Name(), "runc-") {
			out = append(out, filepath.Join(s.Root, e.Name()))
		}
	}
	return out
}

// settled is a file that tells the databases as the last solver left them.
func (s State) settled() string { return filepath.Join(s.Root, "settled") }

// unsettled is a file that exists while the databases may not be on disk.
func (s State) unsettled() string { return filepath.Join(s.Root, "unsettled") }

type pathError struct{ path string }

func (e *pathError) Error() string {
	return fmt.Sprintf("the solver's socket %q: a socket's path has at most %d bytes, this one %d", e.path, maxSocketPath, len(e.path))
}

func (e *pathError) Hint() string { return "choose a shorter directory with MAB_RUNTIME_DIR or --root" }
