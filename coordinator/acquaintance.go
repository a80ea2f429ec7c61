// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"time"

	"github.com/mab-build/mab/nodes"
	"github.com/mab-build/mab/solver"
)

const (
	// absentFor is how long a node that did not answer is expected not to, and absentWait how long it is waited for meanwhile.
	absentFor  = 10 * time.Minute
	absentWait = 2 * time.Second
	// knownFor is how long a measurement of a link counts.
	knownFor = 90 * 24 * time.Hour
)

// acquaintance is what this machine has learned of a node beside what that says of itself.
type acquaintance struct {
	// Absent is when it was last waited for in vain. It is asked each time, but is not waited for as long as others.
	Absent time.Time `json:"absent,omitzero"`
	// Up and Down are the bandwidth of its link, in bytes per second, and Measured is when that was found.
	Up       float64   `json:"up,omitempty"`
	Down     float64   `json:"down,omitempty"`
	Measured time.Time `json:"measured,omitzero"`
}

// stale reports whether there is nothing more to be learned from it.
func (a acquaintance) stale(now time.Time) bool {
	return now.Sub(a.Absent) >= absentFor && now.Sub(a.Measured) >= knownFor
}

// acquaintances are those of all nodes, by their URLs. What goes wrong with their file makes builds wait or plan a little worse, no more.
type acquaintances struct {
	path string
	all  map[string]acquaintance
}

func openAcquaintances(s solver.State) *acquaintances {
	out := &acquaintances{all: map[string]acquaintance{}}
	state, err := s.Resolve()
	if err != nil {
		return out
	}
	out.path = filepath.Join(state.Root, "known-nodes.json")
	if text, err := os.ReadFile(out.path); err == nil && (json.Unmarshal(text, &out.all) != nil || out.all == nil) {
		out.all = map[string]acquaintance{}
	}
	return out
}

// patience is how a node is reached, sooner given up if it did not answer lately.
func (a *acquaintances) patience(cfg nodes.Config, e nodes.Entry) nodes.Config {
	if time.Since(a.all[e.URL].Absent) < absentFor && (cfg.Timeout == 0 || cfg.Timeout > absentWait) {
		cfg.Timeout = absentWait
	}
	return cfg
}

// recall adds to what a node said of itself.
func (a *acquaintances) recall(e nodes.Entry, info *nodes.Info) {
	if known := a.all[e.URL]; info.Up == 0 {
		info.Up, info.Down = known.Up, known.Down
	}
}

// meet learns from nodes that were asked, and keeps it.
func (a *acquaintances) meet(list []Found) {
	now := time.Now().Truncate(time.Second)
	learned := maps.Clone(a.all)
	for _, f := range list {
		known := learned[f.Node.URL]
		switch {
		case f.Node.URL == nodes.Local:
			continue
		case f.Err == nil:
			known.Absent = time.Time{}
		case f.Took >= absentWait:
			known.Absent = now
		}
		if f.Err == nil && f.Node.Info.Up > 0 {
			known.Up, known.Down, known.Measured = f.Node.Info.Up, f.Node.Info.Down, now
		}
		learned[f.Node.URL] = known
	}
	maps.DeleteFunc(learned, func(_ string, known acquaintance) bool { return known.stale(now) })
	if a.path != "" && !maps.Equal(learned, a.all) {
		a.keep(learned)
	}
	a.all = learned
}

// keep writes the file. What goes wrong with it has the nodes be met anew.
func (a *acquaintances) keep(all map[string]acquaintance) {
	text, err := json.Marshal(all)
	if err != nil {
		return
	}
	_ = replaceFile(a.path, text)
}

// replaceFile writes a file in one step: others may read it.
func replaceFile(path string, text []byte) error {
	temp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = temp.Write(text)
	if err = errors.Join(err, temp.Close()); err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temp.Name()))
	}
	return nil
}
