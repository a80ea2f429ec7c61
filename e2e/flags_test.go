// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"bytes"
	"encoding/json"
	"errors"
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
		l.on(t).refused(1, []string{"mab: error: ", `"missing"`, at}, "build", "--build-context", "base=oci-layout://"+at+":missing", dir)
	})
	t.Run("a directory that does not exist", func(t *testing.T) {
		l.on(t).refused(1, []string{"mab: error: ", "/no/such/directory", "does not exist"}, "build", "--build-context", "named=/no/such/directory", dir)
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

func TestFilesAboutTheResult(t *testing.T) {
	l := newLab(t)
	both := strings.Join(twoPlatforms(), ",")
	dir := l.context(map[string]string{"Dockerfile": "FROM scratch\nCOPY a /\n", "a": "a"})
	ref := registry(t) + "/about/app"

	t.Run("pushed for two platforms", func(t *testing.T) {
		l := l.on(t)
		pushed := l.must("build", "--platform", both, "-t", ref+":1", "-t", ref+":2", "--push", "--metadata-file", "metadata.json", "--iidfile", "iid", dir)
		_, digest, _ := strings.Cut(pushed, "@")
		if got := string(readFile(t, filepath.Join(l.dir, "iid"))); got != digest {
			t.Errorf("--iidfile %q, standard output %q", got, pushed)
		}
		text := string(readFile(t, filepath.Join(l.dir, "metadata.json")))
		got := decode[struct {
			Digest     string        `json:"containerimage.digest"`
			Descriptor v1.Descriptor `json:"containerimage.descriptor"`
			Name       string        `json:"image.name"`
			Ref        string        `json:"buildx.build.ref"`
			Platforms  []struct {
				Platform, Digest, Node, Strategy, Why string
			} `json:"mab.platforms"`
		}](t, text)
		if got.Digest != digest || got.Descriptor.Digest.String() != digest || got.Name != ref+":1,"+ref+":2" || got.Ref == "" {
			t.Errorf("standard output %q, but:\n%s", pushed, text)
		}
		index := pull(t, pushed)
		for i, platform := range twoPlatforms() {
			p := got.Platforms[i]
			if p.Platform != platform || p.Digest != digestOf(t, imageOf(t, index, platform)) || p.Node == "" || p.Strategy == "" || p.Why == "" {
				t.Errorf("platform %d is %+v, want %s", i, p, platform)
			}
		}
		raw, err := index.RawManifest()
		if err != nil {
			t.Fatal(err)
		}
		if got.Descriptor.Size != int64(len(raw)) || !got.Descriptor.MediaType.IsIndex() {
			t.Errorf("descriptor %+v of an index of %d bytes", got.Descriptor, len(raw))
		}
		empty(t, l.dir, "iid", "metadata.json")
	})
	t.Run("a plain image has its configuration's digest too", func(t *testing.T) {
		l := l.on(t)
		pushed := l.must("build", "--provenance=false", "-t", ref+":plain", "--push", "--metadata-file", "metadata.json", dir)
		name, err := pullImage(t, pushed).ConfigName()
		if err != nil {
			t.Fatal(err)
		}
		got := decode[map[string]any](t, string(readFile(t, filepath.Join(l.dir, "metadata.json"))))
		if got["containerimage.config.digest"] != name.String() {
			t.Errorf("%v, want %s", got["containerimage.config.digest"], name)
		}
	})
	t.Run("a build without image has no digest", func(t *testing.T) {
		l := l.on(t)
		l.must("build", "-o", "files", "--metadata-file", "metadata.json", dir)
		got := decode[map[string]any](t, string(readFile(t, filepath.Join(l.dir, "metadata.json"))))
		if got["containerimage.digest"] != nil || got["buildx.build.ref"] == nil {
			t.Errorf("%v", got)
		}
	})
}

func TestProgress(t *testing.T) {
	l := newLab(t)
	dir := l.contextOn(map[string]string{"Dockerfile": "FROM BASE\nRUN echo said-by-step\n"})
	broken := l.contextOn(map[string]string{"Dockerfile": "FROM BASE\nRUN echo said-by-step; exit 9\n"})
	ref := registry(t) + "/progress/app:1"
	build := func(l *lab, args ...string) output {
		l.t.Helper()
		out := l.mab(append([]string{"build", "--no-cache", "-t", ref, "--push", dir}, args...)...)
		if out.code != 0 || !strings.HasPrefix(out.stdout, registry(l.t)+"/progress/app@sha256:") || strings.Count(out.stdout, "\n") != 1 {
			l.t.Errorf("exit code %d, standard output %q", out.code, out.stdout)
		}
		return out
	}
	plain := func(s string) bool { return strings.Contains(s, "#1 ") && strings.Contains(s, " said-by-step\n") }

	t.Run("plain", func(t *testing.T) {
		if out := build(l.on(t), "--progress", "plain"); !plain(out.stderr) {
			t.Errorf("standard error:\n%s", out.stderr)
		}
	})
	t.Run("auto without a terminal is plain", func(t *testing.T) {
		if out := build(l.on(t), "--progress", "auto"); !plain(out.stderr) {
			t.Errorf("standard error:\n%s", out.stderr)
		}
	})
	t.Run("quiet", func(t *testing.T) {
		for _, args := range [][]string{{"--progress", "quiet"}, {"-q"}, {"--quiet", "--progress=plain"}} {
			if out := build(l.on(t), args...); out.stderr != "" {
				t.Errorf("%v: standard error:\n%s", args, out.stderr)
			}
		}
	})
	t.Run("the environment's choice, and the flag before it", func(t *testing.T) {
		l := l.on(t).setting("BUILDKIT_PROGRESS=quiet")
		if out := build(l); out.stderr != "" {
			t.Errorf("standard error:\n%s", out.stderr)
		}
		if out := build(l, "--progress=plain"); !plain(out.stderr) {
			t.Errorf("standard error:\n%s", out.stderr)
		}
	})
	t.Run("rawjson", func(t *testing.T) {
		out := build(l.on(t), "--progress", "rawjson")
		var said []byte
		for line := range strings.Lines(out.stderr) {
			var status struct {
				Logs []struct{ Data []byte }
			}
			if err := json.Unmarshal([]byte(line), &status); err != nil {
				t.Fatalf("%v in %q", err, line)
			}
			for _, log := range status.Logs {
				said = append(said, log.Data...)
			}
		}
		if !strings.Contains(string(said), "said-by-step\n") {
			t.Errorf("the logs are %q", said)
		}
	})
	t.Run("quiet tells of a failure all the same", func(t *testing.T) {
		out := l.on(t).refused(1, []string{"mab: error: ", "exit code: 9", "Dockerfile:2"}, "build", "-q", broken)
		if strings.Contains(out.stderr, "#1") {
			t.Errorf("standard error:\n%s", out.stderr)
		}
	})
}

func TestProvenance(t *testing.T) {
	l := newLab(t)
	both := strings.Join(twoPlatforms(), ",")
	dir := l.contextOn(map[string]string{"Dockerfile": "FROM BASE\nARG A=1\nRUN echo $A\n"})
	ref := registry(t) + "/provenance/app:1"
	for _, test := range []struct {
		rule string
		args []string
		want bool
		// max is the full one: it holds the steps.
		max bool
	}{
		{"by default", nil, true, false},
		{"true", []string{"--provenance"}, true, false},
		{"min", []string{"--provenance=mode=min"}, true, false},
		{"max", []string{"--provenance=mode=max"}, true, true},
		{"max by --attest", []string{"--attest", "type=provenance,mode=max"}, true, true},
		{"false", []string{"--provenance=false"}, false, false},
		{"switched off by --attest", []string{"--attest", "type=provenance,disabled=true"}, false, false},
		{"switched off for buildx too", []string{"BUILDX_NO_DEFAULT_ATTESTATIONS=1"}, false, false},
	} {
		t.Run(test.rule, func(t *testing.T) {
			l := l.on(t)
			args := test.args
			if len(args) == 1 && strings.HasPrefix(args[0], "BUILDX_") {
				l, args = l.setting(args[0]), nil
			}
			index := pull(t, l.must(append([]string{"build", "--platform", both, "-t", ref, "--push", dir}, args...)...))
			found := provenance(t, index)
			for _, platform := range twoPlatforms() {
				text, ok := found[digestOf(t, imageOf(t, index, platform))]
				if ok != test.want {
					t.Errorf("%s: provenance %v, want %v", platform, ok, test.want)
				}
				if hasSteps := strings.Contains(text, "llbDefinition"); hasSteps != test.max {
					t.Errorf("%s: steps in it: %v, want %v", platform, hasSteps, test.max)
				}
				if ok && !strings.Contains(text, "/busybox@latest") {
					t.Errorf("%s: the base image is not in it:\n%s", platform, text)
				}
			}
			if !test.want && len(indexManifest(t, index).Manifests) != 2 {
				t.Errorf("entries: %v", indexManifest(t, index).Manifests)
			}
		})
	}
	t.Run("asked for, it is a file among files", func(t *testing.T) {
		l := l.on(t)
		l.must("build", "--provenance=mode=max", "-o", "files", l.context(map[string]string{"Dockerfile": "FROM scratch\nCOPY a /\n", "a": "a"}))
		empty(t, filepath.Join(l.dir, "files"), "a", "provenance.json")
	})
}

// provenance returns the provenance statements of an index by the digest of their image.
func provenance(t testing.TB, index v1.ImageIndex) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, d := range indexManifest(t, index).Manifests {
		if !attestation(d) {
			continue
		}
		image, err := index.Image(d.Digest)
		if err != nil {
			t.Fatal(err)
		}
		layers, err := image.Layers()
		if err != nil {
			t.Fatal(err)
		}
		for _, layer := range layers {
			text := string(uncompressed(t, layer))
			statement := decode[struct {
				PredicateType string
				Subject       []struct{ Digest map[string]string }
			}](t, text)
			subject := d.Annotations["vnd.docker.reference.digest"]
			if !strings.HasPrefix(statement.PredicateType, "https://slsa.dev/provenance/") || len(statement.Subject) == 0 {
				t.Errorf("a statement of type %q with %d subjects", statement.PredicateType, len(statement.Subject))
				continue
			}
			if got := "sha256:" + statement.Subject[0].Digest["sha256"]; got != subject {
				t.Errorf("the statement is about %s, its manifest about %s", got, subject)
			}
			out[subject] = text
		}
	}
	return out
}

func TestRunFlags(t *testing.T) {
	l := newLab(t)
	for _, test := range []struct {
		rule, run, want string
		args            []string
	}{
		{"--add-host", "grep -w db /etc/hosts | tr -s '\\t' ' '", "10.0.0.7 db", []string{"--add-host", "db:10.0.0.7"}},
		{"--add-host with =", "grep -w six /etc/hosts | tr -s '\\t' ' '", "fd00::7 six", []string{"--add-host", "six=fd00::7"}},
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

// TestCaches builds on one state and then on an empty one that knows the first by a cache alone.
func TestCaches(t *testing.T) {
	both := strings.Join(twoPlatforms(), ",")
	first := newLab(t)
	local := t.TempDir()
	ref := registry(t) + "/caches/"
	for _, test := range []struct{ rule, to, from string }{
		{"registry", "type=registry,mode=max,ref=" + ref + "cache:1", "type=registry,ref=" + ref + "cache:1"},
		{"registry, in short", ref + "cache:2", ref + "cache:2"},
		{"local", "type=local,mode=max,dest=" + local, "type=local,src=" + local},
		{"inline", "type=inline", "type=registry,ref=" + ref + "app:inline"},
		{"inline, in buildx's older form", "BUILDKIT_INLINE_CACHE=1", "type=registry,ref=" + ref + "app:inline"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			files := map[string]string{"Dockerfile": "FROM BASE\nCOPY a /a\nRUN (uname -m; " + uuid + ") > /seen\n", "a": test.rule}
			args := func(l *lab) []string {
				return []string{"build", "--platform", both, "-t", ref + "app:" + strings.Split(test.rule, ",")[0], "--push", l.contextOn(files)}
			}
			flag := "--cache-to"
			if strings.HasPrefix(test.to, "BUILDKIT_") {
				flag = "--build-arg"
			}
			first := first.on(t)
			made := pull(t, first.must(append(args(first), flag, test.to)...))
			second := newLab(t)
			out := second.mab(append(args(second), "--cache-from", test.from)...)
			if out.code != 0 || ran(t, out.stderr, "RUN (uname -m; "+uuid+") > /seen") {
				t.Fatalf("exit code %d, or not cached:\n%s", out.code, out.stderr)
			}
			found := pull(t, strings.TrimSpace(out.stdout))
			for _, platform := range twoPlatforms() {
				was, is := rootfsOf(t, imageOf(t, made, platform)).text(t, "seen"), rootfsOf(t, imageOf(t, found, platform)).text(t, "seen")
				if was != is || !strings.HasPrefix(is, machineOf(t, platform).uname+"\n") {
					t.Errorf("%s: %q was made, %q was found", platform, was, is)
				}
			}
		})
	}
	t.Run("a cache that is not there is no reason to fail", func(t *testing.T) {
		l := newLab(t)
		l.must("build", "--cache-from", ref+"nothing:1", l.contextOn(map[string]string{"Dockerfile": "FROM BASE\nRUN true\n"}))
	})
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
