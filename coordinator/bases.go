// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mab-build/mab/crossbuild"
)

// looks is how often base images are looked up again.
const looks = 5

// movedError is a tag that was set to another image between two looks at it.
type movedError struct{ tag string }

// Error names the tag.
func (e *movedError) Error() string {
	return fmt.Sprintf("looking up base images: %s was changed meanwhile", e.tag)
}

// moved returns an error if two platforms would be built from different images of one tag: the frontend looks it up for each platform.
func moved(graphs []*crossbuild.Graph) error {
	digests := map[string]string{}
	for _, b := range crossbuild.Bases(graphs) {
		tag, digest, _ := strings.Cut(b.Reference, "@")
		if before, ok := digests[tag]; ok && before != digest {
			return &movedError{tag}
		}
		digests[tag] = digest
	}
	return nil
}

// pinned reports whether a Dockerfile that names one tag with several digests does so itself, by having the frontend look twice: what it
// gives then is what it gave before.
func (r *run) pinned(graphs []*crossbuild.Graph) bool {
	same := slices.EqualFunc(r.looked, graphs, func(a, b *crossbuild.Graph) bool {
		return slices.Equal(crossbuild.Bases([]*crossbuild.Graph{a}), crossbuild.Bases([]*crossbuild.Graph{b}))
	})
	r.looked = graphs
	return same
}
