// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"context"
	"errors"
	"fmt"
	"io"

	control "github.com/moby/buildkit/api/services/control"
	"github.com/moby/buildkit/util/grpcerrors"
	"google.golang.org/grpc/codes"

	"github.com/mab-build/mab/emulation"
	"github.com/mab-build/mab/platforms"
)

// families are the architectures that CPUs of another run too. BuildKit lists them only if they ran, but not what ran them.
var families = map[string]string{"amd64": "386", "arm64": "arm"}

// foreignSurvey makes of the platforms that a buildkitd lists what is to be believed of it: it has tried each
// (https://github.com/moby/buildkit/tree/master/util/archutil), and its first is its own.
func foreignSurvey(list []platforms.Platform) []emulation.Support {
	var out []emulation.Support
	for _, p := range list {
		own := list[0]
		how := emulation.Emulated
		if p.OS == own.OS && (p.Architecture == own.Architecture || p.Architecture == families[own.Architecture]) {
			how = emulation.Native
		}
		out = append(out, emulation.Support{Platform: p, How: how})
	}
	return out
}

// running counts the builds under way, those of this client too. A solver without a history has none.
func (c *Client) running(ctx context.Context) (int, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events, err := c.bk.ControlClient().ListenBuildHistory(ctx, &control.BuildHistoryRequest{ActiveOnly: true, EarlyExit: true})
	builds := 0
	for err == nil {
		var event *control.BuildHistoryEvent
		if event, err = events.Recv(); err == nil && event.GetType() == control.BuildHistoryEventType_STARTED {
			builds++
		}
	}
	if errors.Is(err, io.EOF) || grpcerrors.Code(err) == codes.Unimplemented {
		return builds, nil
	}
	return 0, fmt.Errorf("asking the solver for its builds: %w", err)
}
