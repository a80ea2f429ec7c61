// SPDX-License-Identifier: Apache-2.0

//go:build linux

package nodes_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/nodes"
)

// TestMain is the mab that is brought to machines, if it is called as that.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "agent" {
		if err := agent(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// agent is a mab whose solver says what it hears.
func agent(args []string) error {
	switch args[0] {
	case "install":
		if err := nodes.Install(context.Background(), args[1]); err != nil {
			return err
		}
		return nodes.Answer{}.Write(os.Stdout)
	case "purge":
		return errors.Join(nodes.Uninstall(), nodes.Answer{}.Write(os.Stdout))
	case "logs":
		return nodes.Answer{Log: strings.Join(args, " ")}.Write(os.Stdout)
	}
	if err := (nodes.Answer{}).Write(os.Stdout); err != nil {
		return err
	}
	in := bufio.NewReader(os.Stdin)
	hello, err := nodes.ReadHello(in)
	if err != nil {
		return err
	}
	if text, ok := strings.CutPrefix(hello.Solver.Toml, "fail: "); ok {
		return nodes.Answer{Error: text, Hint: "mend it"}.Write(os.Stdout)
	}
	if err := (nodes.Answer{Ready: true, Notes: []string{"mab " + hello.Mab}}).Write(os.Stdout); err != nil {
		return err
	}
	_, err = io.Copy(os.Stdout, in)
	return err
}

// shell is a machine that is this one, with a home of its own.
type shell struct {
	t    *testing.T
	home string
	// login is the login shell: it is given -c and the line.
	login []string
	env   []string
	// lines are those that were run.
	lines []string
}

var _ nodes.Shell = (*shell)(nil)

func newShell(t *testing.T) *shell {
	t.Helper()
	home := t.TempDir()
	return &shell{t: t, home: home, login: []string{"sh"}, env: []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home}}
}

func (s *shell) command(ctx context.Context, line string) *exec.Cmd {
	s.lines = append(s.lines, line)
	args := append(slices.Clone(s.login), "-c", line)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = s.env
	return cmd
}

func (s *shell) Run(ctx context.Context, line string, stdin io.Reader, stdout, stderr io.Writer) error {
	cmd := s.command(ctx, line)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nodes.ExitError(exit.String())
	}
	return err
}

// Open gives the program a socket, so that deadlines work.
func (s *shell) Open(_ context.Context, line string) (net.Conn, error) {
	here, there := net.Pipe()
	cmd := s.command(context.Background(), line)
	cmd.Stdout = there
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() { _, _ = io.Copy(stdin, there); _ = stdin.Close() }()
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); _ = there.Close(); close(ended) }()
	s.t.Cleanup(func() {
		_ = here.Close()
		<-ended
	})
	return here, nil
}

// placed lists what is in the usual place for programs.
func (s *shell) placed() []string {
	s.t.Helper()
	entries, err := os.ReadDir(filepath.Join(s.home, ".cache", "mab", "bin"))
	if err != nil {
		s.t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

// says sends a text to the solver and returns what it says.
func says(t *testing.T, r *nodes.Reached, text string) string {
	t.Helper()
	conn, err := r.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(conn, got); err != nil {
		t.Fatal(err)
	}
	return string(got)
}

func TestBring(t *testing.T) {
	for _, login := range [][]string{{"sh"}, {"dash"}, {"bash"}, {"busybox", "sh"}, {"fish"}, {"tcsh"}, {"zsh"}} {
		t.Run("the login shell is "+strings.Join(login, " "), func(t *testing.T) {
			if _, err := exec.LookPath(login[0]); err != nil {
				t.Skip(err)
			}
			m := newShell(t)
			m.login = login
			var notes []string
			cfg := nodes.Config{Version: "v9", Programs: []string{}, Note: func(text string) { notes = append(notes, text) }}
			for i, want := range []int{3, 1} {
				m.lines = nil
				r, err := nodes.Over(t.Context(), "pi", m, cfg)
				if err != nil {
					t.Fatal(err)
				}
				if len(m.lines) != want {
					t.Errorf("reached %d times before, %d commands were run, want %d", i, len(m.lines), want)
				}
				for _, text := range []string{"one", "two"} {
					if got := says(t, r, text); got != text {
						t.Errorf("got %q", got)
					}
				}
				if log, err := r.Log(t.Context(), 7); log != "logs --lines 7" {
					t.Errorf("log %q, %v", log, err)
				}
				if err := r.Close(); err != nil {
					t.Error(err)
				}
			}
			if got := m.placed(); len(got) != 1 || len(got[0]) != len("mab-")+64 {
				t.Errorf("in its place is %q", got)
			}
			if diff := cmp.Diff([]string{"mab v9", "mab v9", "mab v9", "mab v9"}, notes); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
		})
	}
}

var _ = bytes.MinRead
var _ = runtime.GOARCH
