// SPDX-License-Identifier: Apache-2.0

package platforms_test

import (
	"encoding/json"
	"errors"
	"runtime"
	"strings"
	"testing"

	cplatforms "github.com/containerd/platforms"
	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/mab-build/mab/platforms"
)

func TestParse(t *testing.T) {
	for spelling, want := range map[string]string{
		"arm64":               "linux/arm64",
		"ARM64":               "linux/arm64",
		"linux/arm64/v8":      "linux/arm64",
		"linux/arm64/v8.0":    "linux/arm64",
		"linux/arm64/8":       "linux/arm64",
		"linux/arm64/8.2":     "linux/arm64/v8.2",
		"arm64/v9":            "linux/arm64/v9",
		"linux/arm64/v9.0":    "linux/arm64/v9",
		"aarch64":             "linux/arm64",
		"arm64v8":             "linux/arm64",
		"linux/aarch64":       "linux/arm64",
		"amd64":               "linux/amd64",
		"amd64/v1":            "linux/amd64",
		"amd64/v3":            "linux/amd64/v3",
		"linux/amd64/3":       "linux/amd64/v3",
		"x86_64":              "linux/amd64",
		"X86-64":              "linux/amd64",
		"x86-64-v2":           "linux/amd64/v2",
		"i386":                "linux/386",
		"linux/i686":          "linux/386",
		"arm":                 "linux/arm/v7",
		"linux/arm":           "linux/arm/v7",
		"linux/arm/v7":        "linux/arm/v7",
		"linux/arm/6":         "linux/arm/v6",
		"arm/v5":              "linux/arm/v5",
		"armhf":               "linux/arm/v7",
		"armhf/v7":            "linux/arm/v7",
		"armel":               "linux/arm/v6",
		"armv6l":              "linux/arm/v6",
		"arm32v5":             "linux/arm/v5",
		"ppc64el":             "linux/ppc64le",
		"ppc64le/power9":      "linux/ppc64le/power9",
		"riscv64":             "linux/riscv64",
		"s390x":               "linux/s390x",
		"loongarch64":         "linux/loong64",
		"linux/mips64el":      "linux/mips64le",
		"darwin/arm64":        "darwin/arm64",
		"macos/arm64":         "darwin/arm64",
		"windows/amd64":       "windows/amd64",
		" linux/amd64\n":      "linux/amd64",
		"LINUX/ARM/V7":        "linux/arm/v7",
		"linux/riscv/":        "error",
		"js/wasm":             "js/wasm",
		"linux/s390x/zarch":   "error",
		"linux/amd64/v3/avx2": "error",
	} {
		t.Run(spelling, func(t *testing.T) {
			got := "error"
			if p, err := platforms.Parse(spelling); err == nil {
				got = p.String()
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseAgreesWithContainerd(t *testing.T) {
	for _, os := range []string{"linux", "darwin", "macos", "windows", "freebsd"} {
		for _, arch := range []string{"amd64", "x86_64", "386", "i386", "arm64", "aarch64", "arm", "armhf", "armel", "riscv64", "s390x", "ppc64le", "loong64", "mips64le"} {
			for _, variant := range []string{"", "v1", "v2", "v5", "v6", "v7", "v8", "v8.0", "v8.1", "v9", "v9.0", "5", "6", "7", "8", "9", "power8"} {
				spelling := strings.TrimSuffix(os+"/"+arch+"/"+variant, "/")
				got, err := platforms.Parse(spelling)
				if err != nil {
					continue // containerd takes any variant; TestParse has what must be read.
				}
				c := cplatforms.Normalize(cplatforms.MustParse(spelling))
				want := strings.TrimSuffix(c.OS+"/"+c.Architecture+"/"+c.Variant, "/")
				// containerd reads the number alone for arm and arm64 only.
				if want == "linux/amd64/1" || c.Architecture == "amd64" && len(variant) == 1 {
					continue
				}
				if want != got.String() {
					t.Errorf("%s: containerd %s, mab %s", spelling, want, got)
				}
			}
		}
	}
}

func TestBareSystemIsTheHostsArchitecture(t *testing.T) {
	got := platforms.MustParse("linux")
	if got.OS != "linux" || got.Architecture != runtime.GOARCH {
		t.Errorf("linux: %s", got)
	}
	if host := platforms.Host(); host.OS != runtime.GOOS || platforms.MustParse(host.String()) != host {
		t.Errorf("host: %#v", host)
	}
}

func TestParseErrors(t *testing.T) {
	for _, tt := range []struct{ spelling, message, hint string }{
		{"arn64", `parsing platform "arn64": unknown architecture "arn64"`, "did you mean arm64?"},
		{"linux/arm46", `parsing platform "linux/arm46": unknown architecture "arm46"`, "did you mean linux/arm64?"},
		{"Linus/arm64", `parsing platform "Linus/arm64": unknown operating system "linus"`, "did you mean linux/arm64?"},
		{"linux/arm/v9", `parsing platform "linux/arm/v9": unknown variant "v9" of arm`, "arm has the variants v5, v6, v7, v8"},
		{"s390x/v1", `parsing platform "s390x/v1": unknown variant "v1" of s390x`, "s390x has no variants; write linux/s390x"},
		{"armhf/v6", `parsing platform "armhf/v6": "armhf" already says linux/arm/v7`, "write linux/arm/v7 or linux/arm/v6"},
		{"linux//arm", `parsing platform "linux//arm": not of the form [os/]architecture[/variant]`, "did you mean linux/arm?"},
		{"linux/*", `parsing platform "linux/*": unknown architecture "*"`, "platforms are linux/amd64, linux/amd64/v2"},
		{"local", `parsing platform "local": unknown architecture "local"`, "platforms are linux/amd64, "},
		{"windows(10.0.17763)/amd64", `parsing platform "windows(10.0.17763)/amd64": unknown operating system "windows(10.0.17763)"`, "platforms are "},
		{"", `parsing platform "": no platform given`, "platforms are "},
	} {
		t.Run(tt.spelling, func(t *testing.T) {
			_, err := platforms.Parse(tt.spelling)
			var hinted interface{ Hint() string }
			if !errors.As(err, &hinted) {
				t.Fatalf("no hint: %v", err)
			}
			if diff := cmp.Diff(tt.message, err.Error()); diff != "" {
				t.Error(diff)
			}
			if !strings.HasPrefix(hinted.Hint(), tt.hint) {
				t.Errorf("hint %q, want %q", hinted.Hint(), tt.hint)
			}
		})
	}
}

func TestParseList(t *testing.T) {
	got, err := platforms.ParseList([]string{"linux/arm64,amd64", "armhf, x86_64", "linux/arm"})
	if err != nil {
		t.Fatal(err)
	}
	want := []platforms.Platform{{OS: "linux", Architecture: "arm64"}, {OS: "linux", Architecture: "amd64"}, {OS: "linux", Architecture: "arm", Variant: "v7"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got, err := platforms.ParseList(nil); got != nil || err != nil {
		t.Errorf("no items: %v, %v", got, err)
	}
	if got, err := platforms.ParseList([]string{"amd64,"}); err == nil {
		t.Errorf("an empty item was read as %v", got)
	}
}

func TestFromOCI(t *testing.T) {
	for _, tt := range []struct {
		name string
		oci  ocispec.Platform
		want string
	}{
		{"arm64 carries v8", ocispec.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}, "linux/arm64"},
		{"arm without variant is v7", ocispec.Platform{OS: "linux", Architecture: "arm"}, "linux/arm/v7"},
		{"number alone", ocispec.Platform{OS: "linux", Architecture: "arm", Variant: "6"}, "linux/arm/v6"},
		{"upper case", ocispec.Platform{OS: "Linux", Architecture: "AMD64", Variant: "V1"}, "linux/amd64"},
		{"attestation", ocispec.Platform{OS: "unknown", Architecture: "unknown"}, "unknown/unknown"},
		{"version of windows", ocispec.Platform{OS: "windows", Architecture: "amd64", OSVersion: "10.0.1"}, "windows/amd64"},
		{"no operating system", ocispec.Platform{Architecture: "s390x"}, "unknown/s390x"},
		{"rare machine", ocispec.Platform{OS: "linux", Architecture: "sw64"}, "linux/sw64"},
		{"nothing", ocispec.Platform{}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := platforms.FromOCI(tt.oci)
			if diff := cmp.Diff(tt.want, p.String()); diff != "" {
				t.Error(diff)
			}
			if again := platforms.FromOCI(p.OCI()); again != p {
				t.Errorf("normalising twice gives %v, then %v", p, again)
			}
		})
	}
}

func TestText(t *testing.T) {
	type doc struct {
		One  platforms.Platform
		By   map[platforms.Platform]int
		None platforms.Platform
		Odd  platforms.Platform
	}
	in := doc{
		One: platforms.MustParse("armhf"),
		By:  map[platforms.Platform]int{platforms.MustParse("amd64"): 1},
		Odd: platforms.FromOCI(ocispec.Platform{OS: "unknown", Architecture: "unknown"}),
	}
	raw, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(`{"One":"linux/arm/v7","By":{"linux/amd64":1},"None":"","Odd":"unknown/unknown"}`, string(raw)); diff != "" {
		t.Error(diff)
	}
	var out doc
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(in, out); diff != "" {
		t.Error(diff)
	}
	if err := json.Unmarshal([]byte(`{"One":"linux/amr64"}`), &out); err == nil {
		t.Error("a misspelt platform was read")
	}
	if got := in.One.Slug(); got != "linux-arm-v7" {
		t.Errorf("slug %s", got)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"arm64", "linux/arm64/v8", "amd64/v3", "armhf/v7", "linux", "a/b/c", "//", "x86-64-v3/v3", "Ärm64", "386/sse2"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := platforms.Parse(s)
		if err != nil {
			if hinted := (interface{ Hint() string })(nil); !errors.As(err, &hinted) || hinted.Hint() == "" {
				t.Errorf("%q: no hint: %v", s, err)
			}
			return
		}
		if again, err := platforms.Parse(p.String()); err != nil || again != p {
			t.Errorf("%q is %s, which is read as %s, %v", s, p, again, err)
		}
		if again := platforms.FromOCI(p.OCI()); again != p {
			t.Errorf("%q is %s, from OCI %s", s, p, again)
		}
		if !p.Covers(p) {
			t.Errorf("%s does not cover itself", p)
		}
	})
}
