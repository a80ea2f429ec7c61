// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	captured "github.com/moby/buildkit/solver/llbsolver/provenance"
	provenancetypes "github.com/moby/buildkit/solver/llbsolver/provenance/types"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/platforms"
)

// notesKey is the argument of a frontend's in which notes for the provenance travel through BuildKit to where it is written: JSON of a note
// for each platform. There it is taken out.
const notesKey = "build.mab.notes"

// note is what the provenance of a target has to say beyond what the solver saw.
type note struct {
	Materials []Material                `json:"materials,omitempty"`
	Locals    []string                  `json:"locals,omitempty"`
	Secrets   []*provenancetypes.Secret `json:"secrets,omitempty"`
	SSH       []*provenancetypes.SSH    `json:"ssh,omitempty"`
	Network   bool                      `json:"network,omitempty"`
	// Imports are the digests, in hex, of what stands for materials that are told of themselves.
	Imports []string `json:"imports,omitempty"`
}

// notes tells for each target what its solver does not see: what the frontend read, and what was done elsewhere.
func (s *Solve) notes(given Given, multi bool) (string, error) {
	out := map[string]note{}
	for _, t := range given.Targets {
		var sources provenancetypes.Sources
		if t.read != nil {
			sources = t.read.notes.Sources
		}
		if multi {
			sources.Images = imagesFor(t.Platform, s.whole(), sources.Images)
		}
		c := (&captured.Capture{Sources: sources}).Clone()
		capture(c, t.read.graph())
		c.Sort()
		p, err := captured.NewPredicate(c)
		if err != nil {
			return "", fmt.Errorf("noting what %s is made from: %w", t.Platform, err)
		}
		n := note{Secrets: c.Request.Secrets, SSH: c.Request.SSH, Network: c.NetworkAccess, Imports: importsOf(t)}
		for _, m := range p.BuildDefinition.ResolvedDependencies {
			n.Materials = append(n.Materials, Material{URI: m.URI, Digest: m.Digest})
		}
		siblings, err := siblingsOf(t.Definition)
		if err != nil {
			return "", fmt.Errorf("noting what %s is assisted by: %w", t.Platform, err)
		}
		n.Materials = append(append(n.Materials, siblings...), given.Materials...)
		for _, l := range c.Sources.Local {
			n.Locals = append(n.Locals, l.Name)
		}
		out[t.exported().ID] = n
	}
	text, err := json.Marshal(out)
	if err != nil {
		return "", fmt.Errorf("noting what the build is made from: %w", err)
	}
	return string(text), nil
}

// siblingsOf are the images that steps are assisted by: BuildKit takes them for those of another target, and leaves them out.
func siblingsOf(def *pb.Definition) ([]Material, error) {
	sources := map[string][]byte{}
	c := &captured.Capture{}
	for _, raw := range def.GetDef() {
		var op pb.Op
		if op.UnmarshalVT(raw) != nil {
			continue
		}
		sources[digest.FromBytes(raw).String()] = raw
		plain, assisted := crossbuild.WithoutAid(&op)
		if !assisted {
			continue
		}
		for _, in := range op.Inputs[len(plain.Inputs):] {
			capture(c, &pb.Definition{Def: [][]byte{sources[in.Digest]}})
			// What runs in an image to make the tools has that for its own input.
			var helper pb.Op
			if helper.UnmarshalVT(sources[in.Digest]) == nil && helper.GetExec() != nil {
				capture(c, &pb.Definition{Def: [][]byte{sources[helper.Inputs[0].Digest]}})
			}
		}
	}
	for i := range c.Sources.Images {
		// As frontends name it: beside an image by its tag one by tag and digest is taken for the same.
		image := &c.Sources.Images[i]
		if tag, _, _ := strings.Cut(image.Ref, "@"); strings.Contains(path.Base(tag), ":") {
			image.Ref = tag
		}
	}
	c.Sort()
	p, err := captured.NewPredicate(c)
	if err != nil {
		return nil, err
	}
	var out []Material
	for _, m := range p.BuildDefinition.ResolvedDependencies {
		out = append(out, Material{URI: m.URI, Digest: m.Digest})
	}
	return out, nil
}

// imagesFor leaves out the images of other platforms, where the frontend has resolved one for each, as BuildKit does
// (https://github.com/moby/buildkit/blob/v0.33.1/solver/llbsolver/provenance.go, filterImagePlatforms).
func imagesFor(target platforms.Platform, all []platforms.Platform, images []provenancetypes.ImageSource) []provenancetypes.ImageSource {
	of := func(ref string) (out []platforms.Platform) {
		for _, image := range images {
			if image.Ref == ref && image.Platform != nil {
				out = append(out, platforms.FromOCI(*image.Platform))
			}
		}
		return out
	}
	var out []provenancetypes.ImageSource
	for _, image := range images {
		each := of(image.Ref)
		everywhere := !slices.ContainsFunc(all, func(p platforms.Platform) bool { return !slices.Contains(each, p) })
		if everywhere && image.Platform != nil && (image.Platform.OS != target.OS || image.Platform.Architecture != target.Architecture) {
			continue
		}
		out = append(out, image)
	}
	return out
}

// capture tells what a definition reads, as far as it shows that by itself.
func capture(c *captured.Capture, def *pb.Definition) {
	for _, raw := range def.GetDef() {
		var op pb.Op
		if op.UnmarshalVT(raw) != nil {
			continue
		}
		if exec := op.GetExec(); exec != nil {
			captureExec(c, exec)
		}
		src := op.GetSource()
		if src == nil {
			continue
		}
		kind, name, _ := strings.Cut(src.Identifier, "://")
		switch kind {
		case "local":
			c.AddLocal(provenancetypes.LocalSource{Name: name})
		case "docker-image", "oci-layout":
			_, pinned, ok := strings.Cut(name, "@")
			if d := digest.Digest(pinned); ok && d.Validate() == nil {
				c.AddImage(provenancetypes.ImageSource{Ref: name, Digest: d, Platform: specOf(op.Platform), Local: kind == "oci-layout"})
			}
		}
	}
}

func specOf(p *pb.Platform) *ocispec.Platform {
	if p == nil {
		return nil
	}
	out := p.Spec()
	return &out
}

func captureExec(c *captured.Capture, exec *pb.ExecOp) {
	c.NetworkAccess = c.NetworkAccess || exec.Network != pb.NetMode_NONE
	for _, m := range exec.Mounts {
		switch m.MountType {
		case pb.MountType_SECRET:
			c.AddSecret(provenancetypes.Secret{ID: m.SecretOpt.GetID(), Optional: m.SecretOpt.GetOptional()})
		case pb.MountType_SSH:
			c.AddSSH(provenancetypes.SSH{ID: m.SSHOpt.GetID(), Optional: m.SSHOpt.GetOptional()})
		}
	}
	for _, e := range exec.Secretenv {
		c.AddSecret(provenancetypes.Secret{ID: e.GetID(), Optional: e.GetOptional()})
	}
}

// importsOf are what a target takes out of ImportStore.
func importsOf(t Target) []string {
	found := map[string]bool{}
	defs := []*pb.Definition{t.Definition}
	for _, a := range t.Attestations {
		defs = append(defs, a.Definition)
	}
	for _, def := range defs {
		for _, raw := range def.GetDef() {
			var op pb.Op
			if op.UnmarshalVT(raw) != nil || op.GetSource().GetAttrs()[pb.AttrOCILayoutStoreID] != ImportStore {
				continue
			}
			_, pinned, _ := strings.Cut(op.GetSource().GetIdentifier(), "@")
			if d := digest.Digest(pinned); d.Validate() == nil {
				found[d.Encoded()] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}
