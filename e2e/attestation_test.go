// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"encoding/json"
	"io"
	"log"
	"maps"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// account is what provenance says of how a platform was built.
type account struct {
	Platform, Digest, Node, Strategy, Why string
	Own                                   string `json:"node_platform"`
	Emulators                             []string
}

// attested is a statement of provenance, of a platform or of an index.
type attested struct {
	Type    string `json:"_type"`
	Subject []struct {
		Name   string
		Digest map[string]string
	}
	Predicate struct {
		BuildDefinition struct {
			BuildType            string
			ResolvedDependencies []struct {
				Name   string
				Digest map[string]string
			}
		}
		RunDetails struct {
			Builder  struct{ ID string }
			Metadata struct {
				Assignment *account  `json:"mab_assignment"`
				Platforms  []account `json:"mab_platforms"`
			}
		}
	}
}

// subjects are the names that a statement has.
func (a attested) subjects() (out []string) {
	for _, s := range a.Subject {
		out = append(out, s.Name)
	}
	return out
}

// referrersOf are the statements that refer to what was pushed.
func referrersOf(t testing.TB, pushed string) []attested {
	t.Helper()
	ref, ok := reference(t, pushed).(name.Digest)
	if !ok {
		t.Fatalf("%s is no digest", pushed)
	}
	found, err := remote.Referrers(ref)
	sound(t, err)
	var out []attested
	for _, d := range indexManifest(t, found).Manifests {
		image, err := remote.Image(ref.Context().Digest(d.Digest.String()))
		sound(t, err)
		manifest, err := image.RawManifest()
		sound(t, err)
		// go-containerregistry's registry takes the config's type for the artifact's.
		if kind := decode[struct{ ArtifactType string }](t, string(manifest)).ArtifactType; kind != "application/vnd.in-toto+json" {
			t.Errorf("an artifact of type %q", kind)
		}
		layers, err := image.Layers()
		sound(t, err)
		text, err := layers[0].Compressed()
		sound(t, err)
		raw, err := io.ReadAll(text)
		sound(t, err)
		out = append(out, decode[attested](t, string(raw)))
	}
	return out
}

// emulates is a Dockerfile that runs a program of each platform.
const emulates = "FROM BASE\nRUN uname -m > /machine\n"

// purl is the name of an image in attestations.
func purl(ref, platform string) string {
	at := strings.LastIndex(ref, ":")
	out := "pkg:docker/" + strings.ReplaceAll(ref[:at], ":", "%3A") + "@" + ref[at+1:]
	if platform != "" {
		out += "?platform=" + url.QueryEscape(platform)
	}
	return out
}

// TestAttestedSubjects: attestations name the image as it was named, whether it is pushed or written.
func TestAttestedSubjects(t *testing.T) {
	l := newLab(t)
	refs := []string{registry(t) + "/subject/app:1", registry(t) + "/subject/app:2", registry(t) + "/subject/other:1"}
	dir := l.contextOn(map[string]string{"Dockerfile": emulates})
	build := []string{"build", "--platform", strings.Join(twoPlatforms(), ","), "-t", refs[0], "-t", refs[1], "-t", refs[2], dir}
	check := func(t *testing.T, index v1.ImageIndex) {
		t.Helper()
		found := provenance(t, index)
		for _, platform := range twoPlatforms() {
			var want []string
			for _, ref := range refs {
				want = append(want, purl(ref, platform))
			}
			text := found[digestOf(t, imageOf(t, index, platform))]
			if diff := cmp.Diff(want, decode[attested](t, text).subjects()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", platform, diff)
			}
		}
	}
	pushed := l.must(append(build, "--push")...)
	t.Run("pushed", func(t *testing.T) { check(t, pull(t, pushed)) })
	t.Run("in every repository", func(t *testing.T) { check(t, pull(t, refs[2])) })
	t.Run("written", func(t *testing.T) {
		l.must(append(build, "-o", "type=oci,tar=false,dest=layout")...)
		path, err := layout.FromPath(filepath.Join(l.dir, "layout"))
		sound(t, err)
		all, err := path.ImageIndex()
		sound(t, err)
		index, err := all.ImageIndex(indexManifest(t, all).Manifests[0].Digest)
		sound(t, err)
		check(t, index)
		if _, digest, _ := strings.Cut(pushed, "@"); indexManifest(t, all).Manifests[0].Digest.String() != digest {
			t.Errorf("the layout has %s, the registry %s", indexManifest(t, all).Manifests[0].Digest, digest)
		}
	})
}

// TestAccounts: provenance says how each platform was built; the default one does not name nodes, nor anything in the index that depends on them.
func TestAccounts(t *testing.T) {
	l := newLab(t)
	ref := registry(t) + "/accounts/app:1"
	dir := l.contextOn(map[string]string{"Dockerfile": emulates})
	host, foreign := hostPlatform(), foreignPlatform()
	for _, test := range []struct {
		mode string
		// named are nodes and reasons.
		named bool
	}{{"mode=min", false}, {"mode=max", true}} {
		t.Run(test.mode, func(t *testing.T) {
			l := l.on(t)
			pushed := l.must("build", "--platform", host+","+foreign, "-t", ref, "--provenance="+test.mode, "--push", dir)
			index := pull(t, pushed)
			list := referrersOf(t, pushed)
			if len(list) != 1 {
				t.Fatalf("%d statements about the index", len(list))
			}
			own := list[0]
			_, digest, _ := strings.Cut(pushed, "@sha256:")
			if own.Type != "https://in-toto.io/Statement/v1" || own.Subject[0].Digest["sha256"] != digest || own.Subject[0].Name != purl(ref, "") {
				t.Errorf("it is about %+v", own.Subject)
			}
			all := own.Predicate.RunDetails.Metadata.Platforms
			for i, platform := range []string{host, foreign} {
				image := imageOf(t, index, platform)
				a := all[i]
				if a.Platform != platform || a.Digest != digestOf(t, image) || a.Own != host {
					t.Errorf("%s: %+v", platform, a)
				}
				if want := []string{"native", "emulated"}[i]; a.Strategy != want {
					t.Errorf("%s: strategy %s", platform, a.Strategy)
				}
				if emulated := slices.ContainsFunc(a.Emulators, func(s string) bool { return strings.HasPrefix(s, platform+": QEMU ") }); emulated != (i == 1) {
					t.Errorf("%s: emulators %q", platform, a.Emulators)
				}
				if (a.Node == "local") != test.named || (a.Why != "") != test.named {
					t.Errorf("%s: on node %q because %q", platform, a.Node, a.Why)
				}
				assigned := decode[attested](t, provenance(t, index)[digestOf(t, image)]).Predicate.RunDetails.Metadata.Assignment
				if !test.named {
					if assigned != nil {
						t.Errorf("%s: the image's provenance has %+v", platform, assigned)
					}
					continue
				}
				if assigned == nil {
					t.Fatalf("%s: the image's provenance does not say how it was built", platform)
				}
				a.Platform, a.Digest = "", ""
				if diff := cmp.Diff(a, *assigned); diff != "" {
					t.Errorf("%s: -index's +image's\n%s", platform, diff)
				}
			}
		})
	}
	t.Run("a second time nothing is added", func(t *testing.T) {
		l := l.on(t)
		pushed := l.must("build", "--platform", host+","+foreign, "-t", ref, "--push", dir)
		if list := referrersOf(t, pushed); len(list) != 1 {
			t.Errorf("%d statements", len(list))
		}
	})
	t.Run("without provenance it is a plain index", func(t *testing.T) {
		l := l.on(t)
		pushed := l.must("build", "--platform", host+","+foreign, "-t", ref, "--provenance=false", "--push", dir)
		if list := referrersOf(t, pushed); len(list) != 0 || len(indexManifest(t, pull(t, pushed)).Manifests) != 2 {
			t.Errorf("%d statements; %+v", len(list), indexManifest(t, pull(t, pushed)))
		}
	})
	t.Run("a registry without the API has it under a tag", func(t *testing.T) {
		l := l.on(t)
		plain := httptest.NewServer(ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0))))
		t.Cleanup(plain.Close)
		at := strings.TrimPrefix(plain.URL, "http://")
		pushed := l.must("build", "--platform", host+","+foreign, "-t", at+"/app:1", "--push", dir)
		if list := referrersOf(t, pushed); len(list) != 1 || list[0].Subject[0].Name != purl(at+"/app:1", "") {
			t.Errorf("statements: %+v", list)
		}
		repo, err := name.NewRepository(at + "/app")
		sound(t, err)
		tags, err := remote.List(repo)
		sound(t, err)
		_, digest, _ := strings.Cut(pushed, "@sha256:")
		slices.Sort(tags)
		if diff := cmp.Diff([]string{"1", "sha256-" + digest}, tags); diff != "" {
			t.Errorf("tags (-want +got):\n%s", diff)
		}
	})
}

// TestLayoutReferrers: a layout has the index's own provenance where that is asked for. Why not always: skopeo refuses two entries without
// a tag. With the tag it copies the index.
func TestLayoutReferrers(t *testing.T) {
	need(t, "skopeo")
	l := newLab(t)
	dir := l.contextOn(map[string]string{"Dockerfile": "FROM BASE\n"})
	build := func(output string) string {
		return strings.TrimSpace(l.must("build", "-q", "--platform", strings.Join(twoPlatforms(), ","), "-t", "example.com/app:1", "-o", output, "--metadata-file", "m.json", dir))
	}
	copied := func(source, dest string) error {
		cmd := exec.CommandContext(t.Context(), "skopeo", "--insecure-policy", "copy", "--all", "--quiet", source, "oci:"+dest+":1")
		cmd.Dir = l.dir
		return cmd.Run()
	}
	pinned := build("type=oci,tar=false,dest=plain")
	if err := copied("oci:plain", "copy"); err != nil {
		t.Errorf("without it: %v", err)
	}
	if got := build("type=oci,tar=false,dest=told,referrers=true"); got != pinned {
		t.Errorf("the image is %s with it, and %s without", got, pinned)
	}
	build("type=oci,dest=told.tar,referrers=true")
	path, err := layout.FromPath(filepath.Join(l.dir, "told"))
	sound(t, err)
	all, err := path.ImageIndex()
	sound(t, err)
	entries := indexManifest(t, all).Manifests
	if len(entries) != 2 || entries[0].Digest.String() != pinned || entries[1].ArtifactType != "application/vnd.in-toto+json" {
		t.Fatalf("entries: %+v", entries)
	}
	artifact, err := path.Image(entries[1].Digest)
	sound(t, err)
	manifest, err := artifact.Manifest()
	sound(t, err)
	layers, err := artifact.Layers()
	sound(t, err)
	text, err := layers[0].Compressed()
	sound(t, err)
	raw, err := io.ReadAll(text)
	sound(t, err)
	own := decode[attested](t, string(raw))
	if manifest.Subject.Digest.String() != pinned || "sha256:"+own.Subject[0].Digest["sha256"] != pinned || len(own.Predicate.RunDetails.Metadata.Platforms) != 2 {
		t.Errorf("%s is about %s: %+v", entries[1].Digest, manifest.Subject.Digest, own)
	}
	if told := decode[map[string]any](t, read(t, filepath.Join(l.dir, "m.json")))["mab.provenance.digest"]; told != entries[1].Digest.String() {
		t.Errorf("the metadata file names %v", told)
	}
	for _, source := range []string{"oci:told", "oci-archive:told.tar"} {
		if copied(source, "refused") == nil {
			t.Errorf("skopeo takes %s without a tag: referrers need not be asked for any more", source)
		}
		if err := copied(source+":1", "copy-"+strings.ReplaceAll(source, ":", "-")); err != nil {
			t.Errorf("skopeo, %s:1: %v", source, err)
		}
	}
	l.must("index", "verify", "./told")
	l.must("index", "verify", "./told.tar")
}

// TestMetadataKeys: --metadata-file has buildx's keys, and mab's own about nodes and strategies.
func TestMetadataKeys(t *testing.T) {
	l := newLab(t)
	both := hostPlatform() + "," + foreignPlatform()
	// The check of the Dockerfile warns of the word as.
	dir := l.contextOn(map[string]string{"Dockerfile": "FROM BASE as small\nARG A=1\nRUN uname -m > /machine\n"})
	type predicate struct {
		BuildType   string
		Materials   []struct{ URI string }
		BuildConfig any
		Metadata    any
		Invocation  struct {
			Parameters struct{ Args map[string]string }
		}
	}
	type metadata struct {
		Warnings  []struct{ Short []byte } `json:"buildx.build.warnings"`
		Referrer  string                   `json:"mab.provenance.digest"`
		Platforms []struct {
			account
			Seconds float64
			Steps   int
		} `json:"mab.platforms"`
	}
	build := func(l *lab, args ...string) (metadata, map[string]predicate) {
		l.t.Helper()
		l.must(append([]string{"build", "--metadata-file", "m.json", dir}, args...)...)
		text := read(l.t, filepath.Join(l.dir, "m.json"))
		found := map[string]predicate{}
		for key, value := range decode[map[string]json.RawMessage](l.t, text) {
			if rest, ok := strings.CutPrefix(key, "buildx.build.provenance"); ok {
				found[rest] = decode[predicate](l.t, string(value))
			}
		}
		return decode[metadata](l.t, text), found
	}
	check := func(t *testing.T, found map[string]predicate, detailed bool, keys ...string) {
		t.Helper()
		if diff := cmp.Diff(slices.Sorted(slices.Values(keys)), slices.Sorted(maps.Keys(found))); diff != "" {
			t.Errorf("provenance of (-want +got):\n%s", diff)
		}
		for key, p := range found {
			base := slices.ContainsFunc(p.Materials, func(m struct{ URI string }) bool { return strings.Contains(m.URI, "busybox") })
			if !base || p.BuildType == "" || (p.BuildConfig != nil) != detailed || (p.Metadata != nil) != detailed {
				t.Errorf("%q: %+v", key, p)
			}
		}
	}
	t.Run("by default provenance is minimal, and there are no warnings", func(t *testing.T) {
		m, found := build(l.on(t), "--platform", both, "-t", registry(t)+"/metadata/app:1", "--push")
		check(t, found, false, "/"+hostPlatform(), "/"+foreignPlatform())
		if len(m.Warnings) != 0 || m.Referrer == "" {
			t.Errorf("warnings %v, referrer %q", m.Warnings, m.Referrer)
		}
		for i, p := range m.Platforms {
			if p.Node != "local" || p.Own != hostPlatform() || p.Strategy != []string{"native", "emulated"}[i] || p.Steps == 0 || p.Seconds <= 0 {
				t.Errorf("%+v", p)
			}
		}
		if got := m.Platforms[1].Emulators; len(got) != 1 || !strings.HasPrefix(got[0], foreignPlatform()+": QEMU") {
			t.Errorf("emulators %q", got)
		}
	})
	t.Run("all of it, and warnings, where the environment asks for it", func(t *testing.T) {
		m, found := build(l.on(t).setting("BUILDX_METADATA_PROVENANCE=max", "BUILDX_METADATA_WARNINGS=1"), "--platform", hostPlatform(), "--provenance=false")
		check(t, found, true, "")
		if len(m.Warnings) != 1 || !strings.Contains(string(m.Warnings[0].Short), "FromAsCasing") {
			t.Errorf("warnings %+v", m.Warnings)
		}
	})
	t.Run("none of it", func(t *testing.T) {
		_, found := build(l.on(t).setting("BUILDX_METADATA_PROVENANCE=disabled"), "--platform", both)
		check(t, found, false)
	})
}

// TestAnnotationLevels: annotations are where buildx puts them, also for one platform, and several levels at once.
func TestAnnotationLevels(t *testing.T) {
	l := newLab(t)
	host, foreign := hostPlatform(), foreignPlatform()
	dir := l.contextOn(map[string]string{"Dockerfile": "FROM BASE\n"})
	l.must("build", "--platform", host+","+foreign, "-o", "type=oci,tar=false,dest=layout", "--provenance=false",
		"--annotation", "plain=1", "--annotation", "index,manifest:both=2", "--annotation", "manifest["+foreign+"]:one=3",
		"--annotation", "manifest-descriptor:each=4", "--annotation", "manifest-descriptor["+host+"]:own=5",
		"--annotation", "index-descriptor:root=6", "--annotation", "index:its=7,8=9", dir)
	path, err := layout.FromPath(filepath.Join(l.dir, "layout"))
	sound(t, err)
	all, err := path.ImageIndex()
	sound(t, err)
	root := indexManifest(t, all).Manifests[0]
	index, err := all.ImageIndex(root.Digest)
	sound(t, err)
	same := func(where string, want, got map[string]string) {
		t.Helper()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", where, diff)
		}
	}
	same("index-descriptor", map[string]string{"root": "6", "org.opencontainers.image.ref.name": "latest"}, root.Annotations)
	same("index", map[string]string{"both": "2", "its": "7,8=9"}, indexManifest(t, index).Annotations)
	for i, platform := range []string{host, foreign} {
		manifest, err := imageOf(t, index, platform).Manifest()
		sound(t, err)
		same("manifest of "+platform, []map[string]string{{"plain": "1", "both": "2"}, {"plain": "1", "both": "2", "one": "3"}}[i], manifest.Annotations)
		same("descriptor of "+platform, []map[string]string{{"each": "4", "own": "5"}, {"each": "4"}}[i], indexManifest(t, index).Manifests[i].Annotations)
	}
}
