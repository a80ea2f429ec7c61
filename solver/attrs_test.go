// SPDX-License-Identifier: Apache-2.0

package solver_test

import (
	"errors"
	"maps"
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/frontend/dockerui"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/mab-build/mab/platforms"
	"github.com/mab-build/mab/solver"
)

type attrs = map[string]string

// environment is a process environment for a test.
type environment map[string]string

func (e environment) lookup(name string) (string, bool) {
	value, ok := e[name]
	return value, ok
}

func list(t testing.TB, names ...string) []platforms.Platform {
	t.Helper()
	out, err := platforms.ParseList(names)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// checkUsage holds what every error about a flag promises: it says where, how to go on, and whose it is.
func checkUsage(t *testing.T, err error, want string) {
	t.Helper()
	var usage interface {
		Hint() string
		Usage() bool
	}
	if !errors.As(err, &usage) || !usage.Usage() || usage.Hint() == "" {
		t.Fatalf("got %#v (%v), want a usage error with a hint", err, err)
	}
	if !strings.Contains(err.Error(), want) {
		t.Errorf("got %q, want %q in it", err, want)
	}
}

func TestAttrs(t *testing.T) {
	const quiet = "BUILDX_NO_DEFAULT_ATTESTATIONS"
	for _, test := range []struct {
		rule    string
		request solver.Request
		env     environment
		want    attrs
	}{
		{"nothing asked for", solver.Request{}, nil, attrs{}},
		{"--target", solver.Request{Target: "final"}, nil, attrs{"target": "final"}},
		{"one platform", solver.Request{Platforms: list(t, "linux/arm64")}, nil, attrs{"platform": "linux/arm64"}},
		{"several platforms keep their order", solver.Request{Platforms: list(t, "linux/s390x", "linux/arm/v7", "linux/amd64")}, nil,
			attrs{"platform": "linux/s390x,linux/arm/v7,linux/amd64", "multi-platform": "true"}},
		{"--build-arg with a value, which may hold anything", solver.Request{BuildArgs: []string{"A=b=c,d", "EMPTY="}}, nil,
			attrs{"build-arg:A": "b=c,d", "build-arg:EMPTY": ""}},
		{"--build-arg of the environment", solver.Request{BuildArgs: []string{"SET", "UNSET", "EMPTY"}}, environment{"SET": "1", "EMPTY": ""},
			attrs{"build-arg:SET": "1", "build-arg:EMPTY": ""}},
		{"the last --build-arg of a name counts", solver.Request{BuildArgs: []string{"A=1", "A=2"}}, nil, attrs{"build-arg:A": "2"}},
		{"SOURCE_DATE_EPOCH comes from the environment", solver.Request{}, environment{"SOURCE_DATE_EPOCH": "0"},
			attrs{"build-arg:SOURCE_DATE_EPOCH": "0"}},
		{"an empty SOURCE_DATE_EPOCH does not", solver.Request{}, environment{"SOURCE_DATE_EPOCH": ""}, attrs{}},
		{"--build-arg SOURCE_DATE_EPOCH goes first", solver.Request{BuildArgs: []string{"SOURCE_DATE_EPOCH=1"}},
			environment{"SOURCE_DATE_EPOCH": "0"}, attrs{"build-arg:SOURCE_DATE_EPOCH": "1"}},
		{"--label, with and without a value", solver.Request{Labels: []string{"a=b=c", "flag"}}, nil, attrs{"label:a": "b=c", "label:flag": ""}},
		{"--no-cache is for every stage", solver.Request{NoCache: true}, nil, attrs{"no-cache": ""}},
		{"--no-cache-filter is for some", solver.Request{NoCacheFilter: []string{"a", "b"}}, nil, attrs{"no-cache": "a,b"}},
		{"--pull", solver.Request{Pull: true}, nil, attrs{"image-resolve-mode": "pull"}},
		{"--network default is no attribute", solver.Request{Network: "default"}, nil, attrs{}},
		{"--network none", solver.Request{Network: "none"}, nil, attrs{"force-network-mode": "none"}},
		{"--network host", solver.Request{Network: "host"}, nil, attrs{"force-network-mode": "host"}},
		{"--add-host", solver.Request{AddHosts: []string{"a:10.0.0.1", "b:10.0.0.2"}}, nil, attrs{"add-hosts": "a=10.0.0.1,b=10.0.0.2"}},
		{"--shm-size in bytes", solver.Request{ShmSize: "64m"}, nil, attrs{"shm-size": "67108864"}},
		{"--ulimit", solver.Request{Ulimits: []string{"nofile=1024:2048", "core=0"}}, nil, attrs{"ulimit": "nofile=1024:2048,core=0:0"}},
		{"--cgroup-parent", solver.Request{CgroupParent: "ci"}, nil, attrs{"cgroup-parent": "ci"}},
		{"--provenance=false leaves nothing", solver.Request{Provenance: "false"}, environment{quiet: "0"}, attrs{}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			env := environment{quiet: "1"}
			maps.Copy(env, test.env)
			got, err := test.request.Attrs(env.lookup)
			if diff := cmp.Diff(test.want, got); err != nil || diff != "" {
				t.Errorf("error %v; want -, got +:\n%s", err, diff)
			}
		})
	}
}

func TestAttrsErrors(t *testing.T) {
	for _, test := range []struct {
		want    string
		request solver.Request
	}{
		{`--build-arg "=b"`, solver.Request{BuildArgs: []string{"=b"}}},
		{`--label "=b"`, solver.Request{Labels: []string{"=b"}}},
		{"--no-cache together with --no-cache-filter", solver.Request{NoCache: true, NoCacheFilter: []string{"a"}}},
		{`--network "bridge"`, solver.Request{Network: "bridge"}},
		{`--add-host "db"`, solver.Request{AddHosts: []string{"db"}}},
		{`--shm-size "big"`, solver.Request{ShmSize: "big"}},
		{`--shm-size "-1"`, solver.Request{ShmSize: "-1"}},
		{`--ulimit "files=1"`, solver.Request{Ulimits: []string{"files=1"}}},
		{`--ulimit "nofile=2:1"`, solver.Request{Ulimits: []string{"nofile=2:1"}}},
		{`--attest "type=vsa"`, solver.Request{Attests: []string{"type=vsa"}}},
		{`--attest "type=provenance,mode"`, solver.Request{Attests: []string{"type=provenance,mode"}}},
		{`--attest "type=sbom,disabled=no"`, solver.Request{Attests: []string{"type=sbom,disabled=no"}}},
		{`--attest "\"type=sbom"`, solver.Request{Attests: []string{`"type=sbom`}}},
		{`--attest "type=provenance,maximal"`, solver.Request{Provenance: "maximal"}},
	} {
		t.Run(test.want, func(t *testing.T) {
			_, err := test.request.Attrs(environment{}.lookup)
			checkUsage(t, err, test.want)
		})
	}
}

func TestAttests(t *testing.T) {
	const standard = "mode=min,inline-only=true"
	for _, test := range []struct {
		rule     string
		request  solver.Request
		disabled string // the environment's word on the default
		want     attrs
	}{
		{"minimal provenance is the default", solver.Request{}, "", attrs{"attest:provenance": standard}},
		{"the environment takes the default away", solver.Request{}, "true", attrs{}},
		{"the environment may also leave it", solver.Request{}, "False", attrs{"attest:provenance": standard}},
		{"what is asked for stays whatever the environment says", solver.Request{Provenance: "mode=max"}, "1", attrs{"attest:provenance": "mode=max"}},
		{"--provenance=true has BuildKit's default mode", solver.Request{Provenance: "true"}, "", attrs{"attest:provenance": ""}},
		{"--provenance=FALSE", solver.Request{Provenance: "FALSE"}, "", attrs{}},
		{"--provenance=0", solver.Request{Provenance: "0"}, "", attrs{}},
		{"--provenance=max", solver.Request{Provenance: "max"}, "", attrs{"attest:provenance": "mode=max"}},
		{"--provenance with settings", solver.Request{Provenance: "mode=max,version=v0.2"}, "", attrs{"attest:provenance": "mode=max,version=v0.2"}},
		{"settings go on as they are", solver.Request{Provenance: "builder-id=https://ci/?mode=max"}, "",
			attrs{"attest:provenance": "builder-id=https://ci/?mode=max"}},
		{"--sbom=true", solver.Request{SBOM: "true"}, "", attrs{"attest:provenance": standard, "attest:sbom": ""}},
		{"--sbom with a generator", solver.Request{SBOM: "generator=scan:1"}, "", attrs{"attest:provenance": standard, "attest:sbom": "generator=scan:1"}},
		{"--sbom=false", solver.Request{SBOM: "false"}, "", attrs{"attest:provenance": standard}},
		{"--attest is the long form", solver.Request{Attests: []string{"type=provenance,mode=max", "type=sbom"}}, "",
			attrs{"attest:provenance": "mode=max", "attest:sbom": ""}},
		{"--attest may disable, too", solver.Request{Attests: []string{"type=provenance,disabled=true"}}, "", attrs{}},
		{"--attest goes before --provenance", solver.Request{Attests: []string{"type=provenance,mode=max"}, Provenance: "false"}, "",
			attrs{"attest:provenance": "mode=max"}},
		{"--attest goes before --sbom", solver.Request{Attests: []string{"type=sbom,disabled=1"}, SBOM: "true"}, "1", attrs{}},
		{"the first --attest of a kind counts", solver.Request{Attests: []string{"type=sbom,generator=a", "type=sbom,generator=b"}}, "1",
			attrs{"attest:sbom": "generator=a"}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			got, err := test.request.Attrs(environment{"BUILDX_NO_DEFAULT_ATTESTATIONS": test.disabled}.lookup)
			if diff := cmp.Diff(test.want, got); err != nil || diff != "" {
				t.Errorf("error %v; want -, got +:\n%s", err, diff)
			}
		})
	}
}

func TestExtraHosts(t *testing.T) {
	for _, test := range []struct{ rule, entry, want string }{
		{"a colon", "db:10.0.0.7", "db=10.0.0.7"},
		{"an equals sign", "db=10.0.0.7", "db=10.0.0.7"},
		{"IPv6 after a colon", "db:fe80::1", "db=fe80::1"},
		{"IPv6 after an equals sign", "db=::1", "db=::1"},
		{"IPv6 in brackets", "db:[::1]", "db=::1"},
		{"no address", "db", ""},
		{"no name", ":10.0.0.7", ""},
		{"no number", "db:localhost", ""},
		{"two addresses", "db:10.0.0.7,[::1]", "db=10.0.0.7,db=::1"},
		{"the machine that the step is on", "host.docker.internal:host-gateway", "host.docker.internal=127.0.0.1"},
		{"an address and a word", "db:10.0.0.7,other", ""},
	} {
		t.Run(test.rule, func(t *testing.T) {
			got, err := solver.ExtraHosts([]string{test.entry})
			if test.want == "" {
				checkUsage(t, err, "--add-host")
				return
			}
			if err != nil || got != test.want {
				t.Errorf("got %q, %v, want %q", got, err, test.want)
			}
		})
	}
}

// frontendClient is the gateway as the Dockerfile frontend sees it while it reads its options.
type frontendClient struct {
	gateway.Client
	opts attrs
}

func (c frontendClient) BuildOpts() gateway.BuildOpts {
	return gateway.BuildOpts{Opts: c.opts, LLBCaps: pb.Caps.CapSet(pb.Caps.All())}
}

// TestFrontendUnderstands has BuildKit's own frontend read the attributes: their names and forms are its.
func TestFrontendUnderstands(t *testing.T) {
	request := solver.Request{
		Target: "final", Platforms: list(t, "linux/arm64", "linux/arm/v7"), BuildArgs: []string{"A=b"}, Labels: []string{"c=d"},
		NoCacheFilter: []string{"build"}, Pull: true, Network: "none", AddHosts: []string{"db:[::1]"}, ShmSize: "1k",
		Ulimits: []string{"nofile=1:2", "core=0"}, CgroupParent: "ci", SBOM: "generator=scan:1",
	}
	opts, err := request.Attrs(environment{}.lookup)
	if err != nil {
		t.Fatal(err)
	}
	c, err := dockerui.NewClient(frontendClient{opts: opts})
	if err != nil {
		t.Fatal(err)
	}
	want := dockerui.Config{
		Target: "final", BuildArgs: attrs{"A": "b"}, Labels: attrs{"c": "d"}, CgroupParent: "ci", ImageResolveMode: llb.ResolveModeForcePull,
		TargetPlatforms:        []ocispec.Platform{{OS: "linux", Architecture: "arm64"}, {OS: "linux", Architecture: "arm", Variant: "v7"}},
		MultiPlatformRequested: true, NetworkMode: pb.NetMode_NONE, ShmSize: 1024,
		ExtraHosts: []llb.HostIP{{Host: "db", IP: net.IPv6loopback}},
		Ulimits:    []*pb.Ulimit{{Name: "nofile", Soft: 1, Hard: 2}, {Name: "core"}},
		SBOM:       &dockerui.SBOM{Generator: "docker.io/library/scan:1", Parameters: attrs{}},
	}
	if diff := cmp.Diff(want, c.Config, cmpopts.IgnoreFields(dockerui.Config{}, "BuildPlatforms", "LinuxResources"), cmpopts.IgnoreUnexported(pb.Ulimit{})); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
	if !c.IsNoCache("build") || c.IsNoCache("final") {
		t.Error("the stages without cache are others")
	}
}
