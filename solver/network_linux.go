// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"context"

	"github.com/moby/buildkit/executor"
	resourcestypes "github.com/moby/buildkit/executor/resources/types"
	"github.com/moby/buildkit/solver/pb"
)

// hostNetwork tells the executor what holds anyway: a step that asks for no particular network is in the host's. Otherwise
// BuildKit takes a name server on the loopback interface for unreachable and asks a public one instead, which knows no name of
// a private network, and should not be told any.
type hostNetwork struct{ executor.Executor }

// Run runs a step.
func (h hostNetwork) Run( //nolint:revive // the interface is BuildKit's
	ctx context.Context, id string, root executor.Mount, mounts []executor.Mount, process executor.ProcessInfo, started chan<- struct{},
) (resourcestypes.Recorder, error) {
	if process.Meta.NetMode == pb.NetMode_UNSET {
		process.Meta.NetMode = pb.NetMode_HOST
	}
	return h.Executor.Run(ctx, id, root, mounts, process, started)
}
