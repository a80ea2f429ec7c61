// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"fmt"

	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"

	"github.com/mab-build/mab/crossbuild"
)

// forSession returns def as crossbuild.ForSession has it.
func forSession(def *pb.Definition, session string) (*pb.Definition, error) {
	def, err := crossbuild.ForSession(def, session)
	if err != nil || len(def.GetDef()) == 0 {
		return def, err
	}
	out := &pb.Definition{Metadata: map[string]*pb.OpMetadata{}}
	moved := map[string]string{}
	for _, raw := range def.Def {
		old := digest.FromBytes(raw).String()
		if raw, err = opForSession(raw, session, moved); err != nil {
			return nil, err
		}
		moved[old] = digest.FromBytes(raw).String()
		out.Def = append(out.Def, raw)
		if md, ok := def.Metadata[old]; ok {
			out.Metadata[moved[old]] = md
		}
	}
	if src := def.Source; src != nil {
		out.Source = &pb.Source{Infos: src.Infos, Locations: map[string]*pb.Locations{}}
		for old, at := range src.Locations {
			out.Source.Locations[moved[old]] = at
		}
	}
	return out, nil
}

func opForSession(raw []byte, session string, moved map[string]string) ([]byte, error) {
	var op pb.Op
	if err := op.UnmarshalVT(raw); err != nil {
		return nil, fmt.Errorf("reading a step: %w", err)
	}
	changed := false
	for _, in := range op.Inputs {
		if to := moved[in.Digest]; to != "" && to != in.Digest {
			in.Digest, changed = to, true
		}
	}
	if src := op.GetSource(); src != nil {
		for _, name := range []string{pb.AttrLocalSessionID, pb.AttrOCILayoutSessionID} {
			if at, ok := src.Attrs[name]; ok && at != session {
				src.Attrs[name], changed = session, true
			}
		}
	}
	if !changed {
		return raw, nil
	}
	return op.Marshal()
}
