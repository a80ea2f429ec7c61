// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/buildkit/cmd/buildkitd/config"
	"github.com/pelletier/go-toml/v2"

	"github.com/mab-build/mab/manifestlist"
	"github.com/mab-build/mab/platforms"
)

// Config is what a buildkitd.toml says: https://github.com/moby/buildkit/blob/v0.33.1/docs/buildkitd.toml.md. The zero value is that of
// no file: everything is as mab does it by itself.
type Config struct {
	// File is the file's absolute path. Empty: there is none.
	File string
	// Registries say how registries are reached, in the order of the file. Paths in them are absolute.
	Registries manifestlist.Registries
	// Listen says where others are served.
	Listen Listening
	// Entitlements are granted to builds that ask for them: network.host, security.insecure. Nil: the file does not say.
	Entitlements []string
	// LogLevel and LogFormat are logrus's and BuildKit's: error, warn, info, debug, trace; text, json. Empty: info, text.
	LogLevel, LogFormat string
	// Notes name each thing that BuildKit would do and mab does not, with its line, in the order of the file.
	Notes []string

	daemon    config.Config
	platforms []platforms.Platform
}

// configFile is how the file is called, after BuildKit's.
const configFile = "buildkitd.toml"

// DefaultConfigFile returns the file that is read when none was named: buildkitd.toml in /etc/mab for root, else in $XDG_CONFIG_HOME/mab.
// It is empty if there is no such file.
func DefaultConfigFile() (string, error) {
	dir, err := pick("", "/etc/mab", "XDG_CONFIG_HOME", ".config")
	if err != nil {
		return "", nil //nolint:nilerr // without a home there is no usual place
	}
	file := filepath.Join(dir, configFile)
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return file, nil
}

// ReadConfig reads a buildkitd.toml, and the certificates that it names. What neither BuildKit nor mab knows is an error, and so is a
// value that cannot be; errors name file, line and key, all at once, and have a Hint. An empty path is no file.
func ReadConfig(path string) (Config, error) {
	if path == "" {
		return Config{}, nil
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return Config{}, fmt.Errorf("finding the config: %w", err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return Config{}, faults{{file: path, what: reason(err), hint: "name a file that is there: mab serve --config FILE, or MAB_BUILDKITD_CONFIG=FILE"}}
	}
	return parseConfig(path, text)
}

func reason(err error) string {
	var failure *fs.PathError
	if errors.As(err, &failure) {
		return failure.Err.Error()
	}
	return err.Error()
}

func parseConfig(path string, text []byte) (Config, error) {
	doc, err := readKeys(path, text)
	if err != nil {
		return Config{}, err
	}
	out := Config{File: path}
	if err := toml.NewDecoder(bytes.NewReader(text)).Decode(&out.daemon); err != nil {
		return Config{}, append(doc.faults, decodeFault(path, err))
	}
	c := checker{doc: doc, out: &out}
	c.check()
	if len(doc.faults) > 0 {
		return Config{}, doc.faults
	}
	out.Notes = doc.remarks()
	return out, nil
}

// Digest is the same for two configs that mean the same. It does not cover what certificates hold.
func (c Config) Digest() string {
	text, err := json.Marshal(struct {
		Daemon     config.Config
		Registries manifestlist.Registries
	}{c.daemon, c.Registries})
	if err != nil {
		// Neither has anything that JSON cannot hold.
		return err.Error()
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// fault is one thing that is wrong with a config.
type fault struct {
	file string
	line int
	what string
	hint string
}

func (f fault) Error() string {
	if f.line == 0 {
		return fmt.Sprintf("reading the config %q: %s", f.file, f.what)
	}
	return fmt.Sprintf("reading the config %q: line %d: %s", f.file, f.line, f.what)
}

// faults are all that is wrong with a config, one in a line.
type faults []fault

func (l faults) Error() string {
	lines := make([]string, len(l))
	for i, f := range l {
		lines[i] = f.Error()
	}
	return strings.Join(lines, "\n")
}

// Hint gives the mends, each once.
func (l faults) Hint() string {
	var out []string
	seen := map[string]bool{"": true}
	for _, f := range l {
		if !seen[f.hint] {
			out = append(out, f.hint)
		}
		seen[f.hint] = true
	}
	return strings.Join(out, "\n")
}

// Usage marks the error as the user's, for the exit code.
func (faults) Usage() bool { return true }

// decodeFault finds the line in go-toml's error.
func decodeFault(path string, err error) fault {
	out := fault{file: path, what: strings.TrimPrefix(err.Error(), "toml: "), hint: "the file's form: https://toml.io/en/v1.0.0"}
	var at *toml.DecodeError
	if errors.As(err, &at) {
		out.line, _ = at.Position()
		if key := at.Key(); len(key) > 0 {
			// go-toml names fields of BuildKit's code.
			if given, ok := strings.CutPrefix(out.what, "cannot decode TOML "); ok {
				kind, _, _ := strings.Cut(given, " ")
				out.what = "it cannot be a " + kind
			}
			out.what = showKey(key) + ": " + out.what
			out.hint = "what it may be: https://github.com/moby/buildkit/blob/v0.33.1/docs/buildkitd.toml.md"
		}
	}
	return out
}
