// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/identity"
	"github.com/moby/buildkit/util/progress/progressui"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
)

// Display shows the progress of builds in one of the modes of `docker buildx build --progress`. A nil Display shows nothing. It is safe
// for several builds at once; For keeps their steps apart.
type Display struct {
	screen *screen
	// node is the name that steps are called by; empty: none.
	node string
}

// screen is what several displays show on.
type screen struct {
	inner progressui.Display

	mu sync.Mutex
	// open is how many look on now, and feed leads to what they see.
	open  int
	feed  chan *client.SolveStatus
	group errgroup.Group
	// waiting is what came while nobody looked.
	waiting []*client.SolveStatus
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
	return &Display{screen: &screen{inner: inner}}, nil
}

// For is a display of one of several builds that are shown at once, that of a node: its steps are called by the node's name, and are no
// other node's even where they are equal. It shows on the same screen and has no life of its own. A nil Display gives a nil one, and
// an empty name the Display itself.
func (d *Display) For(node string) *Display {
	if d == nil || node == "" {
		return d
	}
	return &Display{screen: d.screen, node: node}
}

// Open keeps the screen until it is closed again: builds that come one after the other, or at once, are shown on one, with what is noted in
// between. Without it each build, or all that overlap, has one to itself. Close waits until everything is shown; it is to be called
// once, when no build is under way that should be seen.
func (d *Display) Open() (stop func() error) {
	if d == nil {
		return func() error { return nil }
	}
	d.screen.show()
	return d.screen.leave
}

// show begins to show if nobody looked before, with what has waited for it.
func (s *screen) show() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open++
	if s.open > 1 {
		return
	}
	feed := make(chan *client.SolveStatus)
	s.feed = feed
	s.group = errgroup.Group{}
	s.group.Go(func() error {
		// Not the builds' context: the screen still shows how the steps of a cancelled one ended.
		_, err := s.inner.UpdateFrom(context.Background(), feed)
		return err
	})
	for _, status := range s.waiting {
		feed <- status
	}
	s.waiting = nil
}

// leave ends the showing if nobody else looks.
func (s *screen) leave() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open--
	if s.open > 0 {
		return nil
	}
	close(s.feed)
	return s.group.Wait()
}

func (s *screen) send(status *client.SolveStatus) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == 0 {
		s.waiting = append(s.waiting, status)
		return
	}
	s.feed <- status
}

// follow shows everything that comes, has see look at it, too, and returns when the channel is closed.
func (d *Display) follow(status <-chan *client.SolveStatus, see func(*client.SolveStatus)) error {
	if d == nil {
		for s := range status {
			see(s)
		}
		return nil
	}
	stop := d.Open()
	steps := newNodeSteps(d.node)
	for s := range status {
		see(s)
		d.screen.send(steps.rename(s, time.Now()))
	}
	if rest := steps.unfinished(time.Now()); rest != nil {
		d.screen.send(rest)
	}
	return stop()
}

// Note shows each line as a step of mab's own that is already done, at once, or as soon as something is shown. The names of steps stay on
// a terminal, where logs go as soon as a step is done.
func (d *Display) Note(lines []string) {
	if d == nil || len(lines) == 0 {
		return
	}
	now := time.Now()
	var out client.SolveStatus
	for i, line := range lines {
		// What ended at the same time is shown in any order.
		step, at := d.ownStep(line), now.Add(time.Duration(i)*time.Microsecond)
		step.Started, step.Completed = &at, &at
		out.Vertexes = append(out.Vertexes, step)
	}
	d.screen.send(&out)
}

// ownStep is a step of mab's own.
func (d *Display) ownStep(name string) *client.Vertex {
	return &client.Vertex{Digest: nodeDigest(d.node, digest.FromString("mab "+name)), Name: nodeName(d.node, "[mab] "+name)}
}

// Progress tells how far a part of a step is: done of total, in bytes. The same id tells of the same part.
type Progress func(id string, done, total int64)

// Show shows a step of mab's own while do runs, after the steps of the build. The first byte and the last are shown, and in between
// what is worth it: do may report as often as it likes, but from one goroutine. Several may be shown at once.
func (d *Display) Show(ctx context.Context, name string, do func(context.Context, Progress) error) error {
	if d == nil {
		return do(ctx, func(string, int64, int64) {})
	}
	step, stop := d.ownStep(name), d.Open()
	began := time.Now()
	step.Started = &began
	tell := func(parts ...*client.VertexStatus) {
		copied := *step
		d.screen.send(&client.SolveStatus{Vertexes: []*client.Vertex{&copied}, Statuses: parts})
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
	return errors.Join(err, stop())
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
