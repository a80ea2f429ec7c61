// SPDX-License-Identifier: Apache-2.0

package platforms_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/platforms"
)

func TestCovers(t *testing.T) {
	for _, tt := range []struct {
		machine, image string
		want           bool
	}{
		{"amd64", "amd64", true},
		{"amd64/v3", "amd64", true},
		{"amd64/v3", "amd64/v2", true},
		{"amd64", "amd64/v2", false},
		{"amd64", "386", false},
		{"arm64", "arm64", true},
		{"arm64/v9", "arm64", true},
		{"arm64", "arm64/v8.1", false},
		{"arm64", "arm/v7", false},
		{"arm/v7", "arm/v6", true},
		{"arm/v7", "arm/v5", true},
		{"arm/v6", "arm/v7", false},
		{"arm/v8", "arm/v7", true},
		{"linux/arm64", "darwin/arm64", false},
		{"windows/amd64", "windows/amd64", true},
		{"ppc64le/power9", "ppc64le/power9", true},
	} {
		t.Run(tt.machine+" "+tt.image, func(t *testing.T) {
			if got := platforms.MustParse(tt.machine).Covers(platforms.MustParse(tt.image)); got != tt.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestClosest(t *testing.T) {
	for _, tt := range []struct {
		machine string
		images  []string
		want    string
	}{
		{"arm/v7", []string{"arm/v5", "arm64", "arm/v6"}, "linux/arm/v6"},
		{"arm/v7", []string{"arm/v6", "arm/v7"}, "linux/arm/v7"},
		{"amd64", []string{"amd64/v2", "386"}, ""},
		{"amd64/v4", []string{"amd64", "amd64/v3"}, "linux/amd64/v3"},
		{"arm64", nil, ""},
	} {
		t.Run(tt.machine, func(t *testing.T) {
			images, err := platforms.ParseList(tt.images)
			if err != nil {
				t.Fatal(err)
			}
			got, ok := platforms.MustParse(tt.machine).Closest(images)
			if ok != (tt.want != "") || got.String() != tt.want {
				t.Errorf("got %s, %v", got, ok)
			}
		})
	}
}

func TestCompare(t *testing.T) {
	got, err := platforms.ParseList([]string{"windows/amd64", "arm/v7", "s390x", "arm64", "amd64/v2", "arm/v6", "amd64"})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(got, platforms.Compare)
	want, _ := platforms.ParseList([]string{"amd64", "amd64/v2", "arm/v6", "arm/v7", "arm64", "s390x", "windows/amd64"})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// The values are those of the table in https://docs.docker.com/build/building/variables/#multi-platform-build-arguments.
func TestArgs(t *testing.T) {
	got := platforms.Args(platforms.MustParse("linux/amd64"), platforms.MustParse("linux/arm/v7"))
	want := []platforms.Arg{
		{"BUILDPLATFORM", "linux/amd64"}, {"BUILDOS", "linux"}, {"BUILDARCH", "amd64"}, {"BUILDVARIANT", ""},
		{"TARGETPLATFORM", "linux/arm/v7"}, {"TARGETOS", "linux"}, {"TARGETARCH", "arm"}, {"TARGETVARIANT", "v7"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
