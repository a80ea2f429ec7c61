// SPDX-License-Identifier: Apache-2.0

package coordinator

import "fmt"

// overwrittenError is a file that several platforms have, in a directory that is one for all of them.
type overwrittenError struct{ name string }

func (e *overwrittenError) Error() string {
	return fmt.Sprintf("%q is of several platforms, and with platform-split=false they have one directory", e.name)
}

// Hint says how they get several.
func (*overwrittenError) Hint() string {
	return "leave platform-split=false out, or have each platform name its files otherwise: $TARGETARCH"
}
