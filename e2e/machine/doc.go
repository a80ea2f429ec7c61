// SPDX-License-Identifier: Apache-2.0

// Package machine makes and boots an arm64 machine with a Linux of its own, for tests of what depends on the CPU, on the kernel,
// or on being elsewhere: Debian's kernel, busybox and sshd under qemu-system-aarch64.
//
// Its one rule: nothing of a machine outlives the program that started it, however that ends: no process, and no file but the image.
package machine
