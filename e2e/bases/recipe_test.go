// SPDX-License-Identifier: Apache-2.0

package bases_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/e2e/bases"
)

func TestPlatforms(t *testing.T) {
	all := []string{"linux/amd64", "linux/arm64", "linux/arm/v7", "linux/riscv64", "linux/s390x", "linux/ppc64le"}
	for name, want := range map[string][]string{
		bases.Busybox: all,
		bases.CC:      all,
		bases.Golang:  all[:2], bases.GolangCC: all[:2],
		"unknown": nil,
	} {
		if diff := cmp.Diff(want, bases.Platforms(name)); diff != "" {
			t.Errorf("platforms of %q (-want +got):\n%s", name, diff)
		}
	}
}

func TestMakeRefuses(t *testing.T) {
	for rule, test := range map[string]struct {
		name      string
		platforms []string
		want      string
	}{
		"an unknown image": {"alpine", nil, `making base image "alpine": no such image; there are busybox, debian-cc, debian-gcc, golang, golang-cc`},
		"an unknown platform": {
			bases.Busybox, []string{"plan9/amd64"}, `making base image "busybox": no Debian port for platform "plan9/amd64"`,
		},
		"a platform that the image is not made for": {
			bases.Golang, []string{"linux/s390x"}, `making base image "golang": no such image for linux/s390x`,
		},
	} {
		t.Run(rule, func(t *testing.T) {
			_, err := bases.Make(t.Context(), bases.Config{CacheDir: t.TempDir()}, test.name, test.platforms)
			if err == nil || err.Error() != test.want {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}

func TestMatches(t *testing.T) {
	for _, test := range []struct {
		rule    string
		pattern string
		name    string
		want    bool
	}{
		{"a name covers itself", "usr/bin/x", "usr/bin/x", true},
		{"a star stays within its directory", "usr/lib/*.so*", "usr/lib/gconv/x.so", false},
		{"a star covers versions", "usr/lib/*.so*", "usr/lib/libz.so.1.2", true},
		{"two stars cover all below", "usr/include/**", "usr/include/sys/socket.h", true},
		{"two stars do not cover the directory's name", "usr/include/**", "usr/includes/x", false},
	} {
		t.Run(test.rule, func(t *testing.T) {
			if got := bases.Matches([]string{"other", test.pattern}, test.name); got != test.want {
				t.Errorf("%q, %q: got %v", test.pattern, test.name, got)
			}
		})
	}
}
