// SPDX-License-Identifier: Apache-2.0

package solver_test

import (
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/client/ociindex"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sirupsen/logrus"

	"github.com/mab-build/mab/solver"
)

// tree makes the files, each with its own path as its content, in a directory that becomes the current one.
func tree(t *testing.T, files ...string) {
	t.Helper()
	dir := t.TempDir()
	for _, name := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
}

func TestSources(t *testing.T) {
	const git = "https://example.com/app.git#main"
	type files = map[string][]string
	for _, test := range []struct {
		rule    string
		tree    []string
		request solver.Request
		attrs   attrs
		files   files
	}{
		{"the current directory is the default", []string{"Dockerfile", "main.go"}, solver.Request{},
			attrs{"filename": "Dockerfile"},
			files{"context": {"Dockerfile", "main.go"}, "dockerfile": {"Dockerfile", "main.go"}}},
		{"a directory", []string{"app/Dockerfile", "main.go"}, solver.Request{Context: "app"},
			attrs{"filename": "Dockerfile"},
			files{"context": {"Dockerfile"}, "dockerfile": {"Dockerfile"}}},
		{"a lower-case dockerfile is found", []string{"app/dockerfile"}, solver.Request{Context: "app"},
			attrs{"filename": "dockerfile"},
			files{"context": {"dockerfile"}, "dockerfile": {"dockerfile"}}},
		{"Dockerfile goes before dockerfile", []string{"app/dockerfile", "app/Dockerfile"}, solver.Request{Context: "app"},
			attrs{"filename": "Dockerfile"},
			files{"context": {"Dockerfile", "dockerfile"}, "dockerfile": {"Dockerfile", "dockerfile"}}},
		{"-f is relative to the current directory, of which the context is none of its business",
			[]string{"app/main.go", "ci/prod.dockerfile", "ci/prod.dockerfile.dockerignore"},
			solver.Request{Context: "app", File: "ci/prod.dockerfile"},
			attrs{"filename": "prod.dockerfile"},
			files{"context": {"main.go"}, "dockerfile": {"prod.dockerfile", "prod.dockerfile.dockerignore"}}},
		{"-f -", []string{"main.go"}, solver.Request{File: "-", Stdin: strings.NewReader("FROM scratch")},
			attrs{"filename": "Dockerfile"},
			files{"context": {"main.go"}, "dockerfile": {"Dockerfile"}}},
		{"a git repository is fetched by the solver", nil, solver.Request{Context: git}, attrs{"context": git}, files{}},
		{"so is an archive", nil, solver.Request{Context: "http://example.com/app.tar"}, attrs{"context": "http://example.com/app.tar"}, files{}},
		{"-f is a path in a fetched context", nil, solver.Request{Context: git, File: "ci/Dockerfile"},
			attrs{"context": git, "filename": "ci/Dockerfile"}, files{}},
		{"but not if it is absolute: then it is one here", []string{"ci/prod.dockerfile"}, solver.Request{Context: git, File: "WD/ci/prod.dockerfile"},
			attrs{"context": git, "dockerfilekey": "dockerfile", "filename": "prod.dockerfile"}, files{"dockerfile": {"prod.dockerfile"}}},
		{"a Dockerfile may be fetched", []string{"main.go"}, solver.Request{File: "https://example.com/Dockerfile"},
			attrs{"filename": "Dockerfile"}, files{"context": {"main.go"}, "dockerfile": {"Dockerfile"}}},
		{"also for a context that is fetched", nil, solver.Request{Context: git, File: "https://example.com/Dockerfile"},
			attrs{"context": git, "dockerfilekey": "dockerfile", "filename": "Dockerfile"}, files{"dockerfile": {"Dockerfile"}}},
		{"a Dockerfile from standard input has an empty context", []string{"main.go"}, solver.Request{Context: "-", Stdin: strings.NewReader("FROM scratch")},
			attrs{"filename": "Dockerfile"}, files{"dockerfile": {"Dockerfile"}}},
		{"-f - goes with a fetched context, as a source of its own", nil, solver.Request{Context: git, File: "-", Stdin: strings.NewReader("FROM scratch")},
			attrs{"context": git, "dockerfilekey": "dockerfile", "filename": "Dockerfile"}, files{"dockerfile": {"Dockerfile"}}},
		{"what looks like a repository is one", nil, solver.Request{Context: "github.com/me/app"}, attrs{"context": "github.com/me/app"}, files{}},
		{"but not if it is a directory", []string{"github.com/me/app/Dockerfile"}, solver.Request{Context: "github.com/me/app"},
			attrs{"filename": "Dockerfile"},
			files{"context": {"Dockerfile"}, "dockerfile": {"Dockerfile"}}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			tree(t, test.tree...)
			if wd, err := os.Getwd(); err == nil {
				test.request.File = strings.Replace(test.request.File, "WD", wd, 1)
			}
			checkSources(t, &test.request, test.attrs, test.files)
		})
	}
}

func checkSources(t *testing.T, request *solver.Request, wantAttrs attrs, wantFiles map[string][]string) *solver.Sources {
	t.Helper()
	s, err := request.Sources()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if diff := cmp.Diff(wantAttrs, s.Attrs()); diff != "" {
		t.Errorf("attributes: want -, got +:\n%s", diff)
	}
	files, err := s.Files()
	if diff := cmp.Diff(wantFiles, files); err != nil || diff != "" {
		t.Errorf("files: error %v; want -, got +:\n%s", err, diff)
	}
	return s
}

func TestNamedContexts(t *testing.T) {
	const host = "Dockerfile"
	for _, test := range []struct {
		rule, entry string
		attrs       attrs
		files       map[string][]string
	}{
		{"a directory", "src=lib", attrs{"context:src": "local:src"}, map[string][]string{"src": {"lib.go"}}},
		{"an image", "base=docker-image://alpine:3", attrs{"context:base": "docker-image://alpine:3"}, nil},
		{"a repository", "base=https://example.com/x.git", attrs{"context:base": "https://example.com/x.git"}, nil},
		{"an archive", "base=https://example.com/x.tar", attrs{"context:base": "https://example.com/x.tar"}, nil},
		{"an image's name is shortened as docker does", "docker.io/library/alpine:latest=lib",
			attrs{"context:alpine": "local:alpine"}, map[string][]string{"alpine": {"lib.go"}}},
		{"another tag stays", "alpine:3=lib", attrs{"context:alpine:3": "local:alpine:3"}, map[string][]string{"alpine:3": {"lib.go"}}},
		{"one called context does not replace the main one", "context=lib",
			attrs{"context:context": "local:_context"}, map[string][]string{"_context": {"lib.go"}}},
		{"one called dockerfile does not replace the Dockerfile", "dockerfile=lib",
			attrs{"context:dockerfile": "local:_dockerfile"}, map[string][]string{"_dockerfile": {"lib.go"}}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			tree(t, host, "lib/lib.go")
			all := []string{host, "lib", "lib/lib.go"}
			wantFiles := map[string][]string{"context": all, "dockerfile": all}
			maps.Copy(wantFiles, test.files)
			test.attrs["filename"] = host
			checkSources(t, &solver.Request{NamedContexts: []string{test.entry}}, test.attrs, wantFiles)
		})
	}
}

func TestLayoutContexts(t *testing.T) {
	logrus.SetLevel(logrus.ErrorLevel) // of containerd's wish for fs-verity
	one, two, three := digest.FromString("one"), digest.FromString("two"), digest.FromString("three")
	tree(t, "Dockerfile")
	put := func(dir string, desc digest.Digest, names ...ociindex.NameOrTag) {
		t.Helper()
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := ociindex.NewStoreIndex(dir).Put(ocispec.Descriptor{Digest: desc, Size: 1, MediaType: ocispec.MediaTypeImageManifest}, names...); err != nil {
			t.Fatal(err)
		}
	}
	put("two", one, ociindex.Tag("latest"))
	put("two", two, ociindex.Tag("v2"))
	put("sole", three)
	put("tagged", three, ociindex.Tag("v3"))
	put("sub:dir/deep", one, ociindex.Tag("latest"))
	for _, test := range []struct{ rule, value, want string }{
		{"the tag latest is the default", "two", one.String()},
		{"a tag", "two:v2", two.String()},
		{"a digest", "two@" + two.String(), two.String()},
		{"a digest goes before a tag", "two:latest@" + two.String(), two.String()},
		{"the only image needs no tag", "sole", three.String()},
		{"even if it has one", "tagged", three.String()},
		{"a colon in a directory's name", "sub:dir/deep", one.String()},
		{"a tag that is not there", "two:v9", `opening the context "two": it has no image tagged "v9"`},
		{"a tag that the only image does not have", "tagged:v9", `opening the context "tagged": it has no image tagged "v9"`},
		{"no directory", "none", `opening the context "none": it is no directory`},
		{"no directory, by digest", "none@" + one.String(), `opening the context "none": it is no directory`},
		{"no directory but a file", "Dockerfile", `opening the context "Dockerfile": it is no directory`},
	} {
		t.Run(test.rule, func(t *testing.T) {
			request := solver.Request{NamedContexts: []string{"base=oci-layout://" + test.value}}
			s, err := request.Sources()
			if err != nil {
				var hinted interface{ Hint() string }
				if err.Error() != test.want || !errors.As(err, &hinted) || !strings.Contains(hinted.Hint(), "oci-layout://DIR") {
					t.Errorf("got %v, want %s", err, test.want)
				}
				return
			}
			want := attrs{"filename": "Dockerfile", "context:base": "oci-layout://mab-0-base@" + test.want}
			if diff := cmp.Diff(want, s.Attrs()); diff != "" || s.Stores() != 1 {
				t.Errorf("%d stores; want -, got +:\n%s", s.Stores(), diff)
			}
		})
	}
	if _, err := os.Stat("none"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a layout that is not there was made: %v", err)
	}
	t.Run("two layouts whose names differ in signs only", func(t *testing.T) {
		request := solver.Request{NamedContexts: []string{"a.b=oci-layout://two", "a-b=oci-layout://sole"}}
		s, err := request.Sources()
		if err != nil {
			t.Fatal(err)
		}
		if s.Stores() != 2 || s.Attrs()["context:a.b"] == s.Attrs()["context:a-b"] {
			t.Errorf("%d stores for %v", s.Stores(), s.Attrs())
		}
	})
}

func TestSourcesErrors(t *testing.T) {
	for _, test := range []struct {
		rule    string
		request solver.Request
		want    string
		hint    string
	}{
		{"no context", solver.Request{Context: "none"}, `opening the context "none": it does not exist`, "mab build ."},
		{"a Dockerfile as context", solver.Request{Context: "main.go"}, `opening the context "main.go": it is neither a directory nor a tar archive`, "mab build -f main.go ."},
		{"a device as context", solver.Request{Context: os.DevNull}, `opening the context "/dev/null": it is not a directory`, "mab build ."},
		{"standard input for both", solver.Request{Context: "-", File: "-"}, "understanding - for the context and -f - together: standard input is one of them", "mab build -f FILE -"},
		{"no Dockerfile", solver.Request{Context: "empty"}, `opening the Dockerfile "empty/Dockerfile": it does not exist`, "name it with -f FILE"},
		{"a wrong -f", solver.Request{File: "app.dockerfile"}, `opening the Dockerfile "app.dockerfile": it does not exist`, "not to the context"},
		{"a directory as -f", solver.Request{File: "empty"}, `opening the Dockerfile "empty": it is a directory`, "not to the context"},
		{"-f - without input", solver.Request{File: "-"}, "understanding -: there is no standard input", "pipe a Dockerfile"},
		{"a target without a name", solver.Request{Context: "app", NamedContexts: []string{"x=target:"}},
			`understanding --build-context "x=target:"`, "x=target:STAGE"},
		{"no named context", solver.Request{Context: "app", NamedContexts: []string{"x=none"}}, `opening the context "none": it does not exist`, ""},
		{"a named context without a name", solver.Request{Context: "app", NamedContexts: []string{"=app"}}, `understanding --build-context "=app"`, "NAME=PATH"},
		{"a named context without a value", solver.Request{Context: "app", NamedContexts: []string{"x="}}, `understanding --build-context "x="`, "NAME=PATH"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			tree(t, "main.go", "empty/keep", "app/Dockerfile")
			_, err := test.request.Sources()
			if err == nil || err.Error() != test.want {
				t.Fatalf("got %v, want %s", err, test.want)
			}
			var hinted interface{ Hint() string }
			if !errors.As(err, &hinted) || !strings.Contains(hinted.Hint(), test.hint) {
				t.Errorf("got the hint of %#v, want %q in it", err, test.hint)
			}
		})
	}
}

// TestValidate has a request refused by what is wrong with it, before anything reads the Dockerfile from standard input.
func TestValidate(t *testing.T) {
	tree(t, "Dockerfile")
	t.Setenv("TMPDIR", t.TempDir())
	for want, request := range map[string]solver.Request{
		"":              {},
		"--build-arg":   {BuildArgs: []string{"="}},
		"--allow":       {Allow: []string{"root"}},
		"--cache-to":    {CacheTo: []string{"type=local"}},
		"--cache-from":  {CacheFrom: []string{"type=floppy"}},
		"--secret":      {Secrets: []string{"id=a,src=none"}},
		"the context":   {Context: "none"},
		"Dockerfile":    {File: "none"},
		"--shm-size":    {File: "-", Stdin: broken{}, ShmSize: "much"},
		"build-context": {NamedContexts: []string{"a"}},
	} {
		t.Run(want, func(t *testing.T) {
			err := request.Validate()
			if want != "" {
				checkUsage(t, err, want)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
	for _, request := range []solver.Request{{File: "-", Stdin: broken{}}, {Context: "-", Stdin: broken{}}} {
		if err := request.Validate(); err != nil {
			t.Errorf("standard input was read: %v", err)
		}
	}
	if entries, err := os.ReadDir(os.TempDir()); err != nil || len(entries) > 0 {
		t.Errorf("error %v; left is %v", err, entries)
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
