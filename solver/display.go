// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/identity"
	"github.com/moby/buildkit/util/progress/progressui"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
)

// Display shows the progress of a build in one of the modes of `docker buildx build --progress`. A nil Display shows nothing.
// It shows one build at a time.
type Display struct {
	inner progressui.Display
	notes chan *client.SolveStatus
}

// NewDisplay shows progress on w: auto (tty if w is one, else plain), plain, tty, rawjson or quiet.
func NewDisplay(w io.Writer, mode string) (*Display, error) {
	switch mode {
	case "auto", "plain", "tty", "rawjson", "quiet", "none":
	default:
		return nil, &usageError{"--progress " + quote(mode), "choose auto, plain, tty, rawjson or quiet"}
	}
	if mode == "none" {
		mode = "quiet"
	}
	inner, err := progressui.NewDisplay(w, progressui.DisplayMode(mode))
	if err != nil {
		return nil, fmt.Errorf("showing progress as %s: %w", mode, err)
	}
	return &Display{inner: inner, notes: make(chan *client.SolveStatus, 16)}, nil
}

// follow shows everything that comes, and returns when the channel is closed. It goes on when the build was cancelled: the
// display still shows how the steps ended.
func (d *Display) follow(ctx context.Context, status <-chan *client.SolveStatus) error {
	if d == nil {
		for range status {
			continue
		}
		return nil
	}
	all := make(chan *client.SolveStatus)
	group := errgroup.Group{}
	group.Go(func() error {
		_, err := d.inner.UpdateFrom(context.WithoutCancel(ctx), all)
		return err
	})
	d.pump(status, all)
	return group.Wait()
}

// pump passes status on until it is closed, with notes in between.
func (d *Display) pump(status <-chan *client.SolveStatus, all chan<- *client.SolveStatus) {
	defer close(all)
	for {
		select {
		case note := <-d.notes:
			all <- note
		case s, ok := <-status:
			if !ok {
				d.flush(all)
				return
			}
			all <- s
		}
	}
}

// flush passes on the notes that the last status overtook.
func (d *Display) flush(all chan<- *client.SolveStatus) {
	for {
		select {
		case note := <-d.notes:
			all <- note
		default:
			return
		}
	}
}

// note shows each line as a step of mab's own that is already done. Their names stay on a terminal, where logs go as soon as a step
// is done.
func (d *Display) note(lines []string) {
	if d == nil || len(lines) == 0 {
		return
	}
	now := time.Now()
	var out client.SolveStatus
	for _, line := range lines {
		out.Vertexes = append(out.Vertexes, &client.Vertex{
			Digest: digest.FromString("mab " + line), Name: "[mab] " + line, Started: &now, Completed: &now,
		})
	}
	d.notes <- &out
}

func newRef() string { return identity.NewID() }
