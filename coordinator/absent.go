// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"time"

	"github.com/mab-build/mab/nodes"
)

const (
	// absentFor is how long a node that did not answer is expected not to, and absentWait how long it is waited for meanwhile.
	absentFor  = 10 * time.Minute
	absentWait = 2 * time.Second
)

// absentees are the nodes that builds of this machine have waited for in vain, by their URLs, with the time. They are asked each time, but
// are not waited for as long as others. What goes wrong with their file makes builds wait, no more.
type absentees struct {
	path string
	seen map[string]time.Time
}

func (c *Coordinator) absentees() *absentees {
	out := &absentees{seen: map[string]time.Time{}}
	state, err := c.cfg.Attach.State.Resolve()
	if err != nil {
		return out
	}
	out.path = filepath.Join(state.Root, "absent.json")
	if text, err := os.ReadFile(out.path); err == nil {
		_ = json.Unmarshal(text, &out.seen)
	}
	return out
}

// patience is how a node is reached, sooner given up if it did not answer lately.
func (a *absentees) patience(cfg nodes.Config, e nodes.Entry) nodes.Config {
	if time.Since(a.seen[e.URL]) < absentFor && (cfg.Timeout == 0 || cfg.Timeout > absentWait) {
		cfg.Timeout = absentWait
	}
	return cfg
}

// learn keeps who answered now, and who did not.
func (a *absentees) learn(members []*member, absent []absence) {
	now := maps.Clone(a.seen)
	for _, m := range members {
		delete(now, m.URL)
	}
	for _, n := range absent {
		if n.entry.URL != nodes.Local && n.took >= absentWait {
			now[n.entry.URL] = time.Now().Truncate(time.Second)
		}
	}
	maps.DeleteFunc(now, func(_ string, when time.Time) bool { return time.Since(when) >= absentFor })
	if a.path == "" || len(now) == 0 && len(a.seen) == 0 {
		return
	}
	text, err := json.Marshal(now)
	if err != nil {
		return
	}
	// In one step: others may read it.
	temp, err := os.CreateTemp(filepath.Dir(a.path), ".absent-*")
	if err != nil {
		return
	}
	_, err = temp.Write(text)
	if closing := temp.Close(); err != nil || closing != nil || os.Rename(temp.Name(), a.path) != nil {
		_ = os.Remove(temp.Name())
	}
}
