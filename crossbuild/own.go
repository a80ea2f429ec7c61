// SPDX-License-Identifier: Apache-2.0

package crossbuild

import (
	"github.com/moby/buildkit/solver/pb"
)

// Own is what a request gives steps that others which are built together with it do not give the same of: where a secret or an ssh agent
// comes from, by its id. The zero value is nothing.
type Own struct{ Secrets, SSH map[string]string }

// of tells what of it an op uses; empty if nothing.
func (o Own) of(op *pb.Op) string {
	if len(o.Secrets)+len(o.SSH) == 0 {
		return ""
	}
	out := ""
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
			add("ssh", m.GetSSHOpt().GetID(), o.SSH)
		}
	}
	return out
}
