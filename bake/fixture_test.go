// SPDX-License-Identifier: Apache-2.0

package bake_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mab-build/mab/bake"
	"github.com/mab-build/mab/coordinator"
)

// files puts files into a new directory, which becomes the current one. The environment has nothing of buildx.
func files(t *testing.T, list map[string]string) {
	t.Helper()
	dir := t.TempDir()
	for name, content := range list {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	for _, name := range []string{"BUILDX_BAKE_FILE", "BUILDX_BAKE_PATH_SEPARATOR", "BUILDX_BAKE_FILE_RELATIVE_PATHS", "BUILDX_BAKE_ENTITLEMENTS_FS", "SOURCE_DATE_EPOCH"} {
		t.Setenv(name, "")
		if err := os.Unsetenv(name); err != nil {
			t.Fatal(err)
		}
	}
}

// one has a definition with a Dockerfile beside it.
func one(t *testing.T, definition string) {
	t.Helper()
	files(t, map[string]string{"docker-bake.hcl": definition, "Dockerfile": "FROM scratch\n"})
}

func choose(t *testing.T, q bake.Query) (*bake.Selection, error) {
	t.Helper()
	d, err := new(bake.Reader).Read(t.Context(), q)
	if err != nil {
		return nil, err
	}
	return d.Select()
}

func requests(t *testing.T, q bake.Query, base coordinator.Request) ([]coordinator.Named, []string, error) {
	t.Helper()
	s, err := choose(t, q)
	if err != nil {
		return nil, nil, err
	}
	return s.Requests(base)
}

// must returns the requests of a query that has no fault.
func must(t *testing.T, q bake.Query) []coordinator.Named {
	t.Helper()
	list, _, err := requests(t, q, coordinator.Request{})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// wantFault fails unless an error is the user's, with these texts in it and in its hint.
func wantFault(t *testing.T, err error, text, hint string) {
	t.Helper()
	var known interface {
		Usage() bool
		Hint() string
	}
	switch {
	case err == nil:
		t.Fatalf("no error, want %q", text)
	case !errors.As(err, &known) || !known.Usage():
		t.Fatalf("%q is not the user's", err)
	case !strings.Contains(err.Error(), text):
		t.Errorf("got %q, want %q", err, text)
	case !strings.Contains(known.Hint(), hint):
		t.Errorf("the hint is %q, want %q", known.Hint(), hint)
	}
}

func names(list []coordinator.Named) string {
	var out []string
	for i := range list {
		out = append(out, list[i].Name)
	}
	return strings.Join(out, " ")
}
