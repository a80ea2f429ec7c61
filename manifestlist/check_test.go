// SPDX-License-Identifier: Apache-2.0

package manifestlist_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/mab-build/mab/manifestlist"
	"github.com/mab-build/mab/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func TestCheck(t *testing.T) {
	s := newStage(t)
	want := parse("linux/amd64/v3", "linux/arm64", "linux/arm/v7")
	images, err := manifestlist.ReadImages(t.Context(), s.dir, s.solve(true, "linux/arm64", "linux/arm/v7"))
	must(t, err)
	// A base without a variant is what linux/amd64/v3 machines run, too.
	lower := s.image("linux/amd64", false)
	lower.Platform = &ocispec.Platform{OS: "linux", Architecture: "amd64", Variant: "v3"}
	images = append(images, manifestlist.Image{Platform: want[0], Manifest: lower})

	got, err := manifestlist.Check(t.Context(), s.dir, want, images)
	must(t, err)
	for i := range images {
		raw := s.read(images[i].Manifest)
		split, err := manifestlist.Split(images[i].Manifest, raw, nil)
		must(t, err)
		images[i].Raw, images[i].Config = raw, split[0].Config
	}
	if diff := cmp.Diff(images, got); diff != "" {
		t.Errorf("Raw and Config are filled in, in the same order (-want +got)\n%s", diff)
	}
}

func TestCheckRefuses(t *testing.T) {
	s := newStage(t)
	claimed := func(platform, config string) manifestlist.Image {
		desc := s.image(config, false)
		p := platforms.MustParse(platform)
		oci := p.OCI()
		desc.Platform = &oci
		return manifestlist.Image{Platform: p, Manifest: desc}
	}
	tests := []struct {
		name        string
		image       manifestlist.Image
		says, hints string
	}{
		{"a config of another architecture", claimed("linux/arm64", "linux/amd64"), "config says linux/amd64", "whether the base has linux/arm64"},
		{"a config of another system", claimed("linux/amd64", "windows/amd64"), "config says windows/amd64", "--platform in its FROM"},
		{"a config of a higher variant", claimed("linux/arm/v6", "linux/arm/v7"), "config says linux/arm/v7", "--platform in its FROM"},
		{"32-bit programs for 64-bit machines", claimed("linux/arm64", "linux/arm/v7"), "config says linux/arm/v7", "--platform in its FROM"},
		{"an image nobody asked for", claimed("linux/s390x", "linux/s390x"), "was not asked for", "linux/arm64"},
	}
	want := parse("linux/arm64", "linux/amd64", "linux/arm/v6")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := manifestlist.Check(t.Context(), s.dir, want, []manifestlist.Image{tt.image})
			wantError(t, err, tt.says, tt.hints)
			wantError(t, err, "checking the image for "+tt.image.Platform.String(), tt.hints)
		})
	}
	t.Run("all faults are told, in order", func(t *testing.T) {
		_, err := manifestlist.Check(t.Context(), s.dir, want, []manifestlist.Image{tests[0].image, tests[1].image})
		arm, amd := strings.Index(err.Error(), "image for linux/arm64"), strings.Index(err.Error(), "image for linux/amd64")
		if arm < 0 || amd < arm {
			t.Errorf("got %v", err)
		}
	})
}

// swapped gives other content for one digest.
type swapped struct {
	manifestlist.Blobs
	desc ocispec.Descriptor
	with string
}

func (s swapped) Open(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	if desc.Digest == s.desc.Digest {
		return io.NopCloser(strings.NewReader(s.with)), nil
	}
	return s.Blobs.Open(ctx, desc)
}

func TestCheckVerifies(t *testing.T) {
	s := newStage(t)
	images, err := manifestlist.ReadImages(t.Context(), s.dir, s.image("linux/arm64", false))
	must(t, err)
	want := parse("linux/arm64")
	bare := []manifestlist.Image{{Platform: images[0].Platform, Manifest: images[0].Manifest}}
	original := string(s.read(images[0].Config))
	tests := []struct {
		name   string
		from   manifestlist.Blobs
		images []manifestlist.Image
	}{
		{"a manifest that was swapped", swapped{s.dir, images[0].Manifest, "{}"}, bare},
		{"a config that was swapped", swapped{s.dir, images[0].Config, strings.Replace(original, "linux", "Linux", 1)}, bare},
		{"a config that was cut short", swapped{s.dir, images[0].Config, original[:10]}, bare},
		{"a config with something behind it", swapped{s.dir, images[0].Config, original + " "}, bare},
		{"bytes that came with the image", s.dir, []manifestlist.Image{{Platform: images[0].Platform, Manifest: images[0].Manifest, Raw: []byte("{}")}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := manifestlist.Check(t.Context(), tt.from, want, tt.images)
			var wrong *manifestlist.DigestError
			if !errors.As(err, &wrong) {
				t.Fatalf("%v is no DigestError", err)
			}
			wantError(t, err, "instead of", "trust nothing it gave")
		})
	}
	t.Run("a blob that is missing", func(t *testing.T) {
		path, err := s.dir.Path(images[0].Config.Digest)
		must(t, err)
		must(t, os.Remove(path))
		_, err = manifestlist.Check(t.Context(), s.dir, want, images)
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("got %v", err)
		}
		wantError(t, err, images[0].Config.Digest.String(), "")
	})
}
