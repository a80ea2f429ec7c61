// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/agext/levenshtein"
	"github.com/pelletier/go-toml/v2/unstable"
)

// configKeys are the keys of a buildkitd.toml, with / between their parts; * is any name, and a key that ends in /* stands for all that is
// below. Those that mab does not follow tell why. The source is
// https://github.com/moby/buildkit/blob/v0.33.1/cmd/buildkitd/config/config.go; a test holds the two together.
var configKeys = []struct{ path, unused string }{
	{"debug", ""},
	{"trace", ""},
	{"root", "the state is where --root says"},
	{"insecure-entitlements", ""},
	{"proxyNetwork", "steps are in the host's network"},
	{"provenanceEnvDir", "provenance has nothing of this machine in it"},
	{"log/format", ""},
	{"log/level", ""},
	{"grpc/address", ""},
	{"grpc/uid", ""},
	{"grpc/gid", ""},
	{"grpc/tls/cert", ""},
	{"grpc/tls/key", ""},
	{"grpc/tls/ca", ""},
	{"grpc/debugAddress", "there is no debugging address"},
	{"grpc/securityDescriptor", "it is for Windows"},
	{"otel/*", "traces are not sent anywhere"},
	{"cdi/*", "steps get no devices"},
	{"history/maxAge", ""},
	{"history/maxEntries", ""},
	{"worker/oci/enabled", ""},
	{"worker/oci/labels/*", ""},
	{"worker/oci/platforms", ""},
	{"worker/oci/snapshotter", ""},
	{"worker/oci/gc", ""},
	{"worker/oci/gckeepstorage", ""},
	{"worker/oci/reservedSpace", ""},
	{"worker/oci/maxUsedSpace", ""},
	{"worker/oci/minFreeSpace", ""},
	{"worker/oci/gcpolicy/all", ""},
	{"worker/oci/gcpolicy/filters", ""},
	{"worker/oci/gcpolicy/keepDuration", ""},
	{"worker/oci/gcpolicy/keepBytes", ""},
	{"worker/oci/gcpolicy/reservedSpace", ""},
	{"worker/oci/gcpolicy/maxUsedSpace", ""},
	{"worker/oci/gcpolicy/minFreeSpace", ""},
	{"worker/oci/max-parallelism", ""},
	{"worker/oci/networkMode", ""},
	{"worker/oci/rootless", "mab finds out by itself"},
	{"worker/oci/noProcessSandbox", "steps have processes of their own in any case"},
	{"worker/oci/cniConfigPath", "steps are in the host's network"},
	{"worker/oci/cniBinaryPath", "steps are in the host's network"},
	{"worker/oci/cniPoolSize", "steps are in the host's network"},
	{"worker/oci/bridgeName", "steps are in the host's network"},
	{"worker/oci/bridgeSubnet", "steps are in the host's network"},
	{"worker/oci/userRemapUnsupported", "ids are mapped by the solver's own namespace"},
	{"worker/oci/binary", "mab finds its runc by itself"},
	{"worker/oci/proxySnapshotterPath", "the snapshotter is mab's own"},
	{"worker/oci/defaultCgroupParent", "steps get no control groups"},
	{"worker/oci/stargzSnapshotter/*", "the snapshotter is mab's own"},
	{"worker/oci/apparmor-profile", "steps run without a profile"},
	{"worker/oci/selinux", "steps run without labels"},
	{"worker/containerd/*", "mab works without containerd"},
	{"registry/*/mirrors", ""},
	{"registry/*/http", ""},
	{"registry/*/insecure", ""},
	{"registry/*/ca", ""},
	{"registry/*/keypair/key", ""},
	{"registry/*/keypair/cert", ""},
	{"registry/*/tlsconfigdir", ""},
	{"dns/nameservers", ""},
	{"dns/options", ""},
	{"dns/searchDomains", ""},
	{"frontend/dockerfile.v0/enabled", ""},
	{"frontend/gateway.v0/enabled", ""},
	{"frontend/gateway.v0/allowedRepositories", ""},
	{"system/platformsCacheMaxAge", "mab looks once, when it starts"},
	{"system/maxRegistryConcurrency", ""},
	{"cache/gha/*", "there is no cache of GitHub Actions"},
	// BuildKit's documentation has it, BuildKit has not.
	{"ghacache/*", "there is no cache of GitHub Actions"},
}

// document is where each key of a file is, and what was found about it.
type document struct {
	file   string
	keys   [][]string
	lines  []int
	faults faults
	notes  []remark
}

// remark is what there is to say about a key that is not followed.
type remark struct {
	key  string
	line int
	why  string
}

// readKeys lists the keys of a file, and finds those that do not exist or are not followed.
func readKeys(file string, text []byte) (*document, error) {
	d := &document{file: file}
	var p unstable.Parser
	p.Reset(text)
	var table []string
	for p.NextExpression() {
		e := p.Expression()
		line := lineOf(&p, e)
		switch e.Kind {
		case unstable.Table, unstable.ArrayTable:
			table = keyOf(e)
			d.table(table, line)
		case unstable.KeyValue:
			d.value(slices.Concat(table, keyOf(e)), e.Value(), line)
		}
	}
	if err := p.Error(); err != nil {
		out := fault{file: file, what: strings.TrimPrefix(err.Error(), "toml: "), hint: "the file's form: https://toml.io/en/v1.0.0"}
		var at *unstable.ParserError
		if ok := asParserError(err, &at); ok && len(at.Highlight) > 0 {
			out.line = p.Shape(p.Range(at.Highlight)).Start.Line
		}
		return nil, faults{out}
	}
	return d, nil
}

func asParserError(err error, at **unstable.ParserError) bool {
	e, ok := err.(*unstable.ParserError) //nolint:errorlint // the parser gives it bare
	*at = e
	return ok
}

func lineOf(p *unstable.Parser, e *unstable.Node) int {
	at := e.Key()
	if !at.Next() {
		return 0
	}
	return p.Shape(at.Node().Raw).Start.Line
}

func keyOf(e *unstable.Node) []string {
	var out []string
	for at := e.Key(); at.Next(); {
		out = append(out, string(at.Node().Data))
	}
	return out
}

func (d *document) table(key []string, line int) {
	d.keys, d.lines = append(d.keys, key), append(d.lines, line)
	if known, _, _ := lookUp(key, true); !known {
		d.unknown(key, line)
	}
}

// value goes into inline tables, and into arrays of them.
func (d *document) value(key []string, v *unstable.Node, line int) {
	if v.Kind == unstable.InlineTable {
		d.keys, d.lines = append(d.keys, key), append(d.lines, line)
		for at := v.Children(); at.Next(); {
			d.value(slices.Concat(key, keyOf(at.Node())), at.Node().Value(), line)
		}
		return
	}
	if v.Kind == unstable.Array && v.Child() != nil && v.Child().Kind == unstable.InlineTable {
		for at := v.Children(); at.Next(); {
			d.value(key, at.Node(), line)
		}
		return
	}
	d.keys, d.lines = append(d.keys, key), append(d.lines, line)
	known, at, unused := lookUp(key, false)
	switch {
	case !known:
		d.unknown(key, line)
	case unused != "" && !isZero(v) && !d.noted(at):
		d.note(at, line, unused)
	}
}

// isZero reports whether a value asks for nothing, as many do in examples that were copied whole.
func isZero(v *unstable.Node) bool {
	switch v.Kind {
	case unstable.Bool:
		return string(v.Data) == "false"
	case unstable.String:
		return len(v.Data) == 0
	case unstable.Integer:
		return string(v.Data) == "0"
	case unstable.Array:
		return v.Child() == nil
	}
	return false
}

func (d *document) note(key []string, line int, why string) {
	d.notes = append(d.notes, remark{showKey(key), line, why})
}

// noted reports whether there is a note about a key already.
func (d *document) noted(key []string) bool {
	return slices.ContainsFunc(d.notes, func(r remark) bool { return r.key == showKey(key) })
}

// remarks are the notes in the order of the file.
func (d *document) remarks() []string {
	slices.SortStableFunc(d.notes, func(a, b remark) int { return a.line - b.line })
	var out []string
	for _, r := range d.notes {
		out = append(out, fmt.Sprintf("%s: line %d: %s is not used: %s", d.file, r.line, r.key, r.why))
	}
	return out
}

func (d *document) fault(line int, what, hint string) {
	d.faults = append(d.faults, fault{d.file, line, what, hint})
}

func (d *document) unknown(key []string, line int) {
	hint := "the keys: https://github.com/moby/buildkit/blob/v0.33.1/docs/buildkitd.toml.md"
	if near := nearest(key); near != nil {
		hint = "did you mean: " + showKey(near)
	}
	// A dot parts names, so that a host needs quotes.
	if len(key) > 2 && key[0] == "registry" {
		if known, _, _ := lookUp(key[:3], true); !known && len(key) > 3 || !strings.ContainsAny(key[1], ".:") && key[1] != "localhost" {
			hint = `write hosts in quotes, as in [registry."docker.io"]`
		}
	}
	if len(key) > 2 && key[0] == "frontend" {
		hint = `write names with a dot in quotes, as in [frontend."dockerfile.v0"]`
	}
	d.fault(line, "there is no key "+showKey(key), hint)
}

// line is where a key is first; 0 if it is nowhere.
func (d *document) line(key ...string) int {
	for i, k := range d.keys {
		if slices.EqualFunc(k, key, strings.EqualFold) {
			return d.lines[i]
		}
	}
	return 0
}

// showKey writes a key as TOML has it.
func showKey(key []string) string {
	parts := make([]string, len(key))
	for i, part := range key {
		if part == "" || strings.Trim(part, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_*") != "" {
			part = strconv.Quote(part)
		}
		parts[i] = part
	}
	return strings.Join(parts, ".")
}

// lookUp finds a key in the table, or something below it if it is a table of the file; at is what of the key the row is about. BuildKit's
// parser does not tell upper from lower case either.
func lookUp(key []string, table bool) (known bool, at []string, unused string) {
	for _, k := range configKeys {
		want := strings.Split(k.path, "/")
		n, all := len(want), strings.HasSuffix(k.path, "/*")
		switch {
		case all && len(key) >= n && fits(key[:n-1], want[:n-1]):
			return true, key[:n-1], k.unused
		case len(key) == n && fits(key, want):
			return true, key, k.unused
		case table && len(key) < n && fits(key, want[:len(key)]):
			known = true
		}
	}
	return known, nil, ""
}

func fits(key, want []string) bool {
	return slices.EqualFunc(key, want, func(k, w string) bool { return w == "*" || strings.EqualFold(k, w) })
}

// nearest is the key of the table that was probably meant: the same but for one part, which differs by little. Nil if there is none.
func nearest(key []string) []string {
	best, least := []string(nil), 3
	for _, k := range configKeys {
		want := strings.Split(k.path, "/")
		if len(want) < len(key) {
			continue
		}
		want = want[:len(key)]
		sum := 0
		for i, w := range want {
			if w == "*" {
				want[i] = key[i]
				continue
			}
			sum += levenshtein.Distance(strings.ToLower(key[i]), strings.ToLower(w), nil)
		}
		if sum < least {
			best, least = want, sum
		}
	}
	return best
}
