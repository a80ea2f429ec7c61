// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"

	"github.com/pelletier/go-toml/v2"
)

// Portable is what of a config goes along to other machines: how registries are reached. Its zero value is nothing.
type Portable struct {
	// Toml is a buildkitd.toml, and Files are those that it names, by their names.
	Toml  string
	Files map[string][]byte
	// Notes tell what stays behind.
	Notes []string
}

// portableRegistry is [registry."HOST"] of a buildkitd.toml.
type portableRegistry struct {
	Mirrors  []string `toml:"mirrors,omitempty"`
	HTTP     *bool    `toml:"http,omitempty"`
	Insecure bool     `toml:"insecure,omitempty"`
	CAs      []string `toml:"ca,omitempty"`
}

// Portable returns what of the config goes along. Keys do not: nothing secret is written to another machine's disk.
func (c Config) Portable() (Portable, error) {
	if len(c.Registries) == 0 {
		return Portable{}, nil
	}
	out := Portable{Files: map[string][]byte{}}
	registries := map[string]portableRegistry{}
	for _, r := range c.Registries {
		entry := portableRegistry{Mirrors: r.Mirrors, HTTP: r.HTTP, Insecure: r.Insecure}
		for _, path := range r.CAs {
			text, err := os.ReadFile(path)
			if err != nil {
				return Portable{}, fmt.Errorf("reading the CA %q of %s: %w", path, r.Host, err)
			}
			sum := sha256.Sum256(text)
			name := hex.EncodeToString(sum[:]) + ".pem"
			out.Files[name] = text
			entry.CAs = append(entry.CAs, name)
		}
		if len(r.KeyPairs) > 0 {
			out.Notes = append(out.Notes, fmt.Sprintf("the key pair for %s stays on this machine: nodes show %s none", r.Host, r.Host))
		}
		registries[r.Host] = entry
	}
	text, err := toml.Marshal(struct {
		Registry map[string]portableRegistry `toml:"registry"`
	}{registries})
	if err != nil {
		return Portable{}, fmt.Errorf("writing down the registries: %w", err)
	}
	out.Toml = string(text)
	return out, nil
}
