// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"errors"
	"fmt"
	"strings"

	gateway "github.com/moby/buildkit/frontend/gateway/pb"
)

// These kinds tell whether a build that failed on one node may succeed on another, or otherwise. A failure is of none of them where the user's
// own program said no; of several, where a node has several troubles.

// ExitCode is that of the user's program that failed, as a shell has it: 128 and the signal's number for one that a signal ended. False if no
// program of the user's was the reason.
func (f *Failure) ExitCode() (code int, ok bool) {
	var exit *gateway.ExitError
	if !errors.As(f.err, &exit) {
		return 0, false
	}
	// For what never ran BuildKit has a code as well, but not these words.
	code = int(exit.ExitCode)
	return code, strings.Contains(f.err.Error(), fmt.Sprintf("exit code: %d", code))
}

// Signal is the number, as on Linux, of the signal that ended the user's program. False if none did.
func (f *Failure) Signal() (number int, ok bool) {
	code, ok := f.ExitCode()
	if !ok || code <= 128 || code > 128+64 {
		return 0, false
	}
	return code - 128, true
}

// DiskFull reports whether the solver itself found no room on the disk of its state, or no quota for it. It does not where the user's own
// program failed, even for want of room, nor where it was this machine that had none for the result.
func (f *Failure) DiskFull() bool {
	if _, exited := f.ExitCode(); exited {
		return f.seen.notStarted && f.seen.noRoom
	}
	return !f.here && saysNoRoom(f.err.Error())
}

// SaysDiskFull reports whether the failed step spoke of a full disk, be it DiskFull or in the output of the user's program, which may have
// filled the disk of the node as well as one of its own; or whether runc could not start it, which does not always say why. The node's
// Machine.Free tells more.
func (f *Failure) SaysDiskFull() bool { return f.DiskFull() || f.seen.noRoom || f.seen.notStarted }

// EmulatorCrashed reports whether QEMU, or a program under it, crashed in the step that failed: QEMU said so, or the step was an emulated one and
// ended by a signal of those that programs crash by. Whether the program alone is to blame shows without QEMU.
func (f *Failure) EmulatorCrashed() bool {
	if f.seen.crash {
		return true
	}
	return f.emulated && f.Crashed()
}

// Crashed reports whether the user's program ended by a signal that programs crash by, whoever is to blame.
func (f *Failure) Crashed() bool {
	number, ok := f.Signal()
	return ok && crashes[number]
}

// crashes are SIGILL, SIGABRT, SIGBUS and SIGSEGV (signal(7)).
var crashes = map[int]bool{4: true, 6: true, 7: true, 11: true}

// PushUnreachable reports whether the solver could not talk to the registry that it pushed to: another machine may. A registry that
// answered and refused is not unreachable, nor is one whose tokens this machine could not get.
func (f *Failure) PushUnreachable() bool {
	return f.unreachable() && strings.Contains(f.err.Error(), "failed to push ") && !f.pulling()
}

// SourceUnreachable reports whether the solver could not talk to where a base image, a URL or a repository comes from: another machine may.
func (f *Failure) SourceUnreachable() bool { return f.unreachable() && f.pulling() }

// pulling reports whether a source was being read.
func (f *Failure) pulling() bool {
	return containsAny(f.err.Error(), "failed to resolve source metadata for ", "failed to load cache key: ", "httpReadSeeker: ")
}

// unreachable finds the words of Go's network packages and of git for a server that cannot be reached, or not trusted.
func (f *Failure) unreachable() bool {
	if _, exited := f.ExitCode(); exited {
		return false
	}
	text := f.err.Error()
	return strings.HasSuffix(text, ": EOF") || containsAny(text, "dial tcp", "proxyconnect tcp", "i/o timeout", "connection refused", "no route to host",
		"network is unreachable", "no such host", "connection reset by peer", "broken pipe", "unexpected EOF", "timeout awaiting response headers",
		"Client.Timeout exceeded", "context deadline exceeded", "TLS handshake timeout", "x509: ", "remote error: tls: ", "server gave HTTP response to HTTPS client",
		"Could not resolve host", "Failed to connect to ", "Could not connect to server", "Couldn't connect to server", "Connection timed out",
		"Could not read from remote repository")
}

func saysNoRoom(text string) bool {
	// Programs write the first letter large.
	return containsAny(text, "o space left on device", "isk quota exceeded")
}

func containsAny(text string, words ...string) bool {
	for _, w := range words {
		if strings.Contains(text, w) {
			return true
		}
	}
	return false
}
