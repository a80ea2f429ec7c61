// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"

	resolverconfig "github.com/moby/buildkit/util/resolver/config"
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

// Portable returns what of the config goes along. Keys do not: nothing secret is written to another machine's disk.
func (c Config) Portable() (Portable, error) {
	if len(c.Registries) == 0 {
		return Portable{}, nil
	}
	out := Portable{Files: map[string][]byte{}}
	registries := map[string]resolverconfig.RegistryConfig{}
	for _, r := range c.Registries {
		entry := resolverconfig.RegistryConfig{Mirrors: r.Mirrors, PlainHTTP: r.HTTP}
		if r.Insecure {
			entry.Insecure = &r.Insecure
		}
		for _, path := range r.CAs {
			text, err := os.ReadFile(path)
			if err != nil {
				return Portable{}, fmt.Errorf("reading the CA %q of %s: %w", path, r.Host, err)
			}
			sum := sha256.Sum256(text)
			name := hex.EncodeToString(sum[:]) + ".pem"
			out.Files[name] = text
			entry.RootCAs = append(entry.RootCAs, name)
		}
		if len(r.KeyPairs) > 0 {
			out.Notes = append(out.Notes, fmt.Sprintf("the key pair for %s stays on this machine: nodes show %s none", r.Host, r.Host))
		}
		registries[r.Host] = entry
	}
	text, err := toml.Marshal(struct {
		Registry map[string]resolverconfig.RegistryConfig `toml:"registry"`
	}{registries})
	if err != nil {
		return Portable{}, fmt.Errorf("writing down the registries: %w", err)
	}
	out.Toml = string(text)
	return out, nil
}
