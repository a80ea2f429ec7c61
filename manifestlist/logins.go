// SPDX-License-Identifier: Apache-2.0

package manifestlist

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/docker/cli/cli/config"
)

// Logins returns the registries that docker's configuration has credentials for, as sorted hosts: those of docker login, and
// those with a credential helper of their own. No helper is asked.
func Logins() ([]string, error) {
	file, err := config.Load(os.Getenv(config.EnvOverrideConfigDir))
	if err != nil {
		return nil, hintf(fmt.Errorf("reading docker's configuration: %w", err), "mend docker's config.json, or remove it and log in again: docker login")
	}
	var out []string
	for key := range file.AuthConfigs {
		out = append(out, loginHost(key))
	}
	for key := range file.CredentialHelpers {
		out = append(out, loginHost(key))
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// loginHost is the registry of a key in docker's config.json, which may be a host, a URL, or with podman a repository.
func loginHost(key string) string {
	if _, rest, ok := strings.Cut(key, "://"); ok {
		key = rest
	}
	host, _, _ := strings.Cut(key, "/")
	if host == "index.docker.io" {
		return "docker.io"
	}
	return host
}
