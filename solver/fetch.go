// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"context"
	"fmt"

	"github.com/moby/buildkit/client/llb"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
)

// fetch lets the solver get a Dockerfile that was given as a URL, as docker buildx does: what it reaches decides, not what this
// machine does.
func (s *sources) fetch(ctx context.Context, gw gateway.Client) error {
	if s.page == nil {
		return nil
	}
	def, err := llb.HTTP(s.url, llb.Filename(s.page.name), llb.WithCustomName("[internal] load remote Dockerfile "+s.url)).Marshal(ctx)
	if err != nil {
		return fmt.Errorf("fetching the Dockerfile %q: %w", s.url, err)
	}
	res, err := gw.Solve(ctx, gateway.SolveRequest{Definition: def.ToPB()})
	if err != nil {
		return fmt.Errorf("fetching the Dockerfile %q: %w", s.url, err)
	}
	ref, err := res.SingleRef()
	if err != nil {
		return fmt.Errorf("fetching the Dockerfile %q: %w", s.url, err)
	}
	text, err := ref.ReadFile(ctx, gateway.ReadRequest{Filename: s.page.name, Range: &gateway.FileRange{Length: maxDockerfile + 1}})
	if err != nil {
		return fmt.Errorf("fetching the Dockerfile %q: %w", s.url, err)
	}
	if len(text) > maxDockerfile {
		return &contextError{path: s.url, what: "is too long for a Dockerfile", hint: "-f names a Dockerfile; an archive is a context"}
	}
	s.page.content = text
	return nil
}
