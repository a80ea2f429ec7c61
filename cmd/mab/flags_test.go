// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	mab "github.com/mab-build/mab/cmd/mab"
	"github.com/mab-build/mab/coordinator"
	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/platforms"
)

func parse(t *testing.T, args ...string) (coordinator.Request, error) {
	t.Helper()
	var r coordinator.Request
	flags := pflag.NewFlagSet("build", pflag.ContinueOnError)
	mab.RequestFlags(flags, &r)
	return r, flags.Parse(args)
}

// TestRequestFlags has each flag of mab build set one field, and no flag without a row.
func TestRequestFlags(t *testing.T) {
	amd64, arm64 := platforms.MustParse("linux/amd64"), platforms.MustParse("linux/arm64")
	type request = coordinator.Request
	set := func(do func(*request)) request {
		var r request
		do(&r)
		return r
	}
	seen := map[string]bool{}
	for _, test := range []struct {
		args []string
		want request
	}{
		{[]string{"--platform", "local"}, set(func(r *request) { r.Platforms = []platforms.Platform{platforms.Host()} })},
		{[]string{"--platform=linux/arm64,amd64", "--platform", "arm64"}, set(func(r *request) { r.Platforms = []platforms.Platform{arm64, amd64} })},
		{[]string{"--tag=a,b", "-t", "c"}, set(func(r *request) { r.Tags = []string{"a,b", "c"} })},
		{[]string{"--file=-"}, set(func(r *request) { r.File = "-" })},
		{[]string{"-f", "a/Dockerfile"}, set(func(r *request) { r.File = "a/Dockerfile" })},
		{[]string{"--target", "final"}, set(func(r *request) { r.Target = "final" })},
		{[]string{"--build-arg=A=b,c", "--build-arg", "D"}, set(func(r *request) { r.BuildArgs = []string{"A=b,c", "D"} })},
		{[]string{"--label=a=b,c", "--label=d"}, set(func(r *request) { r.Labels = []string{"a=b,c", "d"} })},
		{[]string{"--annotation=index:a=b,c"}, set(func(r *request) { r.Annotations = []string{"index:a=b,c"} })},
		{[]string{"--secret=id=a,src=b", "--secret=id=c"}, set(func(r *request) { r.Secrets = []string{"id=a,src=b", "id=c"} })},
		{[]string{"--ssh=default", "--ssh", "a=b,c"}, set(func(r *request) { r.SSH = []string{"default", "a=b,c"} })},
		{[]string{"--build-context=a=b", "--build-context=c=docker-image://d"}, set(func(r *request) { r.NamedContexts = []string{"a=b", "c=docker-image://d"} })},
		{[]string{"--build-platform", "arm64"}, set(func(r *request) { r.Build = arm64 })},
		{[]string{"--build-platform=local"}, set(func(r *request) { r.Build = platforms.Host() })},
		{[]string{"--no-split"}, set(func(r *request) { r.NoSplit = true })},
		{[]string{"--no-cache"}, set(func(r *request) { r.NoCache = true })},
		{[]string{"--no-cache-filter=a,b", "--no-cache-filter=c"}, set(func(r *request) { r.NoCacheFilter = []string{"a", "b", "c"} })},
		{[]string{"--pull"}, set(func(r *request) { r.Pull = true })},
		{[]string{"--output=type=oci,dest=a", "-o", "out"}, set(func(r *request) {
			r.Outputs = []coordinator.Output{{Type: "oci", Dest: "a", Attrs: map[string]string{}}, {Type: "local", Dest: "out"}}
		})},
		{[]string{"--push"}, set(func(r *request) { r.Push = true })},
		{[]string{"--load"}, set(func(r *request) { r.Load = true })},
		{[]string{"--cache-from=type=registry,ref=a", "--cache-from=b"}, set(func(r *request) { r.CacheFrom = []string{"type=registry,ref=a", "b"} })},
		{[]string{"--cache-to=type=inline"}, set(func(r *request) { r.CacheTo = []string{"type=inline"} })},
		{[]string{"--provenance=mode=max"}, set(func(r *request) { r.Provenance = "mode=max" })},
		{[]string{"--provenance"}, set(func(r *request) { r.Provenance = "true" })},
		{[]string{"--sbom=generator=a"}, set(func(r *request) { r.SBOM = "generator=a" })},
		{[]string{"--sbom"}, set(func(r *request) { r.SBOM = "true" })},
		{[]string{"--attest=type=sbom,generator=a"}, set(func(r *request) { r.Attests = []string{"type=sbom,generator=a"} })},
		{[]string{"--network=none"}, set(func(r *request) { r.Network = "none" })},
		{[]string{"--add-host=a:1.2.3.4,b:1.2.3.5", "--add-host=c:::1"}, set(func(r *request) { r.AddHosts = []string{"a:1.2.3.4", "b:1.2.3.5", "c:::1"} })},
		{[]string{"--shm-size=64m"}, set(func(r *request) { r.ShmSize = "64m" })},
		{[]string{"--ulimit=nofile=1:2", "--ulimit=core=0"}, set(func(r *request) { r.Ulimits = []string{"nofile=1:2", "core=0"} })},
		{[]string{"--cgroup-parent=a"}, set(func(r *request) { r.CgroupParent = "a" })},
		{[]string{"--allow=network.host,security.insecure"}, set(func(r *request) { r.Allow = []string{"network.host", "security.insecure"} })},
		{[]string{"--emulation-image=oci-layout:///a"}, set(func(r *request) { r.EmulationImage = "oci-layout:///a" })},
		{[]string{"--emulated-timeout=1m30s"}, set(func(r *request) { r.EmulatedTimeout = 90 * time.Second })},
		{[]string{"--emulated-timeout=1m", "--emulated-timeout=0"}, set(func(*request) {})},
		{[]string{"--strategy=emulated,native", "--strategy=cross"}, set(func(r *request) {
			r.Strategies = crossbuild.Strategies{crossbuild.Native, crossbuild.Cross, crossbuild.Emulated}
		})},
		{[]string{"--assist=go"}, set(func(r *request) { r.Assist = crossbuild.Assists{Only: []string{"go"}} })},
		{[]string{"--insecure-registry"}, set(func(r *request) { r.InsecureRegistry = true })},
	} {
		name, _, _ := strings.Cut(strings.TrimLeft(test.args[0], "-"), "=")
		seen[name] = true
		t.Run(strings.Join(test.args, " "), func(t *testing.T) {
			got, err := parse(t, test.args...)
			if diff := cmp.Diff(test.want, got); err != nil || diff != "" {
				t.Errorf("error %v; want -, got +:\n%s", err, diff)
			}
		})
	}
	var r request
	flags := pflag.NewFlagSet("build", pflag.ContinueOnError)
	mab.RequestFlags(flags, &r)
	flags.VisitAll(func(f *pflag.Flag) {
		if !seen[f.Name] {
			t.Errorf("--%s has no row", f.Name)
		}
		if f.Usage == "" {
			t.Errorf("--%s says nothing of itself", f.Name)
		}
	})
}

func TestWrongFlags(t *testing.T) {
	for _, args := range [][]string{
		{"--platform=vax"},
		{"--platform=amd64", "--platform="},
		{"--output=type=x"},
		{"--strategy=fast"},
		{"--emulated-timeout=soon"},
		{"--emulated-timeout=-1s"},
		{"--build-platform=vax"},
		{"--build-platform=amd64,arm64"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			got, err := parse(t, args...)
			if err == nil {
				t.Fatalf("got %+v", got)
			}
			if len(args) > 1 && len(got.Platforms) != 1 {
				t.Errorf("what was good before is lost: %v", got.Platforms)
			}
		})
	}
}

// TestBuildFlags holds what mab build has beside the request.
func TestBuildFlags(t *testing.T) {
	t.Setenv("BUILDKIT_PROGRESS", "")
	flags := mab.BuildFlags()
	got := map[string]string{}
	for _, name := range []string{"progress", "quiet", "metadata-file", "iidfile"} {
		f := flags.Lookup(name)
		got[name] = f.Shorthand + ":" + f.DefValue
	}
	want := map[string]string{"progress": ":auto", "quiet": "q:false", "metadata-file": ":", "iidfile": ":"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
	t.Setenv("BUILDKIT_PROGRESS", "plain")
	if got := mab.BuildFlags().Lookup("progress").DefValue; got != "plain" {
		t.Errorf("BUILDKIT_PROGRESS: got %q", got)
	}
}
