// SPDX-License-Identifier: Apache-2.0

package nodes_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mab-build/mab/nodes"
)

// pipe is a machine behind a link with a round trip and so many bytes per second each way.
type pipe struct {
	trip     time.Duration
	up, down float64
	// short is how many bytes less than asked for come, and broken how the commands fail.
	short  int64
	broken error
	// sent and came are the bytes that went each way, and sizes those of each command.
	sent, came int64
	sizes      []int64
	// slow is what the nth command takes longer.
	slow map[int]time.Duration
}

func (p *pipe) Run(ctx context.Context, line string, stdin io.Reader, stdout, _ io.Writer) error {
	if p.broken != nil {
		return p.broken
	}
	size, err := io.Copy(io.Discard, stdin)
	if err != nil {
		return err
	}
	took := float64(size) / p.up
	p.sent += size
	if line != "cat >/dev/null" {
		var block, count int64
		if _, err := fmt.Sscanf(line, "dd if=/dev/zero bs=%d count=%d", &block, &count); err != nil {
			return err
		}
		size = max(0, block*count-p.short)
		took += float64(size) / p.down
		p.came += size
	}
	p.sizes = append(p.sizes, size)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(p.slow[len(p.sizes)] + 3*p.trip + time.Duration(took*1e9)):
	}
	_, err = io.CopyN(stdout, strings.NewReader(strings.Repeat("\x00", int(size))), size)
	return err
}

func TestBandwidth(t *testing.T) {
	for _, test := range []struct {
		rule     string
		trip     time.Duration
		up, down float64
		most     int64         // bytes that go one way at most
		within   time.Duration // all of it
	}{
		{"20 Mbit/s over 100 ms", 100 * time.Millisecond, 2.5e6, 2.5e6, 2 << 20, 3700 * time.Millisecond},
		{"a fast network", 200 * time.Microsecond, 280e6, 240e6, 64 << 20, time.Second},
		{"a slow way up", 30 * time.Millisecond, 125e3, 12e6, 8 << 20, 3 * time.Second},
		{"too slow for more than a block", time.Millisecond, 7e3, 7e3, 128 << 10, 20 * time.Second},
		{"no delay to speak of", 0, 5e9, 5e9, 64 << 20, time.Second},
	} {
		t.Run(test.rule, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &pipe{trip: test.trip, up: test.up, down: test.down}
				began := time.Now()
				up, down, err := nodes.BandwidthOver(t.Context(), p)
				if err != nil || math.Abs(up/test.up-1) > 0.01 || math.Abs(down/test.down-1) > 0.01 {
					t.Errorf("%.0f up, %.0f down, %v", up, down, err)
				}
				if took := time.Since(began); took > test.within || p.sent > test.most || p.came > test.most {
					t.Errorf("it took %s, and %v bytes", took, p.sizes)
				}
			})
		})
	}
}

func TestBandwidthOfABusyMachine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// The first block up and the first empty command down wait for a CPU.
		p := &pipe{up: 10e6, down: 10e6, slow: map[int]time.Duration{2: 300 * time.Millisecond, 6: 300 * time.Millisecond}}
		up, down, err := nodes.BandwidthOver(t.Context(), p)
		if err != nil || math.Abs(up/10e6-1) > 0.02 || math.Abs(down/10e6-1) > 0.02 {
			t.Errorf("%.0f up, %.0f down, %v; %v", up, down, err, p.sizes)
		}
	})
}

func TestNoBandwidth(t *testing.T) {
	for _, test := range []struct {
		rule string
		pipe pipe
		want string
	}{
		{"a shell that has no cat", pipe{broken: errors.New("exit code 127")}, "measuring the bandwidth to it: exit code 127"},
		{"a link too slow for one block", pipe{up: 100, down: 100}, "measuring the bandwidth to it: context deadline exceeded"},
		{"a dd that counts otherwise", pipe{up: 1e6, down: 1e6, short: 1}, "measuring the bandwidth from it: 65535 bytes of 65536 came"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if up, down, err := nodes.BandwidthOver(t.Context(), &test.pipe); err == nil || err.Error() != test.want || up+down != 0 {
					t.Errorf("%v, %v, %v", up, down, err)
				}
			})
		})
	}
	if up, down, err := nodes.DirectTo(nodes.Entry{URL: "unix:///nowhere"}).Bandwidth(t.Context()); up+down != 0 || err != nil {
		t.Errorf("without a link: %v, %v, %v", up, down, err)
	}
}

func TestBandwidthEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
		defer cancel()
		// By then it has a first rate already.
		_, _, err := nodes.BandwidthOver(ctx, &pipe{up: 1e6, down: 1e6})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
}
