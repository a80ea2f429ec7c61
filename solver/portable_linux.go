// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// keepConfigs is how long a config stays that came from another machine and that nobody uses.
const keepConfigs = 3 * 24 * time.Hour

// Keep writes it below a state, where equal ones are one, and returns the path of its buildkitd.toml for ReadConfig. Those that were not kept
// for days are removed.
func (p Portable) Keep(s State) (string, error) {
	state, err := s.Resolve()
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(p)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(text)
	all := filepath.Join(state.Root, "configs")
	dir := filepath.Join(all, hex.EncodeToString(sum[:]))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", &directoryError{err}
	}
	files := map[string][]byte{configFile: []byte(p.Toml)}
	for name, content := range p.Files {
		if name != filepath.Base(name) || name == configFile || name == "." || name == ".." {
			return "", fmt.Errorf("the config's file %q is not a plain name", name)
		}
		files[name] = content
	}
	for name, content := range files {
		if err := replace(filepath.Join(dir, name), content); err != nil {
			return "", fmt.Errorf("writing %q: %w", name, err)
		}
	}
	now := time.Now()
	if err := os.Chtimes(dir, now, now); err != nil {
		return "", err
	}
	others, _ := os.ReadDir(all)
	for _, e := range others {
		if info, err := e.Info(); err == nil && now.Sub(info.ModTime()) > keepConfigs {
			_ = os.RemoveAll(filepath.Join(all, e.Name()))
		}
	}
	return filepath.Join(dir, configFile), nil
}

// replace writes a file unless it is there with this content; who reads it meanwhile sees the one or the other.
func replace(path string, content []byte) error {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, content) {
		return nil
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.Write(content)
	if failed := f.Close(); err == nil {
		err = failed
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
