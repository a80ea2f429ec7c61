// SPDX-License-Identifier: Apache-2.0

// Package sandbox starts this program again as process 1 of namespaces of its own: user, PID and mount.
//
// Its one rule: whatever happens inside ends with that process. A SIGKILL of it takes every process and every mount that
// it made along, because a PID namespace dies with its first process and a mount namespace with its last.
//
// The user namespace maps every id onto itself, or makes a plain user root in it. It is there for what the kernel keeps per
// user namespace, above all binfmt_misc (https://docs.kernel.org/admin-guide/binfmt-misc.html, since Linux 6.7), so that
// emulators can be registered without the host seeing them, and for what a plain user may do in it: mount and make containers.
package sandbox
