// SPDX-License-Identifier: Apache-2.0

package sandbox

import "syscall"

// IdentityMap is identity.
func IdentityMap(text string) ([]syscall.SysProcIDMap, error) { return identity(text) }

// ReapRound is one round of Reap.
func ReapRound(before map[int]bool) map[int]bool { return reapRound(before) }

// Zombie is zombie.
func Zombie(pid int) bool { return zombie(pid) }

// Scene is scene, for tables.
func Scene(program, container, limit, clone, apparmor string) scene {
	return scene{program: program, container: container, limit: limit, clone: clone, apparmor: apparmor}
}

// Explain is explain.
func Explain(err error, s scene) *RefusedError { return explain(err, s) }

// Container is container.
func Container(env func(string) string, exists func(string) bool) string {
	return container(env, exists)
}

// MapArgs reads a file of subordinate ids and returns the arguments of newuidmap for them.
func MapArgs(path, name string, uid int) ([]string, error) {
	list, err := ranges(path, name, uid)
	if err != nil {
		return nil, err
	}
	return mapArgs(uid, list), nil
}

// ErrNoMap is errNoMap.
var ErrNoMap = errNoMap
