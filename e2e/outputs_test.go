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
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// machineDockerfile makes an image that holds /machine, which its own RUN step wrote, alone.
func machineDockerfile(t testing.TB) string {
	t.Helper()
	return "FROM " + registry(t) + `/busybox AS run
RUN mkdir -p /out/dir && uname -m > /out/machine && echo nested > /out/dir/file && ln -s dir/file /out/link
FROM scratch
COPY --from=run /out /
CMD ["/machine"]
`
}

// twoPlatforms are this machine's own and a foreign one.
func twoPlatforms() []string { return []string{hostPlatform(), foreignPlatform()} }

// wantMachines fails the test unless the index has exactly both platforms in order, each with its own /machine.
func wantMachines(t testing.TB, index v1.ImageIndex) {
	t.Helper()
	if diff := cmp.Diff(strings.Join(twoPlatforms(), ","), platformsOf(t, index)); diff != "" {
		t.Errorf("platforms of the index (-want +got):\n%s", diff)
	}
	for _, platform := range twoPlatforms() {
		wantMachine(t, platform, imageOf(t, index, platform))
	}
}

func wantMachine(t testing.TB, platform string, image v1.Image) {
	t.Helper()
	if got, want := rootfsOf(t, image).text(t, "machine"), machineOf(t, platform).uname; got != want {
		t.Errorf("the image for %s was made on %q, want %q", platform, got, want)
	}
	if got := configOf(t, image).Platform().String(); got != platform {
		t.Errorf("the configuration is for %s, want %s", got, platform)
	}
}

// layoutEntry opens an OCI layout, checks every blob, and returns it with its only entry.
func layoutEntry(t testing.TB, dir string) (v1.ImageIndex, v1.Descriptor) {
	t.Helper()
	outer, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(outer); err != nil {
		t.Fatal(err)
	}
	manifests := indexManifest(t, outer).Manifests
	if len(manifests) != 1 {
		t.Fatalf("%d entries in index.json", len(manifests))
	}
	return outer, manifests[0]
}

func layoutIndex(t testing.TB, dir string) v1.ImageIndex {
	t.Helper()
	outer, entry := layoutEntry(t, dir)
	index, err := outer.ImageIndex(entry.Digest)
	if err != nil {
		t.Fatal(err)
	}
	return index
}

func layoutImage(t testing.TB, dir string) v1.Image {
	t.Helper()
	outer, entry := layoutEntry(t, dir)
	image, err := outer.Image(entry.Digest)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// untar unpacks an archive of regular files and directories.
func untar(t testing.TB, archive string) string {
	t.Helper()
	dir := t.TempDir()
	outputOf(t, exec.CommandContext(t.Context(), "tar", "-xf", archive, "-C", dir))
	return dir
}

func TestOutputs(t *testing.T) {
	l := newLab(t)
	dir := l.context(map[string]string{"Dockerfile": machineDockerfile(t)})
	host, both := hostPlatform(), strings.Join(twoPlatforms(), ",")
	build := func(l *lab, platforms string, args ...string) string {
		l.t.Helper()
		return l.must(append([]string{"build", "--platform", platforms, dir}, args...)...)
	}

	t.Run("oci: a tar that holds the index", func(t *testing.T) {
		l := l.on(t)
		digest := build(l, both, "-t", "example.com/app:1", "-o", "type=oci,dest=app.tar")
		empty(t, l.dir, "app.tar")
		index := layoutIndex(t, untar(t, filepath.Join(l.dir, "app.tar")))
		wantMachines(t, index)
		wantDigest(t, digest, index)
	})
	t.Run("oci, tar=false: a directory", func(t *testing.T) {
		l := l.on(t)
		digest := build(l, both, "-t", "example.com/app:1", "-o", "type=oci,tar=false,dest=app")
		empty(t, l.dir, "app")
		index := layoutIndex(t, filepath.Join(l.dir, "app"))
		wantMachines(t, index)
		wantDigest(t, digest, index)
	})
	t.Run("oci, tar=false: a second image joins the first", func(t *testing.T) {
		l := l.on(t)
		build(l, both, "-t", "example.com/app:1", "-o", "type=oci,tar=false,dest=app")
		build(l, both, "-t", "example.com/app:2", "--label", "a=b", "-o", "type=oci,tar=false,dest=app")
		outer, err := layout.ImageIndexFromPath(filepath.Join(l.dir, "app"))
		if err != nil {
			t.Fatal(err)
		}
		if err := validate.Index(outer); err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, d := range indexManifest(t, outer).Manifests {
			names = append(names, d.Annotations["io.containerd.image.name"])
		}
		if diff := cmp.Diff([]string{"example.com/app:1", "example.com/app:2"}, names); diff != "" {
			t.Errorf("names in index.json (-want +got):\n%s", diff)
		}
	})
	t.Run("oci: one platform is a plain image unless provenance is asked for", func(t *testing.T) {
		l := l.on(t)
		build(l, host, "-o", "type=oci,tar=false,dest=plain")
		wantMachine(t, host, layoutImage(t, filepath.Join(l.dir, "plain")))
		build(l, host, "--provenance=mode=min", "-o", "type=oci,tar=false,dest=attested")
		index := layoutIndex(t, filepath.Join(l.dir, "attested"))
		wantMachine(t, host, imageOf(t, index, host))
		if got := len(indexManifest(t, index).Manifests); got != 2 {
			t.Errorf("%d entries, want the image and its attestation", got)
		}
	})
	t.Run("docker: an archive of one platform", func(t *testing.T) {
		for _, platform := range twoPlatforms() {
			l := l.on(t)
			build(l, platform, "-t", "example.com/app:1", "-o", "type=docker,dest=app.tar")
			empty(t, l.dir, "app.tar")
			image, err := tarball.ImageFromPath(filepath.Join(l.dir, "app.tar"), nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := validate.Image(image); err != nil {
				t.Fatal(err)
			}
			wantMachine(t, platform, image)
		}
	})
	t.Run("docker: two platforms are refused before anything is built", func(t *testing.T) {
		l := l.on(t)
		out := l.mab("build", "--platform", both, "-o", "type=docker,dest=app.tar", "--no-cache", dir)
		if out.code == 0 || out.stdout != "" || !strings.Contains(out.stderr, "mab: error: ") || !strings.Contains(out.stderr, "mab: hint: ") {
			t.Errorf("exit code %d, stdout %q\n%s", out.code, out.stdout, out.stderr)
		}
		if strings.Contains(out.stderr, "RUN mkdir") {
			t.Errorf("it was built first:\n%s", out.stderr)
		}
		empty(t, l.dir)
	})
	t.Run("local: one platform's files directly", func(t *testing.T) {
		l := l.on(t)
		if out := build(l, host, "-o", "type=local,dest=files"); out != "" {
			t.Errorf("standard output %q", out)
		}
		wantFiles(t, filepath.Join(l.dir, "files"), host)
		empty(t, filepath.Join(l.dir, "files"), "dir", "link", "machine")
	})
	t.Run("local: a path alone", func(t *testing.T) {
		l := l.on(t)
		build(l, host, "-o", "files")
		wantFiles(t, filepath.Join(l.dir, "files"), host)
	})
	t.Run("local: a directory for each of two platforms", func(t *testing.T) {
		l := l.on(t)
		build(l, both, "-o", "type=local,dest=files")
		wantFiles(t, filepath.Join(l.dir, "files", strings.ReplaceAll(host, "/", "_")), host)
		wantFiles(t, filepath.Join(l.dir, "files", strings.ReplaceAll(foreignPlatform(), "/", "_")), foreignPlatform())
	})
	t.Run("tar: files", func(t *testing.T) {
		l := l.on(t)
		build(l, host, "-o", "type=tar,dest=files.tar")
		empty(t, l.dir, "files.tar")
		if got := readTarFile(t, filepath.Join(l.dir, "files.tar")).text(t, "machine"); got != machineOf(t, host).uname {
			t.Errorf("made on %q", got)
		}
	})
	t.Run("standard output gets the tar alone", func(t *testing.T) {
		l := l.on(t)
		for _, args := range [][]string{{"-o", "-"}, {"-o", "type=tar,dest=-"}, {"-q", "-o", "-"}} {
			out := l.mab(append([]string{"build", "--platform", both, dir}, args...)...)
			files := readTar(t, strings.NewReader(out.stdout))
			for _, platform := range twoPlatforms() {
				if got := files.text(t, strings.ReplaceAll(platform, "/", "_")+"/machine"); got != machineOf(t, platform).uname {
					t.Errorf("%v: %s was made on %q", args, platform, got)
				}
			}
		}
		out := l.mab("build", "--platform", both, "-t", "example.com/app:1", "-o", "type=oci,dest=-", dir)
		file := filepath.Join(t.TempDir(), "app.tar")
		if err := os.WriteFile(file, []byte(out.stdout), 0o600); err != nil {
			t.Fatal(err)
		}
		wantMachines(t, layoutIndex(t, untar(t, file)))
		empty(t, l.dir)
	})
	t.Run("cache only, and no output, leave no file", func(t *testing.T) {
		l := l.on(t)
		build(l, host, "-o", "type=cacheonly")
		build(l, host)
		empty(t, l.dir)
	})
	t.Run("several at once", func(t *testing.T) {
		l := l.on(t)
		ref := registry(t) + "/outputs/several:1"
		pushed := build(l, both, "-t", ref, "--push", "-o", "type=oci,dest=app.tar", "-o", "type=oci,tar=false,dest=layout",
			"-o", "type=local,dest=files", "-o", "type=tar,dest=files.tar")
		empty(t, l.dir, "app.tar", "files", "files.tar", "layout")
		index := pull(t, ref)
		wantMachines(t, index)
		_, digest, _ := strings.Cut(pushed, "@")
		wantDigest(t, digest, index)
		wantDigest(t, digest, layoutIndex(t, untar(t, filepath.Join(l.dir, "app.tar"))))
		wantDigest(t, digest, layoutIndex(t, filepath.Join(l.dir, "layout")))
		wantFiles(t, filepath.Join(l.dir, "files", strings.ReplaceAll(host, "/", "_")), host)
	})
	t.Run("an existing archive is replaced", func(t *testing.T) {
		l := l.on(t)
		file := filepath.Join(l.dir, "app.tar")
		if err := os.WriteFile(file, bytes.Repeat([]byte("old"), 1<<20), 0o644); err != nil {
			t.Fatal(err)
		}
		build(l, host, "-o", "type=oci,dest="+file)
		empty(t, l.dir, "app.tar")
		wantMachine(t, host, layoutImage(t, untar(t, file)))
	})
}

// wantFiles checks a directory of TestOutputs' image.
// TestOutputsInContext has outputs beside what is built, as when mab build is run where the Dockerfile is.
func TestOutputsInContext(t *testing.T) {
	l := newLab(t)
	dir := l.context(map[string]string{"Dockerfile": "FROM scratch\nCOPY . /all\n"})
	l.must("build", dir)
	for _, output := range []string{"type=tar,dest=out.tar", "type=oci,dest=out.tar", "type=oci,tar=false,dest=out", "type=local,dest=out"} {
		t.Run(output, func(t *testing.T) {
			l := l.on(t)
			l.dir = dir
			defer func() {
				sound(t, errors.Join(os.RemoveAll(filepath.Join(dir, "out.tar")), os.RemoveAll(filepath.Join(dir, "out"))))
			}()
			if out := l.mab("build", "--progress", "plain", "-o", output, "."); out.code != 0 || !cached(out.stderr, "COPY . /all") {
				t.Errorf("something came into the context; exit code %d\n%s", out.code, out.stderr)
			}
		})
	}
}

func wantFiles(t testing.TB, dir, platform string) {
	t.Helper()
	if got, want := strings.TrimSpace(string(readFile(t, filepath.Join(dir, "machine")))), machineOf(t, platform).uname; got != want {
		t.Errorf("%s was made on %q, want %q", dir, got, want)
	}
	if got := string(readFile(t, filepath.Join(dir, "link"))); got != "nested\n" {
		t.Errorf("through the link: %q", got)
	}
}

func wantDigest(t testing.TB, want string, index v1.ImageIndex) {
	t.Helper()
	got, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != want {
		t.Errorf("digest %s, standard output said %q", got, want)
	}
}
