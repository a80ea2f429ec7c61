// SPDX-License-Identifier: Apache-2.0

package crossbuild_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/moby/buildkit/solver/pb"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/mab-build/mab/crossbuild"
)

func TestReadRefuses(t *testing.T) {
	file := func(actions ...*pb.FileAction) *pb.Op {
		return &pb.Op{Op: &pb.Op_File{File: &pb.FileOp{Actions: actions}}}
	}
	mount := func(m ...*pb.Mount) *pb.Op {
		return &pb.Op{Op: &pb.Op_Exec{Exec: &pb.ExecOp{Meta: &pb.Meta{Args: []string{"make"}}, Mounts: m}}}
	}
	odd := exec(arm64, "make")
	odd.Platform = &pb.Platform{OS: "linux"}
	escape := exec(arm64, "make")
	escape.Platform.Variant = "\x1b[2J"
	// Every op is given one input.
	for _, c := range []struct {
		op   *pb.Op
		want string
	}{
		{&pb.Op{}, `it is of a kind that BuildKit v0.33 does not have`},
		{mount(&pb.Mount{Dest: "/", Input: 1}), `step "make": mount / is input 1 of 1`},
		{mount(&pb.Mount{Dest: "/", Input: -2}), `step "make": mount / is input -2 of 1`},
		{mount(&pb.Mount{Dest: "/src"}), `step "make": it has no root file system`},
		{&pb.Op{Op: &pb.Op_Exec{Exec: &pb.ExecOp{}}}, `it runs nothing`},
		{file(), `it has no actions`},
		{copyFile(2, -1), `step "copy /a /b": action 0 is input 2 of 2`},
		{copyFile(0, 7), `step "copy /a /b": action 0 is input 7 of 2`},
		{copyFile(1, -1), `step "copy /a /b": its actions depend on each other`},
		{file(&pb.FileAction{Input: 2}, &pb.FileAction{Input: 1}), `its actions depend on each other`},
		{&pb.Op{Op: &pb.Op_Merge{Merge: &pb.MergeOp{}}}, `step "merge of 1": it merges 0 layers of 1 inputs`},
		{&pb.Op{Op: &pb.Op_Merge{Merge: &pb.MergeOp{Inputs: []*pb.MergeInput{{Input: 1}}}}}, `layer 0 is input 1 of 1`},
		{&pb.Op{Op: &pb.Op_Diff{Diff: &pb.DiffOp{Lower: &pb.LowerDiffInput{}}}}, `step "diff": one side of the difference is missing`},
		{&pb.Op{Op: &pb.Op_Diff{Diff: &pb.DiffOp{Lower: &pb.LowerDiffInput{Input: 1}, Upper: &pb.UpperDiffInput{}}}}, `the lower side is input 1 of 1`},
		{&pb.Op{Op: &pb.Op_Diff{Diff: &pb.DiffOp{Lower: &pb.LowerDiffInput{}, Upper: &pb.UpperDiffInput{Input: 1}}}}, `the upper side is input 1 of 1`},
		{&pb.Op{Op: &pb.Op_Build{Build: &pb.BuildOp{}}}, `step "build": it has no input to find its graph in`},
		{&pb.Op{Op: &pb.Op_Build{Build: &pb.BuildOp{Inputs: map[string]*pb.BuildInput{pb.LLBDefinitionInput: {Input: 1}}}}}, `definition is input 1 of 1`},
		{&pb.Op{Op: &pb.Op_Passthrough{Passthrough: &pb.PassthroughOp{Id: "x", Outputs: []int64{1}}}}, `step "passthrough x": result 0 is input 1 of 1`},
		{source("git://x"), `step "git://x": it is a source with 1 inputs`},
		{odd, `step "make": "linux//" is no platform`},
		{escape, `is no platform`},
	} {
		t.Run(c.want, func(t *testing.T) {
			var d definition
			refused(t, d.end(d.add(c.op, d.add(image(arm64, "a")))), c.want)
		})
	}
}

func TestReadRefusesDefinitions(t *testing.T) {
	base := func() *definition {
		d := &definition{}
		d.add(exec(arm64, "make"), d.add(image(arm64, "a")))
		return d
	}
	t.Run("bytes that are no op", func(t *testing.T) {
		refused(t, &pb.Definition{Def: [][]byte{[]byte("\xff")}}, "reading the build graph of linux/arm64: op 0: ")
	})
	t.Run("no result", func(t *testing.T) {
		d := base()
		d.add(&pb.Op{})
		refused(t, &d.Definition, "the last op names no result")
	})
	t.Run("a missing step", func(t *testing.T) {
		d := base()
		missing := d.digest(0)
		d.Def[0] = d.Def[1]
		refused(t, d.end(1), `step "`+missing+`": it is needed but not there`)
	})
	t.Run("a result that is skipped", func(t *testing.T) {
		for _, op := range []*pb.Op{exec(arm64, "make"), copyFile(0, -1)} {
			if op.GetExec() != nil {
				op.GetExec().Mounts[0].Output = -1
			} else {
				op.GetFile().Actions[0].Output = -1
			}
			var d definition
			refused(t, d.end(d.add(op, d.add(image(arm64, "a")))), `result 0 is asked for, it has 0`)
		}
	})
	for _, index := range []int64{-1, 1} {
		t.Run("a result that a step does not have", func(t *testing.T) {
			d := base()
			d.add(&pb.Op{Inputs: []*pb.Input{{Digest: d.digest(1), Index: index}}})
			refused(t, &d.Definition, `step "make": result `)
		})
	}
	t.Run("the last op as a step", func(t *testing.T) {
		d := base()
		refused(t, d.end(len(d.end(1).Def)-1), "it is of a kind")
	})
	for _, index := range []int32{-1, 1} {
		t.Run("a source file that is not there", func(t *testing.T) {
			d := base()
			d.Source = &pb.Source{
				Infos:     []*pb.SourceInfo{{Filename: "Dockerfile"}},
				Locations: map[string]*pb.Locations{d.digest(1): {Locations: []*pb.Location{{SourceIndex: index}}}},
			}
			refused(t, d.end(1), `step "make": it lies in source file `)
		})
	}
	t.Run("definitions nested deeper than a stack", func(t *testing.T) {
		refused(t, &pb.Definition{Def: [][]byte{nested(16 << 20)}}, "reading the build graph of linux/arm64: op 0: ")
	})
}

// nested returns an op of about size bytes that is nothing but definitions in definitions, written from its end.
func nested(size int) []byte {
	raw, at := make([]byte, size), size
	wrap := func(field protowire.Number) {
		head := protowire.AppendVarint(protowire.AppendTag(nil, field, protowire.BytesType), uint64(size-at))
		at -= len(head)
		copy(raw[at:], head)
	}
	for at > 100 {
		wrap(3) // SourceInfo.definition
		wrap(2) // Source.infos
		wrap(3) // Definition.Source
	}
	wrap(3) // BuildOp.def
	wrap(5) // Op.build
	return raw[at:]
}

func refused(t *testing.T, def *pb.Definition, want string) {
	t.Helper()
	g, err := crossbuild.Read(arm64, def)
	var format *crossbuild.FormatError
	if g != nil || !errors.As(err, &format) {
		t.Fatalf("graph %v, error %v; want a FormatError", g, err)
	}
	if !strings.Contains(err.Error(), want) {
		t.Errorf("error is %q, want %q in it", err, want)
	}
	if !strings.Contains(format.Hint(), "# syntax=") {
		t.Errorf("hint is %q", format.Hint())
	}
}
