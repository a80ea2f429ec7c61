// SPDX-License-Identifier: Apache-2.0

package solver

import "io/fs"

// ReadMachine reads what a machine with these files consists of, and the size of the file system of state.
func ReadMachine(files fs.FS, state string) Machine { return newMachineReader(files, state).read() }
