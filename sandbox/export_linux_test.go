// SPDX-License-Identifier: Apache-2.0

package sandbox

import "syscall"

// Identity is identity.
func Identity(text string) ([]syscall.SysProcIDMap, error) { return identity(text) }

// ReapRound is one round of Reap.
func ReapRound(before map[int]bool) map[int]bool { return reapRound(before) }

// Zombie is zombie.
func Zombie(pid int) bool { return zombie(pid) }
