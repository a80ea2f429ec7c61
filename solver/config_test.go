// SPDX-License-Identifier: Apache-2.0

package solver_test

import (
	"encoding"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/cmd/buildkitd/config"

	"github.com/mab-build/mab/manifestlist"
	"github.com/mab-build/mab/solver"
)

// keysOf lists the keys that a type of BuildKit's config has, in the form of solver.ConfigKeys.
func keysOf(t reflect.Type, path string) []string {
	if t.Kind() == reflect.Pointer {
		return keysOf(t.Elem(), path)
	}
	if reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
		return []string{path}
	}
	switch t.Kind() {
	case reflect.Struct:
		var out []string
		for i := range t.NumField() {
			f := t.Field(i)
			name, _, _ := strings.Cut(f.Tag.Get("toml"), ",")
			at := strings.TrimPrefix(path+"/"+name, "/")
			if f.Anonymous && name == "" {
				at = path
			}
			out = append(out, keysOf(f.Type, at)...)
		}
		return out
	case reflect.Map:
		return keysOf(t.Elem(), path+"/*")
	case reflect.Slice:
		return keysOf(t.Elem(), path)
	}
	return []string{path}
}

// TestConfigKeys holds the table to the BuildKit that go.mod names.
func TestConfigKeys(t *testing.T) {
	buildkit := keysOf(reflect.TypeFor[config.Config](), "")
	if len(buildkit) < 80 {
		t.Fatalf("only %d keys: %q", len(buildkit), buildkit)
	}
	for _, key := range buildkit {
		// Of what is not followed anyway, no part is listed.
		if !solver.KnowsKey(key) {
			t.Errorf("BuildKit has %q, the table has not", key)
		}
	}
	for _, key := range solver.ConfigKeys() {
		prefix := strings.TrimSuffix(key, "*")
		if key != "ghacache/*" && !slices.ContainsFunc(buildkit, func(b string) bool { return b == key || strings.HasPrefix(b, prefix) && prefix != key }) {
			t.Errorf("the table has %q, BuildKit has not", key)
		}
	}
}

func TestConfigOfBuildKitsDocumentation(t *testing.T) {
	// Everything in it but its certificates, which are nowhere.
	text, err := os.ReadFile("testdata/buildkitd.toml")
	if err != nil {
		t.Fatal(err)
	}
	got, err := solver.ParseConfig("/etc/mab/buildkitd.toml", string(text))
	if err != nil {
		t.Fatal(err)
	}
	yes := true
	wantRegistries := manifestlist.Registries{
		{Host: "docker.io", Mirrors: []string{"yourmirror.local:5000", "core.harbor.domain/proxy.docker.io"}, HTTP: &yes, Insecure: true},
		{Host: "yourmirror.local:5000", HTTP: &yes},
	}
	if diff := cmp.Diff(wantRegistries, got.Registries); diff != "" {
		t.Errorf("registries (-want +got):\n%s", diff)
	}
	root := 0
	wantListen := solver.Listening{
		Addresses: []string{"tcp://0.0.0.0:1234"}, UID: &root, GID: &root,
		TLS: solver.TLS{Cert: "/etc/buildkit/tls.crt", Key: "/etc/buildkit/tls.key", CA: "/etc/buildkit/tlsca.crt"},
	}
	if diff := cmp.Diff(wantListen, got.Listen); diff != "" {
		t.Errorf("addresses (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"network.host", "security.insecure"}, got.Entitlements); diff != "" || got.LogLevel != "info" || got.LogFormat != "text" {
		t.Errorf("log %s %s; entitlements (-want +got):\n%s", got.LogLevel, got.LogFormat, diff)
	}
	var notes []string
	for _, n := range got.Notes {
		_, rest, _ := strings.Cut(n, ": line ")
		_, rest, _ = strings.Cut(rest, ": ")
		name, _, _ := strings.Cut(rest, " is not used: ")
		notes = append(notes, name)
	}
	wantNotes := []string{
		"root", "device in insecure-entitlements", "proxyNetwork", "provenanceEnvDir", "grpc.debugAddress", "otel", "cdi",
		"worker.oci.cniPoolSize", "worker.containerd", "system.platformsCacheMaxAge", "ghacache",
	}
	if diff := cmp.Diff(wantNotes, notes); diff != "" {
		t.Errorf("notes (-want +got):\n%s", diff)
	}
}

func TestWrongConfig(t *testing.T) {
	for _, test := range []struct{ rule, text, want, hint string }{
		{"no TOML", "a = [", "line 1: array is incomplete", "https://toml.io"},
		{"no TOML further down", "debug = true\n\n[log\n", "line 3: ", "https://toml.io"},
		{"a key nobody knows", "\nentitlements = []", "line 2: there is no key entitlements", "the keys: "},
		{"a misspelt key", "[registry.\"a.b\"]\n  mirors = []", `line 2: there is no key registry."a.b".mirors`, `did you mean: registry."a.b".mirrors`},
		{"a misspelt table", "[worker.oic]\n", "line 1: there is no key worker.oic", "did you mean: worker.oci"},
		{"in an array of tables", "[[worker.oci.gcpolicy]]\nkeepduration2 = 1\n", "line 2: there is no key worker.oci.gcpolicy.keepduration2", "did you mean: worker.oci.gcpolicy.keepDuration"},
		{"in an inline table", "grpc = { gidd = 1 }", "line 1: there is no key grpc.gidd", "did you mean: grpc.gid"},
		{"in an array of inline tables", "worker.oci.gcpolicy = [{ al = true }]", "line 1: there is no key worker.oci.gcpolicy.al", "did you mean: worker.oci.gcpolicy.all"},
		{"a host without quotes", "[registry.docker.io]\nhttp = true\n", "line 1: there is no key registry.docker.io", `[registry."docker.io"]`},
		{"a frontend without quotes", "[frontend.gateway.v0]\nenabled = true\n", "line 1: there is no key frontend.gateway.v0", `[frontend."dockerfile.v0"]`},
		{"all at once", "a = 1\nb = 2\n", "line 2: there is no key b", "the keys: "},
		{"another type", "[log]\nlevel = 1", "line 2: log.level: it cannot be a integer", "what it may be: "},
		{"a size", "[worker.oci]\nreservedSpace = \"much\"", "line 2: worker.oci.reservedSpace: invalid disk space much", "what it may be: "},
		{"a time", "[history]\nmaxAge = \"long\"", "line 2: history.maxAge: invalid duration long", "what it may be: "},
		{"a level", "[log]\nlevel = \"loud\"", `line 2: log.level cannot be "loud"`, "choose error"},
		{"a format", "[log]\nformat = \"xml\"", `line 2: log.format cannot be "xml"`, "choose text or json"},
		{"an entitlement", "insecure-entitlements = [\"all\"]", `line 1: insecure-entitlements cannot be "all"`, "network.host"},
		{"an address", "[grpc]\naddress = [\"0.0.0.0:1\"]", `line 2: grpc.address cannot be "0.0.0.0:1"`, "tcp://HOST:PORT"},
		{"no worker", "[worker.oci]\nenabled = false", `line 2: worker.oci.enabled cannot be "false"`, "leave it out"},
		{"a platform", "[worker.oci]\nplatforms = [\"linux/vax\"]", `line 2: worker.oci.platforms: parsing platform "linux/vax": unknown architecture`, "platforms are linux/amd64"},
		{"a snapshotter", "[worker.oci]\nsnapshotter = \"zfs\"", `line 2: worker.oci.snapshotter cannot be "zfs"`, "overlayfs"},
		{"a network", "[worker.oci]\nnetworkMode = \"slirp\"", `line 2: worker.oci.networkMode cannot be "slirp"`, "choose host"},
		{"a filter", "[[worker.oci.gcpolicy]]\nfilters = [\"type=~\"]", `line 2: worker.oci.gcpolicy.filters cannot be "type=~"`, "type==source.local"},
		{"a number of connections", "[system]\nmaxRegistryConcurrency = 0", `line 2: system.maxRegistryConcurrency cannot be "0"`, "above 0"},
		{"a name server", "[dns]\nnameservers = [\"ns.example\"]", `line 2: dns.nameservers cannot be "ns.example"`, "192.0.2.53"},
		{"a repository", "[frontend.\"gateway.v0\"]\nallowedRepositories = [\"A:\"]", `line 2: frontend."gateway.v0".allowedRepositories cannot be "A:"`, "docker/dockerfile"},
		{"a CA that is nowhere", "[registry.\"a.b\"]\nhttp = false\nca = [\"ca.pem\"]", `line 3: reading the CA "/nowhere/ca.pem" of a.b`, "PEM files"},
		{"a key pair that is nowhere", "[registry.\"a.b\"]\n[[registry.\"a.b\".keypair]]\ncert = \"/c\"\nkey = \"/k\"", `line 2: reading the key pair "/c" of a.b`, "PEM files"},
		{"a directory that is nowhere", "[registry.\"a.b\"]\ntlsconfigdir = [\"/nowhere\"]", "line 2: reading tlsconfigdir of a.b", "PEM files"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			_, err := solver.ParseConfig("/nowhere/x.toml", test.text)
			var hinted interface {
				Hint() string
				Usage() bool
			}
			if !errors.As(err, &hinted) || !hinted.Usage() || !strings.Contains(hinted.Hint(), test.hint) {
				t.Fatalf("no hint %q in %v", test.hint, err)
			}
			if want := `reading the config "/nowhere/x.toml": ` + test.want; !strings.Contains(err.Error(), want) {
				t.Errorf("no %q in:\n%v", want, err)
			}
		})
	}
}

func TestConfigNotes(t *testing.T) {
	for _, test := range []struct{ rule, text, want string }{
		{"what is followed is not noted", "[worker.oci]\ngc = true\nnetworkMode = \"host\"\n", ""},
		{"what asks for nothing is not noted", "root = \"\"\n[worker.oci]\nrootless = false\ncniPoolSize = 0\n[cdi]\nspecDirs = []\n", ""},
		{"a worker that is off is not noted", "[worker.containerd]\naddress = \"/c\"\nenabled = false\n", ""},
		{"a table is noted once, whole", "[worker.containerd]\naddress = \"/c\"\nnamespace = \"n\"\n", "/x.toml: line 2: worker.containerd is not used: mab works without containerd"},
		{"a network that steps do not get", "[worker.oci]\nnetworkMode = \"cni\"\n", "/x.toml: line 2: worker.oci.networkMode is not used: steps are in the host's network"},
		{"case does not matter", "ROOT = \"/r\"\n", "/x.toml: line 1: ROOT is not used: the state is where --root says"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			got, err := solver.ParseConfig("/x.toml", test.text)
			if diff := cmp.Diff(test.want, strings.Join(got.Notes, "\n")); err != nil || diff != "" {
				t.Errorf("error %v; (-want +got):\n%s", err, diff)
			}
		})
	}
}

func TestConfigDigest(t *testing.T) {
	digest := func(text string) string {
		c, err := solver.ParseConfig("/x.toml", text)
		if err != nil {
			t.Fatal(err)
		}
		return c.Digest()
	}
	const text = "[registry.\"a.b\"]\nhttp = true\n"
	if digest("# nothing\n") != (solver.Config{}).Digest() {
		t.Error("an empty file is not as none")
	}
	if digest(text) != digest("# a word\n"+text) {
		t.Error("a comment counts")
	}
	for _, other := range []string{"", "[registry.\"a.b\"]\nhttp = false\n", text + "[worker.oci]\ngc = false\n"} {
		if digest(text) == digest(other) {
			t.Errorf("it is that of %q", other)
		}
	}
}

func TestReadConfig(t *testing.T) {
	if got, err := solver.ReadConfig(""); err != nil || got.File != "" {
		t.Errorf("no file: error %v, file %q", err, got.File)
	}
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.WriteFile("c.toml", []byte("debug = true\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := solver.ReadConfig("c.toml")
	if here, _ := os.Getwd(); err != nil || got.File != filepath.Join(here, "c.toml") || got.LogLevel != "debug" {
		t.Errorf("error %v; got %+v", err, got)
	}
	var hinted interface{ Hint() string }
	if _, err := solver.ReadConfig("no.toml"); !errors.As(err, &hinted) || !strings.Contains(hinted.Hint(), "--config") {
		t.Errorf("a file that is nowhere: %v", err)
	}
}

func TestRegistryDirectories(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"ca.crt", "me.cert", "me.key", "README"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// The files hold nothing; that they were looked for shows.
	_, err := solver.ParseConfig(filepath.Join(dir, "x.toml"), "[registry.\"a.b\"]\ntlsconfigdir = [\".\"]\n")
	if want := `reading the CA "` + filepath.Join(dir, "ca.crt") + `" of a.b: it holds no certificate`; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("no %q in %v", want, err)
	}
	if err := os.Remove(filepath.Join(dir, "ca.crt")); err != nil {
		t.Fatal(err)
	}
	_, err = solver.ParseConfig(filepath.Join(dir, "x.toml"), "[registry.\"a.b\"]\ntlsconfigdir = [\".\"]\n")
	if want := `reading the key pair "` + filepath.Join(dir, "me.cert") + `"`; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("no %q in %v", want, err)
	}
}

func FuzzConfig(f *testing.F) {
	text, err := os.ReadFile("testdata/buildkitd.toml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(text))
	f.Add("a.\"\".b = [{ c = 1 }, [2]]\n[[x]]\n[registry.'']\n")
	f.Fuzz(func(t *testing.T, text string) {
		// Not the reader's files.
		if strings.Contains(text, "registry") {
			return
		}
		got, err := solver.ParseConfig("/nowhere/x.toml", text)
		if err == nil && got.File == "" {
			t.Error("neither a config nor an error")
		}
	})
}
