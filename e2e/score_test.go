// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestScores has a solver that nobody uses find out how fast platforms run here.
func TestScores(t *testing.T) {
	l := newLab(t)
	scores := func() map[string]float64 {
		t.Helper()
		out := map[string]float64{}
		for _, s := range decode[[]struct {
			Platform, How string
			Score         float64
		}](t, l.must("emulation", "ls", "--json")) {
			if s.How != "none" {
				out[s.How+" "+s.Platform] = s.Score
			}
		}
		return out
	}
	for platform, score := range scores() {
		if score != 0 {
			t.Errorf("before there was a solver: %s has %v", platform, score)
		}
	}
	solver := l.start("serve")
	var found map[string]float64
	eventually(t, 30*time.Second, "everything has a score", func() bool {
		found = scores()
		for _, score := range found {
			if score == 0 {
				return false
			}
		}
		return true
	})
	for _, m := range machines {
		slow, emulated := found["emulated "+m.platform]
		for _, own := range machines {
			if fast, native := found["native "+own.platform]; native && emulated && slow > fast/2 {
				t.Errorf("%s has %v emulated, %s natively %v", m.platform, slow, own.platform, fast)
			}
		}
	}
	l.must("serve", "--stop")
	if out := solver.wait(); out.code != 0 {
		t.Errorf("exit code %d\n%s", out.code, out.stderr)
	}
	if diff := cmp.Diff(found, scores()); diff != "" {
		t.Errorf("without a solver: want -, got +:\n%s", diff)
	}
}
