// SPDX-License-Identifier: Apache-2.0

package main

// Static tells why a program is not for an architecture, or needs a dynamic linker.
var Static = static

// Carry packs a program.
func Carry(arch, program, dir string) error {
	return carry(arch, label{Version: "1.5.2", Seccomp: "2.6.0", Libc: "2.36"}, program, dir)
}
