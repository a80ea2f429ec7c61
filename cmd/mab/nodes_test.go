// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	mab "github.com/mab-build/mab/cmd/mab"
	"github.com/mab-build/mab/coordinator"
	"github.com/mab-build/mab/emulation"
	"github.com/mab-build/mab/nodes"
	"github.com/mab-build/mab/platforms"
)

func found() []coordinator.Found {
	survey := func(how emulation.How, list ...string) (out []emulation.Support) {
		for _, p := range list {
			out = append(out, emulation.Support{Platform: platforms.MustParse(p), How: how})
		}
		return out
	}
	pi := nodes.Info{
		Survey: append(survey(emulation.Native, "linux/arm64", "linux/arm/v7", "linux/arm/v6"),
			emulation.Support{Platform: platforms.MustParse("linux/amd64"), How: emulation.Emulated, Version: "7.2.22", Score: 12.34},
			emulation.Support{Platform: platforms.MustParse("linux/amd64/v2"), How: emulation.Emulated, Problem: "it is slow", Mend: "get another"},
			emulation.Support{Platform: platforms.MustParse("linux/s390x"), How: emulation.None, Problem: "no emulator", Mend: "install one"}),
		Machine: nodes.Machine{CPUs: 4, Memory: 8e9, Available: 6e9, Disk: 100e9, Free: 50e9, Kernel: "6.1.0-28-arm64", Model: "Cortex-A72", Load: 0.5},
		Running: 2, Latency: 0.0123, Up: 40e6, Down: 50e6,
	}
	good := nodes.Info{Survey: survey(emulation.Native, "linux/amd64", "linux/amd64/v2", "linux/386"), Latency: 0.0000421}
	return []coordinator.Found{
		{Node: nodes.Node{Entry: nodes.Entry{Name: "pi", URL: "ssh://pi", Slots: 2}, Info: pi}, Took: 1500 * time.Millisecond},
		{Node: nodes.Node{Entry: nodes.Entry{Name: "gone", URL: "ssh://gone"}}, Took: 10 * time.Second, Err: mab.NewUsage(errors.New("it is gone"), "look for it")},
		{Node: nodes.Node{Entry: nodes.Entry{Name: "local", URL: "local"}, Info: good}},
	}
}

func TestPrintNodes(t *testing.T) {
	var got strings.Builder
	err := mab.PrintNodes(&got, found())
	want := `NAME   URL         STATUS       PLATFORMS                             CPUS  MEMORY  DISK-FREE  RUNNING  LATENCY
pi     ssh://pi    ready        linux/arm64,linux/arm/v7 +1 emulated  4     8GB     50GB       2        12.3ms
gone   ssh://gone  unreachable  -                                     -     -       -          -        -
local  local       ready        linux/amd64/v2,linux/386              -     -       -          0        42µs

gone: it is gone
  mend: look for it
`
	if diff := cmp.Diff(want, got.String()); err != nil || diff != "" {
		t.Errorf("error %v; want -, got +:\n%s", err, diff)
	}
}

func TestPrintNode(t *testing.T) {
	var got strings.Builder
	err := mab.PrintNode(&got, found()[0])
	want := `NAME     pi
URL      ssh://pi
SLOTS    2
CPU      Cortex-A72
CPUS     4
MEMORY   8GB, 6GB available
DISK     100GB, 50GB free
KERNEL   6.1.0-28-arm64
LOAD     0.50
RUNNING  2
LATENCY  12.3ms
UP       40MB/s
DOWN     50MB/s

PLATFORM        HOW       QEMU    SCORE  PROBLEM
linux/arm64     native    -       -
linux/arm/v7    native    -       -
linux/arm/v6    native    -       -
linux/amd64     emulated  7.2.22  12.3
linux/amd64/v2  emulated  -       -  it is slow; mend: get another
linux/s390x     none      -       -  no emulator; mend: install one
`
	if diff := cmp.Diff(want, got.String()); err != nil || diff != "" {
		t.Errorf("error %v; want -, got +:\n%s", err, diff)
	}
}

func TestPrintNodeChecks(t *testing.T) {
	for _, test := range []struct {
		rule string
		of   []coordinator.Found
		want string
		code int
	}{
		{"all is well", found()[2:], "local  ok, linux/amd64/v2,linux/386, latency 42µs\n", 0},
		{"a problem", []coordinator.Found{found()[0], found()[2]}, `pi     has problems, linux/arm64,linux/arm/v7 +1 emulated, latency 12.3ms, 40MB/s up, 50MB/s down
       score: linux/amd64 emulated 12.3
       problem: linux/amd64/v2 runs there, but it is slow
       mend: get another
local  ok, linux/amd64/v2,linux/386, latency 42µs
mab: error: 1 of 2 nodes have problems
mab: hint: mend what is said above; builds use the other nodes until then
`, 1},
		{"one is gone", found(), `pi     has problems, linux/arm64,linux/arm/v7 +1 emulated, latency 12.3ms, 40MB/s up, 50MB/s down
       score: linux/amd64 emulated 12.3
       problem: linux/amd64/v2 runs there, but it is slow
       mend: get another
gone   unreachable: it is gone
       mend: look for it
local  ok, linux/amd64/v2,linux/386, latency 42µs
mab: error: 1 of 3 nodes cannot be reached
mab: hint: mend what is said above; builds use the other nodes until then
`, 4},
	} {
		t.Run(test.rule, func(t *testing.T) {
			var got strings.Builder
			code := mab.Report(&got, mab.PrintNodeChecks(&got, test.of))
			if diff := cmp.Diff(test.want, got.String()); code != test.code || diff != "" {
				t.Errorf("exit code %d; want -, got +:\n%s", code, diff)
			}
		})
	}
}

// TestNodeKeys holds the keys that docs/nodes.md tells.
func TestNodeKeys(t *testing.T) {
	var got []string
	for _, f := range found() {
		text, err := mab.NodeJSON(f)
		if err != nil {
			t.Fatal(err)
		}
		var keys map[string]json.RawMessage
		if err := json.Unmarshal(text, &keys); err != nil {
			t.Fatal(err)
		}
		var info map[string]json.RawMessage
		if err := json.Unmarshal(append([]byte(nil), keys["info"]...), &info); err != nil && keys["info"] != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprint(slices.Sorted(maps.Keys(keys)), slices.Sorted(maps.Keys(info))))
	}
	want := []string{
		"[info name problems slots status took_seconds url] [down_bytes_per_second latency_seconds machine running survey up_bytes_per_second]",
		"[error hint name status took_seconds url] []",
		"[info name status took_seconds url] [latency_seconds running survey]",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
}
