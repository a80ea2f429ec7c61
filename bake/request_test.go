// SPDX-License-Identifier: Apache-2.0

package bake_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/bake"
	"github.com/mab-build/mab/coordinator"
	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/platforms"
)

// TestRequests has each key of a target set one field.
func TestRequests(t *testing.T) {
	type named = coordinator.Named
	set := func(do func(*named)) named {
		n := named{Name: "default"}
		n.Context = "."
		do(&n)
		return n
	}
	for _, test := range []struct {
		rule, target string
		want         named
	}{
		{"nothing", "", set(func(*named) {})},
		{"context", `context = "./sub/../sub/"`, set(func(n *named) { n.Context = "sub" })},
		{"context of the current directory", `context = "cwd://sub"`, set(func(n *named) { n.Context = "sub" })},
		{"context that is fetched", `context = "https://example.com/a.git#b:c"`, set(func(n *named) { n.Context = "https://example.com/a.git#b:c" })},
		{"dockerfile: in the context", "context = \"sub\"\ndockerfile = \"x/Dockerfile\"", set(func(n *named) { n.Context, n.File = "sub", "sub/x/Dockerfile" })},
		{"dockerfile: in a context that is fetched", "context = \"https://example.com/a.git\"\ndockerfile = \"x\"",
			set(func(n *named) { n.Context, n.File = "https://example.com/a.git", "x" })},
		{"args: null is not given", "args = { B = \"b=1\", A = \"\", NULL = null }", set(func(n *named) { n.BuildArgs = []string{"A=", "B=b=1"} })},
		{"labels", `labels = { b = "2", a = "1" }`, set(func(n *named) { n.Labels = []string{"a=1", "b=2"} })},
		{"tags", `tags = ["b", "a:1", "b"]`, set(func(n *named) { n.Tags = []string{"b", "a:1"} })},
		{"platforms", `platforms = ["linux/arm64", "amd64,linux/arm64/v8"]`, set(func(n *named) {
			n.Platforms = []platforms.Platform{platforms.MustParse("linux/arm64"), platforms.MustParse("linux/amd64")}
		})},
		{"platforms: this machine's", `platforms = ["local"]`, set(func(n *named) { n.Platforms = []platforms.Platform{platforms.Host()} })},
		{"cache-from, cache-to", "cache-from = [\"a.example/b:1\", \"type=local,src=c\"]\ncache-to = [{ type = \"local\", dest = \"c\", mode = \"max\" }]", set(func(n *named) {
			n.CacheFrom, n.CacheTo = []string{"a.example/b:1", "type=local,src=c"}, []string{"type=local,dest=c,mode=max"}
		})},
		{"target", `target = "final"`, set(func(n *named) { n.Target = "final" })},
		{"secret", "secret = [\"id=a,env=HOME\", { id = \"b\", src = \"sub/with,comma\" }]", set(func(n *named) { n.Secrets = []string{"id=a,env=HOME", `id=b,"src=sub/with,comma"`} })},
		{"ssh: keys", "ssh = [{ id = \"key\", paths = [\"sub/a\", \"sub/b\"] }]", set(func(n *named) { n.SSH = []string{"key=sub/a,sub/b"} })},
		{"output", "output = [\"type=oci,dest=a.tar,compression=zstd\", { type = \"local\", dest = \"out\" }]", set(func(n *named) {
			n.Outputs = []coordinator.Output{{Type: "oci", Dest: "a.tar", Attrs: map[string]string{"compression": "zstd"}}, {Type: "local", Dest: "out", Attrs: map[string]string{}}}
		})},
		{"output: an archive without a place goes to standard output", "output = [\"type=oci\"]", set(func(n *named) {
			n.Outputs = []coordinator.Output{{Type: "oci", Dest: "-", Attrs: map[string]string{}}}
		})},
		{"pull, no-cache", "pull = true\nno-cache = true", set(func(n *named) { n.Pull, n.NoCache = true, true })},
		{"no-cache-filter", `no-cache-filter = ["a", "b"]`, set(func(n *named) { n.NoCacheFilter = []string{"a", "b"} })},
		{"network", `network = "none"`, set(func(n *named) { n.Network = "none" })},
		{"shm-size, ulimits", "shm-size = \"64m\"\nulimits = [\"nofile=1024:2048\"]", set(func(n *named) { n.ShmSize, n.Ulimits = "64m", []string{"nofile=1024:2048"} })},
		{"annotations", `annotations = ["index:a=b"]`, set(func(n *named) { n.Annotations = []string{"index:a=b"} })},
		{"attest", "attest = [{ type = \"provenance\", mode = \"max\" }, \"type=sbom,disabled=true\"]",
			set(func(n *named) { n.Attests = []string{"type=provenance,mode=max", "type=sbom,disabled=true"} })},
		{"extra-hosts", `extra-hosts = { b = "::1", a = "10.0.0.1" }`, set(func(n *named) { n.AddHosts = []string{"a=10.0.0.1", "b=::1"} })},
		{"contexts", `contexts = { b = "docker-image://busybox", a = "./sub", c = "https://example.com/x.git" }`,
			set(func(n *named) {
				n.NamedContexts = []string{"a=./sub", "b=docker-image://busybox", "c=https://example.com/x.git"}
			})},
		{"call: build", `call = "build"`, set(func(*named) {})},
		{"policy: switched off", `policy = [{ disabled = true }]`, set(func(*named) {})},
	} {
		t.Run(test.rule, func(t *testing.T) {
			files(t, map[string]string{
				"docker-bake.hcl": "target \"default\" {\n" + test.target + "\n}\n", "Dockerfile": "", "sub/Dockerfile": "", "sub/x/Dockerfile": "",
				"sub/with,comma": "", "sub/a": newKey(t), "sub/b": newKey(t),
			})
			if diff := cmp.Diff([]named{test.want}, must(t, bake.Query{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// newKey is a key of ssh, for nothing.
func newKey(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	text, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: text}))
}

func TestLinks(t *testing.T) {
	richFiles(t)
	list := must(t, bake.Query{Targets: []string{"app"}})
	if got := names(list); got != "app base" {
		t.Fatalf("got %q", got)
	}
	if diff := cmp.Diff(map[string]string{"under": "base"}, list[0].Links); diff != "" {
		t.Errorf("links (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"files=base"}, list[0].NamedContexts); diff != "" {
		t.Errorf("other contexts (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]coordinator.Output{{Type: "cacheonly", Attrs: map[string]string{}}}, list[1].Outputs); diff != "" {
		t.Errorf("outputs of what is only linked (-want +got):\n%s", diff)
	}
}

func TestInlineDockerfile(t *testing.T) {
	files(t, map[string]string{"docker-bake.hcl": "target \"default\" {\n  dockerfile-inline = <<EOT\nFROM scratch\nEOT\n}\n"})
	list := must(t, bake.Query{})
	if list[0].File != "-" || list[0].Stdin == nil {
		t.Fatalf("the Dockerfile is %q", list[0].File)
	}
	if text, err := io.ReadAll(list[0].Stdin); err != nil || string(text) != "FROM scratch\n" {
		t.Errorf("it is %q, %v", text, err)
	}
}

func TestDockerfileOfTheCurrentDirectory(t *testing.T) {
	files(t, map[string]string{"docker-bake.hcl": "target \"default\" {\n  context = \"sub\"\n  dockerfile = \"cwd://other/Dockerfile\"\n}\n", "sub/a": "", "other/Dockerfile": ""})
	want, err := filepath.Abs("other/Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	if got := must(t, bake.Query{})[0].File; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestBaseIsKept(t *testing.T) {
	one(t, "target \"default\" { tags = [\"a\"] }")
	base := coordinator.Request{NoSplit: true, KeepGoing: true, InsecureRegistry: true, EmulationImage: "x", Build: platforms.MustParse("linux/arm64"),
		Strategies: crossbuild.Strategies{crossbuild.Native}}
	list, _, err := requests(t, bake.Query{}, base)
	if err != nil {
		t.Fatal(err)
	}
	want := base
	want.Context, want.Tags = ".", []string{"a"}
	if diff := cmp.Diff(want, list[0].Request); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestPushAndLoad(t *testing.T) {
	const pushed, loaded = "image push=true", "docker"
	for _, test := range []struct {
		rule, outputs string
		query         bake.Query
		want          string
	}{
		{"push", ``, bake.Query{Push: true}, pushed},
		{"load", ``, bake.Query{Load: true}, loaded},
		{"both", ``, bake.Query{Push: true, Load: true}, pushed + "; " + loaded},
		{"push of an image", `"type=image"`, bake.Query{Push: true}, pushed},
		{"push beside an engine", `"type=docker"`, bake.Query{Push: true}, loaded + "; " + pushed},
		{"push leaves files alone", `"out"`, bake.Query{Push: true}, "local out"},
		{"load leaves files alone", `"out"`, bake.Query{Load: true}, "local out"},
		{"load beside a layout", `"type=oci,dest=a"`, bake.Query{Load: true}, "oci a; " + loaded},
		{"load once", `"type=docker"`, bake.Query{Load: true}, loaded},
		{"push of what --set says", ``, bake.Query{Push: true, Sets: []string{"*.output=type=docker"}}, loaded + "; " + pushed},
		{"what is only linked is not pushed", ``, bake.Query{Push: true, Sets: []string{"default.contexts.x=target:other"}}, pushed},
	} {
		t.Run(test.rule, func(t *testing.T) {
			one(t, "target \"default\" {\n  tags = [\"a\"]\n  output = ["+test.outputs+"]\n}\ntarget \"other\" {}\n")
			var got []string
			for _, o := range must(t, test.query)[0].Outputs {
				text := o.Type
				if o.Dest != "" {
					text += " " + o.Dest
				}
				if push := o.Attrs["push"]; push != "" {
					text += " push=" + push
				}
				got = append(got, text)
			}
			if diff := cmp.Diff(test.want, strings.Join(got, "; ")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestWrongTargets(t *testing.T) {
	for _, test := range []struct{ rule, target, text, hint string }{
		{"another method", `call = "outline"`, "understanding target \"default\": calling \"outline\": mab only builds", "docker buildx bake --call=outline"},
		{"a policy is not ignored", "policy = [{ filename = \"a.rego\" }]", "mab evaluates no policy files", "--set default.policy=disabled=true"},
		{"a context from standard input", `context = "-"`, "a context from standard input", "context = \".\""},
		{"a Dockerfile from standard input", `dockerfile = "-"`, "a Dockerfile from standard input", "dockerfile-inline"},
		{"no such context", `context = "nowhere"`, "opening the context \"nowhere\" of target \"default\": it does not exist", "BUILDX_BAKE_FILE_RELATIVE_PATHS=1"},
		{"no such Dockerfile", `dockerfile = "nowhere"`, "opening the Dockerfile \"nowhere\" of target \"default\"", "--set default.dockerfile=NAME"},
		{"no Dockerfile", `context = "sub"`, "opening the Dockerfile \"sub/Dockerfile\" of target \"default\"", "--set default.dockerfile=NAME"},
		{"no such platform", `platforms = ["linux/amd63"]`, "understanding target \"default\": ", "amd64"},
		{"no such output", `output = ["type=nonsense"]`, "understanding target \"default\": understanding --output \"type=nonsense\"", "type=registry"},
		{"a wrong limit", `ulimits = ["nonsense"]`, "understanding target \"default\": understanding --ulimit \"nonsense\"", "TYPE=SOFT"},
		{"no such cache", `cache-to = ["type=nonsense"]`, "understanding target \"default\": understanding --cache-to", "type=registry"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			files(t, map[string]string{"docker-bake.hcl": "target \"default\" {\n  " + test.target + "\n}\n", "Dockerfile": "", "sub/x": ""})
			_, _, err := requests(t, bake.Query{}, coordinator.Request{})
			wantFault(t, err, test.text, test.hint)
		})
	}
}

func TestOneStandardOutput(t *testing.T) {
	one(t, "group \"default\" { targets = [\"a\", \"b\"] }\ntarget \"a\" { output = [\"type=tar\"] }\ntarget \"b\" { output = [\"-\"] }\n")
	_, _, err := requests(t, bake.Query{}, coordinator.Request{})
	wantFault(t, err, `targets "a" and "b" both want it`, "--set b.output=type=tar,dest=FILE")
	if got := must(t, bake.Query{Targets: []string{"a"}}); !got[0].UsesStdout() {
		t.Error("one alone has it not")
	}
}

func TestResourcesAreNoted(t *testing.T) {
	one(t, "target \"default\" {\n  resources = { memory = \"1g\" }\n}\n")
	_, notes, err := requests(t, bake.Query{}, coordinator.Request{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(`[resources of target "default" have no effect: steps get no control group]`, fmt.Sprint(notes)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
