// SPDX-License-Identifier: Apache-2.0

package solver_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sirupsen/logrus"

	"github.com/mab-build/mab/platforms"
	"github.com/mab-build/mab/solver"
)

// fresh is a solver with an empty cache that ends with the test.
func fresh(t *testing.T) *solver.Client {
	t.Helper()
	return freshMaker(t).Client
}

func freshMaker(t *testing.T) *maker {
	t.Helper()
	if testing.Short() {
		t.Skip("it starts a solver")
	}
	if _, err := exec.LookPath("busybox"); err != nil || os.Geteuid() != 0 {
		if os.Getenv("MAB_E2E") == "all" {
			t.Fatal("there is no busybox, or this is not root")
		}
		t.Skip("there is no busybox, or this is not root")
	}
	m := serveMaker(t)
	if _, err := m.Info(t.Context()); err != nil {
		t.Fatal(err)
	}
	return m
}

// kitchen is a directory with a Dockerfile, a busybox, and a file.
func kitchen(t *testing.T, dockerfile string) string {
	t.Helper()
	dir := t.TempDir()
	path, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"Dockerfile": []byte(dockerfile), "busybox": program, "file": []byte("of the context\n")} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// image is what a build made, as others see it.
type image struct {
	index ocispec.Descriptor
	dir   string
	// detailed is mode=max of its provenance.
	detailed bool
	*solver.Result
}

// bake builds an OCI layout whose bytes depend on nothing but the build.
func bake(t *testing.T, c *solver.Client, s solver.Solve) (image, error) {
	t.Helper()
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	// Of containerd's wish for fs-verity.
	logrus.SetLevel(logrus.ErrorLevel)
	dir := t.TempDir()
	s.Exports = append(slices.Clone(s.Exports), solver.Export{Type: "oci", AsImage: true, Blobs: dir, Attrs: attrs{"tar": "false", "rewrite-timestamp": "true"}})
	r, err := c.Build(t.Context(), s)
	if err != nil {
		return image{}, err
	}
	return image{r.Index, dir, strings.HasPrefix(s.Request.Provenance, "mode=max"), r}, nil
}

func mustBake(t *testing.T, c *solver.Client, s solver.Solve) image {
	t.Helper()
	out, err := bake(t, c, s)
	if err != nil {
		t.Fatalf("%v\n%s", err, excerpt(err))
	}
	return out
}

func (i image) read(t *testing.T, d digest.Digest, into any) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(i.dir, "blobs", d.Algorithm().String(), d.Encoded()))
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// manifests are the images by their platform, and provenances what they say of where they come from.
func (i image) manifests(t *testing.T) (manifests map[string]digest.Digest, provenances map[string]map[string]any) {
	t.Helper()
	manifests, provenances = map[string]digest.Digest{}, map[string]map[string]any{}
	if i.index.MediaType != ocispec.MediaTypeImageIndex {
		return map[string]digest.Digest{"": i.index.Digest}, provenances
	}
	var index ocispec.Index
	i.read(t, i.index.Digest, &index)
	names := map[string]string{}
	for _, m := range index.Manifests {
		if m.Platform.OS != "unknown" {
			name := platforms.FromOCI(*m.Platform).String()
			manifests[name], names[m.Digest.String()] = m.Digest, name
		}
	}
	for _, m := range index.Manifests {
		of := m.Annotations["vnd.docker.reference.digest"]
		if of == "" {
			continue
		}
		var list ocispec.Manifest
		i.read(t, m.Digest, &list)
		for _, layer := range list.Layers {
			var statement struct{ Predicate map[string]any }
			if strings.Contains(layer.Annotations["in-toto.io/predicate-type"], "provenance") {
				i.read(t, layer.Digest, &statement)
				provenances[names[of]] = statement.Predicate
			}
		}
	}
	return manifests, provenances
}

// graphs are what the frontend makes of a request, read by one solver for others.
func graphs(t *testing.T, c *solver.Client, r *solver.Request, more ...func(*solver.Solve)) []solver.Target {
	t.Helper()
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	var out []solver.Target
	s := solver.Solve{Request: r, Decide: func(_ context.Context, targets []solver.Target) (bool, error) {
		out = targets
		return false, nil
	}}
	for _, change := range more {
		change(&s)
	}
	if _, err := c.Build(t.Context(), s); err != nil {
		t.Fatalf("%v\n%s", err, excerpt(err))
	}
	return slices.Clone(out)
}

// given gives targets at once.
func given(targets []solver.Target, materials ...solver.Material) solver.Giver {
	return func(context.Context) (solver.Given, error) {
		return solver.Given{Targets: targets, Materials: materials}, nil
	}
}

func excerpt(err error) string {
	var f *solver.Failure
	if asFailure(err, &f) {
		return f.Source
	}
	return ""
}

// shelf serves images of tests as a registry does, under the tag latest, and files.
type shelf struct {
	address string
	images  map[string]image
}

// newShelf starts one that ends with the test.
func newShelf(t *testing.T) *shelf {
	t.Helper()
	s := &shelf{images: map[string]image{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v2/", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /v2/{name}/{kind}/{ref}", func(w http.ResponseWriter, r *http.Request) {
		image, ok := s.images[r.PathValue("name")]
		d, err := digest.Parse(r.PathValue("ref"))
		if err != nil {
			d = image.index.Digest
		}
		if text, err := os.ReadFile(filepath.Join(image.dir, "blobs", "sha256", d.Encoded())); ok && err == nil {
			var of struct{ MediaType string }
			if r.PathValue("kind") == "manifests" && json.Unmarshal(text, &of) == nil {
				w.Header().Set("Content-Type", of.MediaType)
			}
			w.Header().Set("Docker-Content-Digest", d.String())
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(text))
			return
		}
		http.NotFound(w, r)
	})
	mux.HandleFunc("GET /files/{name}", func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Unix(1, 0), strings.NewReader("served as "+r.PathValue("name")))
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	s.address = strings.TrimPrefix(server.URL, "http://")
	return s
}

// put makes an image and serves it.
func (s *shelf) put(t *testing.T, c *solver.Client, name string, r solver.Request) image {
	t.Helper()
	r.Provenance = "false"
	s.images[name] = mustBake(t, c, solver.Solve{Request: &r})
	return s.images[name]
}
