// SPDX-License-Identifier: Apache-2.0

package coordinator_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/coordinator"
	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/platforms"
)

// twoPlatforms is a request of two platforms.
func twoPlatforms(keepGoing bool) *coordinator.Request {
	out := &coordinator.Request{KeepGoing: keepGoing}
	out.Platforms = []platforms.Platform{platforms.MustParse("linux/arm64"), platforms.MustParse("linux/s390x")}
	return out
}

func TestPlatformsHoldOneResultOfAStep(t *testing.T) {
	r := twoPlatforms(false)
	c := coordinator.NewChain(r, true)
	t.Run("what was done with a part of a part that is lost is done again", func(t *testing.T) {
		if d := cmp.Diff(r.Platforms, c.Spoil(r.Platforms[:1])); d != "" {
			t.Errorf("platforms (-want +got):\n%s", d)
		}
	})
	t.Run("a part that was made of one that is lost is made anew, also on its own node", func(t *testing.T) {
		if !c.Remade(1) {
			t.Error("the part that holds the lost result is used again")
		}
	})
	t.Run("nothing is made once more on a node that was given up", func(t *testing.T) {
		if c.Remade(0) {
			t.Error("the lost node is asked again")
		}
	})
}

func TestPartThatFailsForWantOfAnother(t *testing.T) {
	got := coordinator.NewChain(twoPlatforms(true), false).Fail(&coordinator.LostError{Node: "a"})
	if d := cmp.Diff([]string{"a"}, got); d != "" {
		t.Errorf("nodes given up, of which a made the shared part and c needed it (-want +got):\n%s", d)
	}
}

func TestWhatNobodyCanDoAgain(t *testing.T) {
	for _, c := range []struct {
		rule      string
		keepGoing bool
	}{{"ends the build", false}, {"is one failure among others with --keep-going", true}} {
		t.Run(c.rule, func(t *testing.T) {
			build, fault := coordinator.NewChain(twoPlatforms(c.keepGoing), false).Finish()
			if (build == nil) != c.keepGoing || (fault != nil) != c.keepGoing {
				t.Fatalf("build ends with %v, at last there is %v", build, fault)
			}
			err := errors.Join(build, fault)
			if stranded := (*coordinator.StrandedError)(nil); !errors.As(err, &stranded) {
				t.Errorf("%T, want a StrandedError", err)
			}
			if unbuildable := (*coordinator.UnbuildableError)(nil); errors.As(err, &unbuildable) {
				t.Error("it counts as a build that no node can do")
			}
			want := `building linux/s390x again: what linux/s390x share of "RUN apart", made on c, is not used any more` + "\nnothing could take its place: "
			if text := err.Error(); !strings.HasPrefix(text, want) || strings.Count(text, "its disk is full") > 3 {
				t.Errorf("error:\n%s\nwant it to begin with:\n%s", text, want)
			}
		})
	}
}

func TestFrontendPlatform(t *testing.T) {
	amd64, arm64 := platforms.MustParse("linux/amd64"), platforms.MustParse("linux/arm64")
	for _, c := range []struct {
		rule string
		own  platforms.Platform
		cut  *crossbuild.Cut
		want platforms.Platform
	}{
		{"a task that is tried again has the first one's", amd64, nil, arm64},
		{"a node's own is not told", arm64, nil, platforms.Platform{}},
		{"without a frontend there is none", amd64, &crossbuild.Cut{}, platforms.Platform{}},
	} {
		t.Run(c.rule, func(t *testing.T) {
			if d := cmp.Diff(c.want, coordinator.FrontendPlatform(arm64, c.own, c.cut)); d != "" {
				t.Errorf("BUILDPLATFORM (-want +got):\n%s", d)
			}
		})
	}
}

func TestUsableMembers(t *testing.T) {
	without := []coordinator.Exclusion{
		{Node: "a", Any: true}, {Node: "b", Any: true, Platform: platforms.MustParse("linux/arm64")}, {Node: "c", Strategy: crossbuild.Emulated},
	}
	if d := cmp.Diff([]string{"b", "c"}, coordinator.Usable([]string{"a", "b", "c"}, without...)); d != "" {
		t.Errorf("nodes that may make another plan (-want +got):\n%s", d)
	}
}
