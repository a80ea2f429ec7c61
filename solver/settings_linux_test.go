// SPDX-License-Identifier: Apache-2.0

package solver_test

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/client"
	resolverconfig "github.com/moby/buildkit/util/resolver/config"

	"github.com/mab-build/mab/emulation"
	"github.com/mab-build/mab/platforms"
	"github.com/mab-build/mab/solver"
)

func parsed(t *testing.T, text string) solver.Config {
	t.Helper()
	c, err := solver.ParseConfig("/x.toml", text)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestGranted(t *testing.T) {
	all, some := []string{"network.host", "security.insecure"}, []string{"network.host"}
	others := solver.Listening{Addresses: []string{"unix:///s"}}
	for _, test := range []struct {
		rule string
		cfg  solver.ServeConfig
		want []string
	}{
		{"the machine's own builds get both", solver.ServeConfig{}, all},
		{"others get none", solver.ServeConfig{Listen: others}, nil},
		{"the config decides", solver.ServeConfig{Listen: others, Config: solver.Config{Entitlements: some}}, some},
		{"also that there is none", solver.ServeConfig{Config: solver.Config{Entitlements: []string{}}}, []string{}},
		{"the flag decides before it", solver.ServeConfig{Config: solver.Config{Entitlements: []string{}}, Entitlements: some}, some},
	} {
		t.Run(test.rule, func(t *testing.T) {
			if diff := cmp.Diff(test.want, test.cfg.Granted()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestRestrict(t *testing.T) {
	survey := []emulation.Support{
		{Platform: platforms.MustParse("linux/amd64"), How: emulation.Native},
		{Platform: platforms.MustParse("linux/arm/v6"), How: emulation.Emulated},
		{Platform: platforms.MustParse("linux/s390x"), How: emulation.Emulated},
		{Platform: platforms.MustParse("linux/mips64"), How: emulation.None, Problem: "no emulator"},
	}
	if diff := cmp.Diff(survey, solver.Config{}.Restrict(survey)); diff != "" {
		t.Errorf("without a list (-want +got):\n%s", diff)
	}
	got := parsed(t, "[worker.oci]\nplatforms = [\"linux/amd64\", \"linux/arm/v7\"]\n").Restrict(survey)
	want := append([]emulation.Support(nil), survey...)
	want[2] = emulation.Support{Platform: want[2].Platform, How: emulation.None,
		Problem: "the solver's config does not list it", Mend: "add linux/s390x to platforms of [worker.oci] in /x.toml"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestBuildKitRegistries(t *testing.T) {
	yes, no := true, false
	got := parsed(t, `
[registry."docker.io"]
  mirrors = ["mirror.example/hub"]
[registry."mirror.example"]
  http = true
[registry."localhost:5000"]
[registry."localhost:5001"]
  insecure = true
  http = false
`).BuildKitRegistries()
	want := map[string]resolverconfig.RegistryConfig{
		"docker.io":      {Mirrors: []string{"mirror.example/hub"}, PlainHTTP: &no, Insecure: &no},
		"mirror.example": {PlainHTTP: &yes, Insecure: &no},
		"localhost:5000": {PlainHTTP: &yes, Insecure: &no},
		"localhost:5001": {PlainHTTP: &no, Insecure: &yes},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestGCPolicy(t *testing.T) {
	own := client.PruneInfo{Filter: []string{"type==regular"}, KeepDuration: time.Hour, ReservedSpace: 1 << 20, MaxUsedSpace: 2 << 20, MinFreeSpace: 3 << 20}
	for _, test := range []struct {
		rule, text string
		limits     solver.Limits
		want       func(got []client.PruneInfo) bool
	}{
		{"without a word it is BuildKit's", "", solver.Limits{}, func(got []client.PruneInfo) bool { return len(got) == 4 && got[3].All }},
		{"off", "gc = false", solver.Limits{}, func(got []client.PruneInfo) bool { return got == nil }},
		{"its limits", "maxUsedSpace = \"5MB\"", solver.Limits{}, func(got []client.PruneInfo) bool { return len(got) == 4 && got[3].MaxUsedSpace == 5<<20 }},
		{"the old name", "gckeepstorage = 7", solver.Limits{}, func(got []client.PruneInfo) bool { return len(got) == 4 && got[3].ReservedSpace == 7 }},
		{
			"rules of its own", "[[worker.oci.gcpolicy]]\nfilters = [\"type==regular\"]\nkeepDuration = \"1h\"\nreservedSpace = \"1MB\"\nmaxUsedSpace = \"2MB\"\nminFreeSpace = \"3MB\"",
			solver.Limits{}, func(got []client.PruneInfo) bool { return cmp.Diff([]client.PruneInfo{own}, got) == "" },
		},
		{
			"the old name in a rule", "[[worker.oci.gcpolicy]]\nall = true\nkeepBytes = 7", solver.Limits{},
			func(got []client.PruneInfo) bool { return len(got) == 1 && got[0].All && got[0].ReservedSpace == 7 },
		},
		{"the flag's size comes before all", "gc = false", solver.Limits{CacheSize: 9}, func(got []client.PruneInfo) bool { return len(got) == 4 && got[3].MaxUsedSpace == 9 }},
		{"the flag's age is added", "gc = false", solver.Limits{CacheAge: time.Hour}, func(got []client.PruneInfo) bool {
			return cmp.Diff([]client.PruneInfo{{All: true, KeepDuration: time.Hour}}, got) == ""
		}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			if got := parsed(t, "[worker.oci]\n"+test.text).GCPolicy(test.limits); !test.want(got) {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: at("stale")})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	taken, err := net.Listen("unix", at("taken"))
	if err := errors.Join(err, stale.Close(), os.WriteFile(at("file"), []byte("precious"), 0o600)); err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	gid := os.Getgid()
	for _, test := range []struct {
		rule, name string
		gid        *int
		mode       fs.FileMode
		err        string
	}{
		{"a socket is its owner's", "new", nil, 0o600, ""},
		{"or its group's", "group", &gid, 0o660, ""},
		{"directories are made", "a/b/new", nil, 0o600, ""},
		{"what a killed solver left is replaced", "stale", nil, 0o600, ""},
		{"a solver that answers is not", "taken", nil, 0, "somebody answers there already"},
		{"a file is not", "file", nil, 0, "it exists and is no socket"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			list, err := solver.Listening{Addresses: []string{"unix://" + at(test.name)}, GID: test.gid}.OpenAll(t.Context())
			if test.err != "" {
				var hinted interface{ Hint() string }
				if err == nil || !strings.Contains(err.Error(), test.err) || !errors.As(err, &hinted) {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			info, err := os.Stat(at(test.name))
			if err != nil || info.Mode().Perm() != test.mode {
				t.Errorf("error %v, mode %v", err, info.Mode())
			}
			if err := list[0].Close(); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(at(test.name)); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the socket is left: %v", err)
			}
		})
	}
	t.Run("if one address cannot be, none is", func(t *testing.T) {
		_, err := solver.Listening{Addresses: []string{"unix://" + at("first"), "tcp://127.0.0.1:99999"}}.OpenAll(t.Context())
		if _, statErr := os.Stat(at("first")); err == nil || !errors.Is(statErr, fs.ErrNotExist) {
			t.Errorf("error %v; the first: %v", err, statErr)
		}
	})
	if text, err := os.ReadFile(at("file")); err != nil || string(text) != "precious" {
		t.Errorf("error %v; the file holds %q", err, text)
	}
	if os.Getuid() == 0 {
		nobody := 65534
		list, err := solver.Listening{Addresses: []string{"unix://" + at("given")}, UID: &nobody}.OpenAll(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer list[0].Close()
		if info, err := os.Stat(at("given")); err != nil || info.Sys().(*syscall.Stat_t).Uid != 65534 || info.Mode().Perm() != 0o600 {
			t.Errorf("error %v, %v", err, info)
		}
	}
}
