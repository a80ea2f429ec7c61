// SPDX-License-Identifier: Apache-2.0

package solver

// ImportStore is the name by which definitions call the OCI store of Solve.Imports and Make.Imports.
const ImportStore = "mab"

// Imports are images that other solvers have made and still hold, for solvers that need them. No byte of them is kept here. It is safe for
// several builds at once.
type Imports struct{}

// NewImports returns imports without an image.
func NewImports() *Imports { return &Imports{} }

// Add has what a solver made be found. It stays the caller's, to be closed when nobody fetches from it any more.
func (i *Imports) Add(m *Made) {}

// Err is why something could not be fetched, the first such failure; nil if none was.
func (i *Imports) Err() error { return nil }

// Bytes is how much was fetched.
func (i *Imports) Bytes() int64 { return 0 }
