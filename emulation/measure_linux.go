// SPDX-License-Identifier: Apache-2.0

package emulation

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

const (
	// measureTime is how much CPU time a measurement takes at least, and measureTimes how often it is taken: the best counts.
	measureTime  = 40 * time.Millisecond
	measureTimes = 3
	// Rounds between two looks at the clock.
	floatRounds, callRounds, threadRounds = 1 << 16, 1 << 12, 1 << 8
)

// Measure finds out how fast the running program is, be it under an emulator or not: what of Speeds needs more than a few instructions.
func Measure() (out Speeds, err error) {
	if out.Float, err = rate(3*floatRounds, floats); err != nil {
		return Speeds{}, err
	}
	if out.Syscalls, err = rate(callRounds, calls); err != nil {
		return Speeds{}, err
	}
	if out.Threads, err = rate(2*threadRounds, handOver); err != nil {
		return Speeds{}, err
	}
	return out, nil
}

// rate is how many millions of so many things per call of do are done in a second of CPU time.
func rate(count int, do func() error) (float64, error) {
	most := 0.0
	for range measureTimes {
		began, err := used()
		if err != nil {
			return 0, err
		}
		took, n := time.Duration(0), 0
		for took < measureTime {
			if err := do(); err != nil {
				return 0, err
			}
			now, err := used()
			if err != nil {
				return 0, err
			}
			took, n = now-began, n+count
		}
		most = max(most, float64(n)/1e6/took.Seconds())
	}
	return digits3(most), nil
}

// used is the CPU time of the process.
func used() (time.Duration, error) {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		return 0, fmt.Errorf("asking for the CPU time: %w", err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()), nil
}

func floats() error {
	x, y := 1.5, 2.5
	for range floatRounds {
		x = x*1.0000001 + 0.25
		y /= 1.0000003
	}
	if x <= y {
		return fmt.Errorf("%v is not more than %v", x, y)
	}
	return nil
}

func calls() error {
	for range callRounds {
		_, _, _ = unix.RawSyscall(unix.SYS_GETPPID, 0, 0, 0) // It always succeeds.
	}
	return nil
}

// handOver has two threads take turns, each asleep in the kernel until the other wakes it.
func handOver() error {
	var turns [2]uint32
	var group errgroup.Group
	for i := range turns {
		group.Go(func() error {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			mine, other := &turns[i], &turns[1-i]
			for range threadRounds {
				if i == 0 {
					wake(other)
				}
				sleep(mine)
				if i == 1 {
					wake(other)
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// Operations of futex(2), for threads of one process.
const futexWait, futexWake = 128, 129

func sleep(turn *uint32) {
	for !atomic.CompareAndSwapUint32(turn, 1, 0) {
		// It returns at once if the turn has come meanwhile.
		_, _, _ = unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(turn)), futexWait, 0, 0, 0, 0)
	}
}

func wake(turn *uint32) {
	atomic.StoreUint32(turn, 1)
	_, _, _ = unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(turn)), futexWake, 1, 0, 0, 0) // Whether somebody slept does not matter.
}
