// SPDX-License-Identifier: Apache-2.0

package manifestlist_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/mab-build/mab/manifestlist"
	"github.com/mab-build/mab/platforms"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func TestAnnotate(t *testing.T) {
	arm64 := pure("arm64", "")
	arm64.Manifest.Platform.Variant = "v8" // as other tools write it
	arm64.Manifest.Annotations = map[string]string{"kept": "1", "gone": "2"}
	before := ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, ArtifactType: "application/example",
		Annotations: map[string]string{"kept": "3", "gone": "4"},
		Manifests:   []ocispec.Descriptor{arm64.Manifest, pure("amd64", "").Manifest, attested(arm64).Attestations[0]},
	}
	all := platforms.Platform{}
	amd := platforms.MustParse("amd64")
	for _, tt := range []struct {
		rule    string
		changes manifestlist.Changes
		want    func(*ocispec.Index)
	}{
		{"of the index", manifestlist.Changes{MergeOptions: manifestlist.MergeOptions{IndexAnnotations: map[string]string{"kept": "5", "new": "6"}}},
			func(i *ocispec.Index) { i.Annotations = map[string]string{"kept": "5", "gone": "4", "new": "6"} }},
		{"of all images, not of attestations", manifestlist.Changes{MergeOptions: manifestlist.MergeOptions{ManifestAnnotations: map[platforms.Platform]map[string]string{all: {"a": "b"}}}},
			func(i *ocispec.Index) {
				i.Manifests[0].Annotations = map[string]string{"kept": "1", "gone": "2", "a": "b"}
				i.Manifests[1].Annotations = map[string]string{"a": "b"}
			}},
		{"of one platform, over those of all", manifestlist.Changes{MergeOptions: manifestlist.MergeOptions{ManifestAnnotations: map[platforms.Platform]map[string]string{all: {"a": "b"}, amd: {"a": "c"}}}},
			func(i *ocispec.Index) {
				i.Manifests[0].Annotations = map[string]string{"kept": "1", "gone": "2", "a": "b"}
				i.Manifests[1].Annotations = map[string]string{"a": "c"}
			}},
		{"removed", manifestlist.Changes{Remove: []manifestlist.Annotated{{Name: "gone"}, {Manifests: true, Name: "gone"}, {Manifests: true, Platform: amd, Name: "kept"}}},
			func(i *ocispec.Index) {
				i.Annotations = map[string]string{"kept": "3"}
				i.Manifests[0].Annotations = map[string]string{"kept": "1"}
			}},
		{"details of a platform", manifestlist.Changes{Details: map[platforms.Platform]manifestlist.Detail{amd: {Variant: "V2", OSVersion: "1.2", OSFeatures: []string{"a", "b"}}}},
			func(i *ocispec.Index) {
				i.Manifests[1].Platform = &ocispec.Platform{OS: "linux", Architecture: "amd64", Variant: "v2", OSVersion: "1.2", OSFeatures: []string{"a", "b"}}
			}},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			raw, err := json.Marshal(before)
			must(t, err)
			idx, err := manifestlist.Annotate(describe(ocispec.MediaTypeImageIndex, raw), raw, tt.changes)
			must(t, err)
			var got, want ocispec.Index
			must(t, json.Unmarshal(idx.Raw, &got))
			must(t, json.Unmarshal(raw, &want))
			tt.want(&want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if diff := cmp.Diff(describe(ocispec.MediaTypeImageIndex, idx.Raw), idx.Descriptor); diff != "" {
				t.Errorf("descriptor (-want +got)\n%s", diff)
			}
		})
	}
}

func TestAnnotateRefuses(t *testing.T) {
	index := part(t, "index", nil, pure("amd64", ""), pure("amd64/v2", ""))
	notes := manifestlist.MergeOptions{IndexAnnotations: map[string]string{"a": "b"}}
	for _, tt := range []struct {
		rule        string
		root        ocispec.Descriptor
		changes     manifestlist.Changes
		says, hints string
		refusal     bool
	}{
		{"a single image", pure("amd64", "").Manifest, manifestlist.Changes{MergeOptions: notes}, "not an index", "mab index create", false},
		{"a platform that is not there", index.Root, manifestlist.Changes{Details: map[platforms.Platform]manifestlist.Detail{platforms.MustParse("s390x"): {OSVersion: "1"}}},
			"linux/s390x is not in it", "linux/amd64, linux/amd64/v2", false},
		{"two of a kind", index.Root, manifestlist.Changes{Details: map[platforms.Platform]manifestlist.Detail{platforms.MustParse("amd64"): {Variant: "v2"}}},
			"two images for linux/amd64/v2", "", true},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			_, err := manifestlist.Annotate(tt.root, index.Raw, tt.changes)
			wantError(t, err, tt.says, tt.hints)
			if got := errors.As(err, new(manifestlist.Refusal)); got != tt.refusal {
				t.Errorf("refusal is %v", got)
			}
		})
	}
	t.Run("a docker manifest list becomes an OCI index", func(t *testing.T) {
		list := ocispec.Index{MediaType: "application/vnd.docker.distribution.manifest.list.v2+json", Manifests: []ocispec.Descriptor{docker(pure("amd64", "")).Manifest}}
		raw, err := json.Marshal(list)
		must(t, err)
		idx, err := manifestlist.Annotate(describe(list.MediaType, raw), raw, manifestlist.Changes{MergeOptions: notes})
		must(t, err)
		if idx.Descriptor.MediaType != ocispec.MediaTypeImageIndex || shownIn(t, idx.Raw) != "amd64" {
			t.Errorf("got %s %s", idx.Descriptor.MediaType, idx.Raw)
		}
	})
}

func TestAgree(t *testing.T) {
	s := newStage(t)
	idx := s.merged(true, "linux/arm/v7")
	must(t, manifestlist.Agree(t.Context(), idx, s.dir))
	lower, err := manifestlist.Annotate(idx.Descriptor, idx.Raw, manifestlist.Changes{Details: map[platforms.Platform]manifestlist.Detail{platforms.MustParse("arm/v7"): {Variant: "v6"}}})
	must(t, err)
	err = manifestlist.Agree(t.Context(), lower, s.dir)
	wantError(t, err, "is described as linux/arm/v6, but its config says linux/arm/v7", "cannot run")
}
