// SPDX-License-Identifier: Apache-2.0

package crossbuild_test

import (
	"encoding"
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/crossbuild"
)

var (
	_ encoding.TextMarshaler   = crossbuild.Native
	_ encoding.TextUnmarshaler = (*crossbuild.Strategy)(nil)
	// What github.com/spf13/pflag wants of a flag's value.
	_ interface {
		String() string
		Set(string) error
		Type() string
	} = (*crossbuild.Strategies)(nil)
)

func TestParseStrategies(t *testing.T) {
	for _, c := range []struct {
		list string
		want crossbuild.Strategies
		text string
	}{
		{"native", crossbuild.Strategies{crossbuild.Native}, "native"},
		{"native,cross", crossbuild.Strategies{crossbuild.Native, crossbuild.Cross}, "native,cross"},
		{" Emulated, ASSISTED ,native,emulated", crossbuild.Strategies{crossbuild.Native, crossbuild.Assisted, crossbuild.Emulated}, "native,assisted,emulated"},
	} {
		t.Run(c.list, func(t *testing.T) {
			got, err := crossbuild.ParseStrategies(c.list)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("set (-want +got):\n%s", d)
			}
			if d := cmp.Diff(c.text, got.String()); d != "" {
				t.Errorf("text (-want +got):\n%s", d)
			}
		})
	}
	for _, list := range []string{"", "natve", "native,", "native cross"} {
		t.Run("refuses "+list, func(t *testing.T) {
			got, err := crossbuild.ParseStrategies(list)
			var wrong *crossbuild.StrategyError
			if got != nil || !errors.As(err, &wrong) {
				t.Fatalf("set %v, error %v; want a StrategyError", got, err)
			}
			const hint = "use one or more of native,cross,assisted,emulated, as in --strategy native,cross"
			if d := cmp.Diff(hint, wrong.Hint()); d != "" {
				t.Errorf("hint (-want +got):\n%s", d)
			}
		})
	}
}

func TestStrategies(t *testing.T) {
	t.Run("none allows all", func(t *testing.T) {
		if !crossbuild.Strategies(nil).Allows(crossbuild.Emulated) {
			t.Error("the zero value forbids emulation")
		}
	})
	t.Run("some forbid the rest", func(t *testing.T) {
		all := crossbuild.Strategies{crossbuild.Native, crossbuild.Cross}
		if !all.Allows(crossbuild.Cross) || all.Allows(crossbuild.Emulated) {
			t.Errorf("%s: cross %v, emulated %v", all, all.Allows(crossbuild.Cross), all.Allows(crossbuild.Emulated))
		}
	})
	t.Run("a second flag adds, a wrong one changes nothing", func(t *testing.T) {
		var all crossbuild.Strategies
		for _, list := range []string{"emulated", "native"} {
			if err := all.Set(list); err != nil {
				t.Fatal(err)
			}
		}
		err := all.Set("cross,x")
		if all.String() != "native,emulated" || err == nil {
			t.Errorf("set is %s, error %v", all, err)
		}
	})
}

func TestStrategyText(t *testing.T) {
	type file struct{ A, B crossbuild.Strategy }
	in := file{A: crossbuild.Emulated}
	raw, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(`{"A":"emulated","B":""}`, string(raw)); d != "" {
		t.Errorf("JSON (-want +got):\n%s", d)
	}
	var out file
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(in, out); d != "" {
		t.Errorf("read back (-want +got):\n%s", d)
	}
	if err := json.Unmarshal([]byte(`{"A":"quick"}`), &out); err == nil {
		t.Error("an unknown word is read without error")
	}
	if got := crossbuild.Strategy(99).String(); got != "" {
		t.Errorf("strategy 99 is %q", got)
	}
}
