// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"fmt"
	"maps"
	"net"
	"strings"

	"github.com/docker/go-units"
	"github.com/tonistiigi/go-csvvalue"
)

// attrs is the translation of a request into the attributes of the Dockerfile frontend
// (https://github.com/moby/buildkit/blob/master/docs/reference/dockerfile-frontend.md and frontend/dockerui/config.go).
// The environment gives what a flag leaves to it.
func (r *Request) attrs(getenv func(string) (string, bool)) (map[string]string, error) {
	out := map[string]string{}
	if r.Target != "" {
		out["target"] = r.Target
	}
	names := make([]string, len(r.Platforms))
	for i, p := range r.Platforms {
		names[i] = p.String()
	}
	if len(names) > 0 {
		out["platform"] = strings.Join(names, ",")
	}
	if len(names) > 1 {
		out["multi-platform"] = "true"
	}
	if err := r.values(out, getenv); err != nil {
		return nil, err
	}
	if r.NoCache {
		out["no-cache"] = ""
	} else if len(r.NoCacheFilter) > 0 {
		out["no-cache"] = strings.Join(r.NoCacheFilter, ",")
	}
	if r.Pull {
		out["image-resolve-mode"] = "pull"
	}
	if err := r.limits(out); err != nil {
		return nil, err
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

func extraHosts(list []string) (string, error) {
	var out []string
	for _, entry := range list {
		// Docker takes both NAME:IP and NAME=IP; the second form is clear for IPv6.
		name, ip, ok := strings.Cut(entry, "=")
		if !ok {
			name, ip, ok = strings.Cut(entry, ":")
		}
		ip = strings.Trim(ip, "[]")
		if !ok || name == "" || net.ParseIP(ip) == nil {
			return "", &usageError{"--add-host " + quote(entry), "write NAME:IP, for example db:10.0.0.7"}
		}
		out = append(out, name+"="+ip)
	}
	return strings.Join(out, ","), nil
}

// attests follows docker buildx: minimal provenance unless it is switched off, and --attest as the long form of both flags.
func (r *Request) attests(getenv func(string) (string, bool)) (map[string]string, error) {
	out := map[string]string{}
	list := []string{"type=provenance,mode=min,inline-only=true"}
	if v, _ := getenv("BUILDX_NO_DEFAULT_ATTESTATIONS"); v != "" && v != "0" && v != "false" {
		list = nil
	}
	list = append(list, r.Attests...)
	list = append(list, long("provenance", r.Provenance), long("sbom", r.SBOM))
	for _, entry := range list {
		if entry == "" {
			continue
		}
		if err := attest(out, entry); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// long turns the value of --provenance or --sbom into that of --attest.
func long(kind, value string) string {
	switch value {
	case "":
		return ""
	case "true", "1":
		return "type=" + kind
	case "false", "0":
		return "type=" + kind + ",disabled=true"
	case "min", "max":
		return "type=" + kind + ",mode=" + value
	}
	return "type=" + kind + "," + value
}

func attest(out map[string]string, entry string) error {
	fields, err := csvvalue.Fields(entry, nil)
	wrong := &usageError{"--attest " + quote(entry), "write type=provenance|sbom[,KEY=VALUE…], for example type=provenance,mode=max"}
	if err != nil {
		return wrong
	}
	var kind string
	var rest []string
	disabled := false
	for _, field := range fields {
		name, value, ok := strings.Cut(field, "=")
		switch {
		case !ok:
			return wrong
		case name == "type":
			kind = value
		case name == "disabled":
			disabled = value == "true" || value == "1"
		default:
			rest = append(rest, field)
		}
	}
	if kind != "provenance" && kind != "sbom" {
		return wrong
	}
	key := "attest:" + kind
	if disabled {
		delete(out, key)
		return nil
	}
	if kind == "provenance" && !strings.Contains(entry, "mode=") {
		rest = append(rest, "mode=min")
	}
	out[key] = strings.Join(rest, ",")
	return nil
}

func quote(s string) string { return fmt.Sprintf("%q", s) }

// usageError is a flag that cannot be understood.
type usageError struct{ what, hint string }

func (e *usageError) Error() string { return "understanding " + e.what }

// Hint says what the flag takes.
func (e *usageError) Hint() string { return e.hint }

// Usage marks the error as the user's, for the exit code.
func (e *usageError) Usage() bool { return true }
