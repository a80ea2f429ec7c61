// SPDX-License-Identifier: Apache-2.0

package manifestlist_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/mab-build/mab/manifestlist"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// placed puts a solve into a repository.
func placed(t *testing.T, c *manifestlist.Client, ref manifestlist.Reference, list ...string) manifestlist.Index {
	t.Helper()
	s := newStage(t)
	idx := s.merged(true, list...)
	_, err := c.Push(t.Context(), idx, []manifestlist.Reference{ref}, s.dir)
	must(t, err)
	return idx
}

func TestGatherSources(t *testing.T) {
	r, c := newRegistry(t), newClient(t, manifestlist.Config{})
	amd := placed(t, c, r.ref(t, "app:amd"), "linux/amd64")
	arm := placed(t, c, r.ref(t, "other:arm"), "linux/arm64")
	s390 := newStage(t)
	dir, tar := t.TempDir(), t.TempDir()+"/app.tar"
	idx := s390.merged(false, "linux/s390x")
	must(t, manifestlist.WriteLayout(t.Context(), idx, s390.dir, manifestlist.LayoutConfig{Dir: dir}))
	must(t, manifestlist.WriteArchive(t.Context(), idx, s390.dir, manifestlist.ArchiveConfig{File: tar}))
	target := []manifestlist.Reference{r.ref(t, "empty:1"), r.ref(t, "app:1"), r.ref(t, "app:2")}
	image, err := json.Marshal(amd.Images[0].Manifest)
	must(t, err)
	for _, tt := range []struct{ rule, source, want string }{
		{"a tag", r.host + "/other:arm", "arm64 +arm64"},
		{"a reference by digest", r.host + "/other@" + arm.Descriptor.Digest.String(), "arm64 +arm64"},
		{"a digest of the repository that is written to", amd.Descriptor.Digest.String(), "amd64 +amd64"},
		{"with an at before it", "@" + amd.Descriptor.Digest.String(), "amd64 +amd64"},
		{"a single image, by its config", amd.Images[0].Manifest.Digest.String(), "amd64"},
		{"a descriptor", string(image), "amd64"},
		{"a layout", dir, "s390x"},
		{"a tar", tar, "s390x"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			parts, origins, err := c.Gather(t.Context(), []string{tt.source}, target)
			must(t, err)
			idx, err := manifestlist.Compose(parts, manifestlist.Composition{})
			must(t, err)
			if got := shownIn(t, idx.Raw); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			must(t, manifestlist.WriteLayout(t.Context(), idx, origins, manifestlist.LayoutConfig{Dir: t.TempDir()}))
		})
	}
	t.Run("all at once, pushed elsewhere, each blob from where it is", func(t *testing.T) {
		far := newRegistry(t)
		parts, origins, err := c.Gather(t.Context(), []string{dir, r.host + "/other:arm", amd.Descriptor.Digest.String()}, target)
		must(t, err)
		idx, err := manifestlist.Compose(parts, manifestlist.Composition{})
		must(t, err)
		ref := far.ref(t, "all:1")
		_, err = c.Push(t.Context(), idx, []manifestlist.Reference{ref}, origins)
		must(t, err)
		got, err := c.Inspect(t.Context(), ref.String())
		must(t, err)
		var platforms []string
		for _, image := range got.Images {
			platforms = append(platforms, fmt.Sprintf("%s %d", image.Platform, len(image.Attestations)))
		}
		if diff := cmp.Diff([]string{"linux/s390x 0", "linux/arm64 1", "linux/amd64 1"}, platforms); diff != "" {
			t.Error(diff)
		}
	})
}

func TestGatherRefuses(t *testing.T) {
	r, c := newRegistry(t), newClient(t, manifestlist.Config{})
	amd := placed(t, c, r.ref(t, "app:amd"), "linux/amd64")
	target := []manifestlist.Reference{r.ref(t, "app:1")}
	described := func(change func(*ocispec.Descriptor)) string {
		desc := amd.Images[0].Manifest
		p := *desc.Platform
		desc.Platform = &p
		change(&desc)
		raw, err := json.Marshal(desc)
		must(t, err)
		return string(raw)
	}
	missing := digest.FromString("missing").String()
	for _, tt := range []struct {
		rule, source, says, hints string
		targets                   []manifestlist.Reference
		refusal                   bool
	}{
		{"a config that says otherwise", described(func(d *ocispec.Descriptor) { d.Platform.Architecture = "arm64" }),
			"is described as linux/arm64, but its config says linux/amd64", "cannot run", target, true},
		{"a system that is another", described(func(d *ocispec.Descriptor) { d.Platform.OS = "windows" }), "is described as windows/amd64", "FROM", target, true},
		{"a size that is another", described(func(d *ocispec.Descriptor) { d.Size++ }), "its descriptor says", "", target, true},
		{"an attestation", amd.Images[0].Attestations[0].Digest.String(), "is for no platform", "the index that it is in", target, true},
		{"a digest that is not there", missing, missing, "check the spelling", target, false},
		{"a digest without a repository", missing, "no repository is named", "REPOSITORY@" + missing, nil, false},
		{"what is no descriptor", "{}", "it is no descriptor", "mediaType", target, false},
		{"what is nothing", "No", "No", "lower case", target, false},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			_, _, err := c.Gather(t.Context(), []string{tt.source}, tt.targets)
			wantError(t, err, tt.says, tt.hints)
			if got := errors.As(err, new(manifestlist.Refusal)); got != tt.refusal {
				t.Errorf("refusal is %v: %v", got, err)
			}
		})
	}
	t.Run("all that is missing is told", func(t *testing.T) {
		other := digest.FromString("other").String()
		_, _, err := c.Gather(t.Context(), []string{missing, amd.Descriptor.Digest.String(), other}, target)
		if err == nil || !strings.Contains(err.Error(), missing) || !strings.Contains(err.Error(), other) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("damage", func(t *testing.T) {
		r.answer(func(w http.ResponseWriter, req *http.Request) bool {
			if strings.Contains(req.URL.Path, "/blobs/") && req.Method == http.MethodGet {
				_, _ = w.Write([]byte(`{"os":"linux","architecture":"amd64"}`))
				return true
			}
			return false
		})
		defer r.answer(nil)
		_, _, err := c.Gather(t.Context(), []string{r.host + "/app:amd"}, target)
		if !errors.As(err, new(*manifestlist.DigestError)) {
			t.Errorf("got %v", err)
		}
	})
}

// TestPushMoves: what a repository has is not asked for, what its registry has is mounted, and only the rest is sent.
func TestPushMoves(t *testing.T) {
	near, far, c := newRegistry(t), newRegistry(t), newClient(t, manifestlist.Config{})
	placed(t, c, near.ref(t, "app:amd"), "linux/amd64")
	placed(t, c, near.ref(t, "app:arm"), "linux/arm64")
	push := func(ref manifestlist.Reference) {
		t.Helper()
		parts, origins, err := c.Gather(t.Context(), []string{near.host + "/app:amd", near.host + "/app:arm"}, []manifestlist.Reference{ref})
		must(t, err)
		idx, err := manifestlist.Compose(parts, manifestlist.Composition{})
		must(t, err)
		near.seen()
		_, err = c.Push(t.Context(), idx, []manifestlist.Reference{ref}, origins)
		must(t, err)
	}
	t.Run("into the same repository: the index alone", func(t *testing.T) {
		push(near.ref(t, "app:all"))
		var wrote []string
		for _, request := range near.seen() {
			if !strings.HasPrefix(request, "GET ") {
				wrote = append(wrote, request)
			}
		}
		if diff := cmp.Diff([]string{"PUT /v2/app/manifests/all"}, wrote); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
	t.Run("into another of the registry: mounts", func(t *testing.T) {
		var mounts []string
		near.answer(func(w http.ResponseWriter, req *http.Request) bool {
			if req.Method == http.MethodHead && strings.Contains(req.URL.Path, "/blobs/") {
				w.WriteHeader(http.StatusNotFound) // the registry of the tests has one store for all repositories
				return true
			}
			if req.Method == http.MethodPost {
				mounts = append(mounts, req.URL.Query().Get("from"))
				w.WriteHeader(http.StatusCreated)
				return true
			}
			return false
		})
		defer near.answer(nil)
		push(near.ref(t, "copy:all"))
		for _, request := range near.seen() {
			if strings.HasPrefix(request, "PATCH ") || strings.HasPrefix(request, "GET /v2/app/blobs/") {
				t.Errorf("bytes moved: %s", request)
			}
		}
		// Two layers and a config of either image, one layer and a config of either attestation.
		if len(mounts) != 10 || slices.ContainsFunc(mounts, func(from string) bool { return from != "app" }) {
			t.Errorf("mounted from %q", mounts)
		}
	})
	t.Run("into another registry: bytes, once", func(t *testing.T) {
		push(far.ref(t, "app:all"))
		blobs := map[string]int{}
		for _, request := range near.seen() {
			if strings.HasPrefix(request, "GET /v2/app/blobs/") {
				blobs[request]++
			}
		}
		if len(blobs) != 10 {
			t.Errorf("%d blobs were read: %v", len(blobs), blobs)
		}
		for request, n := range blobs {
			if n != 1 {
				t.Errorf("%s: %d times", request, n)
			}
		}
	})
}

func TestPushOver(t *testing.T) {
	r, c := newRegistry(t), newClient(t, manifestlist.Config{})
	ref, other := r.ref(t, "app:1"), r.ref(t, "app:2")
	first := placed(t, c, ref, "linux/amd64")
	refs := []manifestlist.Reference{ref, other}
	was, err := c.Heads(t.Context(), refs)
	must(t, err)
	if diff := cmp.Diff(manifestlist.Heads{ref: first.Descriptor.Digest, other: ""}, was); diff != "" {
		t.Fatalf("(-want +got)\n%s", diff)
	}
	s := newStage(t)
	idx := s.merged(false, "linux/arm64", "linux/amd64")
	t.Run("as it was", func(t *testing.T) {
		_, err := c.PushOver(t.Context(), idx, refs, s.dir, was)
		must(t, err)
	})
	t.Run("moved meanwhile: nothing is written", func(t *testing.T) {
		third := r.ref(t, "app:3")
		_, err := c.PushOver(t.Context(), first, []manifestlist.Reference{third, ref}, nil, manifestlist.Heads{ref: first.Descriptor.Digest, third: ""})
		var moved *manifestlist.MovedError
		if !errors.As(err, &moved) || moved.Ref != ref || moved.Was != first.Descriptor.Digest || moved.Is != idx.Descriptor.Digest {
			t.Fatalf("got %v", err)
		}
		wantError(t, err, "somebody else wrote it meanwhile", "run the same command again")
		heads, err := c.Heads(t.Context(), []manifestlist.Reference{third, ref})
		must(t, err)
		if heads[third] != "" || heads[ref] != idx.Descriptor.Digest {
			t.Errorf("got %v", heads)
		}
	})
}
