// SPDX-License-Identifier: Apache-2.0

package manifestlist

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// maxDigestFile bounds what is read of a file that should hold a digest; metadata with provenance in it is the largest.
const maxDigestFile = 8 << 20

// ReadDigestFiles reads the digests that builds of single platforms left in files, as sources for Gather: the paths in order, of a
// directory all files in it, those of its directories too, sorted. A file is what ReadDigestFile reads. Hidden ones are passed over. A digest
// that several files hold is listed once.
func ReadDigestFiles(paths []string) ([]string, error) {
	var sources []string
	for _, path := range paths {
		n := 0
		err := filepath.WalkDir(path, func(file string, entry fs.DirEntry, err error) error {
			switch hidden := file != path && strings.HasPrefix(entry.Name(), "."); {
			case err != nil:
				return err
			case hidden && entry.IsDir():
				return filepath.SkipDir
			case hidden || entry.IsDir():
				return nil
			}
			source, err := ReadDigestFile(file)
			if err != nil {
				return err
			}
			n++
			if !slices.Contains(sources, source) {
				sources = append(sources, source)
			}
			return nil
		})
		if errors.Is(err, fs.ErrNotExist) {
			return nil, misspelt{hintf(fmt.Errorf("reading digest files: %w", err), digestFileHint)}
		}
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return nil, misspelt{hintf(fmt.Errorf("reading digest files: there is none in %q", path), digestFileHint)}
		}
	}
	return sources, nil
}

const digestFileHint = "each build leaves one: --metadata-file FILE, or --iidfile FILE, or an empty file named by the digest"

// ReadDigestFile reads one source for Gather out of a file: the JSON of --metadata-file, of docker buildx or mab; the digest that --iidfile
// writes, or what a build printed (REPOSITORY@DIGEST); a descriptor in JSON; or nothing, if the file's name is the digest (with sha256: or
// sha256- before it, or without).
func ReadDigestFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("reading digest file: %w", err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxDigestFile+1))
	if err != nil {
		return "", fmt.Errorf("reading digest file %q: %w", path, err)
	}
	if len(raw) > maxDigestFile {
		return "", misspelt{hintf(fmt.Errorf("reading digest file %q: it is larger than %d bytes", path, maxDigestFile), digestFileHint)}
	}
	source, err := ParseDigestFile(filepath.Base(path), raw)
	if err != nil {
		return "", misspelt{fmt.Errorf("reading digest file %q: %w", path, err)}
	}
	return source, nil
}

// ParseDigestFile is ReadDigestFile for a file in memory.
func ParseDigestFile(name string, raw []byte) (string, error) {
	text := strings.TrimSpace(string(raw))
	switch {
	case text == "":
		name = strings.TrimPrefix(strings.Replace(name, "sha256-", "sha256:", 1), "sha256:")
		dgst, err := digest.Parse("sha256:" + name)
		if err != nil {
			return "", hintf(errors.New("it is empty, and its name is no digest"), digestFileHint)
		}
		return dgst.String(), nil
	case strings.HasPrefix(text, "{"):
		return parseMetadata([]byte(text))
	}
	if dgst, err := digest.Parse(strings.TrimPrefix(text, "@")); err == nil {
		return dgst.String(), nil
	}
	ref, err := ParseReference(text)
	if err != nil || ref.Digest == "" {
		return "", hintf(errors.New("it holds no digest"), digestFileHint)
	}
	ref.Tag = ""
	return ref.String(), nil
}

// parseMetadata reads a descriptor, or metadata of a build, or of a bake with one target.
func parseMetadata(raw []byte) (string, error) {
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(raw, &keys); err != nil {
		return "", hintf(fmt.Errorf("it is no JSON: %w", err), digestFileHint)
	}
	if _, ok := keys["mediaType"]; ok {
		var desc ocispec.Descriptor
		if err := json.Unmarshal(raw, &desc); err != nil || desc.Digest.Validate() != nil {
			return "", hintf(errors.New("it is no descriptor"), digestFileHint)
		}
		return string(raw), nil
	}
	if dgst, ok := digestOf(raw); ok {
		return dgst.String(), nil
	}
	var found []string
	for _, target := range slices.Sorted(maps.Keys(keys)) {
		if dgst, ok := digestOf(keys[target]); ok && !slices.Contains(found, dgst.String()) {
			found = append(found, dgst.String())
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return "", hintf(errors.New("it names no image"), "the build must push what it makes, or nobody has it: --push, or --output type=image,push-by-digest=true,push=true")
	}
	return "", hintf(fmt.Errorf("it names %d images", len(found)), "write one file for each target")
}

func digestOf(raw []byte) (digest.Digest, bool) {
	var metadata struct {
		Digest     digest.Digest      `json:"containerimage.digest"`
		Descriptor ocispec.Descriptor `json:"containerimage.descriptor"`
	}
	if json.Unmarshal(raw, &metadata) != nil {
		return "", false
	}
	if metadata.Digest == "" {
		metadata.Digest = metadata.Descriptor.Digest
	}
	return metadata.Digest, metadata.Digest.Validate() == nil
}

// ReadSourceFile reads one source for Gather out of a file, as docker buildx imagetools create -f does: what ReadDigestFile reads, but
// not from the file's name, or any reference.
func ReadSourceFile(path string) (string, error) {
	source, err := ReadDigestFile(path)
	if err == nil {
		return source, nil
	}
	raw, readErr := os.ReadFile(path)
	text := strings.TrimSpace(string(raw))
	if _, refErr := ParseReference(text); readErr != nil || refErr != nil {
		return "", err
	}
	return text, nil
}
