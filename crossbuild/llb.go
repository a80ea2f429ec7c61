// SPDX-License-Identifier: Apache-2.0

package crossbuild

import "github.com/moby/buildkit/solver/pb"

// Definition is a build graph as BuildKit marshals it (its client/llb.Definition as protobuf).
type Definition = pb.Definition
