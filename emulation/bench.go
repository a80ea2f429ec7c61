// SPDX-License-Identifier: Apache-2.0

package emulation

import (
	"math"

	"github.com/opencontainers/go-digest"

	"github.com/mab-build/mab/platforms"
)

// Speeds are how fast programs run, per second of CPU time of all their threads. Zero: not measured.
type Speeds struct {
	// Integer is as Score's: millions of rounds of a loop as compilers have it, without the start of a program.
	Integer float64 `json:"integer"`
	// Exec is how many programs are started, and end at once.
	Exec float64 `json:"exec"`
	// Float is millions of multiplications, additions and divisions of 64-bit numbers.
	Float float64 `json:"float"`
	// Syscalls is millions of calls of the kernel that do nothing.
	Syscalls float64 `json:"syscalls"`
	// Threads is millions of times that one thread wakes another and sleeps until it is woken.
	Threads float64 `json:"threads"`
}

// Measured is how fast the programs of a platform run under one emulator, or natively.
type Measured struct {
	Platform platforms.Platform `json:"platform"`
	// Emulator is the path of its file, Version QEMU's and Digest that of the file. Empty: natively.
	Emulator string        `json:"emulator"`
	Version  string        `json:"version"`
	Digest   digest.Digest `json:"digest"`
	Speeds
	// Relative is the geometric mean of the speeds that were measured, each in relation to the machine's own: 0.1 is ten times as slow.
	Relative float64 `json:"relative"`
	// Problem says why the emulator could not be measured. Empty: it was.
	Problem string `json:"problem,omitempty"`
}

// Values are the speeds in the order of their names: integer, exec, float, syscalls, threads.
func (s Speeds) Values() [5]float64 {
	return [...]float64{s.Integer, s.Exec, s.Float, s.Syscalls, s.Threads}
}

// best has the better of each.
func (s Speeds) best(o Speeds) Speeds {
	return Speeds{
		Integer: max(s.Integer, o.Integer), Exec: max(s.Exec, o.Exec), Float: max(s.Float, o.Float),
		Syscalls: max(s.Syscalls, o.Syscalls), Threads: max(s.Threads, o.Threads),
	}
}

// relativeTo is the geometric mean of what both have; 0 if that is nothing.
func (s Speeds) relativeTo(own Speeds) float64 {
	sum, n := 0.0, 0
	others := own.Values()
	for i, v := range s.Values() {
		if v > 0 && others[i] > 0 {
			sum += math.Log(v / others[i])
			n++
		}
	}
	if n == 0 {
		return 0
	}
	return math.Exp(sum / float64(n))
}
