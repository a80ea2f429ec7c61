// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"context"

	"github.com/moby/buildkit/solver/pb"
)

// Attestation is one that the frontend asks to be made of a target, such as an SBOM by a scanner, as BuildKit's
// frontend/gateway/client.Attestation has it.
type Attestation struct {
	// Definition makes it. Nil: it is whole without one.
	Definition *pb.Definition
	// raw is the rest of it, which no one looks at.
	raw []byte
}

// Material is something that a result was made from, for its provenance: a resource descriptor of SLSA v1
// (https://github.com/in-toto/attestation/blob/main/spec/v1/resource_descriptor.md).
type Material struct {
	URI string `json:"uri"`
	// Digest is by algorithm, in hex.
	Digest map[string]string `json:"digest,omitempty"`
}

// Given is what a Solve solves where the frontend was run by another one.
type Given struct {
	// Targets are those that Decide of the other one was shown, in which steps may have been replaced.
	Targets []Target
	// Materials are to be told of in each target's provenance beside what the solver knows of itself.
	Materials []Material
}

// Giver gives what is to be solved. It is called once, when the solver can be asked for things, and may wait for what is made elsewhere.
type Giver func(ctx context.Context) (Given, error)
