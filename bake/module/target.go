// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	buildx "github.com/docker/buildx/bake"
	"github.com/docker/buildx/util/buildflags"
	"github.com/docker/buildx/util/urlutil"

	"github.com/mab-build/mab/bake/flat"
)

const (
	// linkPrefix is of a context that is the result of another target.
	linkPrefix = "target:"
	// stdio is standard input and output.
	stdio = "-"
)

// answer flattens the selection, in its order.
func (s *selection) answer() flat.Selection {
	var out flat.Selection
	var all wants
	for _, name := range s.order {
		t := s.targets[name]
		n := flat.Target{Name: name, Linked: s.linked[name], Resources: t.Resources != nil}
		if err := flattenTarget(&n, t); err != nil {
			out.Targets = append(out.Targets, flat.Target{Name: name, Fault: flatten(err)})
			continue
		}
		n.Absent = flatten(present(&n))
		all.add(wantsOf(&n, t))
		out.Targets = append(out.Targets, n)
	}
	out.Denied = flatten(s.permitted(&all))
	text, err := s.print()
	out.Print, out.PrintFault = text, flatten(err)
	return out
}

func flattenTarget(n *flat.Target, t *buildx.Target) error {
	if err := callable(value(t.Call)); err != nil {
		return fmt.Errorf("understanding target %q: %w", n.Name, err)
	}
	for _, p := range t.Policy {
		if !p.Disabled && len(p.Files) > 0 {
			return fault("remove it, or switch it off: --set "+n.Name+".policy=disabled=true",
				"understanding target %q: mab evaluates no policy files, and building without would not keep them", n.Name)
		}
	}
	if err := sources(n, t); err != nil {
		return err
	}
	n.BuildArgs, n.Labels = pairs(t.Args), pairs(t.Labels)
	n.AddHosts = pairs(t.ExtraHosts)
	n.Tags, n.Annotations = t.Tags, t.Annotations
	n.Target, n.Network, n.ShmSize = value(t.Target), value(t.NetworkMode), value(t.ShmSize)
	n.Ulimits, n.NoCacheFilter = t.Ulimits, t.NoCacheFilter
	n.NoCache, n.Pull = t.NoCache != nil && *t.NoCache, t.Pull != nil && *t.Pull
	n.CacheFrom, n.CacheTo = texts(t.CacheFrom), texts(t.CacheTo)
	n.Secrets, n.SSH = texts(t.Secrets), agents(t.SSH)
	n.Attests = texts(t.Attest)
	n.Allow = slices.Clone(t.Entitlements)
	if len(n.SSH) == 0 && buildflags.IsGitSSH(n.Context) {
		n.SSH = []string{"default"}
	}
	n.Platforms = t.Platforms
	for _, o := range t.Outputs {
		entry := *o
		entry.Destination = destination(o)
		if o.Type == "local" && o.Attrs["mode"] == "delete" {
			n.Allow = append(n.Allow, string(buildx.EntitlementKeyBuildxLocalDelete))
		}
		n.Outputs = append(n.Outputs, entry.String())
	}
	return nil
}

// sources are the context, the Dockerfile and the further contexts.
func sources(n *flat.Target, t *buildx.Target) error {
	var err error
	if n.Context, err = contextOf(n.Name, t); err != nil {
		return err
	}
	if n.File, err = dockerfileOf(n, t); err != nil {
		return err
	}
	if t.DockerfileInline != nil {
		n.File, n.Inline = stdio, *t.DockerfileInline
	}
	for _, name := range slices.Sorted(maps.Keys(t.Contexts)) {
		from := t.Contexts[name]
		if target, ok := strings.CutPrefix(from, linkPrefix); ok {
			if n.Links == nil {
				n.Links = map[string]string{}
			}
			n.Links[name] = target
			continue
		}
		if dir, ok := strings.CutPrefix(from, here); ok {
			from = path.Clean(dir)
		}
		n.NamedContexts = append(n.NamedContexts, name+"="+from)
	}
	return nil
}

// contextOf is the context of a target. Where it is a directory, it is relative to the current one.
func contextOf(name string, t *buildx.Target) (string, error) {
	dir := value(t.Context)
	switch {
	case dir == stdio:
		return "", fault("name a directory: context = \".\"", "understanding target %q: a context from standard input is for mab build alone", name)
	case urlutil.IsRemoteURL(dir):
		return dir, nil
	}
	return path.Clean(strings.TrimPrefix(dir, here)), nil
}

// dockerfileOf is where the Dockerfile of a target is: in its context, unless it is said to be in the current directory. Empty: in the
// context, under its usual name.
func dockerfileOf(n *flat.Target, t *buildx.Target) (string, error) {
	file := value(t.Dockerfile)
	if file == stdio {
		return "", fault("write it into the file: dockerfile-inline = …", "understanding target %q: a Dockerfile from standard input is for mab build alone", n.Name)
	}
	if local, ok := strings.CutPrefix(file, here); ok {
		out, err := filepath.Abs(path.Clean(local))
		if err != nil {
			return "", fmt.Errorf("finding the Dockerfile %q: %w", file, err)
		}
		return out, nil
	}
	if urlutil.IsHTTPURL(file) {
		return file, nil
	}
	switch file = path.Clean(file); {
	case file == "Dockerfile":
		return "", nil
	case urlutil.IsRemoteURL(n.Context), filepath.IsAbs(file):
		return file, nil
	}
	return filepath.Join(n.Context, file), nil
}

// present looks for the directory and the Dockerfile of a target, to say of a bake file what mends it.
func present(n *flat.Target) error {
	if urlutil.IsRemoteURL(n.Context) {
		return nil
	}
	if _, err := os.Stat(n.Context); errors.Is(err, os.ErrNotExist) {
		return fault("paths of a definition are relative to the current directory; to have them relative to its file, set "+relativeVariable+"=1",
			"opening the context %q of target %q: it does not exist", n.Context, n.Name)
	}
	if n.File == stdio || urlutil.IsHTTPURL(n.File) {
		return nil
	}
	files := []string{n.File}
	if n.File == "" {
		files = []string{filepath.Join(n.Context, "Dockerfile"), filepath.Join(n.Context, "dockerfile")}
	}
	for _, file := range files {
		if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
			return nil
		}
	}
	return fault(fmt.Sprintf("its name is relative to the context: dockerfile = \"NAME\", or --set %s.dockerfile=NAME", n.Name),
		"opening the Dockerfile %q of target %q: it does not exist", files[0], n.Name)
}

// destination is where an output goes. As with buildx, an archive without one goes to standard output.
func destination(o *buildflags.ExportEntry) string {
	if o.Destination == "" && (o.Type == "tar" || o.Type == "oci") {
		return stdio
	}
	return o.Destination
}

// value is what a field says that may be left out.
func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// pairs are NAME=VALUE by name. Null leaves a name out.
func pairs(m map[string]*string) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(m)) {
		if v := m[name]; v != nil {
			out = append(out, name+"="+*v)
		}
	}
	return out
}

// agents are ssh agents and keys as the flag has them, which knows no quotes.
func agents(list buildflags.SSHKeys) []string {
	var out []string
	for _, s := range list {
		entry := s.ID
		if len(s.Paths) > 0 {
			entry += "=" + strings.Join(s.Paths, ",")
		}
		out = append(out, entry)
	}
	return out
}

// texts are what flags would say.
func texts[T fmt.Stringer](list []T) []string {
	var out []string
	for _, e := range list {
		out = append(out, e.String())
	}
	return out
}
