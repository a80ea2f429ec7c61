// SPDX-License-Identifier: Apache-2.0

package solver_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/manifestlist/contents"
	"github.com/mab-build/mab/platforms"
	"github.com/mab-build/mab/solver"
)

// another is a platform that does not run this machine's programs.
func another() platforms.Platform {
	if platforms.Host().Architecture == "s390x" {
		return platforms.MustParse("arm64")
	}
	return platforms.MustParse("s390x")
}

// wrong are the paths of what was found in each image.
func wrong(reports []contents.ImageReport) map[string][]string {
	out := map[string][]string{}
	for _, r := range reports {
		out[r.Platform.String()] = nil
		for _, f := range r.Findings {
			out[r.Platform.String()] = append(out[r.Platform.String()], f.Path)
		}
	}
	return out
}

// TestVerify: a solver says what is wrong with the images that it exports, with what it remembers of layers.
func TestVerify(t *testing.T) {
	maker := freshMaker(t)
	c := maker.Client
	host, other := platforms.Host(), another()
	request := func(t *testing.T, dockerfile string) *solver.Request {
		return &solver.Request{Context: kitchen(t, dockerfile), Platforms: []platforms.Platform{host, other}}
	}
	const dockerfile = "FROM scratch\nCOPY busybox /opt/tool\nCOPY file /file\n"
	found := map[string][]string{host.String(): nil, other.String(): {"/opt/tool"}}
	for _, test := range []struct {
		rule   string
		verify *solver.Verify
		want   map[string][]string
	}{
		{"programs of other platforms are found", &solver.Verify{Strict: true}, found},
		{"but not where they may be", &solver.Verify{Strict: true, Exempt: []string{"/opt"}}, map[string][]string{host.String(): nil, other.String(): nil}},
		{"they are found where they are no error", &solver.Verify{}, found},
		{"nobody looks who was not asked", nil, map[string][]string{}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			got := mustBake(t, c, solver.Solve{Request: request(t, dockerfile), Verify: test.verify})
			if diff := cmp.Diff(test.want, wrong(got.Checked)); diff != "" {
				t.Error(diff)
			}
		})
	}
	t.Run("what was read of a layer is not read again", func(t *testing.T) {
		kept := func() (names []string) {
			list, err := os.ReadDir(filepath.Join(maker.root, "checks"))
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range list {
				names = append(names, e.Name())
			}
			return names
		}
		before := kept()
		got := mustBake(t, c, solver.Solve{Request: request(t, dockerfile+"COPY file /other\n"), Verify: &solver.Verify{Strict: true}})
		if diff := cmp.Diff(found, wrong(got.Checked)); diff != "" || len(kept()) != len(before)+1 {
			t.Errorf("%v, then %v; %s", before, kept(), diff)
		}
	})
}
