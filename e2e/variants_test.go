// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// TestVariants holds the table of docs/platforms.md against those who read images, as far as they can be asked for a variant; what
// containerd's matcher picks is held in package platforms.
func TestVariants(t *testing.T) {
	need(t, "skopeo")
	l := newLab(t)
	dir := l.context(map[string]string{"Dockerfile": plainDockerfile})
	ref := registry(t) + "/all/variants:1"
	l.must("build", "--platform", "linux/arm/v7,linux/amd64/v3,linux/arm64,linux/arm/v5,linux/amd64", "-t", ref, "--push", dir)
	t.Run("the plain ones come first", func(t *testing.T) {
		if diff := cmp.Diff("linux/arm/v5,linux/amd64,linux/arm64,linux/arm/v7,linux/amd64/v3", platformsOf(t, pull(t, ref))); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
	only := registry(t) + "/high/variants:1"
	l.must("build", "--platform", "linux/arm/v7,linux/amd64/v3,linux/s390x", "-t", only, "--push", dir)
	const none = ""
	for _, test := range []struct{ ref, asked, skopeo, crane string }{
		{ref, "arm", none, "linux/arm/v5"},
		{ref, "arm/v7", "linux/arm/v7", "linux/arm/v7"},
		{ref, "arm/v6", "linux/arm/v5", none},
		{ref, "arm/v5", "linux/arm/v5", "linux/arm/v5"},
		{ref, "arm64", "linux/arm64", "linux/arm64"},
		{ref, "arm64/v8", "linux/arm64", none},
		{ref, "arm64/v9", "linux/arm64", none},
		{ref, "amd64", "linux/amd64", "linux/amd64"},
		{ref, "amd64/v2", "linux/amd64", none},
		{ref, "amd64/v3", "linux/amd64/v3", "linux/amd64/v3"},
		{only, "amd64", none, "linux/amd64/v3"},
		{only, "arm/v6", none, none},
		{only, "arm", none, "linux/arm/v7"},
	} {
		arch, variant, _ := strings.Cut(test.asked, "/")
		// Asked for arm alone, it would take this machine's own variant.
		if arch != "arm" || variant != "" {
			t.Run("skopeo asks for "+test.asked+" of "+filepath.Base(filepath.Dir(test.ref)), func(t *testing.T) {
				dest := filepath.Join(t.TempDir(), "copy")
				cmd := exec.CommandContext(t.Context(), "skopeo", "--insecure-policy", "--override-arch", arch, "--override-variant", variant,
					"copy", "--quiet", "--src-tls-verify=false", "docker://"+test.ref, "oci:"+dest+":1")
				got := none
				if out, err := cmd.CombinedOutput(); err == nil {
					got = strings.TrimSpace(rootfsOf(t, layoutImage(t, dest)).text(t, "platform"))
				} else if !strings.Contains(string(out), "no image found") {
					t.Fatalf("%v: %s", err, out)
				}
				if got != test.skopeo {
					t.Errorf("it took %q, want %q", got, test.skopeo)
				}
			})
		}
		t.Run("crane asks for "+test.asked+" of "+filepath.Base(filepath.Dir(test.ref)), func(t *testing.T) {
			parsed, err := name.ParseReference(test.ref)
			sound(t, err)
			got := none
			image, err := remote.Image(parsed, remote.WithPlatform(v1.Platform{OS: "linux", Architecture: arch, Variant: variant}))
			if err == nil {
				got = strings.TrimSpace(rootfsOf(t, image).text(t, "platform"))
			} else if !strings.Contains(err.Error(), "no child with platform") {
				t.Fatal(err)
			}
			if got != test.crane {
				t.Errorf("it took %q, want %q", got, test.crane)
			}
		})
	}
	t.Run("the order that is asked for makes no difference", func(t *testing.T) {
		names := []string{"linux/arm/v5", "linux/arm/v7"}
		first := l.must("build", "--platform", strings.Join(names, ","), "--provenance=false", "-t", registry(t)+"/variants/two:1", "--push", dir)
		slices.Reverse(names)
		if second := l.must("build", "--platform", strings.Join(names, ","), "--provenance=false", "-t", registry(t)+"/variants/two:2", "--push", dir); first != second {
			t.Errorf("%s, then %s", first, second)
		}
	})
}
