// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"fmt"
	"strconv"
)

// flat reports whether several platforms may write into one directory: what one has written is in the way if another fails.
func (d *delivery) flat() bool {
	for _, e := range d.exports {
		if split, err := strconv.ParseBool(e.Attrs["platform-split"]); e.Type == outputLocal && err == nil && !split {
			return true
		}
	}
	return false
}

// overwrittenError is a file that several platforms have, in a directory that is one for all of them.
type overwrittenError struct{ name string }

func (e *overwrittenError) Error() string {
	return fmt.Sprintf("%q is of several platforms, and with platform-split=false they have one directory", e.name)
}

// Hint says how they get several.
func (*overwrittenError) Hint() string {
	return "leave platform-split=false out, or have each platform name its files otherwise: $TARGETARCH"
}
