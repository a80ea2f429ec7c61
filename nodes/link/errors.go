// SPDX-License-Identifier: Apache-2.0

package link

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// ConfigError is a mistake in the user's ssh_config files, or something in them that mab cannot do.
type ConfigError struct {
	Err  error
	Mend string
}

func (e *ConfigError) Error() string { return e.Err.Error() }
func (e *ConfigError) Unwrap() error { return e.Err }

// Hint tells the mend; empty where the message tells all.
func (e *ConfigError) Hint() string { return e.Mend }

// UnreachableError says that no SSH server answered on the way to a host.
type UnreachableError struct {
	// Host is what the user named, Address user@host:port of where the way ended.
	Host, Address string
	// Doing is what was under way, Login what ssh is told to go the same way.
	Doing, Login string
	Err          error
}

func (e *UnreachableError) Error() string {
	return fmt.Sprintf("reaching %s: %s %s: %v", e.Host, e.Doing, e.Address, e.Err)
}
func (e *UnreachableError) Unwrap() error { return e.Err }

// Lost says that the node cannot be used.
func (e *UnreachableError) Lost() bool { return true }

// Hint tells how to see what OpenSSH makes of it.
func (e *UnreachableError) Hint() string {
	return "see whether OpenSSH gets there: ssh -v " + e.Login + " true"
}

// SilentError says that nothing came back in time.
type SilentError struct{ After time.Duration }

func (e *SilentError) Error() string { return fmt.Sprintf("no answer within %v", e.After) }

// Timeout says that waiting longer might help, as net.Error has it.
func (e *SilentError) Timeout() bool { return true }

// HostKeyError says that the key of a server is not the known one, or that none is known. Nothing was sent to that server.
type HostKeyError struct {
	Host, Address string
	// Name is how known_hosts calls the server, Type and Fingerprint (SHA256:…) are of the key that it showed.
	Name, Type, Fingerprint string
	// Changed says that another key is known, Revoked that this one was revoked.
	Changed, Revoked bool
	// Where are the places, FILE:LINE, that say so, and File is the known_hosts file that a mend would write to.
	Where []string
	File  string
	// Proxied says that the server is behind others, so that ssh-keyscan does not get there; Login is what ssh is told to go the same way.
	Proxied bool
	Login   string
	// Err says what is wrong with the host's certificate; nil if that is not the trouble.
	Err error
}

func (e *HostKeyError) Error() string {
	key := fmt.Sprintf("reaching %s: the host key of %s, %s %s, ", e.Host, e.Address, e.Type, e.Fingerprint)
	switch {
	case e.Revoked:
		return key + "was revoked by " + strings.Join(e.Where, ", ")
	case e.Err != nil:
		return key + "has a certificate that does not hold: " + e.Err.Error()
	case e.Changed:
		return key + "is not the one that is known by " + strings.Join(e.Where, ", ") + "; somebody may be listening in"
	}
	return key + "is unknown"
}
func (e *HostKeyError) Unwrap() error { return e.Err }

// Lost says that the node cannot be used.
func (e *HostKeyError) Lost() bool { return true }

// Hint tells how to accept the key once it was compared with the host's own.
func (e *HostKeyError) Hint() string {
	switch {
	case e.Revoked:
		return "the host needs a new key: ssh-keygen -A there, after removing /etc/ssh/ssh_host_*_key"
	case e.Err != nil:
		return "the host needs a certificate that is valid for " + e.Name + "; see its end: ssh-keygen -L -f /etc/ssh/ssh_host_ed25519_key-cert.pub"
	case e.Changed:
		return fmt.Sprintf("if you know that it has a new key, forget the old one: ssh-keygen -R %s -f %s", quoted(e.Name), quoted(e.File))
	case e.Proxied:
		return "if the fingerprint is the host's own, give --accept-new-host-key, or run: ssh " + e.Login
	}
	return fmt.Sprintf("if the fingerprint is the host's own, give --accept-new-host-key, or run: ssh-keyscan %s >> %s", e.scan(), quoted(e.File))
}

// scan is the name as ssh-keyscan takes it.
func (e *HostKeyError) scan() string {
	if host, port, ok := strings.Cut(strings.TrimPrefix(e.Name, "["), "]:"); ok {
		return "-p " + port + " " + quoted(host)
	}
	return quoted(e.Name)
}

// AuthError says that the server took none of the user's keys.
type AuthError struct {
	Host, Address string
	// Tried are the keys that were offered, and Problems why others were not.
	Tried, Problems []string
	Mend            string
	Err             error
}

func (e *AuthError) Error() string {
	text := fmt.Sprintf("reaching %s: %s took no key", e.Host, e.Address)
	if len(e.Tried) == 0 {
		text = fmt.Sprintf("reaching %s: there is no key for %s", e.Host, e.Address)
	} else {
		text += " of " + strings.Join(e.Tried, ", ")
	}
	for _, problem := range e.Problems {
		text += "; " + problem
	}
	return text
}
func (e *AuthError) Unwrap() error { return e.Err }

// Lost says that the node cannot be used.
func (e *AuthError) Lost() bool { return true }

// Hint tells the command that makes a key known, to the agent or to the server.
func (e *AuthError) Hint() string { return e.Mend }

// LostError says that a link that held does not hold any more.
type LostError struct {
	Host, Address string
	Err           error
}

func (e *LostError) Error() string {
	return fmt.Sprintf("the link to %s (%s) was lost: %v", e.Host, e.Address, e.Err)
}
func (e *LostError) Unwrap() error { return e.Err }

// Lost says that the node cannot be used.
func (e *LostError) Lost() bool { return true }

// errEnded is what systems have several errors for. It wraps none of them: nobody may take it for an io.EOF.
var errEnded = errors.New("the other side ended it")

// SessionsError says that the server opens no more sessions on this connection.
type SessionsError struct {
	Host, Address string
	// Open is how many sessions this link has open.
	Open int
	Err  error
}

func (e *SessionsError) Error() string {
	return fmt.Sprintf("opening a session on %s (%s): refused, with %d open: %v", e.Host, e.Address, e.Open, e.Err)
}
func (e *SessionsError) Unwrap() error { return e.Err }

// Hint tells the setting of the server.
func (e *SessionsError) Hint() string {
	return fmt.Sprintf("raise MaxSessions in /etc/ssh/sshd_config on %s; OpenSSH's default is 10", e.Host)
}

// ExitError says how a program on the other side ended that did not end well.
type ExitError struct {
	// Line is the command line, Code its exit code, or -1, and Signal the name of the signal that ended it, as in KILL; or empty.
	Line   string
	Code   int
	Signal string
	// Stderr is the end of what it wrote there, 8 KiB at most.
	Stderr string
}

func (e *ExitError) Error() string {
	how := fmt.Sprintf("exit code %d", e.Code)
	switch {
	case e.Signal != "":
		how = "signal " + e.Signal
	case e.Code < 0:
		how = "ended without an exit code"
	}
	if tail := strings.TrimSpace(e.Stderr); tail != "" {
		return fmt.Sprintf("running %q: %s: %s", e.Line, how, tail)
	}
	return fmt.Sprintf("running %q: %s", e.Line, how)
}

// quoted is a word as a shell takes it.
func quoted(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-./:@%+,", r)
	}
	if word != "" && strings.TrimFunc(word, plain) == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
