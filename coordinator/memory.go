// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/nodes"
)

// memory is what builds of this machine know of each other: what took how long, and who uses which node now. The zero value knows nothing
// and keeps nothing.
type memory struct {
	file *HistoryFile
	// key is that of all requests together, and keys those of each by its name; with one alone they are the same.
	key    string
	keys   map[string]string
	known  History
	claims *Claims
	// seed chooses between equal nodes: for this build on this machine always the same, for others others.
	seed uint64
}

// remember opens the memory of the requests' earlier builds. Whatever goes wrong with it is no reason not to build.
func (c *Coordinator) remember(list []*commission) memory {
	state, err := c.cfg.Attach.State.Resolve()
	if err != nil {
		return memory{}
	}
	out := memory{keys: map[string]string{}, claims: OpenClaims(filepath.Join(state.Runtime, "claims"))}
	for _, of := range list {
		out.keys[of.name] = BuildKey(*of.request)
	}
	out.key = keyOf(list)
	host, _ := os.Hostname() // Without one, machines may choose alike.
	sum := sha256.Sum256([]byte(host + "\x00" + out.key))
	out.seed = binary.BigEndian.Uint64(sum[:])
	if out.file, err = OpenHistory(state.Root); err != nil {
		c.cfg.Note("what builds take is not remembered: " + err.Error())
		return out
	}
	if err := out.recall(); err != nil {
		c.cfg.Note("what earlier builds took is not known: " + err.Error())
	}
	return out
}

// keyOf is the key of what several requests have together.
func keyOf(list []*commission) string {
	if len(list) == 1 {
		return BuildKey(*list[0].request)
	}
	sum := sha256.New()
	for _, of := range list {
		_, _ = sum.Write([]byte(BuildKey(*of.request)))
	}
	return hex.EncodeToString(sum.Sum(nil)[:12])
}

// recall reads the histories: what each request took, and what all took together, which each has in another way if it is built alone.
func (m *memory) recall() (err error) {
	if len(m.keys) == 1 {
		m.known, err = m.file.Read(m.key)
		return err
	}
	if m.known, err = m.file.Read(m.key); err != nil {
		return err
	}
	for _, name := range sortedNames(m.keys) {
		own, err := m.file.Read(m.keys[name])
		if err != nil {
			return err
		}
		for _, r := range own.Records {
			if r.Portion != PortionShared {
				r.Target = name
				m.known.Records = append(m.known.Records, r)
			}
		}
	}
	slices.SortStableFunc(m.known.Records, func(a, b Record) int { return a.When.Compare(b.When) })
	return nil
}

// plan calls make with how many builds of this machine each node has been given, and tells the others what it was given now.
func (m *memory) plan(ctx context.Context, make func(claimed map[string]int) (*Plan, error)) (plan *Plan, err error) {
	if m.claims == nil {
		return make(nil)
	}
	err = m.claims.With(ctx, func(claimed map[string]int) (map[string]int, error) {
		if plan, err = make(claimed); err != nil {
			return nil, err
		}
		return nodesOf(plan.Assignments, plan.Portions), nil
	})
	return plan, err
}

// made is a part of the cut that was made, for keep.
type made struct {
	part *crossbuild.Part
	node nodes.Node
	took time.Duration
	// steps is how many steps were done for it, and cached how many of them were in the cache.
	steps, cached int
	// bytes is how much there is to carry to a node.
	bytes int64
}

// record adds up what the parts of each portion took. They are made at once, so that a portion took as long as the longest of them.
func (p *Plan) record(parts []made, when time.Time) []Record {
	var out []Record
	for i := range p.Portions {
		portion := &p.Portions[i]
		r := PortionRecord(nodes.Node{}, p.Build, *portion, 0, when)
		steps, cached := 0, 0
		for _, m := range parts {
			if p.portion(m.part) != portion {
				continue
			}
			r.Node, r.URL = m.node.Name, m.node.URL
			r.Seconds = max(r.Seconds, m.took.Seconds())
			steps, cached = steps+m.steps, cached+m.cached
			if r.Travelled == nil {
				r.Travelled = map[string]int64{}
			}
			r.Travelled[TravelKey(m.part.Step.Name, m.part.Paths)] = m.bytes
		}
		if r.Travelled == nil {
			continue
		}
		r.Cached = float64(cached) / float64(max(steps, 1))
		out = append(out, r)
	}
	return out
}

// keep adds what the tasks of a build took, and the parts that were made for others.
func (m *memory) keep(plan *Plan, tasks []*outcome, parts ...made) error {
	if m.file == nil {
		return nil
	}
	now := time.Now()
	list := plan.record(parts, now)
	for _, o := range tasks {
		var own []Assignment
		for _, a := range plan.Assignments {
			if o.task.has(a.goal()) {
				own = append(own, a)
			}
		}
		cached := 0.0
		if o.solved.Steps > 0 {
			cached = float64(o.solved.Cached) / float64(o.solved.Steps)
		}
		list = append(list, Records(o.task.member.Node, own, o.took, cached, now)...)
	}
	for i := range list {
		list[i].Build = plan.Build
	}
	return m.add(list)
}

// add adds records, each to the history of the request that it is of; what several share, to that of all.
func (m *memory) add(list []Record) error {
	of := map[string][]Record{}
	for _, r := range list {
		key := m.key
		if r.Portion != PortionShared {
			key = m.keys[r.Target]
		}
		of[key] = append(of[key], r)
	}
	for _, key := range sortedNames(of) {
		if err := m.file.Add(key, of[key]); err != nil {
			return err
		}
	}
	return nil
}

// tell tells the builds of this machine which nodes this one uses from now on.
func (m *memory) tell(list []Assignment, portions ...Portion) {
	if m.claims != nil {
		m.claims.Change(nodesOf(list, portions))
	}
}

// nodesOf is how many of the assignments and portions each node has.
func nodesOf(list []Assignment, portions []Portion) map[string]int {
	out := map[string]int{}
	for _, a := range list {
		out[a.Node]++
	}
	for _, p := range portions {
		out[p.Node]++
	}
	return out
}

// close gives back what was claimed.
func (m *memory) close() {
	if m.claims != nil {
		m.claims.Close()
	}
}
