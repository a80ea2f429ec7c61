// SPDX-License-Identifier: Apache-2.0

package crossbuild

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"

	"github.com/mab-build/mab/platforms"
)

// EqualSources is equality by what packages were built from: programs of one source, by the same distribution.
const EqualSources Equality = "same source"

// ccName is what --assist calls gcc as Debian and Ubuntu pack it.
const ccName = "cc"

// ccDir is where a step that is assisted has the native programs. It is in a file system that each container gets anew, so that no mount
// point is left in the layer.
const ccDir = "/dev/mab-cc"

// CStatus is the file that tells what a root has installed, and CPacked the one of the packages that Definition makes.
const (
	CStatus = "/var/lib/dpkg/status"
	CPacked = "/status"
)

// ccPaths are where the programs of gcc may be in a root, and what tells their versions.
func ccPaths(p port) []string {
	return []string{"/usr/lib/gcc", "/usr/libexec/gcc", path.Join("/usr/bin", p.GNU+"-as"), CStatus}
}

// ccHolders finds for each step the image that the C compiler of its result comes from, by its place in the list. A step whose own C compiler
// cannot be mounted over may change it unseen, so that nothing is known after it; one where it is cannot.
func ccHolders(list []vertex) []int {
	out := make([]int, len(list))
	for i := range out {
		out[i] = unknown
	}
	var done []platforms.Platform
	for i := range list {
		p := list[i].Platform
		at, ok := portOf(p)
		if !ok || slices.Contains(done, p) {
			continue
		}
		done = append(done, p)
		known := slices.Clone(list)
		for k := range known {
			if v := &known[k]; v.Kind == KindExec && (v.op == nil || !usesC(v.op, at)) {
				v.Step = &Step{Kind: KindBuild}
			}
		}
		for n, dir := range ccPaths(at) {
			for k, from := range holders(known, dir) {
				if list[k].Platform != p {
					continue
				}
				if n == 0 || out[k] == from {
					out[k] = from
				} else {
					out[k] = unknown
				}
			}
		}
	}
	return out
}

// usesC reports whether a step lets the programs of its C compiler be replaced.
func usesC(op *pb.Op, p port) bool {
	if op.GetExec().GetSecurity() != pb.SecurityMode_SANDBOX {
		return false
	}
	for _, m := range op.GetExec().GetMounts() {
		if !isRoot(m) && slices.ContainsFunc(append(ccPaths(p), ccDir), func(dir string) bool { return nested(m.GetDest(), dir) }) {
			return false
		}
	}
	return true
}

// isC reports whether a toolchain is gcc, of whose programs there is no directory to mount.
func (t *Toolchain) isC() bool { return t.Name == ccName }

// Packed reports whether what a candidate holds is told by the packages that it is of: then Own and CAid are to be asked, not Files and Aid.
func (c *Candidate) Packed() bool { return c.aid.Toolchain == ccName }

// Own makes the image for its own platform, to look into it.
func (c *Candidate) Own() (*Definition, error) { return c.Definition(c.Platform()) }

// CAid is what the compiler for another CPU does for the steps of an image on a node that is native to a platform. Tools are those of the
// image.
func (c *Candidate) CAid(native platforms.Platform, tools []CTool) Aid {
	aid := c.Aid(native)
	aid.tools, aid.equal = tools, tools
	return aid
}

// Prove has the aid replace those programs alone which the native packages hold of the same source, by the text of CPacked. For each of the
// others a sentence says why. Without a compiler among them there is no use in the aid.
func (a *Aid) Prove(packed string) (useful bool, why []string) {
	a.equal = nil
	for _, t := range a.tools {
		ok, reason := t.Proof(packed)
		if !ok {
			why = append(why, reason)
			continue
		}
		a.equal = append(a.equal, t)
		useful = useful || strings.HasPrefix(path.Base(t.Path), "cc1")
	}
	return useful, why
}

// Packages makes the native packages of an aid: CPacked, and what is mounted.
func (a *Aid) Packages() (*Definition, error) {
	ops, md := a.helper()
	return definitionOf(ops, md)
}

// CRecord is what is to be kept of tools, and CToolsOf reads it.
func CRecord(tools []CTool) string {
	var out []string
	for _, t := range tools {
		out = append(out, t.stanza())
	}
	return strings.Join(out, "\n")
}

// helper is the image for the native platform, and a step in it that gets the packages by its own apt.
func (a *Aid) helper() ([]*pb.Op, []*pb.OpMetadata) {
	image, imageMD := a.sibling()
	exec := &pb.Op{
		Inputs: []*pb.Input{{}}, // The image: its digest comes when it is marshalled.
		Op: &pb.Op_Exec{Exec: &pb.ExecOp{
			Meta: &pb.Meta{
				Args: []string{"/bin/sh", "-c", ccScript(a.tools)}, Cwd: "/",
				Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"},
			},
			Mounts: []*pb.Mount{{Dest: pb.RootMount}, {Input: int64(pb.Empty), Dest: ccOut, Output: 1}},
		}},
		Platform: image.Platform, Constraints: image.Constraints,
	}
	md := &pb.OpMetadata{
		Description: map[string]string{"llb.customname": fmt.Sprintf("[mab] gcc on %s for %s, of the packages of %s", a.Native, a.Platform, a.Image)},
		Caps:        map[string]bool{string(pb.CapExecMetaBase): true, string(pb.CapExecMountBind): true, string(pb.CapMetaDescription): true},
	}
	return []*pb.Op{image, exec}, []*pb.OpMetadata{imageMD, md}
}

// Makes reports whether a step, by its digest, is what gets the packages for the aid or one with it. A nil aid needs none.
func (a *Aid) Makes(step digest.Digest) bool {
	return slices.ContainsFunc(a.All(), func(a *Aid) bool {
		if a.Toolchain != ccName {
			return false
		}
		ops, _ := a.helper()
		_, last, err := chain(ops)
		return err == nil && last.digest == step
	})
}

// ccMounts adds to an exec op what an aid mounts from helper, the op's last input.
func (a *Aid) ccMounts(op *pb.Op) {
	helper, exec := int64(len(op.Inputs))-1, op.GetExec()
	root := exec.Mounts[slices.IndexFunc(exec.Mounts, isRoot)]
	add := func(input int64, from, to string) {
		exec.Mounts = append(exec.Mounts, &pb.Mount{Input: input, Selector: from, Dest: to, Output: int64(pb.SkipOutput), Readonly: true})
	}
	add(helper, "", ccDir)
	for _, t := range a.equal {
		name := path.Base(t.Path)
		add(root.GetInput(), path.Join(root.GetSelector(), t.Path), path.Join(ccDir, "plain", name))
		add(helper, path.Join("bin", name), t.Path)
	}
}

// withoutC takes off what ccMounts has added last.
func withoutC(op *pb.Op) (*pb.Op, bool) {
	mounts, last := op.GetExec().GetMounts(), int64(len(op.GetInputs()))-1
	at := slices.IndexFunc(mounts, func(m *pb.Mount) bool { return m.GetDest() == ccDir && m.GetReadonly() && m.GetInput() == last })
	if at < 0 {
		return op, false
	}
	out := op.CloneVT()
	out.Inputs, out.GetExec().Mounts = out.Inputs[:last], out.GetExec().Mounts[:at]
	return out, true
}
