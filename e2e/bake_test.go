// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// bakery is a lab whose current directory has these files. IMAGES is where its images go, BASE one to build on.
func bakery(t *testing.T, l *lab, files map[string]string) *lab {
	t.Helper()
	l = l.on(t).setting("IMAGES="+registry(t)+"/bake", "BASE="+registry(t)+"/busybox")
	l.dir = l.context(files)
	return l
}

// saysOf is what a program of an image was told when it was built.
func saysOf(t *testing.T, image v1.Image) string {
	t.Helper()
	return strings.TrimSpace(rootfsOf(t, image).text(t, "said"))
}

const sayDockerfile = `ARG BASE
FROM $BASE AS run
ARG SAY=nothing
RUN echo "$SAY on $(uname -m)" > /said
FROM scratch AS final
COPY --from=run /said /
`

func TestBake(t *testing.T) {
	l := newLab(t)
	const definition = `variable "IMAGES" {}
variable "BASE" {}
variable "WORD" { default = "hello" }
function "image" {
  params = [name]
  result = "${IMAGES}/${name}"
}
group "default" { targets = ["one", "many"] }
target "_all" {
  context = "ctx"
  args    = { BASE = BASE }
}
target "one" {
  inherits = ["_all"]
  args     = { SAY = upper(WORD) }
  tags     = [image("one:1"), image("one:2")]
}
target "many" {
  name     = "many-${item}"
  matrix   = { item = ["b", "a"] }
  inherits = ["_all"]
  args     = { SAY = "${WORD} ${item}" }
  tags     = [image("many-${item}")]
}
`
	files := map[string]string{"docker-bake.hcl": definition, "ctx/Dockerfile": sayDockerfile}

	t.Run("a group is pushed, with a line for each target", func(t *testing.T) {
		l := bakery(t, l, files).setting("WORD=hi")
		images := registry(t) + "/bake/"
		lines := strings.Split(l.must("bake", "--push", "--set", "*.platform="+strings.Join(twoPlatforms(), ","), "--set", "many-a.args.SAY=set", "--metadata-file", "meta.json"), "\n")
		meta := decode[map[string]struct {
			Digest string `json:"containerimage.digest"`
			Name   string `json:"image.name"`
		}](t, read(t, filepath.Join(l.dir, "meta.json")))
		if len(meta) != 3 {
			t.Errorf("the metadata is of %d targets", len(meta))
		}
		var names []string
		for _, line := range lines {
			name, ref, _ := strings.Cut(line, " ")
			names = append(names, name)
			index := pull(t, ref)
			for _, platform := range twoPlatforms() {
				want := map[string]string{"one": "HI", "many-a": "set", "many-b": "hi b"}[name] + " on " + machineOf(t, platform).uname
				if got := saysOf(t, imageOf(t, index, platform)); got != want {
					t.Errorf("%s for %s says %q, want %q", name, platform, got, want)
				}
			}
			if _, digest, _ := strings.Cut(ref, "@"); meta[name].Digest != digest {
				t.Errorf("the metadata of %s has %q, want %q", name, meta[name].Digest, digest)
			}
		}
		if got := strings.Join(names, " "); got != "one many-b many-a" {
			t.Errorf("lines for %q", got)
		}
		wantDigest(t, meta["one"].Digest, pull(t, images+"one:2"))
	})
	t.Run("every target has outputs of its own", func(t *testing.T) {
		l := bakery(t, l, files)
		l.must("bake", "many-b", "many-a", "--set", "many-b.output=type=oci,tar=false,dest=layout", "--set", "many-a.output=type=local,dest=out", "--provenance", "false")
		if got, want := saysOf(t, layoutImage(t, filepath.Join(l.dir, "layout"))), "hello b on "+machineOf(t, hostPlatform()).uname; got != want {
			t.Errorf("the layout says %q, want %q", got, want)
		}
		if got, want := read(t, filepath.Join(l.dir, "out", "said")), "hello a on "+machineOf(t, hostPlatform()).uname+"\n"; got != want {
			t.Errorf("the directory says %q, want %q", got, want)
		}
	})
	t.Run("an output alone has standard output", func(t *testing.T) {
		l := bakery(t, l, files)
		out := l.must("bake", "one", "--set", "one.output=type=tar")
		if got := readTar(t, strings.NewReader(out+"\n")).text(t, "said"); !strings.HasPrefix(got, "HELLO on ") {
			t.Errorf("it says %q", got)
		}
	})
	t.Run("without outputs, results are in the cache", func(t *testing.T) {
		l := bakery(t, l, files)
		out := l.mab("bake", "many", "--builder", "mine")
		for _, note := range []string{"in the cache only: many-b, many-a; ", "--builder has no effect: "} {
			if out.code != 0 || !strings.Contains(out.stderr, "mab: note: "+note) {
				t.Errorf("exit code %d, no %q in:\n%s", out.code, note, out.stderr)
			}
		}
	})
	t.Run("compose, with an override", func(t *testing.T) {
		l := bakery(t, l, map[string]string{
			"docker-compose.yml":        "services:\n  web:\n    image: ${IMAGES}/web\n    build:\n      context: ctx\n      args: {BASE: \"${BASE}\", SAY: composed}\n  db:\n    image: postgres\n",
			"docker-bake.override.json": `{"target": {"web": {"args": {"SAY": "overridden"}, "platforms": ["` + hostPlatform() + `"]}}}`,
			"ctx/Dockerfile":            sayDockerfile,
		})
		name, ref, _ := strings.Cut(l.must("bake", "--push", "--provenance=false"), " ")
		if got, want := name+": "+saysOf(t, pullImage(t, ref)), "web: overridden on "+machineOf(t, hostPlatform()).uname; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
	t.Run("a definition on standard input, with a Dockerfile in it, a secret and a context", func(t *testing.T) {
		l := bakery(t, l, map[string]string{"files/word": "from a context", "secret": "s3cret"})
		l.env = append(l.env, "TOKEN=from the environment")
		definition := `{"target": {"default": {
  "dockerfile-inline": "FROM ` + registry(t) + `/busybox AS run\nRUN --mount=from=words,target=/w --mount=type=secret,id=t --mount=type=secret,id=f echo $(cat /w/word), $(cat /run/secrets/t), $(wc -c < /run/secrets/f) > /said\nFROM scratch\nCOPY --from=run /said /\n",
  "contexts": {"words": "files"}, "secret": ["id=t,env=TOKEN", {"id": "f", "src": "secret"}], "output": ["out"]
}}}`
		if out := l.piped(definition, "bake", "-f", "-"); out.code != 0 {
			t.Fatalf("exit code %d\n%s", out.code, out.stderr)
		}
		if diff := cmp.Diff("from a context, from the environment, 6\n", read(t, filepath.Join(l.dir, "out", "said"))); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	t.Run("a target that fails is named, and nothing is written", func(t *testing.T) {
		l := bakery(t, l, files)
		gone := registry(t) + "/bake/failing"
		out := l.refused(1, []string{"many-a"}, "bake", "--push", "--set", "one.tags="+gone, "--set", "many-a.args.BASE="+registry(t)+"/nothing", "many-a", "one")
		if strings.Contains(out.stdout, "@") || exists(t, gone) {
			t.Errorf("something was written: %q", out.stdout)
		}
	})
}

// TestBakeWithoutReader is of a mab that carries no program to read bake files, and has none beside itself.
func TestBakeWithoutReader(t *testing.T) {
	if _, err := os.Stat(filepath.Join(filepath.Dir(mabBinary), "mab-bake")); err != nil {
		t.Skip("the program under test carries what reads bake files: there is none beside it")
	}
	alone := filepath.Join(t.TempDir(), "mab")
	copyFile(t, mabBinary, alone)
	for _, args := range []string{"--print", "--list=targets"} {
		var stderr bytes.Buffer
		cmd := exec.CommandContext(t.Context(), alone, "bake", args)
		cmd.Stderr = &stderr
		var exit *exec.ExitError
		if err := cmd.Run(); !errors.As(err, &exit) || exit.ExitCode() != 1 {
			t.Errorf("%s: %v", args, err)
		}
		for _, text := range []string{"mab: error: finding the program that reads bake files: this mab carries none", "mab: hint: use a released mab"} {
			if !strings.Contains(stderr.String(), text) {
				t.Errorf("%s: no %q in %s", args, text, stderr.Bytes())
			}
		}
	}
}

// TestBakeLinks is of targets whose contexts are the results of other targets.
func TestBakeLinks(t *testing.T) {
	l := newLab(t)
	both := strings.Join(twoPlatforms(), ",")
	l = bakery(t, l, map[string]string{
		"docker-bake.hcl": `variable "IMAGES" {}
variable "BASE" {}
target "default" {
  context    = "app"
  contexts   = { under = "target:base", files = "target:words" }
  platforms  = split(",", "` + both + `")
  tags       = ["${IMAGES}/linked"]
}
target "base" {
  context   = "base"
  args      = { BASE = BASE }
  platforms = split(",", "` + both + `")
}
target "words" {
  dockerfile-inline = "FROM scratch\nCOPY word /\n"
  context           = "words"
}
`,
		"app/Dockerfile":  "FROM under AS run\nRUN --mount=from=files,target=/w echo \"$(cat /base-said) and $(cat /w/word)\" > /said\nFROM scratch\nCOPY --from=run /said /\n",
		"base/Dockerfile": "ARG BASE\nFROM $BASE\nRUN uname -m > /base-said\n",
		"words/word":      "a word",
	})
	out := l.must("bake", "--push", "--metadata-file", "meta.json")
	name, ref, _ := strings.Cut(out, " ")
	if name != "default" || strings.Contains(out, "\n") {
		t.Errorf("standard output %q", out)
	}
	index := pull(t, ref)
	for _, platform := range twoPlatforms() {
		if got, want := saysOf(t, imageOf(t, index, platform)), machineOf(t, platform).uname+" and a word"; got != want {
			t.Errorf("the image for %s says %q, want %q", platform, got, want)
		}
	}
	if exists(t, registry(t)+"/bake/base") {
		t.Error("what is only linked was pushed")
	}
}
