// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"context"
	"errors"
	"fmt"
	"time"

	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/manifestlist"
)

// Make is a part of a build that one solver makes for others.
type Make struct {
	// Request and Input are those of the build: secrets, agents, local directories, credentials, entitlements and caches come from there.
	Request *Request
	Input   *Input
	// Companions and Renaming are as in Solve.
	Companions []Companion
	Renaming   crossbuild.Renaming
	// Registries, StepLimit and Display are as in Solve.
	Registries manifestlist.Registries
	StepLimit  StepLimit
	Display    *Display
	// Name tells the part from others of the build; the cache that it writes is named after it. PartName gives names that are read again.
	// Empty: it writes none.
	Name string
	// Definition gives what is to be solved, as Giver does, and Graph is what its steps are of. Nil: they are known by their own digests.
	Definition func(ctx context.Context) (*pb.Definition, error)
	Graph      *pb.Definition
	// Imports are as in Solve.
	Imports *Imports
	// Materials has the solver be asked what the part was made from, if the request wants provenance.
	Materials bool
	// Copied is a part of which others only copy: its layers go into no image, so that they are compressed in the fastest way.
	Copied bool
}

// Made is a part that a solver has made and holds until it is closed: neither its garbage collection nor a pruning takes it away.
type Made struct {
	// Image is its manifest, whose layers Size counts, in bytes. It says nothing of when and where it was made, so that a part that came out
	// of the cache is the same image as before.
	Image ocispec.Descriptor
	Size  int64
	// Materials are what it was made from, if they were wanted and are known.
	Materials []Material
	// Steps and Cached are as in Result.
	Steps, Cached int

	// blobs are what it consists of, its manifest and its config among them.
	blobs []blob
	hold  *hold
}

// importName is the repository of all parts. Nobody asks a registry for it.
const importName = "mab.local/part"

// Ref is the reference by which definitions name it in ImportStore.
func (m *Made) Ref() string { return importName + "@" + m.Image.Digest.String() }

// Done is closed when the solver does not hold it any more. Err tells why, nil if it was closed.
func (m *Made) Done() <-chan struct{} { return m.hold.over }

// Err is why the solver does not hold it any more.
func (m *Made) Err() error { return m.hold.ended() }

// Times are as in Result. They are there when it was closed.
func (m *Made) Times() map[digest.Digest]time.Duration {
	return m.hold.solve.count.times(m.hold.solve.evidence)
}

// Close lets go of it. Before that it waits for the cache that the part writes; its errors are that cache's. It may be called again.
func (m *Made) Close() error { return m.hold.close() }

// Make solves a part, and holds it until it is closed or ctx ends. The caller closes what it returns. Its errors are those of Build.
func (c *Client) Make(ctx context.Context, m Make) (*Made, error) {
	s := &Solve{
		Request: m.Request, Input: m.Input, Companions: m.Companions, Renaming: m.Renaming,
		Registries: m.Registries, StepLimit: m.StepLimit, Display: m.Display, Imports: m.Imports, evidence: &evidence{},
	}
	h, err := c.newHold(ctx, s, m)
	if err != nil {
		return nil, err
	}
	out, err := h.make(m)
	if err != nil {
		return nil, errors.Join(err, h.close())
	}
	return out, nil
}

// make waits for the part, and has its layers be written.
func (h *hold) make(m Make) (*Made, error) {
	select {
	case <-h.solved:
	case <-h.over:
		return nil, h.ended()
	}
	answer, count, err := h.export(m)
	if err != nil {
		return nil, err
	}
	out := &Made{hold: h}
	out.Steps, out.Cached = count.counts()
	image, materials, err := h.read(answer)
	if err != nil {
		return nil, err
	}
	out.Materials = materials
	if out.blobs, out.Image, err = image.plain(); err != nil {
		return nil, err
	}
	for _, l := range image.Layers {
		out.Size += l.Size
	}
	h.writeCaches(h.written)
	return out, nil
}

// errLeft is a solver that is gone: BuildKit's client does not tell who waits in the middle of a build.
var errLeft = status.Error(codes.Unavailable, "the solver ended the session") //nolint:gochecknoglobals // an error, as gRPC makes them

// definition is what a part is made by, in the session that it is made in. It is not waited for by a solver that is gone.
func (h *hold) definition(ctx context.Context, m Make) (*pb.Definition, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	var watching errgroup.Group
	defer func() { _ = watching.Wait() }()
	defer cancel(nil)
	watching.Go(func() error {
		select {
		case <-h.lost:
			cancel(errLeft)
		case <-ctx.Done():
		}
		return nil
	})
	def, err := m.Definition(ctx)
	switch {
	case errors.Is(context.Cause(ctx), errLeft):
		return nil, errLeft
	case err != nil:
		return nil, &stopError{err}
	}
	def, err = crossbuild.ForSession(def, h.session.ID())
	if err != nil {
		return nil, &stopError{fmt.Errorf("reading a part of the build: %w", err)}
	}
	return def, nil
}

// keep solves a part, tells that it is there, and keeps it: what the client of a gateway has solved is in use until its build ends.
func (h *hold) keep(ctx context.Context, gw gateway.Client, m Make) error {
	def, err := h.definition(ctx, m)
	if err != nil {
		return err
	}
	steps := origins{}
	steps.add(def, m.Graph)
	h.solve.evidence.given([]Target{{Definition: def}}, steps)
	imports, err := cacheImports(gw.BuildOpts().Opts)
	if err != nil {
		return err
	}
	res, err := gw.Solve(ctx, gateway.SolveRequest{Definition: def, Evaluate: true, CacheImports: imports})
	if err != nil {
		return err
	}
	h.def, h.ref = def, res.Ref
	close(h.solved)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-h.lost:
		return errLeft
	}
}
