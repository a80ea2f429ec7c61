// SPDX-License-Identifier: Apache-2.0

// Package farm makes hosts with an sshd of their own on this machine, for tests of what happens between machines: each has its own
// network address, processes, users, home directories and disk, and shares the kernel with the others. Links can be slowed and cut,
// disks filled, and what is left behind is seen.
//
// Its one rule: nothing of a farm outlives the program that started it, however that ends, but for one directory of temporary files.
package farm
