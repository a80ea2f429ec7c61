// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/mab-build/mab/runc"
	"github.com/mab-build/mab/sandbox"
)

const (
	// shimName is under which name this program is runc for a sandbox that knows one id.
	shimName = "mab-runc"
	// shimEnv is the real runc.
	shimEnv = "MAB_RUNC"
)

// findRunc returns the program that is to run steps with the ids that this sandbox knows, and what it limits if they are few.
func findRunc(ctx context.Context, state State, log *slog.Logger) (string, []Limit, error) {
	found, err := runc.Find(ctx, runc.Config{Dir: state.runc()})
	if err != nil {
		return "", nil, err
	}
	log.Info("runc", "path", found.Path, "version", found.Version, "seccomp", found.Seccomp)
	short, ok := sandbox.Short()
	if !ok {
		return found.Path, nil, nil
	}
	shim, err := linkShim(state.temp(), found.Path)
	if err != nil {
		return "", nil, fmt.Errorf("adapting runc to one user id: %w", err)
	}
	return shim, []Limit{{
		Problem: "one user id only, so images with files of several owners and steps that change owners or users fail: " + short.Why,
		Mend:    short.Mend,
	}}, nil
}

// linkShim makes the program that BuildKit runs in place of runc.
func linkShim(dir, program string) (string, error) {
	path := filepath.Join(dir, shimName)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	return path, errors.Join(os.Setenv(shimEnv, program), os.Symlink("/proc/self/exe", path))
}

// Shim is runc for a sandbox that knows one id, if the program was called by that name: it takes out of a container's
// configuration what needs more of them, and becomes runc. Its error is for standard error; it returns nil only if this is no shim.
func Shim(args []string) error {
	if filepath.Base(args[0]) != shimName {
		return nil
	}
	if i := slices.Index(args, "--bundle"); i >= 0 && i+1 < len(args) {
		if err := reduce(filepath.Join(args[i+1], "config.json")); err != nil {
			return fmt.Errorf("adapting the container to one user id: %w", err)
		}
	}
	program := os.Getenv(shimEnv)
	return fmt.Errorf("running %q: %w", program, unix.Exec(program, append([]string{program}, args[1:]...), os.Environ()))
}

// reduce takes the group of terminals out of a container: the kernel refuses a mount that names an id which has no place in the
// user namespace.
func reduce(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var spec specs.Spec
	if err := json.Unmarshal(text, &spec); err != nil {
		return fmt.Errorf("reading %q: %w", path, err)
	}
	for i := range spec.Mounts {
		m := &spec.Mounts[i]
		m.Options = slices.DeleteFunc(m.Options, func(o string) bool { return strings.HasPrefix(o, "gid=") })
	}
	if text, err = json.Marshal(&spec); err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o600)
}
