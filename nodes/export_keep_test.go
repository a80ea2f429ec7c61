// SPDX-License-Identifier: Apache-2.0

package nodes

// Kept reports whether a keeper's link leads to the node.
func (r *Reached) Kept() bool {
	_, ok := r.way.(*kept)
	return ok
}
