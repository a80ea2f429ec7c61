// SPDX-License-Identifier: Apache-2.0

package bake

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/mab-build/mab/bake/flat"
	"github.com/mab-build/mab/platforms"
)

// Reader is the program that reads the files. The zero value uses the one that this program carries, else the one beside this program.
type Reader struct {
	// Dir is where a carried one is unpacked; it is made if need be. Empty: in the user's cache directory.
	Dir string
	// Path is a program to use instead.
	Path string
}

// programName is what the reader is called, in a directory.
func programName() string {
	if runtime.GOOS == "windows" {
		return "mab-bake.exe"
	}
	return "mab-bake"
}

// find returns the path of the program.
func (r *Reader) find(ctx context.Context) (string, error) {
	if r.Path != "" {
		return r.Path, nil
	}
	if p := carried(); p != "" {
		dir := r.Dir
		if cache, err := os.UserCacheDir(); dir == "" && err == nil {
			dir = filepath.Join(cache, "mab", "bake")
		}
		return p.unpack(ctx, dir)
	}
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("finding the program that reads bake files: %w", err)
	}
	path := filepath.Join(filepath.Dir(self), programName())
	if !present(path) {
		return "", &missingError{path}
	}
	return path, nil
}

// ask starts the reader, which is gone when ask returns.
func (r *Reader) ask(ctx context.Context, q Query) (flat.Answer, error) {
	question := flat.Question{Query: q, Host: platforms.Host().String()}
	if slices.Contains(q.Files, stdio) && q.Stdin != nil {
		text, err := io.ReadAll(q.Stdin)
		if err != nil {
			return flat.Answer{}, fmt.Errorf("reading the definition: %w", err)
		}
		question.Text = text
	}
	path, err := r.find(ctx)
	if err != nil {
		return flat.Answer{}, err
	}
	text, err := json.Marshal(question)
	if err != nil {
		return flat.Answer{}, fmt.Errorf("asking the program that reads bake files: %w", err)
	}
	cmd := exec.CommandContext(ctx, path)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(text), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return flat.Answer{}, errors.Join(ctx.Err(), &brokenError{path, err, strings.TrimSpace(stderr.String())})
	}
	var out flat.Answer
	if err := json.Unmarshal(stdout.Bytes(), &out); err != nil {
		return flat.Answer{}, &brokenError{path, err, strings.TrimSpace(stderr.String())}
	}
	return out, nil
}

// missingError is a mab that was built without the reader.
type missingError struct{ path string }

func (e *missingError) Error() string {
	return fmt.Sprintf("finding the program that reads bake files: this mab carries none, and there is no %q", e.path)
}

// Hint says how to get it.
func (*missingError) Hint() string {
	return "use a released mab, which carries it, or run make build in mab's source, which builds it beside mab"
}

// brokenError is a reader that gave no answer.
type brokenError struct {
	path string
	err  error
	said string
}

func (e *brokenError) Error() string {
	text := fmt.Sprintf("reading the definition by %q: %v", e.path, e.err)
	if e.said != "" {
		text += ": " + e.said
	}
	return text
}

// Unwrap gives the cause.
func (e *brokenError) Unwrap() error { return e.err }

// Hint says how to get one that fits.
func (e *brokenError) Hint() string {
	if errors.Is(e.err, os.ErrPermission) {
		return "programs must be allowed to run from there; another cache directory: XDG_CACHE_HOME=DIR"
	}
	return "it may be of another version than mab: run make build in mab's source again"
}
