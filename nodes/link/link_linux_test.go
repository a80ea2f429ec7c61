// SPDX-License-Identifier: Apache-2.0

package link_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mab-build/mab/nodes/link"
)

func TestRun(t *testing.T) {
	l := dial(t, newSSHD(t).admitted(t, ""))
	for _, test := range []struct{ rule, line, stdin, stdout, stderr, want string }{
		{"everything goes where it belongs", "echo to; cat; echo from >&2", "and\n", "to\nand\n", "from\n", ""},
		{"no input", "cat", "", "", "", ""},
		{"input that is not read", "exit 0", strings.Repeat("x", 1<<20), "", "", ""},
		{"a code", "echo no >&2; exit 7", "", "", "no\n", `running "echo no >&2; exit 7": exit code 7: no`},
		{"a signal", "kill -KILL $$", "", "", "", `running "kill -KILL $$": signal KILL`},
	} {
		t.Run(test.rule, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			err := l.Run(t.Context(), link.Command{Line: test.line, Stdin: strings.NewReader(test.stdin), Stdout: &stdout, Stderr: &stderr})
			got := ""
			if err != nil {
				got = err.Error()
			}
			if stdout.String() != test.stdout || stderr.String() != test.stderr || got != test.want {
				t.Errorf("stdout %q, stderr %q, %s", stdout.String(), stderr.String(), got)
			}
		})
	}
}

// TestCanceledRun finds that the program on the other side has ended. OpenSSH's server sends no signals for root, so it is one that writes.
func TestCanceledRun(t *testing.T) {
	l := dial(t, newSSHD(t).admitted(t, ""))
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- l.Run(ctx, link.Command{Line: "echo $$; while :; do sleep 0.05; echo; done", Stdout: w})
	}()
	pid, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	_ = r.Close()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	wait := fmt.Sprintf("for i in $(seq 100); do kill -0 %s 2>/dev/null || exit 0; sleep 0.05; done; exit 1", strings.TrimSpace(pid))
	if err := l.Run(t.Context(), link.Command{Line: wait}); err != nil {
		t.Errorf("the program runs on: %v", err)
	}
}

func TestStderr(t *testing.T) {
	s := open(t, dial(t, newSSHD(t).admitted(t, "")), "echo one >&2; echo two; exit 3")
	text, err := io.ReadAll(s)
	var exit *link.ExitError
	if string(text) != "two\n" || !errors.As(err, &exit) || exit.Code != 3 || s.Stderr() != "one\n" {
		t.Errorf("%q %q %v", text, s.Stderr(), err)
	}
}

func TestDialUnix(t *testing.T) {
	l := dial(t, newSSHD(t).admitted(t, ""))
	dir, err := os.MkdirTemp("", "socket")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		conn, err := listener.Accept()
		if err == nil {
			_, _ = io.Copy(conn, conn)
			_ = conn.Close()
		}
	}()
	conn, err := l.DialUnix(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "text"); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*link.Stream).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(conn); string(text) != "text" || err != nil {
		t.Errorf("%q, %v", text, err)
	}
	want := fmt.Sprintf("connecting to %s/none on 127.0.0.1: ssh: rejected: connect failed (\"open failed\")", dir)
	if _, err := l.DialUnix(t.Context(), dir+"/none"); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestWays goes to a server behind another one.
func TestWays(t *testing.T) {
	need(t, "ssh")
	gate, target := newSSHD(t), newSSHD(t)
	for _, test := range []struct {
		rule, config string
		// want is the end of an error; empty: there is none.
		want string
	}{
		{"a jump host", "Host target\n ProxyJump root@127.0.0.1:GATE", ""},
		{"a jump host by its name", "Host target\n ProxyJump gate\nHost gate\n Port GATE\nHost *\n User root", ""},
		{"a jump host of a jump host", "Host target\n ProxyJump one,two\nHost one two\n Port GATE\nHost *\n User root", ""},
		{"a command", "Host target\n ProxyCommand ssh -q -F FILE -W %h:%p gate\nHost gate\n User root\n Port GATE\n IdentityFile HOME/.ssh/id_ed25519\n " +
			"UserKnownHostsFile HOME/.ssh/known_hosts\n HostName 127.0.0.1", ""},
		{"a jump host that nobody is at", "Host target\n ProxyJump root@127.0.0.1:1", "connecting to root@127.0.0.1:1: dial tcp 127.0.0.1:1: connect: connection refused"},
		{"a jump host without a way on", "Host target\n ProxyJump root@gate:GATE\nHost target\n Port 1",
			`connecting to root@127.0.0.1:1: ssh: rejected: connect failed ("Connection refused")`},
		{"a jump host that is unknown", "Host target\n ProxyJump gate\nHost gate\n Port GATE\n HostKeyAlias strange\nHost *\n User root",
			"the host key of root@127.0.0.1:GATE, ssh-ed25519 FINGERPRINT, is unknown"},
		{"a jump host that lets nobody in", "Host target\n ProxyJump gate\nHost gate\n Port GATE\n IdentityFile none\nHost *\n User root",
			"there is no key for root@127.0.0.1:GATE"},
		{"a command that ends", "ProxyCommand echo not today >&2; exit 1",
			`connecting to root@127.0.0.1:TARGET: it ended the connection before its greeting, and said "not today"`},
		{"a command that is silent", "ProxyCommand sleep 100", "waiting for the SSH greeting of root@127.0.0.1:TARGET: no answer within 1s"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			write(t, filepath.Join(gate.dir, "authorized"), "")
			write(t, filepath.Join(target.dir, "authorized"), "")
			cfg := target.admitted(t, "")
			gate.admit(t, read(t, filepath.Join(cfg.Home, ".ssh", "id_ed25519.pub")))
			names := strings.NewReplacer("GATE", fmt.Sprint(gate.port), "FILE", cfg.Files[0], "HOME", cfg.Home)
			write(t, cfg.Files[0], names.Replace(test.config+"\nHost *\n HostName 127.0.0.1\n"))
			write(t, filepath.Join(cfg.Home, ".ssh", "known_hosts"), gate.hostKey(t, "ed25519")+target.hostKey(t, "ed25519"))
			cfg.Host = "target"
			if test.want != "" {
				cfg.Timeout = time.Second
			}
			if strings.Contains(test.config, "Port 1") {
				cfg.Port = 0
				cfg.User = "root"
			}
			l, err := link.Dial(t.Context(), cfg)
			if err == nil {
				_, err = l.Ping(t.Context())
				_ = l.Close()
			}
			if test.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			fingerprint := strings.Fields(run(t, "ssh-keygen", "-l", "-f", filepath.Join(gate.dir, "host_ed25519.pub")))[1]
			short := strings.NewReplacer(fmt.Sprint(gate.port), "GATE", fmt.Sprint(target.port), "TARGET", fingerprint, "FINGERPRINT").Replace
			if err == nil || short(err.Error()) != "reaching target: "+test.want {
				t.Errorf("got  %v\nwant reaching target: %s", err, test.want)
			}
		})
	}
}

func TestMaxSessions(t *testing.T) {
	l := dial(t, newSSHD(t, "MaxSessions 2").admitted(t, ""))
	first := open(t, l, "cat")
	open(t, l, "cat")
	third := make(chan error)
	go func() {
		third <- l.Run(t.Context(), link.Command{Line: "exit 0"})
	}()
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	if err := <-third; err != nil {
		t.Error(err)
	}
}

// TestMaxStartups has somebody sit on the only place for those who are not logged in.
func TestMaxStartups(t *testing.T) {
	s := newSSHD(t, "MaxStartups 1:100:1")
	cfg := s.admitted(t, "")
	for idle := true; idle; {
		conn, err := net.Dial("tcp", s.address())
		if err != nil {
			t.Fatal(err)
		}
		// The first connection of all may still be counted.
		greeting, _ := bufio.NewReader(conn).ReadString('\n')
		if idle = !strings.HasPrefix(greeting, "SSH-"); !idle {
			go func() {
				defer conn.Close()
				for !strings.Contains(s.log.String(), "MaxStartups") && t.Context().Err() == nil {
					time.Sleep(10 * time.Millisecond)
				}
			}()
		}
	}
	dial(t, cfg)
	if !strings.Contains(s.log.String(), "MaxStartups") {
		t.Errorf("nobody was dropped: %s", s.log)
	}
}

// TestServersEnd has the server's process for the link killed or stopped.
func TestServersEnd(t *testing.T) {
	for _, test := range []struct {
		rule   string
		signal syscall.Signal
		want   string
	}{
		{"killed", syscall.SIGKILL, "the other side ended it"},
		// The kernel there goes on, so it has more time than a machine that is cut off.
		{"stopped", syscall.SIGSTOP, "no answer within 3s"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			t.Parallel()
			cfg := newSSHD(t).admitted(t, "")
			cfg.KeepAlive = 200 * time.Millisecond
			l := dial(t, cfg)
			var out bytes.Buffer
			if err := l.Run(t.Context(), link.Command{Line: "echo $PPID", Stdout: &out}); err != nil {
				t.Fatal(err)
			}
			pid, err := strconv.Atoi(strings.TrimSpace(out.String()))
			if err != nil {
				t.Fatal(err)
			}
			s := open(t, l, "cat")
			start := time.Now()
			if err := syscall.Kill(pid, test.signal); err != nil {
				t.Fatal(err)
			}
			if test.signal == syscall.SIGSTOP {
				// It does not end with the link.
				t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
			}
			_, err = s.Read(make([]byte, 1))
			var lost *link.LostError
			if !errors.As(err, &lost) || lost.Err.Error() != test.want || time.Since(start) > 5*time.Second {
				t.Errorf("%v after %v", err, time.Since(start))
			}
		})
	}
}

// TestBusyMachineIsNoLostOne has a server do nothing for longer than a silent link has, while its kernel goes on.
func TestBusyMachineIsNoLostOne(t *testing.T) {
	s := newServer(t)
	s.cfg.KeepAlive = 100 * time.Millisecond
	l := dial(t, s.cfg)
	thaw := s.freeze(t)
	select {
	case <-l.Done():
		t.Fatal(l.Err())
	case <-time.After(7 * s.cfg.KeepAlive):
	}
	thaw()
	if _, err := l.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestFirstSession: the server does not wait for this machine's kernel, which would take 40 ms for each acknowledgement.
func TestFirstSession(t *testing.T) {
	cfg := newSSHD(t).admitted(t, "")
	var took []time.Duration
	for range 20 {
		l := dial(t, cfg)
		began := time.Now()
		s, err := l.Open(t.Context(), "exec cat")
		if err != nil {
			t.Fatal(err)
		}
		took = append(took, time.Since(began))
		_, _ = s.Close(), l.Close()
		if took[len(took)-1] < 30*time.Millisecond {
			return
		}
	}
	t.Errorf("the first session of a link took %v", took)
}
