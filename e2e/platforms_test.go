// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func TestPlatforms(t *testing.T) {
	l := newLab(t)
	app := registry(t) + "/platforms/app"
	dir := l.context(map[string]string{"Dockerfile": `FROM ` + registry(t) + `/busybox
ARG TARGETPLATFORM
RUN uname -m > /machine; echo "$TARGETPLATFORM" > /platform; /bin/busybox --help 2>&1 | head -n 1 > /version
`})
	pushed := l.must("build", "--platform", six, "-t", app+":six", "--push", dir)
	index := pull(t, app+":six")
	digest, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(app+"@"+digest.String(), pushed); diff != "" {
		t.Errorf("standard output (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(six, platformsOf(t, index)); diff != "" {
		t.Errorf("platforms of the index (-want +got):\n%s", diff)
	}
	for _, m := range machines {
		t.Run(m.platform, func(t *testing.T) { runsOn(t, m, imageOf(t, index, m.platform)) })
	}
	t.Run("the order of --platform is that of the index", func(t *testing.T) {
		l := l.on(t)
		reversed := strings.Split(six, ",")
		slices.Reverse(reversed)
		want := strings.Join(reversed, ",")
		ref := l.must("build", "--platform", want, "-t", app+":reversed", "--push", dir)
		if diff := cmp.Diff(want, platformsOf(t, pull(t, ref))); diff != "" {
			t.Errorf("platforms of the index (-want +got):\n%s", diff)
		}
	})
	t.Run("index inspect tells the same", func(t *testing.T) {
		l := l.on(t)
		table := l.must("index", "inspect", app+":six")
		last := -1
		for _, m := range machines {
			at := strings.Index(table, "\n"+m.platform+" ")
			if at <= last {
				t.Errorf("%s at %d, after %d, in:\n%s", m.platform, at, last, table)
			}
			last = at
		}
		raw, err := index.RawManifest()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(raw), l.mab("index", "inspect", "--raw", app+":six").stdout); diff != "" {
			t.Errorf("--raw (-want +got):\n%s", diff)
		}
	})
}

// runsOn checks what the steps of TestPlatforms left in an image, and runs its busybox here.
func runsOn(t testing.TB, m machine, image v1.Image) {
	t.Helper()
	config := configOf(t, image)
	if got := config.Platform().String(); got != m.platform {
		t.Errorf("the configuration is for %s", got)
	}
	files := rootfsOf(t, image)
	want := map[string]string{"machine": m.uname, "platform": m.platform}
	got := map[string]string{}
	for name := range want {
		got[name] = files.text(t, name)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what the RUN step saw (-want +got):\n%s", diff)
	}
	program := files.program(t, "usr/bin/busybox")
	m.check(t, program)
	if out := outputOf(t, m.command(t, program, "uname", "-m")); out != m.uname {
		t.Errorf("busybox of the image says it is on %q", out)
	}
	// The version was printed by this very program when it ran in the build.
	version := files.text(t, "version")
	help, err := m.command(t, program, "--help").CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	if first, _, _ := strings.Cut(string(help), "\n"); first != version || !strings.HasPrefix(version, "BusyBox ") {
		t.Errorf("in the build it said %q, now %q", version, first)
	}
}

func TestPlatformSpellings(t *testing.T) {
	l := newLab(t)
	dir := l.context(map[string]string{
		"Dockerfile": "FROM scratch\nCOPY a /a\n", "a": "a",
	})
	for _, test := range []struct {
		rule string
		args []string
		want string
	}{
		{"the machine's own without the flag", nil, "linux/" + runtime.GOARCH},
		{"architecture alone", []string{"--platform", "s390x"}, "linux/s390x"},
		{"uname's names", []string{"--platform", "x86_64,aarch64"}, "linux/amd64,linux/arm64"},
		{"Debian's names", []string{"--platform", "linux/armhf"}, "linux/arm/v7"},
		{"a default variant is dropped", []string{"--platform", "linux/arm64/v8"}, "linux/arm64"},
		{"arm alone is v7", []string{"--platform", "linux/arm"}, "linux/arm/v7"},
		{"other variants are kept", []string{"--platform", "linux/arm/v6,linux/amd64/v2"}, "linux/arm/v6,linux/amd64/v2"},
		{"repeated and with commas", []string{"--platform", "linux/s390x", "--platform", "linux/riscv64,linux/ppc64le"}, "linux/s390x,linux/riscv64,linux/ppc64le"},
		{"a duplicate counts once", []string{"--platform", "linux/s390x,linux/riscv64,s390x"}, "linux/s390x,linux/riscv64"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			l := l.on(t)
			ref := l.must(append([]string{"build", "-t", registry(t) + "/platforms/spelling", "--push", dir}, test.args...)...)
			if diff := cmp.Diff(test.want, platformsOf(t, pull(t, ref))); diff != "" {
				t.Errorf("platforms of the index (-want +got):\n%s", diff)
			}
		})
	}
}
