// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/go-units"
	"github.com/moby/buildkit/util/entitlements"
	"github.com/tonistiigi/go-csvvalue"

	"github.com/mab-build/mab/platforms"
)

// joined writes platforms as the frontend reads them.
func joined(list []platforms.Platform) string {
	names := make([]string, len(list))
	for i, p := range list {
		names[i] = p.String()
	}
	return strings.Join(names, ",")
}

// attrs is the translation of a request into the attributes of the Dockerfile frontend
// (https://github.com/moby/buildkit/blob/master/docs/reference/dockerfile-frontend.md and frontend/dockerui/config.go).
// The environment gives what a flag leaves to it.
func (r *Request) attrs(getenv func(string) (string, bool)) (map[string]string, error) {
	out := map[string]string{}
	if r.Target != "" {
		out["target"] = r.Target
	}
	if len(r.Platforms) > 0 {
		out["platform"] = joined(r.Platforms)
	}
	if len(r.Platforms) > 1 {
		out["multi-platform"] = "true"
	}
	if err := r.values(out, getenv); err != nil {
		return nil, err
	}
	switch {
	case r.NoCache && len(r.NoCacheFilter) > 0:
		return nil, &usageError{"--no-cache together with --no-cache-filter", "choose one: --no-cache is for every stage"}
	case r.NoCache:
		out["no-cache"] = ""
	case len(r.NoCacheFilter) > 0:
		out["no-cache"] = strings.Join(r.NoCacheFilter, ",")
	}
	if r.Pull {
		out["image-resolve-mode"] = "pull"
	}
	if err := r.limits(out); err != nil {
		return nil, err
	}
	for _, name := range r.entitlements() {
		if _, _, err := entitlements.Parse(name); err != nil {
			return nil, &usageError{"--allow " + quote(name), "choose network.host, security.insecure, device or " + LocalDelete}
		}
	}
	attests, err := r.attests(getenv)
	if err != nil {
		return nil, err
	}
	maps.Copy(out, attests)
	return out, nil
}

func (r *Request) values(out map[string]string, getenv func(string) (string, bool)) error {
	for _, arg := range r.BuildArgs {
		name, value, ok := strings.Cut(arg, "=")
		if name == "" {
			return &usageError{"--build-arg " + quote(arg), "write NAME=VALUE, or NAME to take the value from the environment"}
		}
		if !ok {
			if value, ok = getenv(name); !ok {
				continue
			}
		}
		out["build-arg:"+name] = value
	}
	// As docker buildx does: https://docs.docker.com/build/ci/github-actions/reproducible-builds/
	if value, ok := getenv("SOURCE_DATE_EPOCH"); ok && value != "" {
		if _, given := out["build-arg:SOURCE_DATE_EPOCH"]; !given {
			out["build-arg:SOURCE_DATE_EPOCH"] = value
		}
	}
	for _, label := range r.Labels {
		name, value, _ := strings.Cut(label, "=")
		if name == "" {
			return &usageError{"--label " + quote(label), "write NAME=VALUE"}
		}
		out["label:"+name] = value
	}
	return nil
}

func (r *Request) limits(out map[string]string) error {
	switch r.Network {
	case "", "default":
	case "none", "host":
		out["force-network-mode"] = r.Network
	default:
		return &usageError{"--network " + quote(r.Network), "choose default, none or host"}
	}
	hosts, err := extraHosts(r.AddHosts)
	if err != nil {
		return err
	}
	if hosts != "" {
		out["add-hosts"] = hosts
	}
	if r.ShmSize != "" {
		n, err := units.RAMInBytes(r.ShmSize)
		if err != nil {
			return &usageError{"--shm-size " + quote(r.ShmSize), "write a size such as 64m or 1g"}
		}
		out["shm-size"] = fmt.Sprint(n)
	}
	for i, u := range r.Ulimits {
		limit, err := units.ParseUlimit(u)
		if err != nil {
			return &usageError{"--ulimit " + quote(u), "write TYPE=SOFT[:HARD], for example nofile=1024:2048"}
		}
		if i > 0 {
			out["ulimit"] += ","
		}
		out["ulimit"] += limit.String()
	}
	if r.CgroupParent != "" {
		out["cgroup-parent"] = r.CgroupParent
	}
	return nil
}

// entitlements are what the user allows the solver. As with docker buildx, --network host allows itself.
func (r *Request) entitlements() []string {
	out := slices.DeleteFunc(slices.Clone(r.Allow), func(name string) bool { return name == LocalDelete })
	if r.Network == "host" && !slices.Contains(out, "network.host") {
		return append(out, "network.host")
	}
	return out
}

// hostGateway is docker's word for the address of the machine that a container runs on. Steps are in that machine's network, so it is
// the loopback address.
const hostGateway, hostGatewayIP = "host-gateway", "127.0.0.1"

func extraHosts(list []string) (string, error) {
	var out []string
	for _, entry := range list {
		// Docker takes both NAME:IP and NAME=IP; the second form is clear for IPv6.
		name, ips, ok := strings.Cut(entry, "=")
		if !ok {
			name, ips, ok = strings.Cut(entry, ":")
		}
		for ip := range strings.SplitSeq(ips, ",") {
			if ip == hostGateway {
				ip = hostGatewayIP
			}
			ip = strings.TrimSuffix(strings.TrimPrefix(ip, "["), "]")
			if !ok || name == "" || net.ParseIP(ip) == nil {
				return "", &usageError{"--add-host " + quote(entry), "write NAME:IP, for example db:10.0.0.7 or db:host-gateway"}
			}
			out = append(out, name+"="+ip)
		}
	}
	return strings.Join(out, ","), nil
}

// attests follows docker buildx: minimal provenance if nothing is said of it, --attest as the long form of both flags, and of
// several values for one kind the first counts, --attest before the short flags. What is asked for without a mode has BuildKit's
// default, max.
func (r *Request) attests(getenv func(string) (string, bool)) (map[string]string, error) {
	list := append(slices.Clone(r.Attests), long("provenance", r.Provenance), long("sbom", r.SBOM))
	if v, _ := getenv("BUILDX_NO_DEFAULT_ATTESTATIONS"); !isTrue(v) {
		list = append(list, "type=provenance,mode=min,"+inlineOnly)
	}
	out, seen := map[string]string{}, map[string]bool{}
	for _, entry := range list {
		if entry == "" {
			continue
		}
		a, err := parseAttest(entry)
		if err != nil {
			return nil, err
		}
		if !seen[a.kind] && !a.disabled {
			out["attest:"+a.kind] = a.attrs
		}
		seen[a.kind] = true
	}
	return out, nil
}

// ProvenanceMode is min or max, as BuildKit understands the request; empty if there is to be no provenance, or the request is wrong.
func (r *Request) ProvenanceMode() string {
	attrs, err := r.attests(os.LookupEnv)
	value, ok := attrs["attest:provenance"]
	if err != nil || !ok {
		return ""
	}
	for field := range strings.SplitSeq(value, ",") {
		if mode, ok := strings.CutPrefix(field, "mode="); ok {
			return mode
		}
	}
	return "max"
}

// inlineOnly is BuildKit's word for provenance that exports other than images do without.
const inlineOnly = "inline-only=true"

// everywhere has the provenance that images get by default be in all exports.
func everywhere(attrs map[string]string) {
	const key = "attest:provenance"
	if value, ok := attrs[key]; ok {
		attrs[key] = strings.TrimSuffix(value, ","+inlineOnly)
	}
}

// long turns the value of --provenance or --sbom into that of --attest.
func long(kind, value string) string {
	on, err := strconv.ParseBool(value)
	switch {
	case value == "":
		return ""
	case err == nil:
		return fmt.Sprintf("type=%s,disabled=%t", kind, !on)
	case kind == "provenance" && (value == "min" || value == "max"):
		value = "mode=" + value
	}
	return "type=" + kind + "," + value
}

type attest struct {
	kind, attrs string
	disabled    bool
}

func parseAttest(entry string) (attest, error) {
	fields, err := csvvalue.Fields(entry, nil)
	wrong := &usageError{"--attest " + quote(entry), "write type=provenance|sbom[,KEY=VALUE…], for example type=provenance,mode=max"}
	if err != nil {
		return attest{}, wrong
	}
	var out attest
	var rest []string
	for _, field := range fields {
		name, value, ok := strings.Cut(field, "=")
		switch {
		case !ok:
			return attest{}, wrong
		case name == "type":
			out.kind = value
		case name == "disabled":
			if out.disabled, err = strconv.ParseBool(value); err != nil {
				return attest{}, wrong
			}
		default:
			rest = append(rest, field)
		}
	}
	if out.kind != "provenance" && out.kind != "sbom" {
		return attest{}, wrong
	}
	out.attrs = strings.Join(rest, ",")
	return out, nil
}

func isTrue(s string) bool {
	yes, _ := strconv.ParseBool(s)
	return yes
}

func quote(s string) string { return fmt.Sprintf("%q", s) }

// usageError is a flag that cannot be understood.
type usageError struct{ what, hint string }

func (e *usageError) Error() string { return "understanding " + e.what }

// Hint says what the flag takes.
func (e *usageError) Hint() string { return e.hint }

// Usage marks the error as the user's, for the exit code.
func (e *usageError) Usage() bool { return true }
