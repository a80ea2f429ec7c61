// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"bytes"
	"context"
	"os"
	"sync"
	"time"
)

// patience is how long something is waited for that goes on.
type patience struct {
	each  time.Duration
	timer *time.Timer
	stop  context.CancelCauseFunc
}

// withPatience returns a context that ends with os.ErrDeadlineExceeded once nothing went on for so long. The caller calls end.
func withPatience(ctx context.Context, each time.Duration) (context.Context, *patience) {
	ctx, cancel := context.WithCancelCause(ctx)
	return ctx, &patience{each, time.AfterFunc(each, func() { cancel(os.ErrDeadlineExceeded) }), cancel}
}

// on says that it goes on.
func (p *patience) on() { p.timer.Reset(p.each) }

// forGood says that it may take as long as it likes from now on.
func (p *patience) forGood() { p.timer.Stop() }

// end ends the context.
func (p *patience) end() {
	p.timer.Stop()
	p.stop(nil)
}

// said keeps what a machine says: at most so much of it, and more is an error. It is safe for several goroutines.
type said struct {
	most int
	// answered is called once the mab there says something. Nil: nobody wants to know.
	answered func()

	mu   sync.Mutex
	text bytes.Buffer
}

// Write takes everything, or what fits and fails.
func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := min(len(p), s.most-s.text.Len())
	before := max(0, s.text.Len()-len(Mark))
	_, _ = s.text.Write(p[:n])
	if s.answered != nil && (bytes.HasPrefix(s.text.Bytes(), []byte(Mark)) || bytes.Contains(s.text.Bytes()[before:], []byte("\n"+Mark))) {
		s.answered()
		s.answered = nil
	}
	if n < len(p) {
		return n, errTooMuch
	}
	return n, nil
}

// String is what was said until now.
func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}
