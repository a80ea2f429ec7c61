// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"fmt"
	"maps"

	"github.com/moby/buildkit/cmd/buildkitd/config"
	"github.com/moby/buildkit/executor/oci"
	"github.com/moby/buildkit/frontend"
	dockerfile "github.com/moby/buildkit/frontend/dockerfile/builder"
	"github.com/moby/buildkit/frontend/gateway"
	"github.com/moby/buildkit/frontend/gateway/forwarder"
	"github.com/moby/buildkit/util/disk"
	"github.com/moby/buildkit/util/entitlements"
	resolverconfig "github.com/moby/buildkit/util/resolver/config"
	"github.com/moby/buildkit/util/resolver/limited"
	"github.com/moby/buildkit/worker"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/semaphore"

	"github.com/mab-build/mab/emulation"
	"github.com/mab-build/mab/platforms"
)

// granted are the entitlements of this solver. Who serves others grants none unasked, as BuildKit: a step that may do everything could read
// the machine's disks.
func (cfg ServeConfig) granted() []string {
	switch {
	case cfg.Entitlements != nil:
		return cfg.Entitlements
	case cfg.Config.Entitlements != nil:
		return cfg.Config.Entitlements
	case len(cfg.Listen.Addresses) > 0:
		return nil
	}
	return []string{string(entitlements.EntitlementNetworkHost), string(entitlements.EntitlementSecurityInsecure)}
}

// abilities are those that the config leaves, with labels that tell builds what they need to know of this solver.
func (cfg ServeConfig) abilities(survey []emulation.Support) (*abilities, error) {
	able, err := newAbilities(cfg.Config.restrict(survey))
	if err != nil {
		return nil, err
	}
	maps.Copy(able.labels, cfg.Config.daemon.Workers.OCI.Labels)
	able.labels[configLabel], able.labels[versionLabel] = cfg.Config.Digest(), cfg.State.self().mab
	// Without a history nobody can see whether builds run, so that it must be left alone.
	history := cfg.Config.daemon.History
	if cfg.OnDemand && (history == nil || history.MaxEntries == nil || *history.MaxEntries > 0) {
		able.labels[onDemandLabel] = "true"
	}
	if len(cfg.Config.platforms) > 0 {
		able.platforms = make([]ocispec.Platform, len(cfg.Config.platforms))
		for i, p := range cfg.Config.platforms {
			able.platforms[i] = p.OCI()
		}
	}
	return able, nil
}

// restrict leaves in a survey the architectures that the config lists.
func (c Config) restrict(survey []emulation.Support) []emulation.Support {
	if len(c.platforms) == 0 {
		return survey
	}
	listed := func(p platforms.Platform) bool {
		for _, want := range c.platforms {
			if want.OS == p.OS && want.Architecture == p.Architecture {
				return true
			}
		}
		return false
	}
	out := make([]emulation.Support, len(survey))
	for i, s := range survey {
		if !listed(s.Platform) && s.Runs() {
			s = emulation.Support{Platform: s.Platform, How: emulation.None,
				Problem: "the solver's config does not list it", Mend: fmt.Sprintf("add %s to platforms of [worker.oci] in %s", s.Platform, c.File)}
		}
		out[i] = s
	}
	return out
}

// registries are BuildKit's form of the config's.
func (c Config) registries() map[string]resolverconfig.RegistryConfig {
	out := map[string]resolverconfig.RegistryConfig{}
	for _, r := range c.Registries {
		plain := r.Plain()
		to := resolverconfig.RegistryConfig{Mirrors: r.Mirrors, PlainHTTP: &plain, Insecure: &r.Insecure, RootCAs: r.CAs}
		for _, pair := range r.KeyPairs {
			to.KeyPairs = append(to.KeyPairs, resolverconfig.TLSKeyPair{Certificate: pair.Cert, Key: pair.Key})
		}
		out[r.Host] = to
	}
	return out
}

// limitRegistries bounds the connections to each registry, of the whole process: BuildKit has the bound in a variable.
func (c Config) limitRegistries() {
	if s := c.daemon.System; s != nil && s.MaxRegistryConcurrency != nil {
		limited.SetMaxConcurrency(int64(*s.MaxRegistryConcurrency))
	}
}

func (c Config) dns() *oci.DNSConfig {
	if c.daemon.DNS == nil {
		return nil
	}
	return &oci.DNSConfig{Nameservers: c.daemon.DNS.Nameservers, Options: c.daemon.DNS.Options, SearchDomains: c.daemon.DNS.SearchDomains}
}

// parallelism bounds how many steps run at once. Nil: nothing does.
func (c Config) parallelism() *semaphore.Weighted {
	if n := c.daemon.Workers.OCI.MaxParallelism; n > 0 {
		return semaphore.NewWeighted(int64(n))
	}
	return nil
}

// gcRules are those of a config, else BuildKit's, as cmd/buildkitd makes them.
func gcRules(cfg config.GCConfig, space disk.DiskStat) []config.GCPolicy {
	if cfg.GC != nil && !*cfg.GC {
		return nil
	}
	if len(cfg.GCPolicy) == 0 {
		return config.DefaultGCPolicy(cfg, space)
	}
	out := make([]config.GCPolicy, len(cfg.GCPolicy))
	for i, rule := range cfg.GCPolicy {
		if rule.ReservedSpace == (config.DiskSpace{}) {
			rule.ReservedSpace = rule.KeepBytes //nolint:staticcheck // deprecated, and still in people's files
		}
		out[i] = rule
	}
	return out
}

// frontends are those that the config leaves on.
func (c Config) frontends(workers worker.Infos) (map[string]frontend.Frontend, error) {
	on := func(enabled *bool) bool { return enabled == nil || *enabled }
	cfg := c.daemon.Frontends
	out := map[string]frontend.Frontend{}
	if on(cfg.Dockerfile.Enabled) {
		out[dockerfileFrontend] = givenFrontend{forwarder.NewGatewayForwarder(workers, dockerfile.Build)}
	}
	if on(cfg.Gateway.Enabled) {
		gw, err := gateway.NewGatewayFrontend(workers, cfg.Gateway.AllowedRepositories)
		if err != nil {
			return nil, fmt.Errorf("making the gateway frontend: %w", err)
		}
		out[gatewayFrontend] = givenFrontend{gw}
	}
	return out, nil
}
