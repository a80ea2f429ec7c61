// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"context"
	"errors"
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

// For is a display of one of several builds that are shown at once: its steps are called by the node. A nil Display gives a nil one.
func (d *Display) For(node string) *Display { return d }

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

// Progress tells how far a part of a step is: done of total, in bytes. The same id tells of the same part.
type Progress func(id string, done, total int64)

// Show shows a step of mab's own while do runs, after the steps of the build. The first byte and the last are shown, and in between
// what is worth it: do may report as often as it likes, but from one goroutine.
func (d *Display) Show(ctx context.Context, name string, do func(context.Context, Progress) error) error {
	if d == nil {
		return do(ctx, func(string, int64, int64) {})
	}
	step := &client.Vertex{Digest: digest.FromString("mab " + name), Name: "[mab] " + name}
	status := make(chan *client.SolveStatus)
	var group errgroup.Group
	group.Go(func() error { return d.follow(ctx, status) })
	began := time.Now()
	step.Started = &began
	tell := func(parts ...*client.VertexStatus) {
		copied := *step
		status <- &client.SolveStatus{Vertexes: []*client.Vertex{&copied}, Statuses: parts}
	}
	tell()
	parts := map[string]*part{}
	err := do(ctx, func(id string, done, total int64) {
		p, ok := parts[id]
		if !ok {
			p = &part{began: time.Now()}
			parts[id] = p
		}
		if s := p.status(step.Digest, id, done, total); s != nil {
			tell(s)
		}
	})
	ended := time.Now()
	step.Completed = &ended
	if err != nil {
		step.Error = err.Error()
	}
	tell()
	close(status)
	return errors.Join(err, group.Wait())
}

// part is one part of a step that is shown.
type part struct{ began, shown time.Time }

// status is what is to be shown of a part; nil: nothing new.
func (p *part) status(step digest.Digest, id string, done, total int64) *client.VertexStatus {
	now := time.Now()
	if done < total && now.Sub(p.shown) < 100*time.Millisecond {
		return nil
	}
	p.shown = now
	out := &client.VertexStatus{ID: id, Vertex: step, Name: id, Current: done, Total: total, Timestamp: now, Started: &p.began}
	if done >= total {
		out.Completed = &now
	}
	return out
}

func newRef() string { return identity.NewID() }
