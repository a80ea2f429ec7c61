// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"fmt"
	"slices"
)

// Verification says what becomes of an image with programs that its platform does not run. Its zero value is VerifyStrict.
type Verification int

// The ways of verification. Damaged blobs are an error in the first two.
const (
	VerifyStrict Verification = iota // it is an error, and nothing is written
	VerifyWarn                       // it is told
	VerifyOff                        // nobody looks
)

var verifications = []string{"strict", "warn", "off"}

// String is the word that Set takes.
func (v Verification) String() string { return verifications[v] }

// Set makes v what a word says: strict, warn, off.
func (v *Verification) Set(word string) error {
	i := slices.Index(verifications, word)
	if i < 0 {
		return fmt.Errorf("it is strict, warn or off, not %q", word)
	}
	*v = Verification(i)
	return nil
}

// Type is what command lines call it.
func (*Verification) Type() string { return "mode" }
