// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"strconv"

	"github.com/mab-build/mab/manifestlist"
)

// byDigestAttr is BuildKit's setting of an image output that pushes without a tag.
const byDigestAttr = "push-by-digest"

// untagged are the names without their tags, if an output asks for that: what is pushed is then known by its digest alone.
func untagged(o Output, names []manifestlist.Reference) []manifestlist.Reference {
	if yes, _ := strconv.ParseBool(o.Attrs[byDigestAttr]); !yes {
		return names
	}
	var out []manifestlist.Reference
	for _, ref := range names {
		ref.Tag = ""
		out = appendNew(out, []manifestlist.Reference{ref})
	}
	return out
}
