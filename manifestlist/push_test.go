// SPDX-License-Identifier: Apache-2.0

package manifestlist_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/mab-build/mab/manifestlist"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// pushed stages an index and brings what it reaches into a repository by digest, as BuildKit does.
func pushed(t *testing.T, r *testRegistry, repo string) (stage, manifestlist.Index) {
	t.Helper()
	s := newStage(t)
	idx := s.merged(true, "linux/amd64", "linux/arm64")
	ref := manifestlist.Reference{Registry: r.host, Repository: repo}
	_, err := newClient(t, manifestlist.Config{}).Push(t.Context(), idx, []manifestlist.Reference{ref}, s.dir)
	must(t, err)
	r.seen()
	return s, idx
}

func put(repo, id string) string { return "PUT /v2/" + repo + "/manifests/" + id }

// resolves checks that a tag is there and what it names, by another way than Push's.
func resolves(t *testing.T, r *testRegistry, repo, tag string, want digest.Digest) {
	t.Helper()
	resp, err := http.Head(r.URL + "/v2/" + repo + "/manifests/" + tag)
	must(t, err)
	resp.Body.Close()
	if got := digest.Digest(resp.Header.Get("Docker-Content-Digest")); got != want {
		t.Errorf("%s:%s is %q, want %q", repo, tag, got, want)
	}
}

func TestPushRoundTrips(t *testing.T) {
	r := newRegistry(t)
	s, idx := pushed(t, r, "app")
	digest := idx.Descriptor.Digest.String()
	t.Run("one tag is one request", func(t *testing.T) {
		desc, err := newClient(t, manifestlist.Config{}).Push(t.Context(), idx, []manifestlist.Reference{r.ref(t, "app:v1")}, nil)
		must(t, err)
		if diff := cmp.Diff([]string{put("app", "v1")}, r.seen()); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
		if diff := cmp.Diff(idx.Descriptor, desc); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
		resolves(t, r, "app", "v1", idx.Descriptor.Digest)
		r.seen()
	})
	t.Run("several tags: by digest first", func(t *testing.T) {
		_, err := newClient(t, manifestlist.Config{}).Push(t.Context(), idx, []manifestlist.Reference{r.ref(t, "app:v2"), r.ref(t, "app:v3")}, nil)
		must(t, err)
		got := r.seen()
		if got[0] != put("app", digest) {
			t.Errorf("first %q", got[0])
		}
		slices.Sort(got)
		if diff := cmp.Diff([]string{put("app", digest), put("app", "v2"), put("app", "v3")}, got); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
	t.Run("no tag: by digest alone", func(t *testing.T) {
		_, err := newClient(t, manifestlist.Config{}).Push(t.Context(), idx, []manifestlist.Reference{{Registry: r.host, Repository: "app"}}, nil)
		must(t, err)
		if diff := cmp.Diff([]string{put("app", digest)}, r.seen()); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
	t.Run("a single manifest is read where its bytes are not known", func(t *testing.T) {
		sole := s.image("linux/amd64", false)
		_, err := newClient(t, manifestlist.Config{}).Push(t.Context(), manifestlist.Index{Descriptor: sole}, []manifestlist.Reference{r.ref(t, "app:sole")}, nil)
		must(t, err)
		resolves(t, r, "app", "sole", sole.Digest)
	})
}

func TestPushFromDirectory(t *testing.T) {
	r := newRegistry(t)
	s := newStage(t)
	idx := s.merged(true, "linux/amd64", "linux/arm/v7")
	refs := []manifestlist.Reference{r.ref(t, "a/app:v1"), r.ref(t, "b:v1"), r.ref(t, "b:v2")}
	_, err := newClient(t, manifestlist.Config{}).Push(t.Context(), idx, refs, s.dir)
	must(t, err)
	t.Run("tags come last", func(t *testing.T) {
		requests := r.seen()
		isTag := func(s string) bool { return strings.HasPrefix(s, "PUT") && strings.Contains(s, "/manifests/v") }
		first := slices.IndexFunc(requests, isTag)
		if rest := requests[first:]; len(rest) != 3 || slices.ContainsFunc(rest, func(s string) bool { return !isTag(s) }) {
			t.Errorf("got %q", rest)
		}
	})
	t.Run("others read it", func(t *testing.T) {
		for _, ref := range refs {
			raw := skopeo(t, "inspect", "--tls-verify=false", "--raw", "docker://"+ref.String())
			if diff := cmp.Diff(string(idx.Raw), string(raw)); diff != "" {
				t.Errorf("%s (-want +got)\n%s", ref, diff)
			}
		}
		skopeo(t, "copy", "--all", "--src-tls-verify=false", "docker://"+refs[2].String(), "dir:"+t.TempDir())
	})
	t.Run("a repository is a source like any other", func(t *testing.T) {
		other := newRegistry(t)
		c := newClient(t, manifestlist.Config{})
		_, err := c.Push(t.Context(), idx, []manifestlist.Reference{other.ref(t, "copy:v1")}, c.Repository(refs[0]))
		must(t, err)
		resolves(t, other, "copy", "v1", idx.Descriptor.Digest)
	})
	t.Run("what is there is not sent again", func(t *testing.T) {
		r.seen()
		_, err := newClient(t, manifestlist.Config{}).Push(t.Context(), idx, refs[1:2], s.dir)
		must(t, err)
		for _, request := range r.seen() {
			if strings.HasPrefix(request, "POST") {
				t.Errorf("uploads %q", request)
			}
		}
	})
	t.Run("a damaged blob is not pushed", func(t *testing.T) {
		empty := newRegistry(t)
		layer := idx.Images[0].Attestations[0]
		_, err := newClient(t, manifestlist.Config{}).Push(t.Context(), idx, []manifestlist.Reference{empty.ref(t, "app:v1")}, swapped{s.dir, layer, "{}"})
		wantError(t, err, "instead of", "trust nothing")
		resolves(t, empty, "app", "v1", "")
	})
}

// refuse answers requests of one method and path suffix with a status and a registry's error code.
func refuse(method, suffix string, status int, code string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != method || !strings.HasSuffix(r.URL.Path, suffix) {
			return false
		}
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"errors":[{"code":%q,"message":"no"}]}`, code)
		return true
	}
}

// cut ends the connection instead of an answer.
func cut(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) }

func TestPushRefused(t *testing.T) {
	r := newRegistry(t)
	_, idx := pushed(t, r, "app")
	tests := []struct {
		name        string
		answer      func(http.ResponseWriter, *http.Request) bool
		says, hints string
		tries       int
	}{
		{"401", refuse("PUT", "v1", 401, "UNAUTHORIZED"), "UNAUTHORIZED", "docker login " + r.host, 2},
		{"403", refuse("PUT", "v1", 403, "DENIED"), "DENIED", `do not permit this in "app"`, 1},
		{"404, repository", refuse("PUT", "v1", 404, "NAME_UNKNOWN"), "NAME_UNKNOWN", `want the repository "app" to be made first`, 1},
		{"404, a child", refuse("PUT", "v1", 404, "MANIFEST_UNKNOWN"), "MANIFEST_UNKNOWN", "must be pushed there before", 1},
		{"400, a child", refuse("PUT", "v1", 400, "MANIFEST_BLOB_UNKNOWN"), "MANIFEST_BLOB_UNKNOWN", "must be pushed there before", 2},
		{"429", refuse("PUT", "v1", 429, "TOOMANYREQUESTS"), "TOOMANYREQUESTS", "limits how often", 3},
		{"500", refuse("PUT", "v1", 500, "UNKNOWN"), "UNKNOWN", "the fault is with " + r.host, 3},
		{"502 from a proxy", func(w http.ResponseWriter, _ *http.Request) bool {
			http.Error(w, "<html>", http.StatusBadGateway)
			return true
		}, "502 Bad Gateway", "the fault is with " + r.host, 3},
		{"an early end", cut, "EOF", "ended the connection early", 3},
		{"a lie about the digest", func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Docker-Content-Digest", string(someDigest))
			w.WriteHeader(201)
			return true
		}, "gave " + string(someDigest) + " instead of " + string(idx.Descriptor.Digest), "trust nothing", 1},
		{"other content kept under the tag", func(w http.ResponseWriter, req *http.Request) bool {
			if req.Method == http.MethodPut {
				w.WriteHeader(201)
			} else {
				fmt.Fprint(w, "{}")
			}
			return true
		}, "instead of " + string(idx.Descriptor.Digest), "trust nothing", 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r.answer(tt.answer)
			_, err := newClient(t, manifestlist.Config{}).Push(t.Context(), idx, []manifestlist.Reference{r.ref(t, "app:v1")}, nil)
			requests := r.seen()
			r.answer(nil)
			wantError(t, err, fmt.Sprintf("pushing %q: ", r.host+"/app:v1"), tt.hints)
			wantError(t, err, tt.says, tt.hints)
			puts := slices.DeleteFunc(requests, func(s string) bool { return !strings.HasPrefix(s, "PUT") })
			if len(puts) != tt.tries {
				t.Errorf("%d tries, want %d: %q", len(puts), tt.tries, puts)
			}
			resolves(t, r, "app", "v1", "")
			r.seen()
		})
	}
	t.Run("nobody listens", func(t *testing.T) {
		gone := newRegistry(t)
		ref := gone.ref(t, "app:v1")
		gone.Close()
		_, err := newClient(t, manifestlist.Config{}).Push(t.Context(), idx, []manifestlist.Reference{ref}, nil)
		wantError(t, err, "connection refused", "nothing listens at "+gone.host)
	})
}

func TestPushOvercomes(t *testing.T) {
	r := newRegistry(t)
	_, idx := pushed(t, r, "app")
	// times answers the first requests only.
	times := func(n int32, answer func(http.ResponseWriter, *http.Request) bool) func(http.ResponseWriter, *http.Request) bool {
		var count atomic.Int32
		return func(w http.ResponseWriter, req *http.Request) bool {
			return count.Add(1) <= n && answer(w, req)
		}
	}
	tests := []struct {
		name   string
		answer func(http.ResponseWriter, *http.Request) bool
		want   []string
	}{
		{"an overloaded registry", times(1, refuse("PUT", "tag", 503, "UNAVAILABLE")), []string{put("app", "tag"), put("app", "tag")}},
		{"connections that end early", times(2, cut), []string{put("app", "tag"), put("app", "tag"), put("app", "tag")}},
		{"a tag that may not be written again, and need not", refuse("PUT", "tag", 409, "TAG_INVALID"), []string{put("app", "tag"), "GET /v2/app/manifests/tag"}},
		{"a registry that does not tell the digest", func(w http.ResponseWriter, req *http.Request) bool {
			if req.Method != http.MethodPut {
				return false
			}
			w.WriteHeader(201)
			return true
		}, []string{put("app", "tag"), "GET /v2/app/manifests/tag"}},
	}
	c := newClient(t, manifestlist.Config{})
	refs := []manifestlist.Reference{r.ref(t, "app:tag")}
	_, err := c.Push(t.Context(), idx, refs, nil)
	must(t, err)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r.seen()
			r.answer(tt.answer)
			defer r.answer(nil)
			_, err := newClient(t, manifestlist.Config{}).Push(t.Context(), idx, refs, nil)
			must(t, err)
			if diff := cmp.Diff(tt.want, r.seen()); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestPushAllOrNothing(t *testing.T) {
	good, bad := newRegistry(t), newRegistry(t)
	s := newStage(t)
	idx := s.merged(false, "linux/amd64", "linux/arm64")
	refs := []manifestlist.Reference{good.ref(t, "app:v1"), bad.ref(t, "app:v1"), good.ref(t, "app:v2")}
	t.Run("a registry that refuses the index leaves no tag anywhere", func(t *testing.T) {
		bad.answer(refuse("PUT", idx.Descriptor.Digest.String(), 403, "DENIED"))
		_, err := newClient(t, manifestlist.Config{}).Push(t.Context(), idx, refs, s.dir)
		wantError(t, err, "DENIED", "do not permit")
		resolves(t, good, "app", "v1", "")
		resolves(t, good, "app", "v2", "")
	})
	t.Run("one that refuses the tag is told apart from those that took it", func(t *testing.T) {
		bad.answer(refuse("PUT", "v1", 403, "DENIED"))
		_, err := newClient(t, manifestlist.Config{}).Push(t.Context(), idx, refs, s.dir)
		wantError(t, err, fmt.Sprintf("(already written: %[1]s/app:v1, %[1]s/app:v2)", good.host), "do not permit")
	})
	t.Run("a cancelled push leaves no tag", func(t *testing.T) {
		clean := newRegistry(t)
		ctx, cancel := context.WithCancel(t.Context())
		clean.answer(func(_ http.ResponseWriter, req *http.Request) bool {
			if strings.HasSuffix(req.URL.Path, idx.Descriptor.Digest.String()) {
				cancel()
			}
			return false
		})
		refs := []manifestlist.Reference{clean.ref(t, "app:v1"), clean.ref(t, "app:v2")}
		_, err := newClient(t, manifestlist.Config{}).Push(ctx, idx, refs, s.dir)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		resolves(t, clean, "app", "v1", "")
		resolves(t, clean, "app", "v2", "")
	})
	t.Run("a missing blob leaves no tag", func(t *testing.T) {
		clean := newRegistry(t)
		_, err := newClient(t, manifestlist.Config{}).Push(t.Context(), idx, []manifestlist.Reference{clean.ref(t, "app:v1")}, manifestlist.BlobDir(t.TempDir()))
		wantError(t, err, "is not in", "")
		resolves(t, clean, "app", "v1", "")
	})
}

func TestPushRefusesReferences(t *testing.T) {
	c := newClient(t, manifestlist.Config{})
	_, err := c.Push(t.Context(), manifestlist.Index{}, nil, nil)
	wantError(t, err, "no reference", "")
	_, err = c.Push(t.Context(), manifestlist.Index{}, []manifestlist.Reference{{Registry: "a", Repository: "b", Digest: someDigest}}, nil)
	wantError(t, err, "cannot be chosen", "leave it out")
}

func TestPushForeignLayers(t *testing.T) {
	r := newRegistry(t)
	s := newStage(t)
	config := s.put(ocispec.MediaTypeImageConfig, []byte(`{"os":"windows","architecture":"amd64"}`))
	// Nobody may pass Microsoft's base layers on: they are not in the directory, and not pushed.
	layer := ocispec.Descriptor{MediaType: "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", Digest: someDigest, Size: 5}
	desc := s.putJSON(ocispec.MediaTypeImageManifest, ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Config: config, Layers: []ocispec.Descriptor{layer}})
	_, err := newClient(t, manifestlist.Config{}).Push(t.Context(), manifestlist.Index{Descriptor: desc}, []manifestlist.Reference{r.ref(t, "app:v1")}, s.dir)
	must(t, err)
	resolves(t, r, "app", "v1", desc.Digest)
}
