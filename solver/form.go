// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	gatewaypb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/pb"
	solved "github.com/moby/buildkit/solver/result"

	"github.com/mab-build/mab/crossbuild"
)

// givenKey is the name by which solvers of mab's know a form among the options of a frontend, what the names of its inputs begin with, and
// the metadata by which the client sees that it was understood.
const givenKey = "build.mab.given"

// form is a frontend's result before it is solved, as it travels to a solver of mab's: its definitions are inputs, and named here.
type form struct {
	// Ref is the only target's, or Refs are those of all by their platforms, as BuildKit's Result has them.
	Ref          string                       `json:"ref,omitempty"`
	Refs         map[string]string            `json:"refs,omitempty"`
	Metadata     map[string][]byte            `json:"metadata,omitempty"`
	Attestations map[string][]formAttestation `json:"attestations,omitempty"`
	// Syntax is the frontend that the Dockerfile names; nil: BuildKit's own has read it.
	Syntax *syntax `json:"syntax,omitempty"`
	// Notes are for the provenance; see notesKey.
	Notes string `json:"notes,omitempty"`
}

type formAttestation struct {
	Input string `json:"input,omitempty"`
	// Rest is a moby.buildkit.v1.frontend.Attestation without its ref.
	Rest []byte `json:"rest"`
}

// syntax are the options by which BuildKit's Dockerfile frontend hands a build on to the one that a Dockerfile names
// (https://github.com/moby/buildkit/blob/v0.33.1/frontend/dockerfile/builder/build.go).
type syntax struct {
	Source  string `json:"source"`
	Cmdline string `json:"cmdline"`
}

// wrapped is a form with its inputs.
type wrapped struct {
	form   form
	inputs map[string]*pb.Definition
}

// wrap brings what is given into the form that the frontend's result would have, and what explains failures into the words of this session.
func (s *Solve) wrap(given Given, attrs map[string]string, session string) (*wrapped, error) {
	w := &wrapped{
		inputs: map[string]*pb.Definition{},
		form:   form{Metadata: map[string][]byte{}, Attestations: map[string][]formAttestation{}},
	}
	if isTrue(attrs["multi-platform"]) || len(given.Targets) > 1 {
		w.form.Refs = map[string]string{}
	}
	var list exptypes.Platforms
	var targets []Target
	steps := origins{}
	for _, t := range given.Targets {
		def, err := w.target(t, session)
		if err != nil {
			return nil, err
		}
		steps.add(def, t.read.graph())
		t.Definition = def
		targets = append(targets, t)
		list.Platforms = append(list.Platforms, t.exported())
		w.form.Syntax = cmp.Or(w.form.Syntax, t.read.handedOn())
	}
	s.evidence.given(targets, steps)
	text, err := json.Marshal(list)
	if err != nil {
		return nil, fmt.Errorf("writing down the platforms of the build: %w", err)
	}
	w.form.Metadata[exptypes.ExporterPlatformsKey] = text
	w.form.Notes, err = s.notes(given, w.form.Refs != nil)
	return w, err
}

// target takes one in, and returns its definition in this session.
func (w *wrapped) target(t Target, session string) (*pb.Definition, error) {
	id := t.exported().ID
	key := givenKey + "/" + id
	if err := w.add(key, t.Definition, session); err != nil {
		return nil, err
	}
	suffix := ""
	if w.form.Refs != nil {
		w.form.Refs[id], suffix = key, "/"+id
	} else {
		w.form.Ref = key
	}
	for name, value := range t.Metadata {
		if t.read.ofAll(name) {
			w.form.Metadata[name] = value
		} else {
			w.form.Metadata[name+suffix] = value
		}
	}
	for i, a := range t.Attestations {
		out := formAttestation{Rest: a.raw}
		if a.Definition != nil {
			out.Input = fmt.Sprintf("%s/%d", key, i)
			if err := w.add(out.Input, a.Definition, session); err != nil {
				return nil, err
			}
		}
		w.form.Attestations[id] = append(w.form.Attestations[id], out)
	}
	return w.inputs[key], nil
}

func (w *wrapped) add(key string, def *pb.Definition, session string) error {
	def, err := crossbuild.ForSession(def, session)
	if err != nil {
		return fmt.Errorf("taking over the graph of the build: %w", err)
	}
	w.inputs[key] = def
	return nil
}

// ask has the frontends of a solver of mab's answer with it. Nil: that solver is of a version that does not know how.
func (w *wrapped) ask(ctx context.Context, gw gateway.Client, request gateway.SolveRequest) (*gateway.Result, error) {
	text, err := json.Marshal(w.form)
	if err != nil {
		return nil, fmt.Errorf("writing down the form of the build: %w", err)
	}
	request.FrontendOpt, request.FrontendInputs = maps.Clone(request.FrontendOpt), w.inputs
	request.FrontendOpt[givenKey] = string(text)
	res, err := gw.Solve(ctx, request)
	if err != nil || res.Metadata[givenKey] == nil {
		return nil, err
	}
	delete(res.Metadata, givenKey)
	return res, nil
}

// solve has any solver solve it.
func (w *wrapped) solve(ctx context.Context, gw gateway.Client, caches []gateway.CacheOptionsEntry) (*gateway.Result, error) {
	return formed(w.form, func(input string, target bool) (gateway.Reference, error) {
		def := w.inputs[input]
		if len(def.GetDef()) == 0 {
			return nil, nil
		}
		request := gateway.SolveRequest{Definition: def}
		if target {
			request.CacheImports = caches
		}
		res, err := gw.Solve(ctx, request)
		if err != nil {
			return nil, err
		}
		return res.SingleRef()
	})
}

// formed makes a result of a form. Solve gives the reference of an input, none if there is nothing in it, and is told whether it is a
// target's or an attestation's: for the latter the frontend reads no caches.
func formed[R comparable](f form, solve func(input string, target bool) (R, error)) (*solved.Result[R], error) {
	out := &solved.Result[R]{Metadata: f.Metadata}
	if f.Refs == nil {
		ref, err := solve(f.Ref, true)
		if err != nil {
			return nil, err
		}
		out.SetRef(ref)
	}
	for _, id := range slices.Sorted(maps.Keys(f.Refs)) {
		ref, err := solve(f.Refs[id], true)
		if err != nil {
			return nil, err
		}
		out.AddRef(id, ref)
	}
	for _, id := range slices.Sorted(maps.Keys(f.Attestations)) {
		for _, a := range f.Attestations[id] {
			var message gatewaypb.Attestation
			if err := message.UnmarshalVT(a.Rest); err != nil {
				return nil, fmt.Errorf("reading an attestation of %s: %w", id, err)
			}
			att, err := gateway.AttestationFromPB[R](&message)
			if err != nil {
				return nil, fmt.Errorf("reading an attestation of %s: %w", id, err)
			}
			if a.Input != "" {
				if att.Ref, err = solve(a.Input, false); err != nil {
					return nil, err
				}
			}
			out.AddAttestation(id, *att)
		}
	}
	return out, nil
}
