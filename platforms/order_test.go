// SPDX-License-Identifier: Apache-2.0

package platforms_test

import (
	"slices"
	"strings"
	"testing"

	cplatforms "github.com/containerd/platforms"
	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/platforms"
)

func plainFirst(t *testing.T, list string) []platforms.Platform {
	t.Helper()
	in, err := platforms.ParseList([]string{list})
	if err != nil {
		t.Fatal(err)
	}
	before := slices.Clone(in)
	out := platforms.PlainFirst(in, func(p platforms.Platform) platforms.Platform { return p })
	if diff := cmp.Diff(before, in); diff != "" {
		t.Errorf("what was given changed (-before +after):\n%s", diff)
	}
	return out
}

func TestPlainFirst(t *testing.T) {
	for _, tt := range []struct{ rule, given, want string }{
		{"one variant of each stays as it is", "arm64,arm/v7,amd64", "arm64,arm/v7,amd64"},
		{"lower before higher", "arm/v7,arm/v5,arm/v6", "arm/v5,arm/v6,arm/v7"},
		{"none before all", "amd64/v4,amd64/v2,amd64", "amd64,amd64/v2,amd64/v4"},
		{"minor versions are numbers", "arm64/v9,arm64/v8.9,arm64/v8.2,arm64", "arm64,arm64/v8.2,arm64/v8.9,arm64/v9"},
		{"others keep their places", "arm/v7,s390x,arm/v6,amd64", "arm/v6,s390x,arm/v7,amd64"},
		{"systems are apart", "freebsd/amd64/v2,amd64/v2,freebsd/amd64,amd64", "freebsd/amd64,amd64,freebsd/amd64/v2,amd64/v2"},
		{"names after none", "ppc64le/power9,ppc64le,ppc64le/power10", "ppc64le,ppc64le/power10,ppc64le/power9"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			want, err := platforms.ParseList([]string{tt.want})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, plainFirst(t, tt.given)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// TestVariantTable holds the columns "containerd and docker" of docs/platforms.md against their own matcher: what it picks is the same in
// any order.
func TestVariantTable(t *testing.T) {
	for _, tt := range []struct{ wanted, there, picked string }{
		{"arm/v7", "arm/v5,arm/v6,arm/v7", "arm/v7"},
		{"arm/v7", "arm/v5,arm/v6", "arm/v6"},
		{"arm/v6", "arm/v5,arm/v7", "arm/v5"},
		{"arm/v6", "arm/v7", ""},
		{"arm/v5", "arm/v6", ""},
		{"arm", "arm/v6,arm/v7", "arm/v7"},
		{"arm64", "arm/v7,arm64", "arm64"},
		{"arm64", "arm/v6,arm/v7", "arm/v7"},
		{"arm64", "arm64/v8.1,arm64", "arm64"},
		{"arm64", "arm64/v8.1", ""},
		{"arm64/v8.2", "arm64,arm64/v8.1", "arm64/v8.1"},
		{"arm64/v9", "arm64,arm64/v8.5", "arm64/v8.5"},
		{"amd64", "amd64,amd64/v2", "amd64"},
		{"amd64", "amd64/v2,386", "386"},
		{"amd64", "amd64/v2", ""},
		{"amd64/v3", "amd64,amd64/v2,amd64/v4", "amd64/v2"},
		{"386", "amd64", ""},
	} {
		t.Run(tt.wanted+" of "+tt.there, func(t *testing.T) {
			there, err := platforms.ParseList([]string{tt.there})
			if err != nil {
				t.Fatal(err)
			}
			matcher := cplatforms.Only(platforms.MustParse(tt.wanted).OCI())
			pick := func() string {
				// As containerd's images.Manifest and docker's filterManifests do it.
				var matches []platforms.Platform
				for _, p := range there {
					if matcher.Match(p.OCI()) {
						matches = append(matches, p)
					}
				}
				slices.SortStableFunc(matches, func(a, b platforms.Platform) int {
					switch {
					case matcher.Less(a.OCI(), b.OCI()):
						return -1
					case matcher.Less(b.OCI(), a.OCI()):
						return 1
					}
					return 0
				})
				if len(matches) == 0 {
					return ""
				}
				return strings.TrimPrefix(matches[0].String(), "linux/")
			}
			want := tt.picked
			if want != "" {
				want = strings.TrimPrefix(platforms.MustParse(want).String(), "linux/")
			}
			first := pick()
			slices.Reverse(there)
			if second := pick(); first != want || second != want {
				t.Errorf("got %q, in the other order %q, want %q", first, second, want)
			}
		})
	}
}
