// SPDX-License-Identifier: Apache-2.0

package bases_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/mab-build/mab/e2e/bases"
)

func TestServe(t *testing.T) {
	needs(t, "apt-get", "dpkg-deb")
	platforms := []string{"linux/s390x", "linux/amd64"}
	registry, err := bases.Serve(t.Context(), bases.Config{}, bases.Image{Name: bases.Busybox, Platforms: platforms})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := registry.Close(); err != nil {
			t.Error(err)
		}
		if _, err := http.Get("http://" + registry.Addr() + "/v2/"); err == nil {
			t.Error("a closed registry answers")
		}
	}()

	t.Run("a base image is a whole index in the order asked for", func(t *testing.T) {
		index, err := remote.Index(tag(t, registry.Ref(bases.Busybox)))
		if err != nil {
			t.Fatal(err)
		}
		if err := validate.Index(index); err != nil {
			t.Error(err)
		}
		manifest, err := index.IndexManifest()
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, descriptor := range manifest.Manifests {
			got = append(got, descriptor.Platform.String())
		}
		if diff := cmp.Diff(platforms, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})

	t.Run("what is pushed can be pulled", func(t *testing.T) {
		pushed, err := random.Index(5000, 2, 3)
		if err != nil {
			t.Fatal(err)
		}
		ref := tag(t, registry.Addr()+"/some/app:v1")
		if err := remote.WriteIndex(ref, pushed); err != nil {
			t.Fatal(err)
		}
		pulled, err := remote.Index(ref)
		if err != nil {
			t.Fatal(err)
		}
		if err := validate.Index(pulled); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(digestOf(t, pushed), digestOf(t, pulled)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})

	t.Run("a blob that is not there is not found", func(t *testing.T) {
		response, err := http.Get("http://" + registry.Addr() + "/v2/busybox/blobs/sha256:" + strings.Repeat("0", 64))
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusNotFound {
			t.Errorf("got %s", response.Status)
		}
	})
}

func tag(t *testing.T, ref string) name.Tag {
	t.Helper()
	tag, err := name.NewTag(ref, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	return tag
}
