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
