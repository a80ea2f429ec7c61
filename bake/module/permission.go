// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	buildx "github.com/docker/buildx/bake"
	"github.com/docker/buildx/build"
	"github.com/docker/buildx/util/buildflags"
	"github.com/docker/buildx/util/urlutil"

	"github.com/mab-build/mab/bake/flat"
)

// checksVariable switches buildx's checks of paths and of ssh off.
const checksVariable = "BUILDX_BAKE_ENTITLEMENTS_FS"

// wants are what targets take from this machine, or do on the nodes, beyond building.
type wants struct {
	reads, writes []string
	// others are values of --allow.
	others []string
	// agent is whether an ssh agent is asked for.
	agent bool
}

func (w *wants) add(more wants) {
	w.reads = append(w.reads, more.reads...)
	w.writes = append(w.writes, more.writes...)
	w.others = append(w.others, more.others...)
	w.agent = w.agent || more.agent
}

// wantsOf is for a target and what it became.
func wantsOf(n *flat.Target, t *buildx.Target) wants {
	out := wants{others: n.Allow, reads: contextsRead(n)}
	for _, c := range t.CacheFrom {
		if c.Type == "local" {
			out.reads = append(out.reads, c.Attrs["src"])
		}
	}
	for _, c := range t.CacheTo {
		if c.Type == "local" {
			out.writes = append(out.writes, c.Attrs["dest"])
		}
	}
	for _, s := range t.Secrets {
		out.reads = append(out.reads, s.FilePath)
	}
	for _, s := range t.SSH {
		out.reads = append(out.reads, s.Paths...)
	}
	out.agent = slices.ContainsFunc(n.SSH, func(entry string) bool { return !strings.Contains(entry, "=") })
	for _, o := range t.Outputs {
		if dest := destination(o); dest != stdio {
			out.writes = append(out.writes, dest)
		}
	}
	empty := func(path string) bool { return path == "" }
	out.reads, out.writes = slices.DeleteFunc(out.reads, empty), slices.DeleteFunc(out.writes, empty)
	return out
}

// contextsRead are the contexts and the Dockerfile, as far as they are files of this machine.
func contextsRead(n *flat.Target) []string {
	var out []string
	if local(n.Context) {
		out = append(out, n.Context)
	}
	switch {
	case n.File == stdio, urlutil.IsHTTPURL(n.File):
	case n.File == "" && local(n.Context):
		// The one that is not there is taken for its directory.
		out = append(out, filepath.Join(n.Context, "Dockerfile"), filepath.Join(n.Context, "dockerfile"))
	case local(n.Context), filepath.IsAbs(n.File):
		out = append(out, n.File)
	}
	for _, entry := range n.NamedContexts {
		_, from, _ := strings.Cut(entry, "=")
		layout, ok := strings.CutPrefix(from, "oci-layout://")
		switch {
		case ok:
			layout, _, _ = strings.Cut(layout, "@")
			if i := strings.LastIndexByte(layout, ':'); i > strings.LastIndexByte(layout, '/') {
				layout = layout[:i]
			}
			out = append(out, layout)
		case !strings.HasPrefix(from, "docker-image:") && local(from):
			out = append(out, from)
		}
	}
	return out
}

// local reports whether a context is of this machine. A directory that is there is, even if it looks like a URL.
func local(dir string) bool {
	if !urlutil.IsRemoteURL(dir) {
		return true
	}
	_, err := os.Stat(dir)
	return err == nil
}

// permitted fails if something is wanted that is not granted. Source of what needs a grant:
// https://docs.docker.com/reference/cli/docker/buildx/bake/#allow
func (s *selection) permitted(w *wants) error {
	var missing []string
	for _, name := range w.others {
		if !s.grants(name) {
			missing = append(missing, name)
		}
	}
	paths, err := s.ungranted(w)
	if err != nil {
		return err
	}
	missing = append(missing, paths...)
	if len(missing) == 0 {
		return nil
	}
	slices.Sort(missing)
	var flags []string
	for _, name := range slices.Compact(missing) {
		flags = append(flags, "--allow="+shellWord(name))
	}
	hint := "if you trust it, add: " + strings.Join(flags, " ")
	if len(paths) > 0 {
		hint += "\nto check no paths at all, set " + checksVariable + "=0"
	}
	return fault(hint, "checking what the definition may do: it wants what was not granted: %s", strings.Join(slices.Compact(missing), ", "))
}

func (s *selection) grants(name string) bool {
	kind, device, named := strings.Cut(name, "=")
	switch {
	case name == string(buildx.EntitlementKeyNetworkHost):
		return s.granted.NetworkHost
	case name == string(buildx.EntitlementKeySecurityInsecure):
		return s.granted.SecurityInsecure
	case name == string(buildx.EntitlementKeyBuildxLocalDelete):
		return s.granted.LocalOutputDelete
	case kind != string(buildx.EntitlementKeyDevice) || s.granted.Devices == nil:
		return false
	}
	device, _, _ = strings.Cut(device, ",")
	_, granted := s.granted.Devices.Devices[device]
	return s.granted.Devices.All || named && granted
}

// ungranted returns what is missing of paths and of ssh, as values of --allow.
func (s *selection) ungranted(w *wants) ([]string, error) {
	if text, ok := os.LookupEnv(checksVariable); ok {
		on, err := strconv.ParseBool(text)
		if err != nil {
			return nil, fault("write 0 to check no paths", "understanding %s=%q", checksVariable, text)
		}
		if !on {
			return nil, nil
		}
	}
	opts := build.Options{Inputs: build.Inputs{ContextPath: ".", DockerfilePath: "."}, ExportsLocalPathsTemporary: w.writes}
	for _, path := range w.reads {
		opts.SecretSpecs = append(opts.SecretSpecs, &buildflags.Secret{FilePath: path})
	}
	// All targets are checked as one: buildx forgets what is missing of one when it checks the next.
	missing, err := s.granted.Validate(map[string]build.Options{defaultTarget: opts})
	if err != nil {
		return nil, fmt.Errorf("checking what the definition may do: %w", err)
	}
	var out []string
	for _, path := range missing.FSRead {
		kind := buildx.EntitlementKeyFSRead
		if slices.Contains(missing.FSWrite, path) {
			kind = buildx.EntitlementKeyFS
		}
		out = append(out, string(kind)+"="+short(path))
	}
	for _, path := range missing.FSWrite {
		if !slices.Contains(missing.FSRead, path) {
			out = append(out, string(buildx.EntitlementKeyFSWrite)+"="+short(path))
		}
	}
	if w.agent && !s.granted.SSH {
		out = append(out, string(buildx.EntitlementKeySSH))
	}
	return out, nil
}

// short is a path relative to the current directory, if that is at most one level up.
func short(path string) string {
	dir, err := os.Getwd()
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err != nil {
		return path
	}
	relative, err := filepath.Rel(dir, path)
	if err != nil || strings.HasPrefix(relative, filepath.Join("..", "..")) {
		return path
	}
	return relative
}

// shellWord is how a shell is given a word.
func shellWord(s string) string {
	if strings.ContainsAny(s, " \t\n'\"\\$`&|;<>()*?[]#~!{}") {
		return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
	}
	return s
}
