// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	buildx "github.com/docker/buildx/bake"
	"github.com/docker/buildx/util/buildflags"

	"github.com/mab-build/mab/bake/flat"
)

// definition is what files say, before targets are chosen.
type definition struct {
	query   query
	files   []buildx.File
	vars    map[string]string
	option  buildx.ParseOpt
	config  *buildx.Config
	defined []flat.Variable
}

// read reads the files of a query, and finds what is wrong with them.
func read(q query) (*definition, error) {
	if err := q.check(); err != nil {
		return nil, err
	}
	d := &definition{query: q}
	var err error
	if d.vars, err = q.variables(); err != nil {
		return nil, err
	}
	if d.option, err = options(); err != nil {
		return nil, err
	}
	if d.files, err = q.read(); err != nil {
		return nil, err
	}
	config, meta, err := buildx.ParseFiles(d.files, d.query.builtin(), d.vars, d.option)
	if err != nil {
		return nil, misunderstood(err)
	}
	d.config = config
	for _, v := range meta.AllVariables {
		d.defined = append(d.defined, flat.Variable(*v))
	}
	return d, nil
}

func misunderstood(err error) error {
	return fault("what a definition and --set may say: https://docs.docker.com/build/bake/reference/; what mab does otherwise: docs/bake.md",
		"understanding the definition: %w", err)
}

// variables are sorted by name.
func (d *definition) variables() []flat.Variable {
	return slices.SortedFunc(slices.Values(d.defined), func(a, b flat.Variable) int { return strings.Compare(a.Name, b.Name) })
}

// list returns targets and groups by name, but for those whose name begins with an underscore, which are private by convention.
func (d *definition) list() []flat.Listed {
	var out []flat.Listed
	for _, t := range d.config.Targets {
		out = append(out, flat.Listed{Name: t.Name, Description: t.Description})
	}
	for _, g := range d.config.Groups {
		members := strings.Join(slices.Sorted(slices.Values(g.Targets)), ", ")
		text := members
		if g.Description != "" && members != "" {
			text = g.Description + " (" + members + ")"
		}
		out = append(out, flat.Listed{Name: g.Name, Description: cmp.Or(text, g.Description), Group: true})
	}
	out = slices.DeleteFunc(out, func(l flat.Listed) bool { return strings.HasPrefix(l.Name, "_") })
	slices.SortStableFunc(out, func(a, b flat.Listed) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// selection is the targets that are wanted, with all that they inherit and all overrides.
type selection struct {
	// order is that of the command line, then of the files; what only others link to is last.
	order   []string
	linked  map[string]bool
	targets map[string]*buildx.Target
	groups  map[string]*buildx.Group
	granted buildx.EntitlementConf
}

// choose resolves the targets of the query.
func (d *definition) choose(ctx context.Context) (*selection, error) {
	wanted, err := d.wanted()
	if err != nil {
		return nil, err
	}
	s := &selection{linked: map[string]bool{}}
	if s.granted, err = buildx.ParseEntitlements(d.query.Allow); err != nil {
		return nil, fault("grant fs.read=DIR, fs.write=DIR, fs=DIR, ssh, network.host, security.insecure, device[=NAME] or buildx.local.delete",
			"understanding --allow: %w", err)
	}
	dir, err := os.Getwd()
	if err != nil {
		return nil, fmt.Errorf("finding the current directory: %w", err)
	}
	s.granted.FSRead = append(s.granted.FSRead, dir)
	s.granted.FSWrite = append(s.granted.FSWrite, dir)
	s.targets, s.groups, err = buildx.ReadTargets(ctx, d.files, slices.Clone(wanted), d.query.overrides(), d.query.builtin(), d.vars, &s.granted, d.option)
	if err != nil {
		return nil, misunderstood(err)
	}
	s.arrange(d.config, wanted)
	for name, t := range s.targets {
		if !s.linked[name] {
			deliver(t, d.query.Push, d.query.Load)
		}
	}
	s.epoch()
	return s, nil
}

// wanted are the targets and groups of the query, with patterns replaced by what they match.
func (d *definition) wanted() ([]string, error) {
	var names []string
	for _, g := range d.config.Groups {
		names = append(names, g.Name)
	}
	for _, t := range d.config.Targets {
		names = append(names, t.Name)
	}
	list := d.query.Targets
	if len(list) == 0 {
		list = []string{defaultTarget}
	}
	var out []string
	for _, given := range list {
		// The names of compose services may have dots, those of targets have not.
		name := strings.ReplaceAll(given, ".", "_")
		if slices.Contains(names, name) {
			out = append(out, name)
			continue
		}
		before := len(out)
		for _, n := range names {
			if ok, err := path.Match(name, n); ok && err == nil {
				out = append(out, n)
			}
		}
		if len(out) == before {
			return nil, unknown(given, names)
		}
	}
	return out, nil
}

// arrange puts the targets into order.
func (s *selection) arrange(config *buildx.Config, wanted []string) {
	for _, name := range wanted {
		members, _ := config.ResolveGroup(name)
		for _, m := range members {
			if s.targets[m] != nil && !slices.Contains(s.order, m) {
				s.order = append(s.order, m)
			}
		}
	}
	for i := 0; i < len(s.order); i++ {
		t := s.targets[s.order[i]]
		for _, context := range slices.Sorted(maps.Keys(t.Contexts)) {
			name, ok := strings.CutPrefix(t.Contexts[context], linkPrefix)
			if ok && !slices.Contains(s.order, name) {
				s.order, s.linked[name] = append(s.order, name), true
			}
		}
	}
}

// deliver adds outputs for --push and --load where buildx does: a target keeps outputs that are no images.
func deliver(t *buildx.Target, push, load bool) {
	outputs := make(buildflags.Exports, len(t.Outputs))
	for i, o := range t.Outputs {
		entry := *o
		if entry.Type == "image" && push {
			entry.Attrs = maps.Clone(entry.Attrs)
			entry.Attrs["push"] = "true"
		}
		outputs[i] = &entry
	}
	others := func(types ...string) bool {
		return slices.ContainsFunc(outputs, func(o *buildflags.ExportEntry) bool { return !slices.Contains(types, o.Type) })
	}
	loads := func(o *buildflags.ExportEntry) bool { return o.Type == "docker" && o.Destination == "" }
	if push && !others("docker") {
		outputs = append(outputs, &buildflags.ExportEntry{Type: "image", Attrs: map[string]string{"push": "true"}})
	}
	if load && !slices.ContainsFunc(outputs, loads) && !others("docker", "image", "registry", "oci") {
		outputs = append(outputs, &buildflags.ExportEntry{Type: "docker"})
	}
	if len(outputs) > 0 {
		t.Outputs = outputs
	}
}

// epoch gives targets that do not say what time to write into images that of the environment, as buildx does.
func (s *selection) epoch() {
	const name = "SOURCE_DATE_EPOCH"
	value := os.Getenv(name)
	for _, t := range s.targets {
		if _, ok := t.Args[name]; ok || value == "" {
			continue
		}
		if t.Args == nil {
			t.Args = map[string]*string{}
		}
		t.Args[name] = &value
	}
}

// print is the selection as docker buildx bake --print has it.
func (s *selection) print() (string, error) {
	targets := make(map[string]*buildx.Target, len(s.targets))
	for name, t := range s.targets {
		dir, err := contextOf(name, t)
		if err != nil {
			return "", err
		}
		shown := *t
		shown.Context = &dir
		targets[name] = &shown
	}
	text, err := json.MarshalIndent(struct {
		Group  map[string]*buildx.Group  `json:"group,omitempty"`
		Target map[string]*buildx.Target `json:"target"`
	}{s.groups, targets}, "", "  ")
	if err != nil {
		return "", fmt.Errorf("writing the targets: %w", err)
	}
	return string(text), nil
}
