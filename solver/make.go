// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"context"
	"errors"

	"github.com/moby/buildkit/solver/pb"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/mab-build/mab/manifestlist"
)

// Make is a part of a build that one solver makes for others.
type Make struct {
	// Request and Input are those of the build: secrets, agents, local directories, credentials, entitlements and caches come from there.
	Request *Request
	Input   *Input
	// Registries and Display are as in Solve.
	Registries manifestlist.Registries
	Display    *Display
	// Name tells the part from others of the build, in words without a slash; the cache that it writes is named after it.
	Name string
	// Definition gives what is to be solved, as Giver does.
	Definition func(ctx context.Context) (*pb.Definition, error)
	// Imports are as in Solve.
	Imports *Imports
	// Materials has the solver be asked what the part was made from.
	Materials bool
}

// Made is a part that a solver has made and holds until it is closed: its garbage collection does not take it away.
type Made struct {
	// Image is its manifest, whose layers Size counts, in bytes.
	Image ocispec.Descriptor
	Size  int64
	// Materials are what it was made from, if they were wanted and are known.
	Materials []Material
	// Steps and Cached are as in Result.
	Steps, Cached int
}

// Ref is the reference by which definitions name it in ImportStore.
func (m *Made) Ref() string { return "" }

// Done is closed when the solver does not hold it any more. Err tells why, nil if it was closed.
func (m *Made) Done() <-chan struct{} { return nil }

// Err is why the solver does not hold it any more.
func (m *Made) Err() error { return nil }

// Close lets go of it.
func (m *Made) Close() error { return nil }

// Make solves a part, and holds it. The caller closes what it returns. Its errors are those of Build.
func (c *Client) Make(ctx context.Context, m Make) (*Made, error) { return nil, errors.New("not yet") }
