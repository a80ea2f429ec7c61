// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

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
	whole := registry(t) + "/readback/six:1"
	l.must("build", "--platform", six, "-t", whole, "--push", dir)
	for platform := range strings.SplitSeq(six, ",") {
		t.Run("buildah pulls "+platform, func(t *testing.T) {
			b := newBuildah(t)
			b.run(t, "pull", "--quiet", "--tls-verify=false", "--platform", platform, "docker://"+whole)
			b.run(t, "push", "--quiet", whole, "oci-archive:"+filepath.Join(b.dir, "back.tar"))
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
