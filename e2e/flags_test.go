// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"bytes"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// uuid is a step whose result differs each time that it runs.
const uuid = "cat /proc/sys/kernel/random/uuid"

func TestBuildArguments(t *testing.T) {
	l := newLab(t).setting("FROM_ENV=from environment")
	files := map[string]string{"Dockerfile": `ARG IMAGE=nowhere.invalid/nothing
FROM $IMAGE
ARG GIVEN=default
ARG FROM_ENV=default
ARG NOT_IN_ENV=default
ARG EMPTY=default
ARG OTHER=default
RUN echo "$GIVEN, $FROM_ENV, $NOT_IN_ENV, $EMPTY, $OTHER" > /seen
`}
	got := l.files(hostPlatform(), files, "--build-arg", "IMAGE="+registry(t)+"/busybox", "--build-arg", "GIVEN=a=b, c", "--build-arg", "FROM_ENV",
		"--build-arg", "NOT_IN_ENV", "--build-arg", "EMPTY=", "--build-arg", "GIVEN_UNUSED=1")
	if diff := cmp.Diff("a=b, c, from environment, default, , default", got.text(t, "seen")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestLabelsAndAnnotations(t *testing.T) {
	l := newLab(t)
	both := strings.Join(twoPlatforms(), ",")
	dir := l.context(map[string]string{"Dockerfile": "FROM scratch\nLABEL from=dockerfile kept=yes\nCOPY a /\n", "a": "a"})
	args := []string{
		"build", "--platform", both, "--label", "from=flag", "--label", "more=a=b", "--label", "empty=",
		"--annotation", "plain=1", "--annotation", "manifest:of.manifest=2", "--annotation", "index:of.index=3", "--annotation", "manifest-descriptor:of.descriptor=4",
		"--annotation", "index,manifest-descriptor:of.two=5", "--annotation", "manifest[" + foreignPlatform() + "]:of.one=6",
		"--annotation", "manifest-descriptor[" + foreignPlatform() + "]:of.one=7", dir,
	}
	wantNotes := func(t *testing.T, index v1.ImageIndex) {
		t.Helper()
		manifest := indexManifest(t, index)
		if diff := cmp.Diff(map[string]string{"of.index": "3", "of.two": "5"}, manifest.Annotations); diff != "" {
			t.Errorf("of the index (-want +got):\n%s", diff)
		}
		for _, d := range manifest.Manifests {
			if attestation(d) {
				continue
			}
			inDescriptor := map[string]string{"of.descriptor": "4", "of.two": "5"}
			inManifest := map[string]string{"plain": "1", "of.manifest": "2"}
			if d.Platform.String() == foreignPlatform() {
				inDescriptor["of.one"], inManifest["of.one"] = "7", "6"
			}
			if diff := cmp.Diff(inDescriptor, d.Annotations); diff != "" {
				t.Errorf("of the descriptor of %s (-want +got):\n%s", d.Platform, diff)
			}
			image := imageOf(t, index, d.Platform.String())
			own, err := image.Manifest()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(inManifest, own.Annotations); diff != "" {
				t.Errorf("of the manifest of %s (-want +got):\n%s", d.Platform, diff)
			}
			labels := map[string]string{"from": "flag", "kept": "yes", "more": "a=b", "empty": ""}
			if diff := cmp.Diff(labels, configOf(t, image).Config.Labels); diff != "" {
				t.Errorf("labels of %s (-want +got):\n%s", d.Platform, diff)
			}
		}
	}
	t.Run("pushed", func(t *testing.T) {
		l := l.on(t)
		wantNotes(t, pull(t, l.must(append(args, "-t", registry(t)+"/annotated/app:1", "--push")...)))
	})
	t.Run("in a layout", func(t *testing.T) {
		l := l.on(t)
		l.must(append(args, "--annotation", "index-descriptor:of.entry=8", "-o", "type=oci,tar=false,dest=app")...)
		wantNotes(t, layoutIndex(t, filepath.Join(l.dir, "app")))
		_, entry := layoutEntry(t, filepath.Join(l.dir, "app"))
		if entry.Annotations["of.entry"] != "8" {
			t.Errorf("of the entry in index.json: %v", entry.Annotations)
		}
	})
}

func TestNamedContexts(t *testing.T) {
	l := newLab(t)
	both := strings.Join(twoPlatforms(), ",")
	dir := l.contextOn(map[string]string{"Dockerfile": `FROM base
COPY --from=named file /copied
RUN cat /which > /seen; uname -m > /machine
`})
	other := l.context(map[string]string{"file": "of a named context"})
	base := l.contextOn(map[string]string{"Dockerfile": "FROM BASE\nARG WHICH\nRUN echo $WHICH > /which\n"})
	ref := registry(t) + "/contexts/base:1"
	l.must("build", "--platform", both, "--build-arg", "WHICH=registry", "-t", ref, "--push", base)
	l.must("build", "--platform", both, "--build-arg", "WHICH=layout", "-t", "example.com/base:tagged", "-o", "type=oci,tar=false,dest=layout", base)
	at := filepath.Join(l.dir, "layout")
	_, entry := layoutEntry(t, at)
	for _, test := range []struct{ rule, context, want string }{
		{"an image", "base=docker-image://" + ref, "registry"},
		{"a layout by its tag", "base=oci-layout://" + at + ":tagged", "layout"},
		{"a layout by digest", "base=oci-layout://" + at + "@" + entry.Digest.String(), "layout"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			l := l.on(t)
			index := pull(t, l.must("build", "--platform", both, "--build-context", test.context, "--build-context", "named="+other,
				"-t", registry(t)+"/contexts/app:1", "--push", dir))
			for _, platform := range twoPlatforms() {
				files := rootfsOf(t, imageOf(t, index, platform))
				want := test.want + ", " + machineOf(t, platform).uname + ", of a named context"
				if diff := cmp.Diff(want, files.text(t, "seen")+", "+files.text(t, "machine")+", "+files.text(t, "copied")); diff != "" {
					t.Errorf("%s (-want +got):\n%s", platform, diff)
				}
			}
		})
	}
	t.Run("a layout without such a tag", func(t *testing.T) {
		l.on(t).refused(2, []string{"mab: error: ", `"missing"`, at}, "build", "--build-context", "base=oci-layout://"+at+":missing", dir)
	})
	t.Run("a directory that does not exist", func(t *testing.T) {
		l.on(t).refused(2, []string{"mab: error: ", "/no/such/directory", "does not exist"}, "build", "--build-context", "named=/no/such/directory", dir)
	})
}

// ran reports whether a step was run, and not found in the cache, from plain progress.
func ran(t testing.TB, progress, step string) bool {
	t.Helper()
	for line := range strings.SplitSeq(progress, "\n") {
		number, rest, ok := strings.Cut(line, " ")
		if !ok || !strings.HasPrefix(number, "#") || !strings.HasSuffix(rest, "] "+step) {
			continue
		}
		return !strings.Contains(progress, "\n"+number+" CACHED\n")
	}
	t.Fatalf("no step %q in:\n%s", step, progress)
	return false
}

func TestCacheFlags(t *testing.T) {
	l := newLab(t)
	dir := l.contextOn(map[string]string{"Dockerfile": `FROM BASE AS first
RUN echo first
FROM BASE AS second
RUN echo second
FROM BASE
RUN echo last
COPY --from=first /etc /1
COPY --from=second /etc /2
`})
	l.must("build", dir)
	for _, test := range []struct {
		rule string
		args []string
		want []string
	}{
		{"a second build runs nothing", nil, nil},
		{"--no-cache runs all", []string{"--no-cache"}, []string{"first", "second", "last"}},
		{"--no-cache-filter runs the stage", []string{"--no-cache-filter", "first"}, []string{"first"}},
		{"--no-cache-filter runs each stage", []string{"--no-cache-filter", "first,second"}, []string{"first", "second"}},
		{"--pull runs nothing if the base is the same", []string{"--pull"}, nil},
	} {
		t.Run(test.rule, func(t *testing.T) {
			out := l.on(t).mab(append([]string{"build", dir}, test.args...)...)
			var got []string
			for _, step := range []string{"first", "second", "last"} {
				if ran(t, out.stderr, "RUN echo "+step) {
					got = append(got, step)
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" || out.code != 0 {
				t.Errorf("exit code %d; steps that ran (-want +got):\n%s", out.code, diff)
			}
		})
	}
	t.Run("--pull sees a moved tag", func(t *testing.T) {
		l := l.on(t)
		base := registry(t) + "/flags/moving:1"
		for _, version := range []string{"one", "two"} {
			l.must("build", "-t", base, "--push", l.contextOn(map[string]string{"Dockerfile": "FROM BASE\nRUN echo " + version + " > /version\n"}))
			if got := l.files(hostPlatform(), map[string]string{"Dockerfile": "FROM " + base + "\nRUN true\n"}, "--pull").text(t, "version"); got != version {
				t.Errorf("version %s, want %s", got, version)
			}
		}
	})
}

func TestDockerfileFlag(t *testing.T) {
	l := newLab(t)
	dir := l.context(map[string]string{
		"Dockerfile": "FROM scratch\nCOPY file /default\n", "sub/named": "FROM scratch\nCOPY file /named\n", "file": "x",
	})
	elsewhere := l.context(map[string]string{"else": "FROM scratch\nCOPY file /elsewhere\n"})
	for _, test := range []struct {
		rule, in, want string
		args           []string
	}{
		{"default", "", "default", []string{dir}},
		{"in the context", "", "named", []string{"-f", filepath.Join(dir, "sub/named"), dir}},
		{"outside the context", "", "elsewhere", []string{"-f", filepath.Join(elsewhere, "else"), dir}},
		{"from standard input", "FROM scratch\nCOPY file /piped\n", "piped", []string{"-f", "-", dir}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			l := l.on(t)
			r := l.piped(test.in, append([]string{"build", "-o", "files"}, test.args...)...)
			if r.code != 0 {
				t.Fatalf("exit code %d\n%s", r.code, r.stderr)
			}
			empty(t, filepath.Join(l.dir, "files"), test.want)
		})
	}
	t.Run("the current directory is the context without one", func(t *testing.T) {
		l := l.on(t)
		l.dir = dir
		l.must("build", "-o", filepath.Join(t.TempDir(), "files"))
	})
	t.Run("a relative -f is relative to the current directory", func(t *testing.T) {
		l := l.on(t)
		l.dir = elsewhere
		out := filepath.Join(t.TempDir(), "files")
		l.must("build", "-f", "else", "-o", out, dir)
		empty(t, out, "elsewhere")
	})
}

func TestRunFlags(t *testing.T) {
	l := newLab(t)
	for _, test := range []struct {
		rule, run, want string
		args            []string
	}{
		{"--add-host", "grep -w db /etc/hosts | tr -s '\\t' ' '", "10.0.0.7 db", []string{"--add-host", "db:10.0.0.7"}},
		{"--add-host with =", "grep -w six /etc/hosts | tr -s '\\t' ' '", "fd00::7 six", []string{"--add-host", "six=fd00::7"}},
		{"--add-host with several addresses", "grep -w two /etc/hosts | tr -s '\\t' ' '", "10.0.0.8 two\n10.0.0.9 two", []string{"--add-host", `"two=10.0.0.8,10.0.0.9"`}},
		{"--add-host host-gateway reaches this machine", "wget -q -O - http://here:" + port(t, registry(t)) + "/v2/busybox/tags/list", `{"name":"busybox","tags":["latest"]}`,
			[]string{"--add-host", "here:host-gateway"}},
		{"--shm-size", "df -k /dev/shm | tail -n 1 | tr -s ' ' | cut -d ' ' -f 2", "9216", []string{"--shm-size", "9m"}},
		{"--ulimit", "ulimit -Sn; ulimit -Hn", "123\n456", []string{"--ulimit", "nofile=123:456"}},
		{"--ulimit twice", "ulimit -n; ulimit -c", "123\n7", []string{"--ulimit", "nofile=123", "--ulimit", "core=3584"}},
		{"--network none", "sed 1,2d /proc/net/dev | cut -d : -f 1 | tr -d ' '", "lo", []string{"--network", "none"}},
		{"--network default reaches this machine", "wget -q -O - http://" + registry(t) + "/v2/busybox/tags/list", `{"name":"busybox","tags":["latest"]}`, []string{"--network", "default"}},
		{"--network host reaches this machine", "wget -q -O - http://" + registry(t) + "/v2/busybox/tags/list", `{"name":"busybox","tags":["latest"]}`, []string{"--network", "host"}},
	} {
		for _, platform := range twoPlatforms() {
			t.Run(test.rule+", on "+platform, func(t *testing.T) {
				got := l.on(t).files(platform, map[string]string{"Dockerfile": "FROM BASE\nRUN (" + test.run + ") > /seen\n"}, test.args...)
				if diff := cmp.Diff(test.want, got.text(t, "seen")); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		}
	}
	t.Run("--cgroup-parent says that it has no effect", func(t *testing.T) {
		l := l.on(t)
		dir := l.contextOn(map[string]string{"Dockerfile": "FROM BASE\nRUN cat /proc/self/cgroup\n"})
		out := l.mab("build", "--cgroup-parent", "below", "--no-cache", dir)
		if out.code != 0 || !strings.Contains(out.stderr, "mab: note: --cgroup-parent has no effect") || strings.Contains(out.stderr, "/below") {
			t.Errorf("exit code %d\n%s", out.code, out.stderr)
		}
	})
	t.Run("RUN --network=host needs --allow", func(t *testing.T) {
		l := l.on(t)
		dir := l.contextOn(map[string]string{"Dockerfile": "FROM BASE\nRUN --network=host true\n"})
		l.refused(1, []string{"mab: error: ", "network.host"}, "build", dir)
		l.must("build", "--allow", "network.host", dir)
	})
	t.Run("RUN --security=insecure needs --allow", func(t *testing.T) {
		l := l.on(t)
		dir := l.contextOn(map[string]string{"Dockerfile": "FROM BASE\nRUN --security=insecure mkdir /new && mount -t tmpfs tmpfs /new\n"})
		l.refused(1, []string{"mab: error: ", "security.insecure"}, "build", dir)
		l.must("build", "--allow", "security.insecure", dir)
	})
}

// port is the port of HOST:PORT.
func port(t testing.TB, address string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func TestProxies(t *testing.T) {
	config := t.TempDir()
	const proxies = `{"proxies": {"default": {"httpProxy": "http://proxy:1", "httpsProxy": "http://proxy:2", "noProxy": "localhost", "ftpProxy": "http://proxy:3"}, "tcp://far:2375": {"httpProxy": "http://far:1"}}}`
	if err := os.WriteFile(filepath.Join(config, "config.json"), []byte(proxies), 0o600); err != nil {
		t.Fatal(err)
	}
	l := newLab(t).setting("DOCKER_CONFIG=" + config)
	files := map[string]string{"Dockerfile": "FROM BASE\nRUN echo \"$HTTP_PROXY $https_proxy $NO_PROXY $FTP_PROXY\" > /seen\n"}
	for _, test := range []struct {
		rule, env, want string
		args            []string
	}{
		{"those of docker's configuration", "A=b", "http://proxy:1 http://proxy:2 localhost http://proxy:3", nil},
		{"what is given goes before", "A=b", "http://own http://proxy:2 localhost http://proxy:3", []string{"--build-arg", "HTTP_PROXY=http://own"}},
		{"those of the engine", "DOCKER_HOST=tcp://far:2375", "http://far:1", nil},
	} {
		t.Run(test.rule, func(t *testing.T) {
			got := l.on(t).setting(test.env).files(hostPlatform(), files, append(test.args, "--no-cache")...)
			if diff := cmp.Diff(test.want, strings.TrimSpace(got.text(t, "seen"))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestSBOM has the files of each platform's image listed by a scanner that speaks BuildKit's protocol:
// https://github.com/moby/buildkit/blob/v0.33.1/docs/attestations/sbom-protocol.md
func TestSBOM(t *testing.T) {
	l := newLab(t)
	scanner := registry(t) + "/sbom/scanner:1"
	l.must("build", "--platform", strings.Join(twoPlatforms(), ","), "-t", scanner, "--push", l.contextOn(map[string]string{
		"Dockerfile": "FROM BASE\nCOPY --chmod=755 scan /\nENTRYPOINT [\"/scan\"]\n",
		"scan": `#!/bin/sh -eu
name=$(basename "$BUILDKIT_SCAN_SOURCE")
files=$(cd "$BUILDKIT_SCAN_SOURCE" && find . -type f | sort | tr '\n' ' ')
printf '{"_type":"https://in-toto.io/Statement/v0.1","predicateType":"https://spdx.dev/Document","predicate":{"spdxVersion":"SPDX-2.3","name":"%s"}}' "$files" \
	> "$BUILDKIT_SCAN_DESTINATION/$name.spdx.json"
`,
	}))
	for rule, flag := range map[string]string{"--sbom=generator": "--sbom=generator=" + scanner, "--attest": "--attest=type=sbom,generator=" + scanner} {
		t.Run(rule, func(t *testing.T) {
			l := l.on(t)
			index := pull(t, l.must("build", "--platform", strings.Join(twoPlatforms(), ","), flag, "--provenance=false", "-t", registry(t)+"/sbom/app:1", "--push",
				l.context(map[string]string{"Dockerfile": "FROM scratch\nCOPY first second /\n", "first": "1", "second": "2"})))
			manifest := indexManifest(t, index)
			about := map[string]bool{}
			for _, d := range manifest.Manifests {
				if !attestation(d) {
					continue
				}
				image, err := index.Image(d.Digest)
				if err != nil {
					t.Fatal(err)
				}
				layers, err := image.Layers()
				if err != nil || len(layers) != 1 {
					t.Fatalf("%d statements, error %v", len(layers), err)
				}
				statement := decode[struct {
					PredicateType string
					Subject       []struct{ Digest map[string]string }
					Predicate     struct{ Name string }
				}](t, string(uncompressed(t, layers[0])))
				if statement.PredicateType != "https://spdx.dev/Document" || statement.Predicate.Name != "./first ./second " {
					t.Errorf("got %+v", statement)
				}
				about[d.Annotations["vnd.docker.reference.digest"]] = true
			}
			for _, platform := range twoPlatforms() {
				digest, err := imageOf(t, index, platform).Digest()
				if err != nil || !about[digest.String()] {
					t.Errorf("%s has no statement (%v)", platform, err)
				}
			}
		})
	}
}

// piped is mab with a standard input.
func (l *lab) piped(in string, args ...string) output {
	l.t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(l.t.Context(), mabBinary, args...)
	cmd.Dir, cmd.Env = l.dir, l.env
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(in), &stdout, &stderr
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		l.t.Fatal(err)
	}
	return output{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// Scripts for docker buildx build give flags that change nothing here.
func TestIgnoredFlags(t *testing.T) {
	l := newLab(t)
	dir := l.context(map[string]string{"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"})
	for _, command := range []string{"build", "plan"} {
		out := l.mab(command, "--builder", "mine", "--rm", "--force-rm=true", "-D", "-m", "2g", "--security-opt", "seccomp=unconfined", dir)
		if out.code != 0 {
			t.Fatalf("%s: exit code %d\n%s", command, out.code, out.stderr)
		}
		for _, flag := range []string{"builder", "rm", "force-rm", "debug", "memory", "security-opt"} {
			if !strings.Contains(out.stderr, "mab: note: --"+flag+" has no effect: ") {
				t.Errorf("%s: nothing is said of --%s:\n%s", command, flag, out.stderr)
			}
		}
	}
}

// A stage of the Dockerfile stands for an image that it names, for each platform its own, and for the build platform's.
func TestStageAsNamedContext(t *testing.T) {
	l := newLab(t)
	base := registry(t) + "/busybox"
	dir := l.context(map[string]string{"Dockerfile": `FROM ` + base + ` AS mine
RUN uname -m > /machine
ENV FROM_STAGE=yes
FROM --platform=$BUILDPLATFORM example.com/base AS tools
RUN cat /machine > /tools
FROM example.com/base
COPY --from=tools /tools /tools
RUN echo "$FROM_STAGE" > /env
`})
	platforms := hostPlatform() + "," + foreignPlatform()
	args := []string{"--platform", platforms, "--build-context", "example.com/base=target:mine", dir}
	plan := decode[planned](t, l.must(append([]string{"plan", "--json"}, args...)...))
	if diff := cmp.Diff([]string{hostPlatform() + "=native", foreignPlatform() + "=emulated"}, plan.strategies()); diff != "" {
		t.Errorf("strategies (-want +got):\n%s", diff)
	}
	ref := l.must(append([]string{"build", "-t", registry(t) + "/stage/app:1", "--push"}, args...)...)
	for _, p := range strings.Split(platforms, ",") {
		files := rootfsOf(t, imageOf(t, pull(t, ref), p))
		want := []string{machineOf(t, p).uname, machineOf(t, hostPlatform()).uname, "yes"}
		if diff := cmp.Diff(want, []string{files.text(t, "machine"), files.text(t, "tools"), files.text(t, "env")}); diff != "" {
			t.Errorf("%s (-want +got):\n%s", p, diff)
		}
	}
}
