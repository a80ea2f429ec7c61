// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/remote"
)

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
