// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// runPushed pulls the image of each machine and runs its program, which must say what it is.
func runPushed(ctx context.Context, reference, dir string) error {
	ref, err := name.ParseReference(reference, name.Insecure)
	if err != nil {
		return err
	}
	index, err := remote.Index(ref, remote.WithContext(ctx))
	if err != nil {
		return fmt.Errorf("pulling %q: %w", reference, err)
	}
	images, err := imagesOf(index)
	if err != nil {
		return fmt.Errorf("reading %q: %w", reference, err)
	}
	for _, m := range machines {
		image, ok := images[m.platform]
		if !ok {
			return fmt.Errorf("%q has no image for %s", reference, m.platform)
		}
		program := filepath.Join(dir, "hello-"+path.Base(m.qemu))
		if err := extractEntrypoint(image, program); err != nil {
			return fmt.Errorf("extracting the program of %s: %w", m.platform, err)
		}
		if err := runProgram(ctx, m, program); err != nil {
			return err
		}
	}
	return nil
}

func runProgram(ctx context.Context, m machine, program string) error {
	args, by := []string{program}, "this CPU"
	if !m.native() {
		args, by = []string{m.qemu, program}, m.qemu
	}
	out, err := exec.CommandContext(ctx, args[0], args[1:]...).Output()
	if err != nil {
		return fmt.Errorf("running the program of %s by %s: %w", m.platform, by, err)
	}
	line := strings.TrimSuffix(string(out), "\n")
	fmt.Printf("%-14s by %-20s %s\n", m.platform, by+":", line)
	if line != m.hello {
		return fmt.Errorf("the program of %s should say %q", m.platform, m.hello)
	}
	return nil
}

// imagesOf returns the images of an index by platform; attestations have none.
func imagesOf(index v1.ImageIndex) (map[string]v1.Image, error) {
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	images := make(map[string]v1.Image)
	for _, descriptor := range manifest.Manifests {
		if descriptor.Platform == nil || descriptor.Platform.OS == "unknown" {
			continue
		}
		image, err := index.Image(descriptor.Digest)
		if err != nil {
			return nil, err
		}
		images[descriptor.Platform.String()] = image
	}
	return images, nil
}

// extractEntrypoint writes the program that image starts to the file.
func extractEntrypoint(image v1.Image, file string) error {
	config, err := image.ConfigFile()
	if err != nil {
		return err
	}
	if len(config.Config.Entrypoint) != 1 {
		return fmt.Errorf("the entry point is %q", config.Config.Entrypoint)
	}
	want := strings.TrimPrefix(config.Config.Entrypoint[0], "/")
	layers := mutate.Extract(image)
	defer layers.Close()
	for in := tar.NewReader(layers); ; {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("no file %q", want)
		}
		if err != nil {
			return err
		}
		if path.Clean(header.Name) == want {
			return writeProgram(file, in)
		}
	}
}

func writeProgram(name string, content io.Reader) error {
	file, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, content)
	return errors.Join(err, file.Close())
}

// checkLayout reads every blob of an OCI layout against its digest, and looks for all platforms.
func checkLayout(dir string) error {
	outer, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return fmt.Errorf("reading the OCI layout: %w", err)
	}
	manifest, err := outer.IndexManifest()
	if err != nil {
		return fmt.Errorf("reading the OCI layout: %w", err)
	}
	if len(manifest.Manifests) != 1 {
		return fmt.Errorf("reading the OCI layout: %d entries in index.json, not 1", len(manifest.Manifests))
	}
	index, err := outer.ImageIndex(manifest.Manifests[0].Digest)
	if err != nil {
		return fmt.Errorf("reading the OCI layout: %w", err)
	}
	if err := validate.Index(index); err != nil {
		return fmt.Errorf("checking the OCI layout: %w", err)
	}
	images, err := imagesOf(index)
	if err != nil {
		return fmt.Errorf("reading the OCI layout: %w", err)
	}
	lacks := slices.DeleteFunc(platforms(), func(platform string) bool { return images[platform] != nil })
	if len(lacks) > 0 {
		return fmt.Errorf("checking the OCI layout: no image for %s", strings.Join(lacks, ", "))
	}
	fmt.Printf("the OCI layout is whole: %s\n", manifest.Manifests[0].Digest)
	return nil
}
