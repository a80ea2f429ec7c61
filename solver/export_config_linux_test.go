// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"context"
	"net"

	"github.com/moby/buildkit/client"
	resolverconfig "github.com/moby/buildkit/util/resolver/config"

	"github.com/mab-build/mab/emulation"
)

// OpenAll is open.
func (l Listening) OpenAll(ctx context.Context) ([]net.Listener, error) { return l.open(ctx) }

// Granted is granted.
func (cfg ServeConfig) Granted() []string { return cfg.granted() }

// Restrict is restrict.
func (c Config) Restrict(survey []emulation.Support) []emulation.Support { return c.restrict(survey) }

// BuildKitRegistries is registries.
func (c Config) BuildKitRegistries() map[string]resolverconfig.RegistryConfig { return c.registries() }

// GCPolicy is gcPolicy of a config, for a disk of unknown size.
func (c Config) GCPolicy(limits Limits) []client.PruneInfo {
	return gcPolicy(limits, c.daemon.Workers.OCI.GCConfig, "/nowhere")
}
