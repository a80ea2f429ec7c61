// SPDX-License-Identifier: Apache-2.0

package manifestlist_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/mab-build/mab/manifestlist"
	"github.com/mab-build/mab/platforms"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func describe(mediaType string, raw []byte) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
}

func TestSplitIndex(t *testing.T) {
	s := newStage(t)
	root := s.solve(true, "linux/arm64", "linux/amd64")
	images, err := manifestlist.Split(root, s.read(root), nil)
	must(t, err)

	var index ocispec.Index
	must(t, json.Unmarshal(s.read(root), &index))
	m := index.Manifests
	want := []manifestlist.Image{
		{Platform: platforms.MustParse("linux/arm64"), Manifest: m[0], Attestations: []ocispec.Descriptor{m[2]}},
		{Platform: platforms.MustParse("linux/amd64"), Manifest: m[1], Attestations: []ocispec.Descriptor{m[3]}},
	}
	if diff := cmp.Diff(want, images); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestSplitManifest(t *testing.T) {
	s := newStage(t)
	desc := s.image("linux/arm/v7", false)
	raw := s.read(desc)
	var m ocispec.Manifest
	must(t, json.Unmarshal(raw, &m))
	bare := describe(desc.MediaType, raw)
	noted := desc
	noted.Annotations = map[string]string{
		"config.digest": string(m.Config.Digest), ocispec.AnnotationCreated: "2026-11-21T10:00:00Z", "kept": "yes",
	}
	v7 := platforms.MustParse("linux/arm/v7")
	kept := desc
	kept.Annotations = map[string]string{"kept": "yes"}
	tests := []struct {
		name        string
		root        ocispec.Descriptor
		raw, config []byte
		want        manifestlist.Image
	}{
		{"the platform is the descriptor's", desc, raw, nil, manifestlist.Image{Platform: v7, Manifest: desc, Config: m.Config, Raw: raw}},
		{"else the config's", bare, raw, s.read(m.Config), manifestlist.Image{Platform: v7, Manifest: bare, Config: m.Config, Raw: raw}},
		{"the descriptor alone will do", desc, nil, nil, manifestlist.Image{Platform: v7, Manifest: desc}},
		{"the exporter's notes are dropped", noted, nil, nil, manifestlist.Image{Platform: v7, Manifest: kept}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			images, err := manifestlist.Split(tt.root, tt.raw, tt.config)
			must(t, err)
			if diff := cmp.Diff([]manifestlist.Image{tt.want}, images); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
	t.Run("reading finds the config itself", func(t *testing.T) {
		images, err := manifestlist.ReadImages(t.Context(), s.dir, bare)
		must(t, err)
		if diff := cmp.Diff([]manifestlist.Image{tests[1].want}, images); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
}

func TestSplitRefuses(t *testing.T) {
	const index = ocispec.MediaTypeImageIndex
	image := `{"mediaType":"` + ocispec.MediaTypeImageManifest + `","digest":"` + string(someDigest) + `","size":7`
	tests := []struct{ name, mediaType, raw, config, says string }{
		{"what is no index or image", "text/plain", "x", "", "neither an index nor an image"},
		{"an index that is no JSON", index, "x", "", "invalid character"},
		{"an index without an image", index, `{}`, "", "holds no image"},
		{"an image without a platform", index, `{"manifests":[` + image + `}]}`, "", "has no platform"},
		{"an index in an index", index, `{"manifests":[{"mediaType":"` + index + `","digest":"` + string(someDigest) + `"}]}`, "", "is no image but"},
		{"an attestation of an image that is elsewhere", index, `{"manifests":[` + image +
			`,"annotations":{"vnd.docker.reference.type":"attestation-manifest","vnd.docker.reference.digest":"` + string(someDigest) + `"}}]}`, "", "not in the index"},
		{"a manifest that says to be an index", ocispec.MediaTypeImageManifest, `{"mediaType":"` + index + `"}`, `{"os":"linux","architecture":"arm64"}`, "it says to be"},
		{"a config that is no JSON", ocispec.MediaTypeImageManifest, `{}`, "x", "reading config"},
		{"a config without a platform", ocispec.MediaTypeImageManifest, `{}`, `{}`, "names no platform"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			raw := []byte(tt.raw)
			_, err := manifestlist.Split(describe(tt.mediaType, raw), raw, []byte(tt.config))
			wantError(t, err, tt.says, "")
		})
	}
	t.Run("bytes of another digest", func(t *testing.T) {
		_, err := manifestlist.Split(describe(index, []byte(`{}`)), []byte(`[]`), nil)
		var wrong *manifestlist.DigestError
		if !errors.As(err, &wrong) {
			t.Fatalf("%v is no DigestError", err)
		}
	})
}

func FuzzSplit(f *testing.F) {
	f.Add([]byte(`{"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","platform":{"os":"linux","architecture":"arm"}}]}`), []byte(`{}`), true)
	f.Add([]byte(`{"mediaType":"application/vnd.oci.image.manifest.v1+json"}`), []byte(`{"os":"linux","architecture":"arm64","variant":"v8"}`), false)
	f.Fuzz(func(t *testing.T, raw, config []byte, index bool) {
		mediaType := ocispec.MediaTypeImageManifest
		if index {
			mediaType = ocispec.MediaTypeImageIndex
		}
		images, err := manifestlist.Split(describe(mediaType, raw), raw, config)
		if (err == nil) != (len(images) > 0) {
			t.Fatalf("%d images, error %v", len(images), err)
		}
		for _, image := range images {
			if image.Platform.OS == "" && !index {
				t.Errorf("an image without a platform: %+v", image)
			}
		}
	})
}
