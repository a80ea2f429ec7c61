// SPDX-License-Identifier: Apache-2.0

package crossbuild

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/moby/buildkit/solver/pb"
)

// The schemes of source identifiers, as BuildKit's util/srctypes lists them.
var schemes = map[string]Kind{
	"docker-image":      KindImage,
	"docker-image+blob": KindBlob,
	"oci-layout":        KindOCILayout,
	"oci-layout+blob":   KindBlob,
	"local":             KindLocal,
	"git":               KindGit,
	"http":              KindHTTP,
	"https":             KindHTTP,
}

// kind returns "" for an op that this version of BuildKit does not have.
func kind(op *pb.Op) Kind {
	switch o := op.GetOp().(type) {
	case *pb.Op_Exec:
		return KindExec
	case *pb.Op_Source:
		scheme, _, _ := strings.Cut(o.Source.GetIdentifier(), "://")
		if k, ok := schemes[scheme]; ok {
			return k
		}
		return KindSource
	case *pb.Op_File:
		return KindFile
	case *pb.Op_Build:
		return KindBuild
	case *pb.Op_Merge:
		return KindMerge
	case *pb.Op_Diff:
		return KindDiff
	case *pb.Op_Passthrough:
		return KindPassthrough
	}
	return ""
}

// name is the frontend's, else made in the manner of BuildKit's llbsolver (llbOpName), but without the names of inputs,
// which can grow exponentially.
func name(op *pb.Op, md *pb.OpMetadata) string {
	if n := md.GetDescription()["llb.customname"]; n != "" {
		return oneLine(n)
	}
	if n := md.GetProgressGroup().GetName(); n != "" {
		return oneLine(n)
	}
	switch k := kind(op); k {
	case KindExec:
		return oneLine(strings.Join(op.GetExec().GetMeta().GetArgs(), " "))
	case KindFile:
		return oneLine(fileName(op.GetFile().GetActions()))
	case KindMerge:
		return fmt.Sprintf("merge of %d", len(op.GetInputs()))
	case KindPassthrough:
		return oneLine("passthrough " + op.GetPassthrough().GetId())
	case KindDiff, KindBuild:
		return string(k)
	}
	return oneLine(op.GetSource().GetIdentifier())
}

func fileName(actions []*pb.FileAction) string {
	var names []string
	for _, a := range actions {
		switch a := a.GetAction().(type) {
		case *pb.FileAction_Mkdir:
			names = append(names, "mkdir "+a.Mkdir.GetPath())
		case *pb.FileAction_Mkfile:
			names = append(names, "mkfile "+a.Mkfile.GetPath())
		case *pb.FileAction_Symlink:
			names = append(names, "symlink "+a.Symlink.GetNewpath()+" -> "+a.Symlink.GetOldpath())
		case *pb.FileAction_Rm:
			names = append(names, "rm "+a.Rm.GetPath())
		case *pb.FileAction_Copy:
			names = append(names, "copy "+a.Copy.GetSrc()+" "+a.Copy.GetDest())
		}
	}
	return strings.Join(names, ", ")
}

// oneLine keeps what a frontend writes from moving a terminal's cursor.
func oneLine(s string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsGraphic(r) {
			return r
		}
		return ' '
	}, s))
}

// base returns the input whose file system op runs in, changes or passes on, -1 for scratch. op has passed check.
func base(op *pb.Op) int64 {
	n := int64(len(op.GetInputs()))
	switch kind(op) {
	case KindExec:
		mounts := op.GetExec().GetMounts()
		return mounts[slices.IndexFunc(mounts, isRoot)].GetInput()
	case KindFile:
		in, _ := fileBase(op.GetFile().GetActions(), n)
		return in
	case KindMerge, KindDiff, KindBuild, KindPassthrough:
		return min(0, n-1)
	}
	return -1
}

func isRoot(m *pb.Mount) bool { return m.GetDest() == pb.RootMount }

// fileBase follows the first result back to what the actions began with. It returns false where they form a loop.
func fileBase(actions []*pb.FileAction, n int64) (input int64, ok bool) {
	isFirst := func(a *pb.FileAction) bool { return a.GetOutput() == 0 }
	at := n + int64(max(0, slices.IndexFunc(actions, isFirst)))
	for range actions {
		if at = actions[at-n].GetInput(); at < n {
			return at, true
		}
	}
	return at, false
}

// outputs counts the results that other ops may ask op for.
func outputs(op *pb.Op) int64 {
	switch kind(op) {
	case KindExec:
		return count(op.GetExec().GetMounts(), func(m *pb.Mount) bool { return m.GetOutput() != int64(pb.SkipOutput) })
	case KindFile:
		return count(op.GetFile().GetActions(), func(a *pb.FileAction) bool { return a.GetOutput() != int64(pb.SkipOutput) })
	case KindPassthrough:
		return int64(len(op.GetPassthrough().GetOutputs()))
	}
	return 1
}

func count[E any](list []E, keep func(E) bool) int64 {
	var n int64
	for _, e := range list {
		if keep(e) {
			n++
		}
	}
	return n
}

func uses(op *pb.Op) Uses {
	exec := op.GetExec()
	attrs := op.GetSource().GetAttrs()
	_, ssh := attrs[pb.AttrMountSSHSock]
	// A git source has the like by default, whether or not there is such a secret.
	_, header := attrs[pb.AttrHTTPAuthHeaderSecret]
	u := Uses{Secrets: header || len(exec.GetSecretenv()) > 0, SSH: ssh, Devices: len(exec.GetCdiDevices()) > 0}
	for _, m := range exec.GetMounts() {
		switch m.GetMountType() {
		case pb.MountType_SECRET:
			u.Secrets = true
		case pb.MountType_SSH:
			u.SSH = true
		case pb.MountType_CACHE:
			u.Cache = true
		}
	}
	u.Network, u.Security = network(exec.GetNetwork()), security(exec.GetSecurity())
	return u
}

func network(m pb.NetMode) Network {
	switch m {
	case pb.NetMode_UNSET:
		return ""
	case pb.NetMode_HOST:
		return NetworkHost
	case pb.NetMode_NONE:
		return NetworkNone
	}
	return NetworkUnknown
}

func security(m pb.SecurityMode) Security {
	switch m {
	case pb.SecurityMode_SANDBOX:
		return ""
	case pb.SecurityMode_INSECURE:
		return SecurityInsecure
	}
	return SecurityUnknown
}
