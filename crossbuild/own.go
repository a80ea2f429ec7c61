// SPDX-License-Identifier: Apache-2.0

package crossbuild

import (
	"cmp"

	"github.com/moby/buildkit/solver/pb"
)

// defaultAgent is the id of the agent that a step gets which names none.
const defaultAgent = "default"

// Own is what a request gives steps that others which are built together with it do not give the same of. The zero value is nothing.
type Own struct {
	// Secrets and SSH are where a secret or an ssh agent comes from, by its id.
	Secrets, SSH map[string]string
	// NoCache tells steps that are to be run even if their results are cached from those that are not.
	NoCache bool
}

// of tells what of it an op uses; empty if nothing.
func (o Own) of(op *pb.Op, meta *pb.OpMetadata) string {
	out := ""
	if o.NoCache && meta.GetIgnoreCache() {
		out = "nocache\x00"
	}
	if len(o.Secrets)+len(o.SSH) == 0 {
		return out
	}
	add := func(kind, id string, from map[string]string) {
		if source, ok := from[id]; ok {
			out += kind + "\x00" + id + "\x00" + source + "\x00"
		}
	}
	for _, s := range op.GetExec().GetSecretenv() {
		add("secret", s.GetID(), o.Secrets)
	}
	for _, m := range op.GetExec().GetMounts() {
		switch m.GetMountType() {
		case pb.MountType_SECRET:
			add("secret", m.GetSecretOpt().GetID(), o.Secrets)
		case pb.MountType_SSH:
			add("ssh", cmp.Or(m.GetSSHOpt().GetID(), defaultAgent), o.SSH)
		}
	}
	return out
}
