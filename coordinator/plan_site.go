// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/nodes"
	"github.com/mab-build/mab/platforms"
)

const (
	// defaultSlots is the most that a node gets whose user named none.
	defaultSlots = 4
	// scarce is how many free bytes a node has at least whose disk is not called nearly full, and scarcity how many times as long a build is
	// taken to need there, where what was built before has to go to make room.
	scarce   = 2 << 30
	scarcity = 4
	// crowding is how much slower a build becomes by others, up to all slots of the node being taken: its disk and its link are theirs, too.
	crowding = 0.25
)

// site is a node while a plan fills it.
type site struct {
	node *nodes.Node
	// class is equal for sites that run the same in the same way.
	class int
	// endpoint is equal for sites that are the same machine, and the place of the first of them.
	endpoint int
	// builds is whether it runs the build platform natively.
	builds bool
	// speeds are by the planner's number of a platform.
	speeds []speed
	// free is when each of its slots is, in seconds from now, once load has been called; next is the first of them.
	free []float64
	next float64
	// busy is how many platforms of other builds it has, and own how many of this one.
	busy, own int
	// note is what notes said last, when there were noted-1 of this build; zero: never.
	note  string
	noted int
	// rank orders sites that are equal.
	rank uint64
	// away is 0 for this machine, and 1 for others; full is whether the node's disk is nearly so. One that says nothing of its disk has room.
	away int
	full bool
	// without are the exclusions that name it.
	without []Exclusion
	// measured is what the history knows of it, as measurement finds it. Nil: none.
	measured []float64
}

func newSite(n *nodes.Node, s *Situation) site {
	out := site{node: n, busy: max(n.Info.Running, s.Claimed[n.Name], 0), free: make([]float64, slots(n))}
	if n.URL != nodes.Local {
		out.away = 1
	}
	m := &n.Info.Machine
	out.full = m.Free < scarce && (m.Free > 0 || m.Disk > 0)
	if s.Seed != 0 {
		sum := sha256.Sum256(binary.BigEndian.AppendUint64([]byte(n.Name), s.Seed))
		out.rank = binary.BigEndian.Uint64(sum[:])
	}
	for _, e := range s.Without {
		if e.Node == n.Name {
			out.without = append(out.without, e)
		}
	}
	return out
}

// measurement is how many seconds each second of work of a subject, by the planner's number, took there by a strategy; zero if that is not
// known.
func (s *site) measurement(subject int, strategy crossbuild.Strategy) float64 {
	if s.measured == nil {
		return 0
	}
	return s.measured[subject*len(costs)+int(strategy)]
}

// slots is how many platforms a node builds at once without each being slower.
func slots(n *nodes.Node) int {
	if n.Slots > 0 {
		return n.Slots
	}
	return max(1, min(n.Info.Machine.CPUs, defaultSlots))
}

// load takes it that each other build of the node is to go on for so many seconds.
func (s *site) load(seconds float64) {
	for range min(s.busy, maxQueue*len(s.free)) {
		s.put(seconds)
	}
}

// maxQueue is how many builds a slot is taken to have before it at most: what is beyond changes no decision.
const maxQueue = 100

// put adds a build to the slot that is free first.
func (s *site) put(seconds float64) {
	s.free[s.first()] += seconds
	s.next = s.free[s.first()]
}

func (s *site) first() int {
	at := 0
	for i, when := range s.free {
		if when < s.free[at] {
			at = i
		}
	}
	return at
}

// crowd is how many builds it has for each of its slots.
func (s *site) crowd() float64 { return float64(s.busy+s.own) / float64(len(s.free)) }

// busyFor is for how long a build that takes so many seconds occupies a slot, among so many others for each slot.
func (s *site) busyFor(seconds, crowd float64) float64 {
	if s.full {
		seconds *= scarcity
	}
	return seconds * (1 + crowding*min(1, crowd))
}

// take adds a build that is done then.
func (s *site) take(finish float64) {
	s.free[s.first()] = finish
	s.next = s.free[s.first()]
	s.own++
}

// vacant is how many of its slots are free.
func (s *site) vacant() int { return max(0, len(s.free)-s.busy-s.own) }

// start is how many seconds pass until the node has what it needs, beyond what a local one takes. The context, which has so many bytes, is
// sent once.
func (s *site) start(context float64) float64 {
	if s.away == 0 {
		return 0
	}
	wait := roundTrips * max(s.node.Info.Latency, 0)
	if s.own == 0 && s.node.Info.Up > 0 {
		wait += context / s.node.Info.Up
	}
	return wait
}

// excluded tells whether and why the node is not to be used for a platform by a strategy.
func (s *site) excluded(goal Goal, how crossbuild.Strategy) (why string, out bool) {
	for _, e := range s.without {
		if (e.Any || how != 0 && e.Strategy == how) && (e.Platform == platforms.Platform{} || e.Platform == goal.Platform) &&
			(e.Target == "" || e.Target == goal.Target) {
			return e.Why, true
		}
	}
	return "", false
}
