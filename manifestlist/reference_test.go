// SPDX-License-Identifier: Apache-2.0

package manifestlist_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/mab-build/mab/manifestlist"
	"github.com/opencontainers/go-digest"
)

func hintOf(err error) string {
	var h interface{ Hint() string }
	if errors.As(err, &h) {
		return h.Hint()
	}
	return ""
}

const someDigest = digest.Digest("sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824")

func TestParseReference(t *testing.T) {
	tests := []struct {
		in       string
		want     manifestlist.Reference
		familiar string
	}{
		{"alpine", manifestlist.Reference{Registry: "docker.io", Repository: "library/alpine", Tag: "latest"}, "alpine:latest"},
		{"me/app:1.0", manifestlist.Reference{Registry: "docker.io", Repository: "me/app", Tag: "1.0"}, "me/app:1.0"},
		{"index.docker.io/me/app", manifestlist.Reference{Registry: "docker.io", Repository: "me/app", Tag: "latest"}, "me/app:latest"},
		{"localhost/app", manifestlist.Reference{Registry: "localhost", Repository: "app", Tag: "latest"}, "localhost/app:latest"},
		{"[::1]:5000/a/b:V1", manifestlist.Reference{Registry: "[::1]:5000", Repository: "a/b", Tag: "V1"}, "[::1]:5000/a/b:V1"},
		{"docker.io/library/a/b:1", manifestlist.Reference{Registry: "docker.io", Repository: "library/a/b", Tag: "1"}, "library/a/b:1"},
		{"docker.io/quay.io/a:1", manifestlist.Reference{Registry: "docker.io", Repository: "quay.io/a", Tag: "1"}, "docker.io/quay.io/a:1"},
		{"ghcr.io/a/b@" + string(someDigest), manifestlist.Reference{Registry: "ghcr.io", Repository: "a/b", Digest: someDigest}, "ghcr.io/a/b@" + string(someDigest)},
		{"a:t@" + string(someDigest), manifestlist.Reference{Registry: "docker.io", Repository: "library/a", Tag: "t", Digest: someDigest}, "a:t@" + string(someDigest)},
	}
	for _, tt := range tests {
		t.Run(tt.in, func(t *testing.T) {
			got, err := manifestlist.ParseReference(tt.in)
			must(t, err)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if diff := cmp.Diff(tt.familiar, got.Familiar()); diff != "" {
				t.Errorf("familiar (-want +got)\n%s", diff)
			}
		})
	}
}

func TestParseReferenceHints(t *testing.T) {
	tests := []struct{ name, in, hint string }{
		{"empty", "", "name an image"},
		{"capitals in the repository", "ghcr.io/Me/App:V1", "ghcr.io/me/app:V1"},
		{"capitals without a slash", "App", "repository names are lower case: app"},
		{"spaces", "my app", "no spaces: myapp"},
		{"a trailing newline", "app:1\n", "no spaces: app:1"},
		{"a scheme", "https://ghcr.io/a/b", "leave out the scheme: ghcr.io/a/b"},
		{"an empty tag", "app:", "app:latest"},
		{"a trailing slash", "ghcr.io/a/", "after the last slash"},
		{"an odd character", "a/b:c!", "names are lower-case letters"},
		{"a short digest", "app@sha256:abc", "names are lower-case letters"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := manifestlist.ParseReference(tt.in)
			wantError(t, err, "reading reference", tt.hint)
		})
	}
}

func TestParseReferences(t *testing.T) {
	t.Run("the order is kept, what was named before is dropped", func(t *testing.T) {
		refs, err := manifestlist.ParseReferences([]string{"b:1", "a", "docker.io/library/b:1", "a:latest"})
		must(t, err)
		var got []string
		for _, r := range refs {
			got = append(got, r.String())
		}
		want := []string{"docker.io/library/b:1", "docker.io/library/a:latest"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
	t.Run("a digest cannot be written to", func(t *testing.T) {
		_, err := manifestlist.ParseReferences([]string{"a:v1@" + string(someDigest)})
		wantError(t, err, "cannot be chosen", "leave it out: a:v1")
	})
}

func TestLoopback(t *testing.T) {
	tests := map[string]bool{
		"localhost": true, "LOCALHOST:5000": true, "registry.localhost:80": true, "127.0.0.1": true, "127.9.8.7:5000": true,
		"[::1]:5000": true, "[::1]": true, "[::ffff:127.0.0.1]:1": true,
		"localhost.example.com": false, "notlocalhost": false, "128.0.0.1": false, "10.0.0.1:5000": false, "[::2]:5000": false,
		"127.0.0.1.example.com": false,
	}
	for host, want := range tests {
		if got := manifestlist.IsLoopback(host); got != want {
			t.Errorf("%s: %v, want %v", host, got, want)
		}
	}
}

func FuzzParseReference(f *testing.F) {
	for _, s := range []string{"alpine", "localhost:5000/a:b", "a@" + string(someDigest), "https://x", "A b", "docker.io/localhost/a", "docker.io/a.b/c", "[::1]:5/x", ":", "@", "/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := manifestlist.ParseReference(s)
		if err != nil {
			if hintOf(err) == "" {
				t.Errorf("no hint for %q", err)
			}
			return
		}
		for _, form := range []string{r.String(), r.Familiar()} {
			again, err := manifestlist.ParseReference(form)
			if err != nil || again != r {
				t.Errorf("%q gives %+v; its form %q gives %+v, %v", s, r, form, again, err)
			}
		}
		if strings.ContainsAny(r.String(), " \n") || r.Tag == "" && r.Digest == "" {
			t.Errorf("%q gives %q", s, r)
		}
	})
}
