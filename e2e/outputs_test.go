// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
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

func TestPush(t *testing.T) {
	l := newLab(t)
	dir := l.context(map[string]string{"Dockerfile": machineDockerfile(t)})
	both := strings.Join(twoPlatforms(), ",")
	app := registry(t) + "/push/"

	t.Run("every tag in every repository is the same index", func(t *testing.T) {
		l := l.on(t)
		tags := []string{app + "one:1", app + "one:latest", app + "two:1"}
		pushed := l.must("build", "--platform", both, "-t", tags[0], "-t", tags[1], "-t", tags[2], "--push", dir)
		first, digest, _ := strings.Cut(pushed, "@")
		if first != app+"one" {
			t.Errorf("standard output %q", pushed)
		}
		for _, tag := range tags {
			index := pull(t, tag)
			wantMachines(t, index)
			wantDigest(t, digest, index)
		}
	})
	t.Run("type=image pushes only if told to", func(t *testing.T) {
		l := l.on(t)
		l.must("build", "--platform", both, "-o", "type=image,name="+app+"image:kept", dir)
		if exists(t, app+"image:kept") {
			t.Error("it was pushed")
		}
		l.must("build", "--platform", both, "-o", "type=image,name="+app+"image:pushed,push=true", dir)
		wantMachines(t, pull(t, app+"image:pushed"))
		l.must("build", "--platform", both, "-o", "type=registry,name="+app+"image:registry", dir)
		wantMachines(t, pull(t, app+"image:registry"))
	})
	t.Run("one platform with provenance is an index with its attestation", func(t *testing.T) {
		l := l.on(t)
		index := pull(t, l.must("build", "--platform", hostPlatform(), "-t", app+"single:with", "--push", dir))
		manifest := indexManifest(t, index)
		if len(manifest.Manifests) != 2 || !attestation(manifest.Manifests[1]) {
			t.Errorf("entries: %v", manifest.Manifests)
		}
		wantMachine(t, hostPlatform(), imageOf(t, index, hostPlatform()))
	})
	t.Run("one platform without provenance is a plain manifest", func(t *testing.T) {
		l := l.on(t)
		pushed := l.must("build", "--platform", foreignPlatform(), "-t", app+"single:without", "--provenance=false", "--push", dir)
		wantMachine(t, foreignPlatform(), pullImage(t, app+"single:without"))
		wantMachine(t, foreignPlatform(), pullImage(t, pushed))
	})
	t.Run("media types are OCI's unless told otherwise", func(t *testing.T) {
		l := l.on(t)
		index := pull(t, l.must("build", "--platform", both, "-t", app+"types:oci", "--push", dir))
		if got := indexManifest(t, index).MediaType; got != "application/vnd.oci.image.index.v1+json" {
			t.Errorf("the index is %q", got)
		}
		for _, d := range indexManifest(t, index).Manifests {
			if d.MediaType != "application/vnd.oci.image.manifest.v1+json" {
				t.Errorf("an entry is %q", d.MediaType)
			}
		}
	})
	t.Run("compression is the caller's choice", func(t *testing.T) {
		l := l.on(t)
		ref := l.must("build", "--platform", both, "-o", "type=registry,name="+app+"types:zstd,compression=zstd,force-compression=true", dir)
		index, err := remote.Index(reference(t, ref))
		if err != nil {
			t.Fatal(err)
		}
		wantMachines(t, index)
		for _, platform := range twoPlatforms() {
			manifest, err := imageOf(t, index, platform).Manifest()
			if err != nil {
				t.Fatal(err)
			}
			for _, layer := range manifest.Layers {
				if layer.MediaType != "application/vnd.oci.image.layer.v1.tar+zstd" {
					t.Errorf("a layer of %s is %q", platform, layer.MediaType)
				}
			}
		}
	})
}

func TestFailureLeavesNothing(t *testing.T) {
	l := newLab(t)
	broken := l.context(map[string]string{"Dockerfile": "FROM " + registry(t) + "/busybox\nRUN echo told >&2; exit 7\n"})
	ref := registry(t) + "/failure/app:1"
	for _, test := range []struct {
		rule string
		args []string
	}{
		{"oci", []string{"-o", "type=oci,dest=app.tar"}},
		{"oci, tar=false", []string{"-o", "type=oci,tar=false,dest=app"}},
		{"docker", []string{"-o", "type=docker,dest=app.tar"}},
		{"tar", []string{"-o", "type=tar,dest=app.tar"}},
		{"local", []string{"-o", "type=local,dest=files"}},
		{"push", []string{"-t", ref, "--push"}},
		{"files that tell of the result", []string{"--iidfile", "iid", "--metadata-file", "metadata.json", "-t", ref, "--push"}},
		{"all", []string{"-t", ref, "--push", "-o", "type=oci,dest=app.tar", "-o", "type=tar,dest=files.tar", "-o", "type=local,dest=files"}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			l := l.on(t)
			l.refused(1, []string{"told", "exit code: 7", "Dockerfile:2", "mab: error: "},
				append([]string{"build", "--platform", foreignPlatform(), broken}, test.args...)...)
			empty(t, l.dir)
			if exists(t, ref) {
				t.Error("it was tagged")
			}
		})
	}
	t.Run("what was there stays", func(t *testing.T) {
		l := l.on(t)
		file := filepath.Join(l.dir, "app.tar")
		if err := os.WriteFile(file, []byte("old"), 0o644); err != nil {
			t.Fatal(err)
		}
		l.refused(1, nil, "build", "-o", "type=oci,dest=app.tar", broken)
		empty(t, l.dir, "app.tar")
		if got := string(readFile(t, file)); got != "old" {
			t.Errorf("the old archive is now %q", got)
		}
	})
	t.Run("one platform's failure leaves no other platform's result", func(t *testing.T) {
		l := l.on(t)
		half := l.context(map[string]string{"Dockerfile": "FROM " + registry(t) + "/busybox\nARG TARGETARCH\nRUN test \"$TARGETARCH\" != s390x\n"})
		l.refused(1, []string{"linux/s390x", "mab: error: "}, "build", "--platform", hostPlatform()+",linux/s390x", "-t", ref, "--push",
			"-o", "type=oci,dest=app.tar", "-o", "type=local,dest=files", half)
		empty(t, l.dir)
		if exists(t, ref) {
			t.Error("it was tagged")
		}
	})
}

// TestReadBack has what mab made read by the programs of others.
func TestReadBack(t *testing.T) {
	need(t, "skopeo", "buildah")
	l := newLab(t)
	dir := l.context(map[string]string{"Dockerfile": machineDockerfile(t)})
	both := strings.Join(twoPlatforms(), ",")
	ref := registry(t) + "/readback/app:1"
	_, pushed, _ := strings.Cut(l.must("build", "--platform", both, "-t", ref, "--push", dir), "@")
	written := l.must("build", "--platform", both, "-t", "example.com/app:1", "-o", "type=oci,dest=app.tar", "-o", "type=oci,tar=false,dest=layout", dir)
	l.must("build", "--platform", foreignPlatform(), "-t", "example.com/app:1", "-o", "type=docker,dest=docker.tar", dir)
	skopeo := func(t *testing.T, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "skopeo", append([]string{"--insecure-policy"}, args...)...)
		cmd.Dir = l.dir
		return outputOf(t, cmd)
	}

	t.Run("skopeo copies every source to a layout of the same digest", func(t *testing.T) {
		for _, test := range []struct{ source, want string }{
			{"docker://" + ref, pushed}, {"oci-archive:app.tar", written}, {"oci:layout", written},
		} {
			dest := filepath.Join(t.TempDir(), "copy")
			skopeo(t, "copy", "--all", "--quiet", "--src-tls-verify=false", test.source, "oci:"+dest)
			index := layoutIndex(t, dest)
			wantMachines(t, index)
			wantDigest(t, test.want, index)
		}
	})
	t.Run("skopeo inspects each platform", func(t *testing.T) {
		for _, platform := range twoPlatforms() {
			arch := strings.TrimPrefix(platform, "linux/")
			text := skopeo(t, "--override-arch", arch, "inspect", "--tls-verify=false", "docker://"+ref)
			got := decode[struct{ Os, Architecture string }](t, text)
			if got.Os+"/"+got.Architecture != platform {
				t.Errorf("%s: %s", platform, text)
			}
		}
		raw := skopeo(t, "inspect", "--raw", "--tls-verify=false", "docker://"+ref)
		if diff := cmp.Diff(l.must("index", "inspect", "--raw", ref), raw); diff != "" {
			t.Errorf("mab index inspect --raw against skopeo's (-mab +skopeo):\n%s", diff)
		}
	})
	t.Run("skopeo copies a docker archive", func(t *testing.T) {
		dest := filepath.Join(t.TempDir(), "copy")
		skopeo(t, "copy", "--quiet", "docker-archive:docker.tar", "oci:"+dest+":1")
		wantMachine(t, foreignPlatform(), layoutImage(t, dest))
	})
	for _, platform := range twoPlatforms() {
		t.Run("buildah pulls "+platform, func(t *testing.T) {
			b := newBuildah(t)
			b.run(t, "pull", "--quiet", "--tls-verify=false", "--platform", platform, "docker://"+ref)
			b.run(t, "push", "--quiet", ref, "oci-archive:"+filepath.Join(b.dir, "back.tar"))
			wantMachine(t, platform, layoutImage(t, untar(t, filepath.Join(b.dir, "back.tar"))))
		})
	}
	t.Run("buildah pulls an archive", func(t *testing.T) {
		b := newBuildah(t)
		b.run(t, "pull", "--quiet", "oci-archive:"+filepath.Join(l.dir, "app.tar"))
		b.run(t, "pull", "--quiet", "docker-archive:"+filepath.Join(l.dir, "docker.tar"))
	})
}

// buildah is a state of its own for the program of that name.
type buildah struct{ dir string }

func newBuildah(t testing.TB) buildah {
	t.Helper()
	b := buildah{t.TempDir()}
	if err := os.WriteFile(filepath.Join(b.dir, "policy.json"), []byte(`{"default":[{"type":"insecureAcceptAnything"}]}`), 0o644); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b buildah) run(t testing.TB, command string, args ...string) string {
	t.Helper()
	global := []string{"--root", filepath.Join(b.dir, "root"), "--runroot", filepath.Join(b.dir, "run"), "--storage-driver", "vfs",
		command, "--signature-policy", filepath.Join(b.dir, "policy.json")}
	return outputOf(t, exec.CommandContext(t.Context(), "buildah", append(global, args...)...))
}
