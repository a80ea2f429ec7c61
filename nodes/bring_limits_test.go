// SPDX-License-Identifier: Apache-2.0

//go:build linux

package nodes_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mab-build/mab/nodes"
	"github.com/mab-build/mab/nodes/link"
)

// odd is a machine without mab whose commands do what a test wants.
type odd struct {
	run func(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer) error
	// open is what is said to who wants to connect.
	open func(there net.Conn)
}

var _ nodes.Shell = (*odd)(nil)

func (o *odd) Run(ctx context.Context, _ string, stdin io.Reader, stdout, stderr io.Writer) error {
	return o.run(ctx, stdin, stdout, stderr)
}

func (o *odd) Open(context.Context, string) (net.Conn, error) {
	here, there := net.Pipe()
	go func() { _, _ = io.Copy(io.Discard, there) }()
	go func() {
		defer func() { _ = there.Close() }()
		if o.open == nil {
			_, _ = io.WriteString(there, "\nmab-agent none Linux "+own()+" no\n")
			return
		}
		o.open(there)
	}()
	return here, nil
}

// own is what this machine's architecture is called there.
func own() string {
	for _, name := range []string{"x86_64", "aarch64", "riscv64", "armv7l", "i686", "loongarch64", "ppc64le", "s390x", "mips64"} {
		if arch, _ := nodes.ArchOf(name); arch == runtime.GOARCH {
			return name
		}
	}
	return ""
}

// endless never stops to write the same.
func endless(w io.Writer, text string) error {
	for {
		if _, err := io.WriteString(w, text); err != nil {
			return err
		}
	}
}

func TestBringEnds(t *testing.T) {
	lost := &link.LostError{Host: "pi", Address: "pi@192.0.2.1:22", Err: errors.New("no answer")}
	for _, test := range []struct {
		rule       string
		machine    odd
		want, hint string
	}{
		{"a link that is lost says so, whatever was wrong with a place", odd{run: func(_ context.Context, stdin io.Reader, stdout, _ io.Writer) error {
			_, _ = io.WriteString(stdout, "\nmab-agent place noexec /home/pi/.cache/mab/bin\n")
			_, _ = io.CopyN(io.Discard, stdin, 1<<10)
			return lost
		}}, lost.Error(), ""},
		{"a machine that does not take the program", odd{run: func(ctx context.Context, _ io.Reader, _, _ io.Writer) error {
			<-ctx.Done()
			return ctx.Err()
		}}, "nothing of it went on for 3m0s", "df"},
		{"a machine that takes the program and is silent", odd{run: func(ctx context.Context, stdin io.Reader, _, _ io.Writer) error {
			_, _ = io.Copy(io.Discard, stdin)
			<-ctx.Done()
			return ctx.Err()
		}}, "nothing of it went on for 3m0s", "df"},
		{"a machine that does not stop to talk", odd{run: func(_ context.Context, _ io.Reader, stdout, _ io.Writer) error {
			return endless(stdout, strings.Repeat("y\n", 1<<10))
		}}, "more than it may", "login shell"},
		{"a mab that starts the solver for ever", odd{open: func(there net.Conn) {
			for {
				if (nodes.Answer{}).Write(there) != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}}, "did not get the solver to run within 1m30s", "mab nodes logs pi"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, err := nodes.Over(t.Context(), "pi", &test.machine, nodes.Config{})
				// What the machine does ends by itself.
				time.Sleep(time.Minute)
				if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "no directory") {
					t.Fatalf("got %v, want %q", err, test.want)
				}
				var mendable interface{ Hint() string }
				if test.hint != "" && (!errors.As(err, &mendable) || !strings.Contains(mendable.Hint(), test.hint)) {
					t.Errorf("no hint %q in %v", test.hint, mendable)
				}
			})
		})
	}
}

// TestBringLeavesNothing is about a script that is ended while it takes mab in.
func TestBringLeavesNothing(t *testing.T) {
	for rule, end := range map[string]func(main *os.Process, stdin io.Closer) error{
		"it is told to end":        func(main *os.Process, _ io.Closer) error { return main.Signal(syscall.SIGTERM) },
		"what it reads ends":       func(_ *os.Process, stdin io.Closer) error { return stdin.Close() },
		"its watcher hears it not": func(main *os.Process, stdin io.Closer) error { return errors.Join(main.Kill(), stdin.Close()) },
	} {
		t.Run(rule, func(t *testing.T) {
			m := newShell(t)
			// Its watcher looks often.
			m.put("sleep", "exec "+must(t, "sleep")+" 0.1")
			cmd := m.command(t.Context(), nodes.Lines()[1])
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			stdin, err := cmd.StdinPipe()
			if err == nil {
				err = cmd.Start()
			}
			if err == nil {
				// Nothing that gzip understands to its end, so that it waits for more.
				_, err = stdin.Write([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3})
			}
			if err != nil {
				t.Fatal(err)
			}
			group := -cmd.Process.Pid
			t.Cleanup(func() { _ = syscall.Kill(group, syscall.SIGKILL) })
			arriving := func() bool {
				list, _ := filepath.Glob(filepath.Join(m.home, ".cache/mab/bin/.new-*"))
				return len(list) > 0
			}
			soon(t, "it begins", arriving)
			if err := end(cmd.Process, stdin); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			soon(t, "all of its processes end", func() bool { return errors.Is(syscall.Kill(group, 0), syscall.ESRCH) })
			if rule != "its watcher hears it not" && arriving() {
				t.Error("it leaves a file")
			}
		})
	}
}

func must(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// soon waits for what happens within seconds.
func soon(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not come to it that " + what)
		}
	}
}

func TestAskingEnds(t *testing.T) {
	for _, test := range []struct {
		rule string
		run  func(ctx context.Context, stdout, stderr io.Writer) error
		want string
	}{
		{"a machine that is silent", func(ctx context.Context, _, _ io.Writer) error {
			<-ctx.Done()
			return ctx.Err()
		}, "did not answer within 10s"},
		{"a machine that does not stop to talk", func(_ context.Context, stdout, _ io.Writer) error {
			return endless(stdout, strings.Repeat("y\n", 1<<10))
		}, "prints too much"},
		{"a machine that takes its time once mab answers", func(ctx context.Context, stdout, _ io.Writer) error {
			if err := (nodes.Answer{}).Write(stdout); err != nil {
				return err
			}
			select {
			case <-time.After(time.Hour):
			case <-ctx.Done():
			}
			return errors.Join(ctx.Err(), nodes.Answer{}.Write(stdout))
		}, ""},
		{"a mab that is killed in the middle", func(_ context.Context, stdout, _ io.Writer) error {
			return errors.Join(nodes.Answer{}.Write(stdout), nodes.ExitError("signal KILL"))
		}, "it ended with signal KILL"},
		{"a mab that fails in the middle", func(_ context.Context, stdout, _ io.Writer) error {
			return errors.Join(nodes.Answer{}.Write(stdout), nodes.Answer{Error: "a build runs"}.Write(stdout))
		}, "a build runs"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := &odd{run: func(ctx context.Context, _ io.Reader, stdout, stderr io.Writer) error {
					return test.run(ctx, stdout, stderr)
				}}
				err := nodes.PurgeOver(t.Context(), "pi", m, nodes.Config{})
				if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
					t.Errorf("got %v, want %q", err, test.want)
				}
			})
		})
	}
}
