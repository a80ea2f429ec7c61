// SPDX-License-Identifier: Apache-2.0

package crossbuild

import (
	"strings"

	"github.com/moby/buildkit/solver/pb"

	"github.com/mab-build/mab/platforms"
)

// ForSession returns def with its local sources and OCI layouts to be read out of another session than the one in which the frontend made
// it. Sources that name no session are read out of any that the build has, and stay so. def itself does not change; it is returned where
// nothing has to.
func ForSession(def *pb.Definition, session string) (*pb.Definition, error) {
	if len(def.GetDef()) == 0 {
		return def, nil
	}
	g, err := Read(platforms.Platform{}, def)
	if err != nil {
		return nil, err
	}
	r := &rewriting{graph: g, list: g.vertices(), edit: func(op *pb.Op) *pb.Op { return forSession(op, session) }}
	return r.from(g.result())
}

// Renaming gives local directories and OCI layouts other names in a session, by those that they have. Its zero value renames nothing.
type Renaming struct{ Locals, Stores map[string]string }

// Renamed returns def with its sources of the client's named anew. def itself does not change; it is returned where nothing has to.
func Renamed(def *pb.Definition, to Renaming) (*pb.Definition, error) {
	if len(def.GetDef()) == 0 || len(to.Locals)+len(to.Stores) == 0 {
		return def, nil
	}
	g, err := Read(platforms.Platform{}, def)
	if err != nil {
		return nil, err
	}
	r := &rewriting{graph: g, list: g.vertices(), edit: to.edit}
	return r.from(g.result())
}

// edit returns nil for an op that has no other name.
func (to Renaming) edit(op *pb.Op) *pb.Op {
	const scheme = "local://"
	name, local := strings.CutPrefix(op.GetSource().GetIdentifier(), scheme)
	next, renamed := to.Locals[name]
	store, stored := to.Stores[op.GetSource().GetAttrs()[pb.AttrOCILayoutStoreID]]
	switch {
	case local && renamed:
		op = op.CloneVT()
		op.GetSource().Identifier = scheme + next
	case stored:
		op = op.CloneVT()
		op.GetSource().Attrs[pb.AttrOCILayoutStoreID] = store
	default:
		return nil
	}
	return op
}

// forSession returns nil for an op that names no session, or this one.
func forSession(op *pb.Op, session string) *pb.Op {
	var changed *pb.Op
	for _, attr := range []string{pb.AttrLocalSessionID, pb.AttrOCILayoutSessionID} {
		was, ok := op.GetSource().GetAttrs()[attr]
		if !ok {
			continue
		}
		to := session
		// A session may have several directories of a name: BuildKit's source/local takes what is before a colon as their prefix.
		if prefix, _, ok := strings.Cut(was, ":"); ok && attr == pb.AttrLocalSessionID {
			to = prefix + ":" + session
		}
		if to == was {
			continue
		}
		if changed == nil {
			changed = op.CloneVT()
		}
		changed.GetSource().Attrs[attr] = to
	}
	return changed
}
