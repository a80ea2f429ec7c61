// SPDX-License-Identifier: Apache-2.0

package manifestlist_test

import (
	"encoding/json"
	"errors"
	"math/rand"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/mab-build/mab/manifestlist"
	"github.com/mab-build/mab/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// part makes a part of images without content behind them, with annotations of its own.
func part(t *testing.T, name string, annotations map[string]string, images ...manifestlist.Image) manifestlist.Part {
	t.Helper()
	index := ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Annotations: annotations}
	index.SchemaVersion = 2
	for _, image := range images {
		index.Manifests = append(index.Manifests, image.Manifest)
	}
	for _, image := range images {
		index.Manifests = append(index.Manifests, image.Attestations...)
	}
	raw, err := json.Marshal(index)
	must(t, err)
	return manifestlist.Part{Name: name, Root: describe(ocispec.MediaTypeImageIndex, raw), Raw: raw, Images: images}
}

// shownIn lists the entries of an index: platforms, and attestations as the platform that they are of with a plus before it.
func shownIn(t *testing.T, raw []byte) string {
	t.Helper()
	var index ocispec.Index
	must(t, json.Unmarshal(raw, &index))
	of := map[string]string{}
	var out []string
	for _, desc := range index.Manifests {
		if subject := desc.Annotations["vnd.docker.reference.digest"]; subject != "" {
			out = append(out, "+"+of[subject])
			continue
		}
		name := platforms.FromOCI(*desc.Platform).String() + desc.Platform.OSVersion
		of[desc.Digest.String()] = strings.TrimPrefix(name, "linux/")
		out = append(out, of[desc.Digest.String()])
	}
	return strings.Join(out, " ")
}

func windows(version string) manifestlist.Image {
	image := pure("windows/amd64", version)
	image.Manifest.Platform.OSVersion = version
	return image
}

func TestCompose(t *testing.T) {
	amd, arm, v5, v7 := attested(pure("amd64", "")), attested(pure("arm64", "")), pure("arm/v5", ""), pure("arm/v7", "")
	for _, tt := range []struct {
		rule  string
		parts [][]manifestlist.Image
		opts  manifestlist.Composition
		want  string
	}{
		{"in the order of the parts, attestations last", [][]manifestlist.Image{{arm}, {amd}}, manifestlist.Composition{}, "arm64 amd64 +arm64 +amd64"},
		{"sorted if asked for", [][]manifestlist.Image{{arm}, {amd}}, manifestlist.Composition{Sorted: true}, "amd64 arm64 +amd64 +arm64"},
		{"only some, in their order", [][]manifestlist.Image{{amd, v7}, {arm}}, manifestlist.Composition{Platforms: parse("arm64", "amd64")}, "arm64 amd64 +arm64 +amd64"},
		{"lower variants first", [][]manifestlist.Image{{v7}, {amd}, {v5}}, manifestlist.Composition{}, "arm/v5 amd64 arm/v7 +amd64"},
		{"the same image twice is once there", [][]manifestlist.Image{{amd, arm}, {arm}}, manifestlist.Composition{}, "amd64 arm64 +amd64 +arm64"},
		{"with the attestations of both", [][]manifestlist.Image{{pure("amd64", "")}, {amd}}, manifestlist.Composition{}, "amd64 +amd64"},
		{"versions of Windows", [][]manifestlist.Image{{windows("10.0.2"), amd}, {windows("10.0.1")}}, manifestlist.Composition{Sorted: true},
			"amd64 windows/amd6410.0.1 windows/amd6410.0.2 +amd64"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			var parts []manifestlist.Part
			for i, images := range tt.parts {
				parts = append(parts, part(t, string(rune('a'+i)), nil, images...))
			}
			idx, err := manifestlist.Compose(parts, tt.opts)
			must(t, err)
			if got := shownIn(t, idx.Raw); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if diff := cmp.Diff(describe(ocispec.MediaTypeImageIndex, idx.Raw), idx.Descriptor); diff != "" {
				t.Errorf("descriptor (-want +got)\n%s", diff)
			}
		})
	}
}

func TestComposeRefuses(t *testing.T) {
	same := pure("arm64", "")
	same.Manifest.Digest = pure("amd64", "").Manifest.Digest
	for _, tt := range []struct {
		rule        string
		images      []manifestlist.Image
		opts        manifestlist.Composition
		says, hints string
	}{
		{"two images for one platform", []manifestlist.Image{pure("amd64", "a"), pure("amd64", "b")}, manifestlist.Composition{}, "two images for linux/amd64", "--platform"},
		{"one image for two platforms", []manifestlist.Image{pure("amd64", ""), same}, manifestlist.Composition{}, "linux/amd64 and linux/arm64 have the same image", "one platform"},
		{"a platform that is missing", []manifestlist.Image{pure("amd64", "")}, manifestlist.Composition{Platforms: parse("arm64")}, "no image for linux/arm64", "linux/amd64"},
		{"one too many, if asked to", []manifestlist.Image{pure("amd64", ""), pure("arm64", "")}, manifestlist.Composition{Platforms: parse("amd64"), Exact: true},
			"linux/arm64 is there, which was not asked for", "asked for were linux/amd64"},
		{"nothing", nil, manifestlist.Composition{}, "no image", ""},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			var parts []manifestlist.Part
			for _, image := range tt.images {
				parts = append(parts, part(t, "x", nil, image))
			}
			_, err := manifestlist.Compose(parts, tt.opts)
			wantError(t, err, tt.says, tt.hints)
			if !errors.As(err, new(manifestlist.Refusal)) {
				t.Errorf("%v is no refusal", err)
			}
		})
	}
}

func TestComposeOneSource(t *testing.T) {
	notes := map[string]string{"org.opencontainers.image.title": "app"}
	index := part(t, "index", notes, attested(pure("amd64", "")), pure("arm/v7", ""))
	sole := manifestlist.Part{Name: "image", Root: pure("amd64", "").Manifest, Raw: []byte("{}"), Images: []manifestlist.Image{pure("amd64", "")}}
	add := manifestlist.MergeOptions{IndexAnnotations: map[string]string{"a": "b"}}
	annotations := func(idx manifestlist.Index) map[string]string {
		var got ocispec.Index
		must(t, json.Unmarshal(idx.Raw, &got))
		return got.Annotations
	}
	compose := func(opts manifestlist.Composition, parts ...manifestlist.Part) manifestlist.Index {
		t.Helper()
		idx, err := manifestlist.Compose(parts, opts)
		must(t, err)
		return idx
	}
	t.Run("an index stays as it is", func(t *testing.T) {
		if got := compose(manifestlist.Composition{}, index); string(got.Raw) != string(index.Raw) || got.Descriptor.Digest != index.Root.Digest {
			t.Errorf("got %s", got.Raw)
		}
	})
	t.Run("and keeps its annotations if others are added", func(t *testing.T) {
		want := map[string]string{"a": "b", "org.opencontainers.image.title": "app"}
		if diff := cmp.Diff(want, annotations(compose(manifestlist.Composition{MergeOptions: add}, index))); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff(want, annotations(compose(manifestlist.Composition{MergeOptions: add, Base: true}, index, sole))); diff != "" {
			t.Errorf("appended to: %s", diff)
		}
	})
	t.Run("but not among others", func(t *testing.T) {
		if got := annotations(compose(manifestlist.Composition{}, sole, index)); got != nil {
			t.Errorf("got %v", got)
		}
	})
	t.Run("an image becomes an index", func(t *testing.T) {
		if got := compose(manifestlist.Composition{}, sole); shownIn(t, got.Raw) != "amd64" {
			t.Errorf("got %s", got.Raw)
		}
	})
	t.Run("unless it is to stay one", func(t *testing.T) {
		if got := compose(manifestlist.Composition{KeepManifest: true}, sole); string(got.Raw) != "{}" {
			t.Errorf("got %s", got.Raw)
		}
	})
	t.Run("docker's images in an annotated index make it OCI's", func(t *testing.T) {
		images := manifestlist.Part{Name: "docker", Images: []manifestlist.Image{docker(pure("amd64", "")), docker(pure("arm64", ""))}}
		if got := compose(manifestlist.Composition{}, images); got.Descriptor.MediaType != "application/vnd.docker.distribution.manifest.list.v2+json" {
			t.Errorf("got %s", got.Descriptor.MediaType)
		}
		if got := compose(manifestlist.Composition{MergeOptions: add}, images); got.Descriptor.MediaType != ocispec.MediaTypeImageIndex {
			t.Errorf("annotated: got %s", got.Descriptor.MediaType)
		}
	})
	t.Run("an annotation for a platform that is not there", func(t *testing.T) {
		_, err := manifestlist.Compose([]manifestlist.Part{sole}, manifestlist.Composition{MergeOptions: manifestlist.MergeOptions{
			ManifestAnnotations: map[platforms.Platform]map[string]string{platforms.MustParse("s390x"): {"a": "b"}},
		}})
		wantError(t, err, "annotation for linux/s390x, which is not in it", "linux/amd64")
	})
}

// TestPermutations: whatever order images come in, the bytes are the same.
func TestPermutations(t *testing.T) {
	names := []string{"amd64", "amd64/v3", "arm64", "arm/v5", "arm/v7", "386", "riscv64", "s390x", "windows/amd64"}
	random := rand.New(rand.NewSource(1)) //nolint:gosec // a failure must come again
	var first, firstMerged []byte
	for range 200 {
		var parts []manifestlist.Part
		var images []manifestlist.Image
		for _, i := range random.Perm(len(names)) {
			image := attested(pure(names[i], ""))
			images = append(images, image)
			parts = append(parts, part(t, names[i], nil, image))
		}
		// Some of them twice, and some together; one with another attestation.
		parts = append(parts, part(t, "more", nil, images[:random.Intn(len(images))]...))
		other := attested(pure("amd64", ""))
		other.Attestations[0].Digest = pure("amd64", "another").Manifest.Digest
		parts = append(parts, part(t, "other", nil, other))
		random.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
		idx, err := manifestlist.Compose(parts, manifestlist.Composition{Sorted: true})
		must(t, err)
		merged, err := manifestlist.Merge(parse(names...), images, manifestlist.MergeOptions{})
		must(t, err)
		if first == nil {
			first, firstMerged = idx.Raw, merged.Raw
			if got := shownIn(t, first); !strings.HasPrefix(got, "386 amd64 amd64/v3 arm/v5 arm/v7 arm64 riscv64 s390x windows/amd64 +386") {
				t.Fatalf("got %s", got)
			}
		}
		if string(idx.Raw) != string(first) || string(merged.Raw) != string(firstMerged) {
			t.Fatalf("another order, other bytes:\n%s\n%s", shownIn(t, first), shownIn(t, idx.Raw))
		}
	}
}

// TestMergeVariants: the order of variants does not depend on how they were asked for.
func TestMergeVariants(t *testing.T) {
	for _, order := range [][]string{{"arm/v7", "amd64", "arm/v5"}, {"arm/v5", "amd64", "arm/v7"}} {
		idx, err := manifestlist.Merge(parse(order...), []manifestlist.Image{pure("arm/v7", ""), pure("amd64", ""), pure("arm/v5", "")}, manifestlist.MergeOptions{})
		must(t, err)
		if got := shownIn(t, idx.Raw); got != "arm/v5 amd64 arm/v7" {
			t.Errorf("%v: got %s", order, got)
		}
		if got := idx.Images[0].Platform.String(); got != "linux/"+order[0] {
			t.Errorf("%v: Images begin with %s", order, got)
		}
	}
}
