// SPDX-License-Identifier: Apache-2.0

package emulation_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/mab-build/mab/emulation"
	"github.com/mab-build/mab/platforms"
)

func TestScoreOfTheHost(t *testing.T) {
	got, err := emulation.Score(t.Context(), platforms.Host(), t.TempDir())
	// A program that ends at once would have thousands, an emulator's some ten.
	if err != nil || got < 1 || got > 5000 {
		t.Errorf("%v, %v", got, err)
	}
}

func TestNoScore(t *testing.T) {
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for _, test := range []struct {
		rule, platform string
		want           error
	}{
		{"of what is not Linux", "windows/amd64", errors.ErrUnsupported},
		{"when the caller gives up", platforms.Host().String(), context.Canceled},
	} {
		t.Run(test.rule, func(t *testing.T) {
			if got, err := emulation.Score(over, platforms.MustParse(test.platform), ""); got != 0 || !errors.Is(err, test.want) {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
}

func TestScoreIsNetOfTheStart(t *testing.T) {
	for _, test := range []struct {
		rule            string
		started, worked time.Duration
		want            string
	}{
		{"a second of work", time.Second, 2 * time.Second, "0.26"},
		{"as fast as a CPU does it", 500 * time.Microsecond, 2000 * time.Microsecond, "174.76"},
		{"a clock that is too coarse", 10 * time.Millisecond, 10 * time.Millisecond, "0.00"},
		{"a clock that goes backwards", 2 * time.Second, time.Second, "0.00"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			if got := fmt.Sprintf("%.2f", emulation.ScoreOf(test.started, test.worked)); got != test.want {
				t.Errorf("%s, want %s", got, test.want)
			}
		})
	}
}

// TestWrongWorkIsTold has a multiplier off by two bits.
func TestWrongWorkIsTold(t *testing.T) {
	p := platforms.MustParse("linux/amd64")
	path := work(t, p, func(image []byte) {
		at := bytes.Index(image, []byte{0x0d, 0x66, 0x19, 0x00})
		if at < 0 {
			t.Fatal("no multiplier")
		}
		image[at] ^= 0x06
	})
	if got := status(t, qemu(t, "x86_64"), path); got != emulation.WorkFailed {
		t.Errorf("status %d", got)
	}
}

func BenchmarkScore(b *testing.B) {
	for b.Loop() {
		score, err := emulation.Score(b.Context(), platforms.Host(), "")
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(score, "Mrounds/s")
	}
}
