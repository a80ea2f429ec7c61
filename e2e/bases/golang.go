// SPDX-License-Identifier: Apache-2.0

package bases

import (
	"archive/tar"
	"archive/zip"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

// addGo adds Go's toolchain module (https://go.dev/ref/mod#golang-toolchain) for the architecture of platform to t, as
// /usr/local/go without its tests. The returned close ends the use of t's files.
func (t Tree) addGo(ctx context.Context, version, platform string) (closeZip func() error, err error) {
	module := "v0.0.1-go" + version + "." + strings.ReplaceAll(platform, "/", "-")
	zipFile, err := downloadModule(ctx, "golang.org/toolchain@"+module)
	if err != nil {
		return nil, err
	}
	archive, err := zip.OpenReader(zipFile)
	if err != nil {
		return nil, fmt.Errorf("reading %q: %w", zipFile, err)
	}
	prefix := "golang.org/toolchain@" + module + "/"
	for _, entry := range archive.File {
		name, ok := strings.CutPrefix(entry.Name, prefix)
		if !ok || strings.HasSuffix(name, "/") || isGoTest(name) {
			continue
		}
		// A module zip holds no go.mod but its own, so the toolchain's are called _go.mod; and it holds no modes.
		if path.Base(name) == "_go.mod" {
			name = path.Join(path.Dir(name), "go.mod")
		}
		mode := int64(0o644)
		if isGoProgram(name) {
			mode = 0o755
		}
		t["usr/local/go/"+name] = file{kind: tar.TypeReg, mode: mode, size: int64(entry.UncompressedSize64), open: entry.Open}
	}
	return archive.Close, nil
}

// isGoTest reports whether the file of GOROOT serves only the tests of Go itself.
func isGoTest(name string) bool {
	if strings.HasSuffix(name, "_test.go") || strings.Contains(name, "/testdata/") {
		return true
	}
	for _, dir := range []string{"api/", "doc/", "misc/", "test/"} {
		if strings.HasPrefix(name, dir) {
			return true
		}
	}
	return false
}

func isGoProgram(name string) bool {
	return strings.HasPrefix(name, "bin/") || strings.HasPrefix(name, "pkg/tool/") || strings.HasSuffix(name, ".bash")
}

// downloadModule returns the zip of a module in Go's own cache of modules.
func downloadModule(ctx context.Context, module string) (string, error) {
	dir, err := os.MkdirTemp("", "mab-bases-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", module)
	cmd.Dir = dir // outside of any module
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=mod", "GO111MODULE=on")
	out, err := cmd.Output()
	var info struct{ Zip, Error string }
	if jsonErr := json.Unmarshal(out, &info); jsonErr == nil && info.Error != "" {
		return "", fmt.Errorf("downloading module %q: %s", module, info.Error)
	}
	if err != nil {
		return "", fmt.Errorf("downloading module %q: %w", module, err)
	}
	return filepath.Clean(info.Zip), nil
}
