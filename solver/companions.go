// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"
	"github.com/tonistiigi/go-csvvalue"

	"github.com/mab-build/mab/crossbuild"
)

// Companion is a request of whose result another one is made: what its steps read of this machine is to be had in the other's solves as well.
type Companion struct {
	Request *Request
	// Input is what it received.
	Input *Input
	// Renaming is that of its sources.
	Renaming crossbuild.Renaming
}

// Locals are the sources of this machine that a request's graphs name: where they are, by their names. Two are the same if they are in one place.
type Locals struct{ Directories, Stores map[string]string }

// Locals finds them. The input is what the request received.
func (r *Request) Locals(in *Input) (Locals, error) {
	s, err := r.sources(in)
	if err != nil {
		return Locals{}, err
	}
	// Graphs do not name the directory of the Dockerfile.
	delete(s.at, dockerfileName)
	return Locals{Directories: s.at, Stores: s.storeAt}, nil
}

// located is the place of a directory, by whichever way it is named.
func located(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	return path
}

// sources are those of the request, also by their new names, and what its companions' steps read by theirs.
func (s *Solve) sources() (*sources, error) {
	out, err := s.Request.sources(s.Input)
	if err != nil {
		return nil, err
	}
	out.also(out, s.Renaming)
	for _, c := range s.Companions {
		other, err := c.Request.sources(c.Input)
		if err != nil {
			return nil, err
		}
		delete(other.dirs, dockerfileName)
		out.also(other, c.Renaming)
		for _, a := range other.uploads {
			if !slices.Contains(out.uploads, a) {
				out.uploads = append(out.uploads, a)
			}
		}
	}
	return out, nil
}

// also adds the directories and layouts of other, by their names anew. A name of one's own that was given to another is no longer one's own.
func (s *sources) also(other *sources, to crossbuild.Renaming) {
	for name, dir := range maps.Clone(other.dirs) {
		s.dirs[renamed(to.Locals, name)] = dir
	}
	for name, store := range maps.Clone(other.stores) {
		s.stores[renamed(to.Stores, name)] = store
	}
}

func renamed(to map[string]string, name string) string {
	if next, ok := to[name]; ok {
		return next
	}
	return name
}

// merged is the request with what its companions' steps ask this machine for, and are allowed.
func (s *Solve) merged() *Request {
	if len(s.Companions) == 0 {
		return s.Request
	}
	out := *s.Request
	keys := func(r *Request) []string {
		if len(r.SSH) == 0 && overSSH(r.Context) {
			return []string{defaultAgent}
		}
		return r.SSH
	}
	out.SSH = keys(s.Request)
	for _, c := range s.Companions {
		out.Secrets = joinEntries(out.Secrets, c.Request.Secrets)
		out.SSH = joinEntries(out.SSH, keys(c.Request))
		for _, name := range c.Request.entitlements() {
			if !slices.Contains(out.Allow, name) {
				out.Allow = append(slices.Clone(out.Allow), name)
			}
		}
	}
	return &out
}

// joinEntries adds entries in docker's form whose ids are not among others.
func joinEntries(list, more []string) []string {
	out := slices.Clone(list)
	for _, entry := range more {
		if !slices.ContainsFunc(out, func(other string) bool { return EntryID(other) == EntryID(entry) }) {
			out = append(out, entry)
		}
	}
	return out
}

// EntryID is the id of a secret or of an ssh agent, in docker's form: id=NAME[,…], or ID[=…].
func EntryID(entry string) string {
	if fields, err := csvvalue.Fields(entry, nil); err == nil {
		for _, field := range fields {
			if id, ok := strings.CutPrefix(field, "id="); ok {
				return id
			}
		}
	}
	id, _, _ := strings.Cut(entry, "=")
	return id
}

// withContexts gives the frontend results of others as named contexts: for each platform that they are of, or for any where they are of one
// alone. Nothing is run for it. The keys are those of https://github.com/moby/buildkit/blob/v0.33.1/frontend/dockerui/namedcontext.go
func (s *Solve) withContexts(gw gateway.Client, request *gateway.SolveRequest) error {
	if len(s.Contexts) == 0 {
		return nil
	}
	request.FrontendOpt = maps.Clone(request.FrontendOpt)
	if request.FrontendInputs == nil {
		request.FrontendInputs = map[string]*pb.Definition{}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Contexts)) {
		for _, t := range s.Contexts[name] {
			key := name
			if len(s.Contexts[name]) > 1 {
				key += "::" + t.Platform.String()
			}
			def, err := crossbuild.ForSession(t.Definition, gw.BuildOpts().SessionID)
			if err != nil {
				return fmt.Errorf("giving the context %q to the frontend: %w", name, err)
			}
			metadata, err := json.Marshal(map[string][]byte{exptypes.ExporterImageConfigKey: t.Metadata[exptypes.ExporterImageConfigKey]})
			if err != nil {
				return fmt.Errorf("giving the context %q to the frontend: %w", name, err)
			}
			request.FrontendInputs[key] = def
			request.FrontendOpt["context:"+key], request.FrontendOpt["input-metadata:"+key] = "input:"+key, string(metadata)
		}
	}
	return nil
}
