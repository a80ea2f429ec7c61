// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	controlapi "github.com/moby/buildkit/api/services/control"
	gatewaypb "github.com/moby/buildkit/frontend/gateway/pb"

	"github.com/mab-build/mab/emulation"
	"github.com/mab-build/mab/platforms"
)

// tryFile puts the probe of package emulation into an image and runs it.
const tryFile = "FROM scratch\nCOPY probe /probe\nRUN [\"/probe\"]\n"

// Try shows whether the solver builds for this machine's own platform: it sends it a context, and has it read a Dockerfile, make a file
// system and run a tiny program in it, each time anew. The program ends with a status of its own, so that nothing else is taken for
// it; of a step that ends so the solver keeps nothing.
func (c *Client) Try(ctx context.Context) error {
	host := platforms.Host()
	program, ok := emulation.Program(host)
	if !ok {
		return fmt.Errorf("building for %s: there is no program to try it with", host)
	}
	dir, err := os.MkdirTemp("", "mab-try-")
	if err != nil {
		return fmt.Errorf("making a context: %w", err)
	}
	err = errors.Join(
		os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(tryFile), 0o600),
		os.WriteFile(filepath.Join(dir, "probe"), program, 0o700),
	)
	if err != nil {
		return errors.Join(fmt.Errorf("making a context: %w", err), os.RemoveAll(dir))
	}
	ref := newRef()
	_, err = c.Build(ctx, Solve{
		Request:   &Request{Context: dir, Platforms: []platforms.Platform{host}, NoCache: true, Provenance: "false"},
		ref:       ref,
		sharedKey: "mab-try",
	})
	var exit *gatewaypb.ExitError
	switch {
	case err == nil:
		err = errors.New("building: the program ended with status 0, so it was not the one that was to run")
	case errors.As(err, &exit) && exit.ExitCode == emulation.ProgramStatus:
		err = nil
	}
	forgetting := c.forget(ctx, ref)
	if err != nil {
		// A solver that is gone forgets nothing, which would be said twice.
		forgetting = nil
	}
	return errors.Join(err, os.RemoveAll(dir), forgetting)
}

// forgetWait is how long the solver may take to forget a build, also one that was cancelled.
const forgetWait = 5 * time.Second

// forget takes a build out of the solver's history.
func (c *Client) forget(ctx context.Context, ref string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), forgetWait)
	defer cancel()
	_, err := c.bk.ControlClient().UpdateBuildHistory(ctx, &controlapi.UpdateBuildHistoryRequest{Ref: ref, Delete: true})
	if err != nil {
		return fmt.Errorf("taking the build out of the solver's history: %w", err)
	}
	return nil
}
