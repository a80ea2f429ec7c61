// SPDX-License-Identifier: Apache-2.0

package crossbuild

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	"google.golang.org/protobuf/proto"
)

// The attributes of sources that do not say what steps find in them: BuildKit's solver/pb/attr.go. Some name a session or a
// conversion of the frontend; within one request the directory is the same. The followed paths are what a conversion found its
// target to copy: they narrow the directory to that (with the symbolic links on the way), so two targets that copy
// the same from it may have different ones, because one of them copies something else as well.
var passingAttrs = []string{pb.AttrLocalSessionID, pb.AttrLocalUniqueID, pb.AttrOCILayoutSessionID, pb.AttrFollowPaths}

// identity hashes op without the passing attributes and with the identities of its inputs. Where that changes nothing
// it is the digest itself, so that only what depends on such a source is marshalled again.
func (r *reader) identity(d digest.Digest, op *pb.Op) (digest.Digest, error) {
	var c *pb.Op
	clone := func() *pb.Op {
		if c == nil {
			c = op.CloneVT()
		}
		return c
	}
	for i, in := range op.GetInputs() {
		if id := r.steps[r.index[digest.Digest(in.GetDigest())]].Identity; string(id) != in.GetDigest() {
			clone().Inputs[i].Digest = string(id)
		}
	}
	for _, attr := range passingAttrs {
		if _, ok := op.GetSource().GetAttrs()[attr]; ok {
			delete(clone().GetSource().Attrs, attr)
		}
	}
	if c == nil {
		return d, nil
	}
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(c)
	if err != nil {
		return "", fmt.Errorf("computing its identity: %w", err)
	}
	return hash(raw), nil
}

// hash is digest.FromBytes without its detour through fmt, which takes a sixth of the time of reading a graph.
func hash(raw []byte) digest.Digest {
	sum := sha256.Sum256(raw)
	return digest.Digest("sha256:" + hex.EncodeToString(sum[:]))
}
