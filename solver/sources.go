// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"cmp"
	"errors"
	"fmt"
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
	"github.com/tonistiigi/fsutil/types"
)

const (
	contextName    = "context"
	dockerfileName = "dockerfile"
)

// sources is what the solver reads from this machine during a build: directories, archives and OCI layouts. It owns nothing that
// would have to be closed: archives are the input's.
type sources struct {
	attrs   map[string]string
	dirs    map[string]fsutil.FS
	stores  map[string]content.Store
	uploads uploads
	// stages are the stages of the Dockerfile that stand for named contexts.
	stages map[string]string
	// page is the Dockerfile that the solver is to fetch from url before the frontend starts. Nil: none is.
	page *textFile
	url  string
	// at tells where each of dirs and stores is from, equal where that is the same.
	at, storeAt map[string]string
}

// sources opens the context, the Dockerfile and the named contexts of a request. Without the input that the request wants, what
// would come from there is left out.
func (r *Request) sources(in *Input) (*sources, error) {
	s := &sources{attrs: map[string]string{}, dirs: map[string]fsutil.FS{}, stores: map[string]content.Store{}, stages: map[string]string{}, at: map[string]string{}, storeAt: map[string]string{}}
	if err := s.mainContext(r, in); err != nil {
		return nil, err
	}
	for _, entry := range r.NamedContexts {
		if err := s.named(entry); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *sources) mainContext(r *Request, in *Input) error {
	dir := cmp.Or(r.Context, ".")
	switch {
	case dir == stdinName && r.File == stdinName:
		return &usageError{"- for the context and -f - together: standard input is one of them",
			"put the Dockerfile into the archive and name it there (mab build -f FILE -), or give a directory: mab build -f - DIR"}
	case dir == stdinName && in != nil && in.archive == nil:
		s.dirs[contextName], s.at[contextName] = &textFile{}, "nothing"
		s.text(in.dockerfile)
		return nil
	case dir == stdinName, isFile(dir):
		return s.archived(r, in)
	}
	// As for docker buildx, a directory that is there wins over the URL that it looks like: github.com/me/app.
	if info, err := os.Stat(dir); (err != nil || !info.IsDir()) && remote(dir) {
		s.attrs[contextName] = dir
		return s.within(r, in)
	}
	if err := s.dir(contextName, dir); err != nil {
		return err
	}
	return s.dockerfile(r, in, dir)
}

// archived is a context in a tar. The Dockerfile is in there too, unless it is fetched.
func (s *sources) archived(r *Request, in *Input) error {
	if in == nil {
		if r.Context == stdinName {
			return nil
		}
		file, err := openTar(r.Context)
		if err != nil {
			return err
		}
		return file.Close()
	}
	s.uploads = append(s.uploads, in.archive)
	s.attrs[contextName] = in.archive.url()
	return s.within(r, in)
}

// within finds the Dockerfile of a context that is not a directory here: as with docker buildx, a relative path is one in the context.
func (s *sources) within(r *Request, in *Input) error {
	switch {
	case r.File == "":
		return nil
	case r.File == stdinName, webPage(r.File), filepath.IsAbs(r.File) && len(s.uploads) == 0:
		return s.dockerfile(r, in, "")
	}
	s.attrs["filename"] = r.File
	return nil
}

// dockerfile finds the Dockerfile as docker does: a path given with -f is relative to the current directory, and only its
// directory is shown to the solver.
func (s *sources) dockerfile(r *Request, in *Input, dir string) error {
	switch {
	case r.File == stdinName && in == nil:
		return nil
	case r.File == stdinName:
		s.text(in.dockerfile)
		return nil
	case webPage(r.File):
		s.url, s.page = r.File, s.text(nil)
		return nil
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
	s.own()
	s.attrs["filename"] = filepath.Base(path)
	return s.dir(dockerfileName, filepath.Dir(path))
}

// own makes a local Dockerfile for a context that is fetched a second source, under a name of its own.
func (s *sources) own() {
	if s.attrs[contextName] != "" {
		s.attrs["dockerfilekey"] = dockerfileName
	}
}

// text makes a Dockerfile of what is in memory.
func (s *sources) text(content []byte) *textFile {
	file := &textFile{name: "Dockerfile", content: content}
	s.own()
	s.attrs["filename"] = file.name
	s.dirs[dockerfileName], s.at[dockerfileName] = file, "text "+string(content)
	return file
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
	if err == nil {
		view, err = fsutil.NewFilterFS(view, &fsutil.FilterOpt{Map: lasting})
	}
	if err != nil {
		return fmt.Errorf("opening the context %q: %w", path, err)
	}
	s.dirs[name], s.at[name] = view, located(path)
	return nil
}

// lasting leaves out what builds make for themselves beside their outputs, which may be in the context: it is another each time.
func lasting(path string, stat *types.Stat) fsutil.MapResult {
	name := filepath.Base(path)
	own := strings.HasPrefix(name, ".") && strings.Contains(name[1:], ".mab-")
	for _, prefix := range []string{".mab-staging-", ".mab-part-", ".mab-probe-"} {
		own = own || strings.HasPrefix(name, prefix)
	}
	switch {
	case own && stat.IsDir():
		return fsutil.MapResultSkipDir
	case own:
		return fsutil.MapResultExclude
	}
	return fsutil.MapResultKeep
}

// ContextName is how the frontend knows a named context: as docker buildx does, so that `alpine` and `docker.io/library/alpine:latest` name
// the same.
func ContextName(name string) string {
	if ref, err := reference.ParseNormalizedNamed(name); err == nil {
		return strings.TrimSuffix(reference.FamiliarString(ref), ":latest")
	}
	return name
}

func (s *sources) named(entry string) error {
	name, value, ok := strings.Cut(entry, "=")
	if !ok || name == "" || value == "" {
		return &usageError{"--build-context " + quote(entry), "write NAME=PATH, or NAME=docker-image://REF, oci-layout://DIR, or a URL"}
	}
	name = ContextName(name)
	key := "context:" + name
	switch {
	case strings.HasPrefix(value, "target:"):
		stage := strings.TrimPrefix(value, "target:")
		if stage == "" {
			return &usageError{"--build-context " + quote(entry), "name a stage of the Dockerfile: " + name + "=target:STAGE"}
		}
		s.stages[name] = stage
		return nil
	case strings.HasPrefix(value, "docker-image://"), remote(value):
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
	s.stores[id], s.storeAt[id] = store, located(path)
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
	if webPage(s) {
		return true
	}
	_, ok, _ := dfgitutil.ParseGitRef(s)
	return ok
}

func webPage(s string) bool {
	return strings.HasPrefix(s, "http://") || strings.HasPrefix(s, "https://")
}

// contextError is a context that is not there, or none.
type contextError struct{ path, what, hint string }

const layoutHint = "write NAME=oci-layout://DIR:TAG or NAME=oci-layout://DIR@DIGEST; DIR holds index.json and blobs"

func (e *contextError) Error() string {
	if e.path == stdinName {
		return "reading standard input: it " + e.what
	}
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
