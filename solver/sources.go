// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/distribution/reference"
	"github.com/moby/buildkit/client/ociindex"
	"github.com/moby/buildkit/frontend/dockerfile/dfgitutil"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/tonistiigi/fsutil"
)

const (
	contextName    = "context"
	dockerfileName = "dockerfile"
)

// sources is what the solver reads from this machine during a build: directories and OCI layouts. The caller closes it.
type sources struct {
	attrs  map[string]string
	dirs   map[string]fsutil.FS
	stores map[string]content.Store
	temp   string
}

func (s *sources) close() error {
	if s.temp == "" {
		return nil
	}
	return os.RemoveAll(s.temp)
}

// sources opens the context, the Dockerfile and the named contexts of a request.
func (r *Request) sources() (*sources, error) {
	s := &sources{attrs: map[string]string{}, dirs: map[string]fsutil.FS{}, stores: map[string]content.Store{}}
	err := s.mainContext(r)
	for _, entry := range r.NamedContexts {
		if err == nil {
			err = s.named(entry)
		}
	}
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *sources) mainContext(r *Request) error {
	dir := r.Context
	if dir == "" {
		dir = "."
	}
	if dir == "-" {
		return &usageError{"the context -", "give a directory or a URL; to read the Dockerfile from standard input, use: -f - DIR"}
	}
	// As for docker buildx, a directory that is there wins over the URL that it looks like: github.com/me/app.
	if info, err := os.Stat(dir); (err != nil || !info.IsDir()) && remote(dir) {
		s.attrs[contextName] = dir
		if r.File != "" && r.File != "-" {
			s.attrs["filename"] = r.File
			return nil
		}
		if r.File == "" {
			return nil
		}
	} else if err := s.dir(contextName, dir); err != nil {
		return err
	}
	return s.dockerfile(r, dir)
}

// dockerfile finds the Dockerfile as docker does: a path given with -f is relative to the current directory, and only its
// directory is shown to the solver.
func (s *sources) dockerfile(r *Request, dir string) error {
	if r.File == "-" {
		return s.fromStdin(r.Stdin)
	}
	path := r.File
	if path == "" {
		path = filepath.Join(dir, "Dockerfile")
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			lower := filepath.Join(dir, "dockerfile")
			if _, err := os.Lstat(lower); err == nil {
				path = lower
			}
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.IsDir() {
		return &dockerfileError{path: path, dir: err == nil, given: r.File != ""}
	}
	if s.attrs[contextName] != "" {
		// A local Dockerfile for a remote context is a second source, under a name of its own.
		s.attrs["dockerfilekey"] = dockerfileName
	}
	s.attrs["filename"] = filepath.Base(path)
	return s.dir(dockerfileName, filepath.Dir(path))
}

func (s *sources) fromStdin(in io.Reader) error {
	if in == nil {
		return &usageError{"-f -", "pipe a Dockerfile into standard input"}
	}
	temp, err := os.MkdirTemp("", "mab-dockerfile-")
	if err != nil {
		return fmt.Errorf("keeping the Dockerfile of standard input: %w", err)
	}
	s.temp = temp
	out, err := os.Create(filepath.Join(temp, "Dockerfile"))
	if err != nil {
		return fmt.Errorf("keeping the Dockerfile of standard input: %w", err)
	}
	_, err = io.Copy(out, in)
	if err := errors.Join(err, out.Close()); err != nil {
		return fmt.Errorf("reading the Dockerfile from standard input: %w", err)
	}
	if s.attrs[contextName] != "" {
		s.attrs["dockerfilekey"] = dockerfileName
	}
	s.attrs["filename"] = "Dockerfile"
	return s.dir(dockerfileName, temp)
}

func (s *sources) dir(name, path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &contextError{path: path, what: "does not exist"}
	case err != nil:
		return fmt.Errorf("opening the context %q: %w", path, err)
	case !info.IsDir():
		return &contextError{path: path, what: "is not a directory"}
	}
	view, err := fsutil.NewFS(path)
	if err != nil {
		return fmt.Errorf("opening the context %q: %w", path, err)
	}
	s.dirs[name] = view
	return nil
}

func (s *sources) named(entry string) error {
	name, value, ok := strings.Cut(entry, "=")
	if !ok || name == "" || value == "" {
		return &usageError{"--build-context " + quote(entry), "write NAME=PATH, or NAME=docker-image://REF, oci-layout://DIR, or a URL"}
	}
	// As docker buildx does, so that `alpine` and `docker.io/library/alpine:latest` name the same context.
	if ref, err := reference.ParseNormalizedNamed(name); err == nil {
		name = strings.TrimSuffix(reference.FamiliarString(ref), ":latest")
	}
	key := "context:" + name
	switch {
	case strings.HasPrefix(value, "docker-image://"), strings.HasPrefix(value, "target:"), remote(value):
		s.attrs[key] = value
		return nil
	case strings.HasPrefix(value, "oci-layout://"):
		return s.layout(key, name, strings.TrimPrefix(value, "oci-layout://"))
	}
	local := name
	if local == contextName || local == dockerfileName {
		local = "_" + local
	}
	s.attrs[key] = "local:" + local
	return s.dir(local, value)
}

// layout serves an OCI layout to the solver as a content store, named by digest: the solver cannot read its index.
func (s *sources) layout(key, name, value string) error {
	path, want, pinned := strings.Cut(value, "@")
	tag := ""
	// A colon after the last slash divides path and tag.
	if i := strings.LastIndexByte(path, ':'); i > strings.LastIndexByte(path, '/') {
		path, tag = path[:i], path[i+1:]
	}
	// The store would make a directory that is not there.
	if info, err := os.Stat(path); err != nil || !info.IsDir() {
		return &contextError{path: path, what: "is no directory", hint: layoutHint}
	}
	if !pinned {
		desc, err := find(ociindex.NewStoreIndex(path), tag)
		if err != nil {
			return fmt.Errorf("reading the OCI layout %q: %w", path, err)
		}
		if desc == nil {
			return &contextError{path: path, what: fmt.Sprintf("has no image tagged %q", cmp.Or(tag, "latest")), hint: layoutHint}
		}
		want = desc.Digest.String()
	}
	store, err := local.NewStore(path)
	if err != nil {
		return fmt.Errorf("opening the OCI layout %q: %w", path, err)
	}
	id := fmt.Sprintf("mab-%d-%s", len(s.stores), strings.Map(plain, name))
	s.stores[id] = store
	s.attrs[key] = "oci-layout://" + id + "@" + want
	return nil
}

// find returns the image with a tag; without one the latest, or the only one there is. Nil: there is none.
func find(index ociindex.StoreIndex, tag string) (*ocispec.Descriptor, error) {
	desc, err := index.Get(cmp.Or(tag, "latest"))
	if desc == nil && err == nil && tag == "" {
		return index.GetSingle()
	}
	return desc, err
}

func plain(c rune) rune {
	if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' {
		return c
	}
	return '-'
}

// remote reports whether the solver fetches a context by itself.
func remote(s string) bool {
	if strings.HasPrefix(s, "http://") || strings.HasPrefix(s, "https://") {
		return true
	}
	_, ok, _ := dfgitutil.ParseGitRef(s)
	return ok
}

// contextError is a context that is not there.
type contextError struct{ path, what, hint string }

const layoutHint = "write NAME=oci-layout://DIR:TAG or NAME=oci-layout://DIR@DIGEST; DIR holds index.json and blobs"

func (e *contextError) Error() string {
	return fmt.Sprintf("opening the context %q: it %s", e.path, e.what)
}

// Hint says what a context is.
func (e *contextError) Hint() string {
	return cmp.Or(e.hint, "the context is the directory whose files the build may use; for the current one, write a dot: mab build .")
}

// Usage marks the error as the user's, for the exit code.
func (e *contextError) Usage() bool { return true }

// Usage marks the error as the user's, for the exit code.
func (e *dockerfileError) Usage() bool { return true }

// dockerfileError is a Dockerfile that is not there.
type dockerfileError struct {
	path       string
	dir, given bool
}

func (e *dockerfileError) Error() string {
	if e.dir {
		return fmt.Sprintf("opening the Dockerfile %q: it is a directory", e.path)
	}
	return fmt.Sprintf("opening the Dockerfile %q: it does not exist", e.path)
}

// Hint says how to name the right one.
func (e *dockerfileError) Hint() string {
	if e.given {
		return "a path after -f is relative to the current directory, not to the context"
	}
	return "name it with -f FILE if it is called otherwise"
}
