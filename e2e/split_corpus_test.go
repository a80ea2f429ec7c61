// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/rogpeppe/go-internal/txtar"
)

// shape is a file of testdata/split: a kind of Dockerfile that must give the same bytes however it is divided. Before its files it has a
// sentence and lines of these:
//
//	args: arguments of mab build, separated by spaces
//	cut: what of a step must travel between three nodes: paths, layers for all of it, or none if nothing may; one line for each step
//
// In the Dockerfile and the arguments BASE, REGISTRY, HTTP and SYNTAX are a base image, the registry, a server of files and a frontend, and in
// the arguments DIR and LAYOUT are the context and an OCI layout. A file setup.sh is run in the context first, and is no part of it.
type shape struct {
	name  string
	args  []string
	cuts  []string
	files []txtar.File
}

func readShape(t testing.TB, path string) shape {
	t.Helper()
	archive, err := txtar.ParseFile(path)
	sound(t, err)
	s := shape{name: strings.TrimSuffix(filepath.Base(path), ".txtar"), files: archive.Files}
	for i, line := range strings.Split(strings.TrimSpace(string(archive.Comment)), "\n") {
		key, value, _ := strings.Cut(line, ": ")
		switch {
		case i == 0:
		case key == "args":
			s.args = strings.Fields(value)
		case key == "cut":
			s.cuts = append(s.cuts, value)
		default:
			t.Fatalf("%s: line %q", path, line)
		}
	}
	return s
}

// corpus is where the shapes are built.
type corpus struct {
	*splitLab
	words, places *strings.Replacer
}

func newCorpus(t *testing.T) *corpus {
	t.Helper()
	need(t, "git", "tar", "ssh-agent", "ssh-keygen", "ssh-add")
	l := newSplitLab(t, hosts("alone", "one", "two", "three")...)
	l.splitLabFiles()
	files := map[string]string{
		"Dockerfile": "FROM BASE\nCOPY data /data\nRUN uname -m > /data/arch\n", "data/one": "one", "data/two": "two",
		"triggers.Dockerfile": "FROM BASE\nONBUILD COPY input /triggered\nONBUILD RUN echo ran >> /triggered\n",
	}
	dir := l.contextOn(files)
	const local = "--node=local"
	l.must("build", local, "--platform", corpusPlatforms, "-t", registry(t)+"/split/files", "--push", dir)
	l.must("build", local, "--platform", corpusPlatforms, "-t", "example.com/split:files", "-o", "type=oci,tar=false,dest=layout", dir)
	l.must("build", local, "--platform", corpusPlatforms, "-f", filepath.Join(dir, "triggers.Dockerfile"), "-t", registry(t)+"/split/onbuild", "--push", dir)
	syntax := frontend(t, l.setting("MAB_NODES=local").lab)
	words := []string{"BASE", registry(t) + "/busybox", "REGISTRY", registry(t), "HTTP", l.URL, "SYNTAX", syntax}
	return &corpus{
		splitLab: l.setting("SOURCE_DATE_EPOCH=1700000000", "SPLIT_WORD=word", "SSH_AUTH_SOCK="+startAgent(t, "split")),
		words:    strings.NewReplacer(words...),
		places:   strings.NewReplacer(append(words, "LAYOUT", filepath.Join(l.dir, "layout"))...),
	}
}

// splitLabFiles puts what shapes fetch where the server finds it.
func (l *splitLab) splitLabFiles() {
	l.t.Helper()
	repository(l.t, filepath.Join(l.files, "app.git"), sourceFiles("first"), sourceFiles("second"))
	sound(l.t, os.WriteFile(filepath.Join(l.files, "text"), []byte("a text\n"), 0o644))
	sound(l.t, os.WriteFile(filepath.Join(l.files, "files.tar"), []byte(packed(l.t, l.context(map[string]string{"packed": "from afar"}))), 0o644))
}

// corpusPlatforms are those that every shape is built for.
const corpusPlatforms = "linux/amd64,linux/arm64,linux/s390x"

// context makes the context of a shape and returns it with the shape's arguments.
func (c *corpus) context(s shape) (dir string, args []string) {
	c.t.Helper()
	dir = c.t.TempDir()
	for _, f := range s.files {
		path, content := filepath.Join(dir, f.Name), f.Data
		if f.Name == "Dockerfile" {
			content = []byte(c.words.Replace(string(content)))
		}
		sound(c.t, errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, content, 0o644)))
	}
	if script := filepath.Join(dir, "setup.sh"); os.Chmod(script, 0o755) == nil {
		cmd := exec.CommandContext(c.t.Context(), "sh", "-e", "setup.sh")
		cmd.Dir = dir
		outputOf(c.t, cmd)
		sound(c.t, os.Remove(script))
	}
	for _, arg := range s.args {
		args = append(args, strings.ReplaceAll(c.places.Replace(arg), "DIR", dir))
	}
	return dir, args
}

// build builds a shape and returns what was pushed.
func (c *corpus) build(s shape, tag string, more ...string) v1.ImageIndex {
	c.t.Helper()
	dir, args := c.context(s)
	c.dir = dir // for paths in arguments
	ref := registry(c.t) + "/split/" + s.name + ":" + tag
	args = slices.Concat([]string{
		"build", "--progress=plain", "--platform", corpusPlatforms, "--provenance=false", "-o", "type=registry,rewrite-timestamp=true,name=" + ref,
	}, args, more, []string{dir})
	return pull(c.t, c.pushed(args...))
}

// TestSplitCorpus: however a build is divided, it gives the same bytes.
func TestSplitCorpus(t *testing.T) {
	c := newCorpus(t)
	paths, err := filepath.Glob("testdata/split/*.txtar")
	sound(t, err)
	if len(paths) < 40 {
		t.Fatalf("%d shapes", len(paths))
	}
	const three = "--node=one,two,three"
	for _, path := range paths {
		s := readShape(t, path)
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			c := &corpus{c.on(t), c.words, c.places}
			c.planned(s, three)
			whole := c.build(s, "whole", "--no-split", "--node=local")
			sameIndex(t, "on one node", whole, c.build(s, "one", "--node=alone"))
			sameIndex(t, "on three nodes", whole, c.build(s, "three", three))
		})
	}
}

// planned fails the test unless the plan of a shape has the cuts that it is marked with.
func (c *corpus) planned(s shape, nodes string) {
	c.t.Helper()
	if len(s.cuts) == 0 {
		return
	}
	dir, args := c.context(s)
	c.dir = dir // for paths in arguments
	plan := decode[divided](c.t, c.must(slices.Concat([]string{"plan", "--json", "--platform", corpusPlatforms, nodes}, args, []string{dir})...))
	if n := len(plan.homes()); n < 2 {
		c.t.Errorf("all platforms are on %s", plan.homes())
	}
	want, got := slices.Sorted(slices.Values(s.cuts)), slices.Sorted(slices.Values(plan.cuts()))
	if slices.Equal(want, []string{"none"}) {
		want = nil
	}
	if diff := cmp.Diff(want, got); diff != "" {
		c.t.Errorf("what travels (-want +got):\n%s", diff)
	}
}

// sameIndex fails the test unless two indexes are the same, and says what of which platform differs.
func sameIndex(t testing.TB, how string, want, got v1.ImageIndex) {
	t.Helper()
	a, err := want.Digest()
	sound(t, err)
	b, err := got.Digest()
	sound(t, err)
	if a == b {
		return
	}
	t.Errorf("%s: the index is %s, want %s", how, b, a)
	if diff := cmp.Diff(platformsOf(t, want), platformsOf(t, got)); diff != "" {
		t.Errorf("%s: platforms (-want +got):\n%s", how, diff)
		return
	}
	for platform := range strings.SplitSeq(platformsOf(t, want), ",") {
		sameImage(t, how+": "+platform, imageOf(t, want, platform), imageOf(t, got, platform))
	}
}

func sameImage(t testing.TB, how string, want, got v1.Image) {
	t.Helper()
	if digestOf(t, want) == digestOf(t, got) {
		return
	}
	x, err := want.RawConfigFile()
	sound(t, err)
	y, err := got.RawConfigFile()
	sound(t, err)
	if diff := cmp.Diff(decode[any](t, string(x)), decode[any](t, string(y))); diff != "" {
		t.Errorf("%s: configuration (-want +got):\n%s", how, diff)
	}
	a, err := want.Layers()
	sound(t, err)
	b, err := got.Layers()
	sound(t, err)
	if len(a) != len(b) {
		t.Errorf("%s: %d layers, want %d", how, len(b), len(a))
	}
	for i := range min(len(a), len(b)) {
		x, err := a[i].Digest()
		sound(t, err)
		if y, err := b[i].Digest(); err != nil || x != y {
			t.Errorf("%s: layer %d is %s, want %s (-want +got):\n%s", how, i, y, x, cmp.Diff(entriesOf(t, a[i]), entriesOf(t, b[i])))
		}
	}
}

// entriesOf are those of a layer in their order, each in a line.
func entriesOf(t testing.TB, layer v1.Layer) []string {
	t.Helper()
	var out []string
	for in := tar.NewReader(bytes.NewReader(uncompressed(t, layer))); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		sound(t, err)
		sum := sha256.New()
		_, err = io.Copy(sum, in)
		sound(t, err)
		out = append(out, fmt.Sprintf("%s %c %o %d:%d %d %q %s %x %v", h.Name, h.Typeflag, h.Mode, h.Uid, h.Gid, h.Size, h.Linkname,
			h.ModTime.UTC().Format("2006-01-02T15:04:05.999999999"), sum.Sum(nil)[:4], h.PAXRecords))
	}
}
