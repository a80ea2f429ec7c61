// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// plainDockerfile runs nothing: each platform's image holds what it is for.
const plainDockerfile = "FROM scratch\nARG TARGETPLATFORM\nCOPY --chmod=644 <<EOF /platform\n$TARGETPLATFORM\nEOF\n"

// wantPlain fails the test unless the index has exactly these platforms in this order, each with its own file, all blobs, and an
// attestation.
func wantPlain(t testing.TB, index v1.ImageIndex, platforms string) {
	t.Helper()
	if err := validate.Index(index); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(platforms, platformsOf(t, index)); diff != "" {
		t.Fatalf("platforms of the index (-want +got):\n%s", diff)
	}
	subjects := map[string]bool{}
	for _, desc := range indexManifest(t, index).Manifests {
		if attestation(desc) {
			subjects[desc.Annotations["vnd.docker.reference.digest"]] = true
		}
	}
	for platform := range strings.SplitSeq(platforms, ",") {
		image := imageOf(t, index, platform)
		if got := strings.TrimSpace(rootfsOf(t, image).text(t, "platform")); got != platform {
			t.Errorf("%s holds the files of %s", platform, got)
		}
		digest, err := image.Digest()
		if err != nil || !subjects[digest.String()] {
			t.Errorf("%s has lost its attestation: %v", platform, err)
		}
	}
}

// TestDigestFiles is the matrix of a CI: every platform is built by itself and leaves a file, then all become one index.
func TestDigestFiles(t *testing.T) {
	l := newLab(t)
	dir := l.context(map[string]string{"Dockerfile": plainDockerfile})
	repo := registry(t) + "/index/matrix"
	files := filepath.Join(l.dir, "digests")
	for i, platform := range strings.Split(six, ",") {
		leg := filepath.Join(files, strings.ReplaceAll(platform, "/", "-"))
		sound(t, os.MkdirAll(leg, 0o755))
		build := []string{"build", "--platform", platform, "--provenance=mode=min", "-o", "type=image,name=" + repo + ",push-by-digest=true,name-canonical=true,push=true", dir}
		switch i % 4 {
		case 0:
			l.must(append(build, "--iidfile", filepath.Join(leg, "iid"))...)
		case 1:
			l.must(append(build, "--metadata-file", filepath.Join(leg, "metadata.json"))...)
		case 2:
			_, hex, _ := strings.Cut(l.must(build...), "@sha256:")
			sound(t, os.WriteFile(filepath.Join(leg, hex), nil, 0o644))
		case 3:
			sound(t, os.WriteFile(filepath.Join(leg, "printed"), []byte(l.must(build...)+"\n"), 0o644))
		}
	}
	if exists(t, repo+":latest") {
		t.Error("a build that pushes by digest wrote a tag")
	}
	sorted := "linux/amd64,linux/arm/v7,linux/arm64,linux/ppc64le,linux/riscv64,linux/s390x"
	var first string
	t.Run("all become one, under every tag", func(t *testing.T) {
		l := l.on(t)
		other := registry(t) + "/index/copy:1"
		first = l.must("index", "create", "-t", repo+":1", "-t", other, "--from-digest-files", files)
		name, digest, _ := strings.Cut(first, "@")
		if name != repo {
			t.Errorf("standard output %q", first)
		}
		for _, ref := range []string{repo + ":1", other} {
			wantPlain(t, pull(t, ref), sorted)
			wantDigest(t, digest, pull(t, ref))
		}
	})
	t.Run("in another order the same bytes", func(t *testing.T) {
		l := l.on(t)
		legs, err := filepath.Glob(filepath.Join(files, "*"))
		sound(t, err)
		args := []string{"index", "create", "-t", repo + ":2", "--from-digest-files"}
		for i := range legs {
			args = append(args, legs[len(legs)-1-i])
		}
		if got := l.must(args...); got != first {
			t.Errorf("got %s, before %s", got, first)
		}
	})
	t.Run("with the platforms that there must be, in their order", func(t *testing.T) {
		l := l.on(t)
		l.must("index", "create", "-t", repo+":3", "--platform", six, "--from-digest-files", files)
		wantPlain(t, pull(t, repo+":3"), six)
	})
	for _, test := range []struct {
		rule, platforms string
		words           []string
	}{
		{"one too few is refused", six + ",linux/386", []string{"no image for linux/386", "there are images for linux/amd64"}},
		{"one too many is refused", strings.TrimSuffix(six, ",linux/ppc64le"), []string{"an image for linux/ppc64le is there, which was not asked for", "asked for were"}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			l.on(t).refused(5, test.words, "index", "create", "-t", repo+":4", "--platform", test.platforms, "--from-digest-files", files)
			if exists(t, repo+":4") {
				t.Error("it was written")
			}
		})
	}
	t.Run("a digest that nobody pushed is refused", func(t *testing.T) {
		l := l.on(t)
		sound(t, os.WriteFile(filepath.Join(l.dir, strings.Repeat("ab", 32)), nil, 0o644))
		l.refused(1, []string{"reading", strings.Repeat("ab", 32), "check the spelling"}, "index", "create", "-t", repo+":4", "--from-digest-files", files, l.dir)
		if exists(t, repo+":4") {
			t.Error("it was written")
		}
	})
}

// TestIndex makes indexes of what is in registries, layouts and tars, and changes them.
func TestIndex(t *testing.T) {
	need(t, "skopeo")
	l := newLab(t)
	dir := l.context(map[string]string{"Dockerfile": plainDockerfile})
	repo := registry(t) + "/index/app"
	build := func(platform string, args ...string) string {
		return l.must(append([]string{"build", "--platform", platform, "--provenance=mode=min", dir}, args...)...)
	}
	build("linux/amd64", "-t", repo+":amd64", "--push")
	build("linux/arm64", "-t", registry(t)+"/index/other:arm64", "--push")
	build("linux/arm/v7", "-o", "type=oci,tar=false,dest=v7")
	build("linux/arm/v5,linux/s390x", "-o", "type=oci,dest=two.tar")
	all := "linux/amd64,linux/arm64,linux/arm/v5,linux/arm/v7"
	t.Run("of a tag, another repository, a layout and a tar", func(t *testing.T) {
		l.must("index", "create", "-t", repo+":all", repo+":amd64", registry(t)+"/index/other:arm64", "./v7", "./two.tar", "--platform", all, "--annotation", "index:a=b")
		wantPlain(t, pull(t, repo+":all"), all)
		if got := indexManifest(t, pull(t, repo+":all")).Annotations["a"]; got != "b" {
			t.Errorf("annotation %q", got)
		}
	})
	t.Run("a dry run writes nothing, and prints what would be", func(t *testing.T) {
		args := []string{"index", "create", "-t", repo + ":dry", repo + ":amd64", "./v7"}
		raw := l.must(append(args, "--dry-run")...)
		if exists(t, repo+":dry") {
			t.Error("it was written")
		}
		l.must(args...)
		if diff := cmp.Diff(raw, l.must("index", "inspect", "--raw", repo+":dry")); diff != "" {
			t.Errorf("(-dry +written)\n%s", diff)
		}
	})
	t.Run("a platform more", func(t *testing.T) {
		l.must("index", "create", "-t", repo+":more", "--append", repo+":amd64", "--annotation", "index:first=1")
		l.must("index", "create", "-t", repo+":more", "--append", "./v7")
		wantPlain(t, pull(t, repo+":more"), "linux/amd64,linux/arm/v7")
		if got := indexManifest(t, pull(t, repo+":more")).Annotations["first"]; got != "1" {
			t.Errorf("the annotation of what was there is %q", got)
		}
	})
	t.Run("the same index as skopeo and buildah read it", func(t *testing.T) {
		dest := filepath.Join(t.TempDir(), "copy")
		outputOf(t, exec.CommandContext(t.Context(), "skopeo", "--insecure-policy", "copy", "--all", "--quiet", "--src-tls-verify=false", "docker://"+repo+":all", "oci:"+dest))
		wantPlain(t, layoutIndex(t, dest), all)
		for platform, arch := range map[string][]string{
			"linux/arm/v7": {"--override-arch=arm", "--override-variant=v7"}, "linux/arm/v5": {"--override-arch=arm", "--override-variant=v6"},
			"linux/amd64": {"--override-arch=amd64"}, "linux/arm64": {"--override-arch=arm64", "--override-variant=v8"},
		} {
			dest := filepath.Join(t.TempDir(), "one")
			outputOf(t, exec.CommandContext(t.Context(), "skopeo", append(append([]string{"--insecure-policy"}, arch...), "copy", "--quiet", "--src-tls-verify=false", "docker://"+repo+":all", "oci:"+dest+":1")...))
			if got := strings.TrimSpace(rootfsOf(t, layoutImage(t, dest)).text(t, "platform")); got != platform {
				t.Errorf("%v: skopeo took %s, want %s", arch, got, platform)
			}
		}
	})
	t.Run("annotated, in place", func(t *testing.T) {
		before := l.must("index", "inspect", "--json", repo+":all")
		out := l.must("index", "annotate", repo+":all", "--annotation", "manifest-descriptor[linux/arm64]:tested=yes", "--annotation", "index:a=c")
		_, digest, _ := strings.Cut(out, "@")
		index := pull(t, repo+":all")
		wantPlain(t, index, all)
		wantDigest(t, digest, index)
		manifest := indexManifest(t, index)
		if manifest.Annotations["a"] != "c" || manifest.Manifests[1].Annotations["tested"] != "yes" {
			t.Errorf("got %+v", manifest)
		}
		if before == l.must("index", "inspect", "--json", repo+":all") {
			t.Error("nothing changed")
		}
	})
	t.Run("annotated under another tag", func(t *testing.T) {
		l.must("index", "annotate", repo+":all", "-t", repo+":noted", "--annotation", "index:a=d")
		if got := indexManifest(t, pull(t, repo+":all")).Annotations["a"]; got != "c" {
			t.Errorf("the tag that was read has %q", got)
		}
		wantPlain(t, pull(t, repo+":noted"), all)
	})
}

// TestIndexCopyShown: what is copied from registry to registry is shown in bytes, and goes on where a connection breaks. Nothing is shown where
// nothing is copied.
func TestIndexCopyShown(t *testing.T) {
	l := newLab(t)
	from := newBadRegistry(t)
	base := from.base(1 << 20)
	var mu sync.Mutex
	var ranges []string
	broken := from.onLayer(func(w http.ResponseWriter, r *http.Request) {
		from.altered(w, r, func(_ http.Header, body []byte) []byte { return body[:400_000] }) // of as many as the header says
	})
	from.spoiled(func(w http.ResponseWriter, r *http.Request) bool {
		asked := r.Header.Get("Range")
		if asked == "" {
			return broken(w, r)
		}
		mu.Lock()
		defer mu.Unlock()
		ranges = append(ranges, asked)
		return false
	})
	args := []string{"index", "create", "--progress", "plain", "-t", registry(t) + "/index/shown:1", base}
	out := l.mab(args...)
	if out.code != 0 || !strings.Contains(out.stderr, "[mab] copying layers to "+registry(t)+"/index/shown") || !strings.Contains(out.stderr, "1.05MB / 1.05MB") {
		t.Errorf("exit code %d, on standard error:\n%s", out.code, out.stderr)
	}
	if len(ranges) != 1 || !strings.HasPrefix(ranges[0], "bytes=400000-") {
		t.Errorf("ranges %q", ranges)
	}
	sound(t, validate.Index(pull(t, registry(t)+"/index/shown:1")))
	if out := l.mab(args...); out.code != 0 || out.stderr != "" {
		t.Errorf("a second time: exit code %d, on standard error:\n%s", out.code, out.stderr)
	}
}
