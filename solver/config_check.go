// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/pkg/filters"
	"github.com/distribution/reference"
	"github.com/moby/buildkit/util/entitlements"
	resolverconfig "github.com/moby/buildkit/util/resolver/config"

	"github.com/mab-build/mab/manifestlist"
	"github.com/mab-build/mab/platforms"
)

// checker takes over what a decoded file says, and finds the values that cannot be.
type checker struct {
	doc *document
	out *Config
}

func (c checker) check() {
	c.log()
	c.entitlements()
	c.grpc()
	c.worker()
	c.collection()
	c.network()
	c.frontends()
	c.registries()
}

// wrong notes a fault at a key.
func (c checker) wrong(key []string, value any, hint string) {
	c.doc.fault(c.doc.line(key...), fmt.Sprintf("%s cannot be %q", showKey(key), fmt.Sprint(value)), hint)
}

// abs makes a path absolute that is relative to the file.
func (c checker) abs(path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(c.out.File), path)
}

func (c checker) log() {
	d := c.out.daemon
	c.out.LogFormat, c.out.LogLevel = d.Log.Format, d.Log.Level
	switch {
	case d.Log.Level != "":
	case d.Trace: //nolint:staticcheck // deprecated, and still in people's files
		c.out.LogLevel = "trace"
	case d.Debug: //nolint:staticcheck // deprecated, and still in people's files
		c.out.LogLevel = "debug"
	}
	levels := []string{"", "panic", "fatal", "error", "warn", "warning", "info", "debug", "trace"}
	if !slices.Contains(levels, strings.ToLower(d.Log.Level)) {
		c.wrong([]string{"log", "level"}, d.Log.Level, "choose error, warn, info, debug or trace")
	}
	if !slices.Contains([]string{"", "text", "json"}, d.Log.Format) {
		c.wrong([]string{"log", "format"}, d.Log.Format, "choose text or json")
	}
}

const entitlementKey = "insecure-entitlements"

func (c checker) entitlements() {
	if c.doc.line(entitlementKey) > 0 {
		c.out.Entitlements = []string{}
	}
	for _, e := range c.out.daemon.Entitlements {
		switch entitlements.Entitlement(e) {
		case entitlements.EntitlementNetworkHost, entitlements.EntitlementSecurityInsecure:
			c.out.Entitlements = append(c.out.Entitlements, e)
		case entitlements.EntitlementDevice:
			c.doc.notes = append(c.doc.notes, remark{"device in " + entitlementKey, c.doc.line(entitlementKey), "steps get no devices"})
		default:
			c.wrong([]string{entitlementKey}, e, "choose network.host or security.insecure")
		}
	}
}

func (c checker) grpc() {
	g := c.out.daemon.GRPC
	c.out.Listen = Listening{
		Addresses: g.Address, UID: g.UID, GID: g.GID,
		TLS: TLS{c.abs(g.TLS.Cert), c.abs(g.TLS.Key), c.abs(g.TLS.CA)},
	}
	for _, a := range g.Address {
		if _, err := parseAddress(a); err != nil {
			c.wrong([]string{"grpc", "address"}, a, addressHint)
		}
	}
}

func (c checker) worker() {
	w := c.out.daemon.Workers.OCI
	if w.Enabled != nil && !*w.Enabled {
		c.wrong([]string{"worker", "oci", "enabled"}, false, "mab has no other worker: leave it out")
	}
	if len(w.Platforms) > 0 {
		list, err := platforms.ParseList(w.Platforms)
		if err != nil {
			c.doc.fault(c.doc.line("worker", "oci", "platforms"), "worker.oci.platforms: "+err.Error(), hintOf(err))
		}
		c.out.platforms = list
	}
	if !slices.Contains([]string{"", "auto", "overlayfs", "fuse-overlayfs", "native"}, w.Snapshotter) {
		c.wrong([]string{"worker", "oci", "snapshotter"}, w.Snapshotter, "choose auto, overlayfs, fuse-overlayfs or native")
	}
	mode := []string{"worker", "oci", "networkMode"}
	switch w.Mode {
	case "", "auto", "host":
	case "bridge", "cni", "none":
		c.doc.note(mode, c.doc.line(mode...), "steps are in the host's network")
	default:
		c.wrong(mode, w.Mode, "choose host")
	}
	if e := c.out.daemon.Workers.Containerd.Enabled; e != nil && !*e {
		c.doc.notes = slices.DeleteFunc(c.doc.notes, func(r remark) bool { return r.key == "worker.containerd" })
	}
	if n := c.out.daemon.System; n != nil && n.MaxRegistryConcurrency != nil && *n.MaxRegistryConcurrency <= 0 {
		c.wrong([]string{"system", "maxRegistryConcurrency"}, *n.MaxRegistryConcurrency, "write a number above 0, or leave it out")
	}
}

func hintOf(err error) string {
	var known interface{ Hint() string }
	if errors.As(err, &known) {
		return known.Hint()
	}
	return ""
}

func (c checker) collection() {
	for _, rule := range c.out.daemon.Workers.OCI.GCPolicy {
		if _, err := filters.ParseAll(rule.Filters...); err != nil {
			c.wrong([]string{"worker", "oci", "gcpolicy", "filters"}, strings.Join(rule.Filters, ","), `write filters such as "type==source.local"`)
		}
	}
}

func (c checker) network() {
	if c.out.daemon.DNS == nil {
		return
	}
	for _, s := range c.out.daemon.DNS.Nameservers {
		if _, err := netip.ParseAddr(s); err != nil {
			c.wrong([]string{"dns", "nameservers"}, s, "write addresses such as 192.0.2.53")
		}
	}
}

func (c checker) frontends() {
	for _, r := range c.out.daemon.Frontends.Gateway.AllowedRepositories {
		if _, err := reference.ParseNormalizedNamed(r); err != nil {
			c.wrong([]string{"frontend", "gateway.v0", "allowedRepositories"}, r, "write repositories such as docker.io/docker/dockerfile")
		}
	}
}

// registries takes them over in the order of the file.
func (c checker) registries() {
	seen := map[string]bool{}
	for i, key := range c.doc.keys {
		if len(key) < 2 || key[0] != "registry" || seen[key[1]] {
			continue
		}
		seen[key[1]] = true
		entry, err := c.registry(key[1], c.out.daemon.Registries[key[1]])
		if err == nil {
			_, err = entry.TLS()
		}
		if err != nil {
			line := c.doc.lines[i]
			for _, part := range []string{"ca", "keypair", "tlsconfigdir"} {
				if l := c.doc.line("registry", key[1], part); l > 0 {
					line = l
					break
				}
			}
			c.doc.fault(line, err.Error(), "ca, and cert and key of a keypair, name PEM files")
		}
		c.out.Registries = append(c.out.Registries, entry)
	}
}

func (c checker) registry(host string, r resolverconfig.RegistryConfig) (manifestlist.Registry, error) {
	out := manifestlist.Registry{
		Host: host, Mirrors: r.Mirrors, HTTP: r.PlainHTTP, Insecure: r.Insecure != nil && *r.Insecure,
	}
	for _, file := range r.RootCAs {
		out.CAs = append(out.CAs, c.abs(file))
	}
	for _, pair := range r.KeyPairs {
		out.KeyPairs = append(out.KeyPairs, manifestlist.KeyPair{Cert: c.abs(pair.Certificate), Key: c.abs(pair.Key)})
	}
	// As BuildKit: NAME.crt is a CA, NAME.cert a certificate of this machine, with NAME.key.
	for _, dir := range r.TLSConfigDir {
		dir = c.abs(dir)
		entries, err := os.ReadDir(dir)
		if err != nil {
			return out, fmt.Errorf("reading tlsconfigdir of %s: %w", host, err)
		}
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			switch base, isCert := strings.CutSuffix(path, ".cert"); {
			case isCert:
				out.KeyPairs = append(out.KeyPairs, manifestlist.KeyPair{Cert: path, Key: base + ".key"})
			case strings.HasSuffix(path, ".crt"):
				out.CAs = append(out.CAs, path)
			}
		}
	}
	return out, nil
}
