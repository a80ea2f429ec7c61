// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"syscall"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"

	"github.com/mab-build/mab/emulation"
	"github.com/mab-build/mab/platforms"
)

// evidence is what was seen of a build while it was under way. A nil one takes nothing in.
type evidence struct {
	// targets are the graphs, if anybody wanted to see them.
	targets []Target
	// origins are the steps of targets as they are known to others. Nil: as they are here.
	origins origins

	mu    sync.Mutex
	steps map[digest.Digest]*heard
	// here tells that what is written on this machine found no room.
	here bool
	// late is the step that was stopped because it took too long.
	late *overdueError
}

// testimony is what the output of a step told of the reasons for its end.
type testimony struct {
	// crash is QEMU's word of a crash; noRoom is anybody's of a full disk; notStarted is runc's that it started nothing.
	crash, noRoom, notStarted bool
	// trouble are words of a known fault of QEMU's.
	trouble string
}

type heard struct {
	testimony
	// end is the last that was read: words may come in two parts.
	end string
}

// wordLength is more than the longest of the words that are listened for has.
const wordLength = 40

// given takes over what is solved in place of what a frontend would have made.
func (e *evidence) given(targets []Target, steps origins) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.targets, e.origins = targets, steps
}

// see listens to what steps write.
func (e *evidence) see(s *client.SolveStatus) {
	if e == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, l := range s.Logs {
		h := e.steps[l.Vertex]
		if h == nil {
			if e.steps == nil {
				e.steps = map[digest.Digest]*heard{}
			}
			h = &heard{}
			e.steps[l.Vertex] = h
		}
		text := h.end + string(l.Data)
		// linux-user/signal.c of QEMU.
		h.crash = h.crash || strings.Contains(text, "qemu: uncaught target signal")
		h.noRoom = h.noRoom || saysNoRoom(text)
		h.notStarted = h.notStarted || strings.Contains(text, "runc run failed: ")
		if h.trouble == "" {
			h.trouble = emulation.Telling(text)
		}
		h.end = text[max(0, len(text)-wordLength):]
	}
}

// of is what was heard of a step, and whether there was no room on this machine.
func (e *evidence) of(step digest.Digest) (seen testimony, here bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if h := e.steps[step]; h != nil {
		seen = h.testimony
	}
	return seen, e.here
}

// platform is the one whose code a step runs.
func (e *evidence) platform(step digest.Digest) platforms.Platform {
	for _, t := range e.targets {
		for _, raw := range t.Definition.GetDef() {
			if step == "" || digest.FromBytes(raw) != step {
				continue
			}
			var op pb.Op
			if op.UnmarshalVT(raw) == nil && op.Platform != nil {
				return platforms.FromOCI(op.Platform.Spec())
			}
		}
	}
	return platforms.Platform{}
}

// explain finds what a user needs in BuildKit's error and in what was seen.
func (c *Client) explain(ctx context.Context, err error, s *Solve) error {
	out := explain(ctx, err)
	var f *Failure
	if !errors.As(out, &f) {
		return out
	}
	if late := s.evidence.overdue(); late != nil {
		f = &Failure{err: late, Step: late.step}
		out = f
	}
	// What tells of a step came before the end.
	f.lost = c.link.lost() && f.Step == ""
	f.seen, f.here = s.evidence.of(f.Step)
	for _, e := range s.Exports {
		for _, dir := range []string{e.Blobs, e.Dir} {
			f.here = f.here || dir != "" && strings.Contains(err.Error(), dir)
		}
	}
	f.Platform = s.evidence.platform(f.Step)
	f.Step = s.evidence.origins.of(f.Step)
	if survey := c.survey.Load(); survey != nil {
		f.emulated = emulated(*survey, f.Platform)
		f.qemu = emulatorOf(*survey, f.Platform)
	}
	return out
}

// emulated reports whether programs of p run there, and none of them natively.
func emulated(survey []emulation.Support, p platforms.Platform) bool {
	out := false
	for _, s := range survey {
		if !s.Platform.Covers(p) {
			continue
		}
		if s.How == emulation.Native {
			return false
		}
		out = out || s.How == emulation.Emulated
	}
	return out
}

// emulatorOf is the version of QEMU that runs programs of p there; empty: it is not known.
func emulatorOf(survey []emulation.Support, p platforms.Platform) string {
	for _, s := range survey {
		if s.How == emulation.Emulated && s.Platform.Covers(p) {
			return s.Version
		}
	}
	return ""
}

// observed is a result that is written on this machine.
type observed struct {
	io.WriteCloser
	seen *evidence
}

// Write writes.
func (o observed) Write(p []byte) (int, error) {
	n, err := o.WriteCloser.Write(p)
	o.seen.wrote(err)
	return n, err
}

// Close closes.
func (o observed) Close() error {
	err := o.WriteCloser.Close()
	o.seen.wrote(err)
	return err
}

func (e *evidence) wrote(err error) {
	if e == nil || !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.here = true
}
