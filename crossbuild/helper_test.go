// SPDX-License-Identifier: Apache-2.0

package crossbuild_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
	"github.com/moby/buildkit/frontend/dockerui"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/platforms"
)

var (
	amd64 = platforms.MustParse("linux/amd64")
	arm64 = platforms.MustParse("linux/arm64")
	armv7 = platforms.MustParse("linux/arm/v7")
	s390x = platforms.MustParse("linux/s390x")
)

// images is a registry that has every image for every platform, with one layer; golang's is as the official one.
type images struct{}

func (images) ResolveImageConfig(_ context.Context, ref string, opt sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	config := ocispec.Image{RootFS: ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromString(ref)}}}
	if opt.ImageOpt != nil && opt.ImageOpt.Platform != nil {
		config.Platform = *opt.ImageOpt.Platform
	}
	if strings.Contains(ref, "golang") {
		config.Config.Env = []string{"PATH=/go/bin:/usr/local/go/bin:/usr/bin"}
	}
	raw, err := json.Marshal(config)
	return ref, digest.FromString(ref), raw, err
}

// convert runs BuildKit's own Dockerfile frontend, with linux/amd64 as the build platform.
func convert(t testing.TB, target platforms.Platform, dockerfile string) *pb.Definition {
	t.Helper()
	p := target.OCI()
	dockerfile = strings.TrimSpace(dockerfile) + "\n"
	result, err := dockerfile2llb.Dockerfile2LLB(t.Context(), []byte(dockerfile), dockerfile2llb.ConvertOpt{
		MetaResolver:   images{},
		TargetPlatform: &p,
		Config:         dockerui.Config{BuildPlatforms: []ocispec.Platform{amd64.OCI()}},
		SourceMap:      llb.NewSourceMap(nil, "Dockerfile", "Dockerfile", []byte(dockerfile)),
	})
	if err != nil {
		t.Fatal(err)
	}
	def, err := result.State.Marshal(t.Context(), llb.Platform(p))
	if err != nil {
		t.Fatal(err)
	}
	return def.ToPB()
}

func read(t testing.TB, target platforms.Platform, dockerfile string) *crossbuild.Graph {
	t.Helper()
	return mustRead(t, target, convert(t, target, dockerfile))
}

func mustRead(t testing.TB, target platforms.Platform, def *pb.Definition) *crossbuild.Graph {
	t.Helper()
	g, err := crossbuild.Read(target, def)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// definition is made op by op, for what no frontend makes.
type definition struct{ pb.Definition }

// add appends op, with the results 0 of the ops at these places as its inputs, and returns its place.
func (d *definition) add(op *pb.Op, inputs ...int) int {
	for _, i := range inputs {
		op.Inputs = append(op.Inputs, &pb.Input{Digest: d.digest(i)})
	}
	raw, err := op.Marshal()
	if err != nil {
		panic(err)
	}
	d.Def = append(d.Def, raw)
	return len(d.Def) - 1
}

func (d *definition) digest(i int) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(d.Def[i])) }

// end makes the op at a place the result.
func (d *definition) end(result int) *pb.Definition {
	d.add(&pb.Op{}, result)
	return &d.Definition
}

func exec(p platforms.Platform, command string) *pb.Op {
	return &pb.Op{
		Platform: pb.PlatformFromSpec(p.OCI()),
		Op: &pb.Op_Exec{Exec: &pb.ExecOp{
			Meta:   &pb.Meta{Args: []string{command}},
			Mounts: []*pb.Mount{{Dest: pb.RootMount, Input: 0}},
		}},
	}
}

func source(identifier string) *pb.Op {
	return &pb.Op{Op: &pb.Op_Source{Source: &pb.SourceOp{Identifier: identifier}}}
}

func image(p platforms.Platform, ref string) *pb.Op {
	op := source("docker-image://" + ref)
	op.Platform = pb.PlatformFromSpec(p.OCI())
	return op
}

// copyFile copies from its second input onto its first.
func copyFile(onto, from int64) *pb.Op {
	return &pb.Op{Op: &pb.Op_File{File: &pb.FileOp{Actions: []*pb.FileAction{{
		Input: onto, SecondaryInput: from,
		Action: &pb.FileAction_Copy{Copy: &pb.FileActionCopy{Src: "/a", Dest: "/b"}},
	}}}}}
}

// lines shows a graph as one line per step: kind, platform, name.
func lines(g *crossbuild.Graph) []string {
	var list []string
	for _, s := range g.Steps {
		p := s.Platform.String()
		if p == "" {
			p = "any"
		}
		list = append(list, fmt.Sprintf("%s %s: %s", s.Kind, p, s.Name))
	}
	return list
}
