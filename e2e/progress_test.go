// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

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
		{"true", []string{"--provenance"}, true, true},
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
