// SPDX-License-Identifier: Apache-2.0

package crossbuild

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	"google.golang.org/protobuf/proto"
)

// The attributes of sources that name a session or a conversion of the frontend instead of what is fetched: BuildKit's
// solver/pb/attr.go. Within one request the directory is the same. The last one is what a target copies of the directory.
var passingAttrs = []string{pb.AttrLocalSessionID, pb.AttrLocalUniqueID, pb.AttrOCILayoutSessionID, pb.AttrFollowPaths}

// identity hashes op without the passing attributes and with the identities of its inputs. Where that changes nothing
// it is the digest itself, so that only what depends on such a source is marshalled again.
//
// A local source's followed paths count with the steps that take it, not with itself: they are all that a target copies of
// the directory, so that two targets have different ones as soon as one of them copies something else as well. A step that copies nothing
// but some of these paths finds the same whatever the others are.
func (r *reader) identity(d digest.Digest, op *pb.Op) (digest.Digest, error) {
	var c *pb.Op
	for i, in := range op.GetInputs() {
		id := string(r.steps[r.index[digest.Digest(in.GetDigest())]].Identity)
		follow, ok := r.ops[digest.Digest(in.GetDigest())].GetSource().GetAttrs()[pb.AttrFollowPaths]
		if ok && !copiesWithin(op, int64(i), follow) {
			id += " " + follow
		}
		if id != in.GetDigest() {
			if c == nil {
				c = withInputs(op)
			}
			c.Inputs[i] = &pb.Input{Digest: id, Index: in.GetIndex()}
		}
	}
	for _, attr := range passingAttrs {
		if _, ok := op.GetSource().GetAttrs()[attr]; ok {
			if c == nil {
				c = op.CloneVT()
			}
			delete(c.GetSource().Attrs, attr)
		}
	}
	if c != nil {
		raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(c)
		if err != nil {
			return "", fmt.Errorf("computing its identity: %w", err)
		}
		d = hash(raw)
	}
	if own := r.own.of(op, r.def.GetMetadata()[string(d)]); own != "" {
		return hash([]byte(string(d) + "\x00" + own)), nil
	}
	return d, nil
}

// copiesWithin reports whether all that op does with an input is to copy of the paths followed, a list in JSON.
func copiesWithin(op *pb.Op, input int64, follow string) bool {
	var paths []string
	if op.GetFile() == nil || json.Unmarshal([]byte(follow), &paths) != nil {
		return false
	}
	followed := func(p string) bool {
		return !strings.Contains(p, "**") && slices.ContainsFunc(paths, func(f string) bool { return p == path.Join("/", f) })
	}
	for _, a := range op.GetFile().GetActions() {
		if a.GetInput() == input || slices.Contains(owners(a), input) {
			return false
		}
		if a.GetSecondaryInput() != input {
			continue
		}
		s, _ := selectionOf(a.GetCopy())
		if a.GetCopy() == nil || slices.ContainsFunc(s.paths(), func(p string) bool { return !followed(p) }) {
			return false
		}
	}
	return true
}

// hash is digest.FromBytes without its detour through fmt, which takes a sixth of the time of reading a graph.
func hash(raw []byte) digest.Digest {
	sum := sha256.Sum256(raw)
	return digest.Digest("sha256:" + hex.EncodeToString(sum[:]))
}
