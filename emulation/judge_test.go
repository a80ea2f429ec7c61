// SPDX-License-Identifier: Apache-2.0

package emulation_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/emulation"
	"github.com/mab-build/mab/platforms"
)

func TestJudge(t *testing.T) {
	const path = "/usr/bin/qemu-s390x-static"
	h := handlerFor(t, "s390x")
	with := func(enabled bool, flags string) []emulation.Entry {
		return []emulation.Entry{
			{Name: "jar", Enabled: true, Extension: "jar"},
			{Name: h.Name, Enabled: enabled, Interpreter: path, Flags: flags, Magic: h.Magic, Mask: h.Mask},
		}
	}
	host := emulation.Instance{Dir: emulation.HostDir}
	private := emulation.Instance{Dir: "/run/binfmt", Private: true}
	cannot := fmt.Errorf("probing linux/s390x: %w", emulation.ErrCannotRun)
	crash := errors.New("probing linux/s390x: the program ended with signal: segmentation fault")
	base := emulation.Support{Instance: "host", Handler: h.Name, Interpreter: path}

	for _, tt := range []struct {
		name     string
		facts    emulation.Facts
		platform string
		err      error
		want     emulation.Support
	}{
		{
			"its own architecture is native", emulation.Facts{Instance: private, Entries: with(true, "POCF")}, "amd64", nil,
			emulation.Support{How: emulation.Native},
		},
		{
			"what no handler takes is native", emulation.Facts{Instance: private, Entries: with(true, "POCF")}, "386", nil,
			emulation.Support{How: emulation.Native},
		},
		{
			"386 runs on amd64 where handlers are unseen", emulation.Facts{Instance: host, Unseen: true}, "386", nil,
			emulation.Support{How: emulation.Native},
		},
		{
			"private handler", emulation.Facts{Instance: private, Entries: with(true, "POCF")}, "s390x", nil,
			emulation.Support{How: emulation.Emulated, Instance: "private", Handler: h.Name, Interpreter: path, Flags: "POCF"},
		},
		{
			"host's handler whose file is gone still serves by flag F",
			emulation.Facts{Instance: host, Entries: with(true, "POF"), Missing: []string{path}}, "s390x", nil,
			emulation.Support{How: emulation.Emulated, Flags: "POF"},
		},
		{
			"handler without F serves no container", emulation.Facts{Instance: host, Entries: with(true, "P")}, "s390x", nil,
			emulation.Support{
				How: emulation.None, Flags: "P",
				Problem: "handler qemu-s390x lacks flag F: " + path + " would be looked up inside the container",
				Mend:    "as root: mab emulation install --host s390x, whose handler comes before this one",
			},
		},
		{
			"handler without P serves, with a problem", emulation.Facts{Instance: host, Entries: with(true, "OCF")}, "s390x", nil,
			emulation.Support{
				How: emulation.Emulated, Flags: "OCF",
				Problem: "handler qemu-s390x lacks flag P: programs are not told the name they were called by",
				Mend:    "as root: mab emulation install --host s390x, whose handler comes before this one",
			},
		},
		{
			"unseen handler", emulation.Facts{Instance: host, Unseen: true}, "s390x", nil,
			emulation.Support{
				How: emulation.Emulated, Instance: "host",
				Problem: "the host's handler cannot be seen, so its flags are unknown: no binfmt_misc on /proc/sys/fs/binfmt_misc",
				Mend:    "as root: mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc",
			},
		},
		{
			"missing interpreter",
			emulation.Facts{Instance: host, Entries: with(true, "P"), Missing: []string{path}, Install: "apk add qemu-%s"}, "s390x",
			errors.New("probing linux/s390x: fork/exec /tmp/probe: no such file or directory"),
			emulation.Support{
				Flags: "P", Probe: "fork/exec /tmp/probe: no such file or directory",
				Problem: "handler qemu-s390x points to " + path + ", which is missing", Mend: "as root: mab emulation install --host s390x, or: apk add qemu-s390x",
			},
		},
		{
			"crashing QEMU", emulation.Facts{Instance: host, Entries: with(true, "POCF")}, "s390x", crash,
			emulation.Support{
				Flags: "POCF", Probe: "the program ended with signal: segmentation fault",
				Problem: path + " did not run a program of linux/s390x: the program ended with signal: segmentation fault",
				Mend:    "try another version of QEMU: as root: mab emulation install --host s390x",
			},
		},
		{
			"disabled handler", emulation.Facts{Instance: host, Entries: with(false, "POCF")}, "s390x", cannot,
			emulation.Support{
				Flags: "POCF", Probe: "exec format error",
				Problem: "handler qemu-s390x is disabled", Mend: "as root: echo 1 > /proc/sys/fs/binfmt_misc/qemu-s390x",
			},
		},
		{
			"binfmt_misc switched off", emulation.Facts{Instance: host, Off: true, Entries: with(true, "POCF")}, "s390x", cannot,
			emulation.Support{
				Flags: "POCF", Probe: "exec format error",
				Problem: "binfmt_misc is switched off", Mend: "as root: echo 1 > /proc/sys/fs/binfmt_misc/status",
			},
		},
		{
			"lesser CPU", emulation.Facts{Instance: private}, "amd64/v4",
			fmt.Errorf("probing linux/amd64/v4: %w: the CPU lacks instructions", emulation.ErrCannotRun),
			emulation.Support{
				Probe:   "exec format error: the CPU lacks instructions",
				Problem: "this CPU does not run linux/amd64/v4: exec format error: the CPU lacks instructions",
				Mend:    "build it on a node whose CPU does",
			},
		},
		{
			"QEMU without a handler of the host's",
			emulation.Facts{Instance: host, Found: []emulation.Emulator{{Handler: h, Path: path}}}, "s390x", cannot,
			emulation.Support{
				Probe: "exec format error", Problem: path + " is there, but the host has no handler for it",
				Mend: "as root: mab emulation install --host s390x, or systemctl restart systemd-binfmt; Linux 6.7 or newer needs neither",
			},
		},
		{
			"QEMU that is not registered privately",
			emulation.Facts{Instance: private, Found: []emulation.Emulator{{Handler: h, Path: path}}}, "s390x", cannot,
			emulation.Support{Probe: "exec format error", Problem: path + " is there but not registered", Mend: "start the solver again"},
		},
		{
			"refused QEMU",
			emulation.Facts{
				Instance: private, Install: "apt-get install qemu-user-static",
				Refused: []emulation.Refusal{{Handler: h, Path: "/usr/bin/qemu-s390x", Reason: "dynamically linked"}},
			}, "s390x", cannot,
			emulation.Support{
				Probe: "exec format error", Problem: "/usr/bin/qemu-s390x cannot serve: dynamically linked",
				Mend: "mab emulation install s390x, or for one build: --emulation-image default, or: apt-get install qemu-user-static",
			},
		},
		{
			"no QEMU, no known package manager", emulation.Facts{Instance: private}, "s390x", cannot,
			emulation.Support{
				Probe: "exec format error", Problem: "no QEMU for linux/s390x found",
				Mend: "mab emulation install s390x, or for one build: --emulation-image default",
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.facts.Host = platforms.MustParse("amd64")
			want := tt.want
			want.Platform, want.ProbeMS = platforms.MustParse(tt.platform), 1.23
			if want.Probe == "" {
				want.Probe = "ok"
			}
			if want.How == "" {
				want.How = emulation.None
			}
			if want.Flags != "" && want.Instance == "" {
				want.Instance, want.Handler, want.Interpreter = base.Instance, base.Handler, base.Interpreter
			}
			got := tt.facts.Judge(want.Platform, tt.err, 1234*time.Microsecond)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			if got.Runs() != (want.How != emulation.None) {
				t.Errorf("runs: %v", got.Runs())
			}
		})
	}
}

func TestSupportKeepsItsKeys(t *testing.T) {
	raw, err := json.Marshal(emulation.Support{Platform: platforms.MustParse("armhf"), How: emulation.None})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"platform":"linux/arm/v7","how":"none","instance":"","handler":"","interpreter":"","flags":"","version":"",` +
		`"probe":"","probe_ms":0,"score":0,"choice":"","problem":"","mend":""}`
	if diff := cmp.Diff(want, string(raw)); diff != "" {
		t.Error(diff)
	}
}

// The host's own handlers, if any, are only looked at.
func TestSurveyOfTheHost(t *testing.T) {
	got, err := emulation.Survey(context.Background(), emulation.SurveyConfig{SkipVersions: true})
	if err != nil {
		t.Fatal(err)
	}
	var listed []platforms.Platform
	host := false
	for _, s := range got {
		listed = append(listed, s.Platform)
		host = host || s.Platform == platforms.Host() && s.How == emulation.Native
		if !s.Runs() && (s.Problem == "" || s.Mend == "") {
			t.Errorf("%s does not run, and nothing tells why: %+v", s.Platform, s)
		}
		if s.Version != "" {
			t.Errorf("%s: a version nobody asked for", s.Platform)
		}
	}
	if diff := cmp.Diff(platforms.Known(), listed); diff != "" {
		t.Error(diff)
	}
	if !host {
		t.Errorf("the host itself is not native: %+v", got)
	}
	some := []platforms.Platform{platforms.MustParse("s390x"), platforms.Host(), platforms.MustParse("windows/amd64")}
	got, err = emulation.Survey(context.Background(), emulation.SurveyConfig{Platforms: some})
	if err != nil || len(got) != 3 || got[0].Platform != some[0] || got[1].How != emulation.Native || got[2].How != emulation.None {
		t.Errorf("some platforms: %+v, %v", got, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := emulation.Survey(ctx, emulation.SurveyConfig{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestProbeErrors(t *testing.T) {
	err := emulation.Probe(context.Background(), platforms.MustParse("windows/amd64"), "")
	if !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "windows/amd64") {
		t.Error(err)
	}
}
