// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"encoding/json"
	"os"
	"strings"
	"sync"

	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/platforms"
)

// mostRecognitions is how many are kept; then it begins anew.
const mostRecognitions = 1000

// recognitions are the versions of toolchains that images hold, by image and platform, as they were found once: an image that is named by its
// digest does not change. What goes wrong with their file has them be found again.
type recognitions struct {
	path string

	mu    sync.Mutex
	known map[string]string
	more  bool // than the file has
}

// recognitions reads those of this machine.
func (r *run) recognitions() *recognitions {
	out := &recognitions{known: map[string]string{}}
	state, err := r.cfg.Attach.State.Resolve()
	if err != nil {
		return out
	}
	out.path = state.Toolchains()
	if text, err := os.ReadFile(out.path); err == nil && (json.Unmarshal(text, &out.known) != nil || out.known == nil) || len(out.known) > mostRecognitions {
		out.known = map[string]string{}
	}
	return out
}

// recognition is the name of one: the repository and the tag of the image do not matter.
func recognition(c *crossbuild.Candidate, p platforms.Platform) string {
	_, digest, _ := strings.Cut(c.Image(), "@")
	return c.Toolchain().Name + " " + digest + " " + p.String()
}

// get is the version of a toolchain that an image holds, empty if it holds none; false if that is not known.
func (l *recognitions) get(c *crossbuild.Candidate, p platforms.Platform) (string, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	version, ok := l.known[recognition(c, p)]
	return version, ok
}

func (l *recognitions) set(c *crossbuild.Candidate, p platforms.Platform, version string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.known[recognition(c, p)], l.more = version, true
}

// save writes those that are new. Builds that end at once may each lose what the others found.
func (l *recognitions) save() {
	if !l.more || l.path == "" {
		return
	}
	if text, err := json.MarshalIndent(l.known, "", "  "); err == nil {
		_ = replaceFile(l.path, append(text, '\n'))
	}
}
