// SPDX-License-Identifier: Apache-2.0

package link

import (
	"os"
	"sync"
	"time"
)

// ringSize holds a few of SSH's packets, so that who fills and who empties seldom wait for each other.
const ringSize = 128 << 10

// ring is bytes on their way between a user, who has deadlines, and a channel, which has none. One side fills it and one empties it; which
// of them is the user's depends on the direction: Read and Write are his, the other methods the channel's.
type ring struct {
	mu   sync.Mutex
	cond sync.Cond
	// What is in it are size bytes from start on, in a circle.
	data        []byte
	start, size int
	// err ends it: at once if broken, else for who empties it when all is out.
	err    error
	broken bool
	// until is the user's deadline.
	until time.Time
	timer *time.Timer
}

func newRing() *ring {
	r := &ring{data: make([]byte, ringSize)}
	r.cond.L = &r.mu
	return r
}

// Read takes what is there, and waits for the first byte.
func (r *ring) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(p) > 0 && r.size == 0 && r.err == nil && !r.late() {
		r.cond.Wait()
	}
	switch {
	case r.broken:
		return 0, r.err
	case len(p) == 0:
		return 0, nil
	case r.late():
		return 0, os.ErrDeadlineExceeded
	case r.size == 0:
		return 0, r.err
	}
	n := copy(p, r.data[r.start:min(r.start+r.size, len(r.data))])
	r.take(n)
	if more := copy(p[n:], r.data[r.start:min(r.start+r.size, len(r.data))]); more > 0 {
		r.take(more)
		n += more
	}
	return n, nil
}

// Write puts all of p in, and waits where it is full.
func (r *ring) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for n := 0; ; {
		for r.size == len(r.data) && r.err == nil && !r.late() {
			r.cond.Wait()
		}
		switch {
		case r.err != nil:
			return n, r.err
		case r.late():
			return n, os.ErrDeadlineExceeded
		case n == len(p):
			return n, nil
		}
		some := copy(r.gap(), p[n:])
		r.put(some)
		if n += some; n == len(p) {
			return n, nil
		}
	}
}

// free waits for room and lends it. It is the lender's again with put.
func (r *ring) free() ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.size == len(r.data) && r.err == nil {
		r.cond.Wait()
	}
	if r.err != nil {
		return nil, r.err
	}
	return r.gap(), nil
}

// fill puts in the first n bytes of what free lent.
func (r *ring) fill(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.put(n)
}

// full waits for bytes and lends them. They go with drop.
func (r *ring) full() ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.size == 0 && r.err == nil {
		r.cond.Wait()
	}
	if r.broken || r.size == 0 {
		return nil, r.err
	}
	return r.data[r.start:min(r.start+r.size, len(r.data))], nil
}

// drop takes out the first n bytes of what full lent.
func (r *ring) drop(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.take(n)
}

// gap is the room that is in one piece. Only who fills the ring may call it.
func (r *ring) gap() []byte {
	if r.size == 0 {
		r.start = 0
	}
	end := r.start + r.size
	if end >= len(r.data) {
		return r.data[end-len(r.data) : r.start]
	}
	return r.data[end:]
}

func (r *ring) put(n int) {
	r.size += n
	r.cond.Broadcast()
}

func (r *ring) take(n int) {
	r.start = (r.start + n) % len(r.data)
	r.size -= n
	r.cond.Broadcast()
}

// end says that nothing more comes; who empties it gets err after the rest. The first end or break counts.
func (r *ring) end(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = err
	}
	r.cond.Broadcast()
}

// fail ends it at once for both sides, even after end.
func (r *ring) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.broken {
		r.err, r.broken = err, true
	}
	r.cond.Broadcast()
}

func (r *ring) late() bool { return !r.until.IsZero() && !time.Now().Before(r.until) }

// deadline is when the user stops to wait; zero: never. It counts for a call that waits already.
func (r *ring) deadline(t time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.timer != nil {
		r.timer.Stop()
	}
	if r.until = t; !t.IsZero() {
		r.timer = time.AfterFunc(time.Until(t), func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.cond.Broadcast()
		})
	}
	r.cond.Broadcast()
}
