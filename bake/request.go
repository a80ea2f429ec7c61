// SPDX-License-Identifier: Apache-2.0

package bake

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/mab-build/mab/bake/flat"
	"github.com/mab-build/mab/coordinator"
	"github.com/mab-build/mab/platforms"
)

// stdio is standard input and output.
const stdio = "-"

// Requests translates the selection, in its order. Each request begins as base, which holds what the files know nothing of. It fails if the
// files ask for more than was granted, and if a request is wrong in itself. Notes are what has no effect.
func (s *Selection) Requests(base coordinator.Request) (out []coordinator.Named, notes []string, err error) {
	for i := range s.found.Targets {
		t := &s.found.Targets[i]
		n := coordinator.Named{Name: t.Name, Request: base}
		if err := translate(&n, t); err != nil {
			return nil, nil, err
		}
		if t.Resources {
			notes = append(notes, fmt.Sprintf("resources of target %q have no effect: steps get no control group", t.Name))
		}
		out = append(out, n)
	}
	if err := told(s.found.Denied); err != nil {
		return nil, nil, err
	}
	if err := oneStdout(out); err != nil {
		return nil, nil, err
	}
	for i := range out {
		if err := told(s.found.Targets[i].Absent); err != nil {
			return nil, nil, err
		}
		if err := out[i].Validate(); err != nil {
			return nil, nil, fmt.Errorf("understanding target %q: %w", out[i].Name, err)
		}
	}
	return out, notes, nil
}

// Linked reports whether a target is only there because others link to it.
func (s *Selection) Linked(name string) bool {
	return slices.ContainsFunc(s.found.Targets, func(t flat.Target) bool { return t.Linked && t.Name == name })
}

func translate(n *coordinator.Named, t *flat.Target) error {
	if err := told(t.Fault); err != nil {
		return err
	}
	n.Context, n.File = t.Context, t.File
	if t.File == stdio {
		n.Stdin = strings.NewReader(t.Inline)
	}
	n.Links = t.Links
	n.NamedContexts = append(n.NamedContexts, t.NamedContexts...)
	n.BuildArgs, n.Labels, n.AddHosts = t.BuildArgs, t.Labels, t.AddHosts
	n.Tags, n.Annotations = t.Tags, t.Annotations
	n.Target, n.Network, n.ShmSize = t.Target, t.Network, t.ShmSize
	n.Ulimits, n.NoCacheFilter = t.Ulimits, t.NoCacheFilter
	n.NoCache, n.Pull = t.NoCache, t.Pull
	n.CacheFrom, n.CacheTo = t.CacheFrom, t.CacheTo
	n.Secrets, n.SSH, n.Attests = t.Secrets, t.SSH, t.Attests
	n.Allow = t.Allow
	if err := targetPlatforms(n, t); err != nil {
		return err
	}
	return outputs(n, t)
}

func targetPlatforms(n *coordinator.Named, t *flat.Target) error {
	n.Platforms = nil
	for _, entry := range t.Platforms {
		for name := range strings.SplitSeq(entry, ",") {
			p, err := platforms.Host(), error(nil)
			if !strings.EqualFold(strings.TrimSpace(name), "local") {
				p, err = platforms.Parse(name)
			}
			if err != nil {
				var known interface{ Hint() string }
				hint := ""
				if errors.As(err, &known) {
					hint = known.Hint()
				}
				return fault(hint, "understanding target %q: %w", n.Name, err)
			}
			if !slices.Contains(n.Platforms, p) {
				n.Platforms = append(n.Platforms, p)
			}
		}
	}
	return nil
}

func outputs(n *coordinator.Named, t *flat.Target) error {
	n.Outputs = nil
	for _, entry := range t.Outputs {
		o, err := coordinator.ParseOutput(entry)
		if err != nil {
			return fmt.Errorf("understanding target %q: %w", n.Name, err)
		}
		n.Outputs = append(n.Outputs, o)
	}
	return nil
}

// oneStdout lets one output alone have standard output.
func oneStdout(list []coordinator.Named) error {
	first := ""
	for i := range list {
		for _, o := range list[i].Outputs {
			switch {
			case o.Dest != stdio:
			case first != "":
				return fault("give each a file: --set "+list[i].Name+".output=type="+o.Type+",dest=FILE",
					"writing to standard output: targets %q and %q both want it", first, list[i].Name)
			default:
				first = list[i].Name
			}
		}
	}
	return nil
}
