// SPDX-License-Identifier: Apache-2.0

//go:build linux

package nodes_test

import (
	"bufio"
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
	"golang.org/x/sync/errgroup"

	"github.com/mab-build/mab/nodes"
	"github.com/mab-build/mab/nodes/link"
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
	os.Exit(tests(m))
}

// tests runs them with a cache of their own for what is known of programs.
func tests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "mab-nodes-")
	if err == nil {
		err = os.Setenv("XDG_CACHE_HOME", dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	return m.Run()
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
	door, _ := strings.CutPrefix(hello.Solver.Toml, "door: ")
	if err := (nodes.Answer{Ready: true, Door: door, Notes: []string{"mab " + hello.Mab}}).Write(os.Stdout); err != nil {
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

// reach reaches a machine, and closes what it reached when the test ends.
func reach(t *testing.T, m *shell, cfg nodes.Config) *nodes.Reached {
	t.Helper()
	r, err := nodes.Over(t.Context(), "pi", m, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// need is the path of a program. Without it the test is skipped, or fails where everything must run.
func need(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	switch {
	case err != nil && os.Getenv("MAB_E2E") == "all":
		t.Fatal(err)
	case err != nil:
		t.Skip(err)
	}
	return path
}

func TestBring(t *testing.T) {
	for _, login := range [][]string{{"sh"}, {"dash"}, {"bash"}, {"busybox", "sh"}, {"fish"}, {"tcsh"}, {"zsh"}} {
		t.Run("the login shell is "+strings.Join(login, " "), func(t *testing.T) {
			need(t, login[0])
			m := newShell(t)
			m.login = login
			var notes []string
			cfg := nodes.Config{Version: "v9", Programs: []string{}, Note: func(text string) { notes = append(notes, text) }}
			for _, want := range []int{3, 1} {
				m.lines = nil
				r := reach(t, m, cfg)
				if len(m.lines) != want {
					t.Errorf("%d commands were run, want %d", len(m.lines), want)
				}
				for _, text := range []string{"one", "two"} {
					if got := says(t, r, text); got != text {
						t.Errorf("got %q", got)
					}
				}
				if log, err := r.Log(t.Context(), 7); log != "logs --lines 7" {
					t.Errorf("log %q, %v", log, err)
				}
			}
			if got := m.placed(); len(got) != 1 || len(got[0]) != len("mab-")+64 {
				t.Errorf("in its place is %q", got)
			}
			sending, _, _ := strings.Cut(notes[0], " (")
			notes[0] = sending
			want := []string{`node "pi": sending mab there`, `node "pi": mab v9`, `node "pi": mab v9`}
			if diff := cmp.Diff(want, notes); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
		})
	}
}

// nobody is a user id of whom nothing is on this machine.
const nobody = "4000000019"

// put writes a program that stands before others of its name, and gives the machine a user of whom nothing is outside of its home.
func (s *shell) put(name, script string) {
	s.t.Helper()
	dir := filepath.Join(s.home, "path")
	if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755)); err != nil {
		s.t.Fatal(err)
	}
	s.env[0] = "PATH=" + dir + ":" + os.Getenv("PATH")
}

// alone makes every place but that in the home unusable.
func (s *shell) alone() {
	s.put("id", "echo "+nobody)
	s.put("ls", `case "$2" in "$HOME"*) echo drwx------ 2 `+nobody+`;; *) echo drwxrwxrwt 2 0;; esac`)
	s.t.Cleanup(func() { _, _ = os.Remove("/var/tmp/mab-"+nobody), os.Remove("/tmp/mab-"+nobody) })
}

func TestBringFails(t *testing.T) {
	const uname = `case $1 in -s) echo %s;; *) echo %s;; esac`
	script := func(text string) func(*shell) {
		return func(s *shell) {
			s.put("login", text)
			s.login = []string{filepath.Join(s.home, "path", "login")}
		}
	}
	for _, test := range []struct {
		rule       string
		with       func(*shell)
		solver     string
		want, hint string
	}{
		{"another system", func(s *shell) { s.put("uname", fmt.Sprintf(uname, "Darwin", "arm64")) }, "", "runs Darwin", "Linux"},
		{"a CPU that Go does not know", func(s *shell) { s.put("uname", fmt.Sprintf(uname, "Linux", "vax")) }, "", "CPU is vax", "ssh+unix://"},
		{"no program for the CPU", func(s *shell) { s.put("uname", fmt.Sprintf(uname, "Linux", "s390x")) }, "", "mab-linux-s390x is not here", "MAB_DIST"},
		{"no directory can be made", func(s *shell) { s.alone(); s.env[1] = "HOME=/proc/home" }, "",
			`"/proc/home/.cache/mab/bin" cannot be made, "/var/tmp/mab-` + nobody + `" can be written to by other users`, "let the user make /proc/home/.cache/mab/bin"},
		{"no room", func(s *shell) { s.alone(); s.put("df", "echo a a a 12 a") }, "", "without room", "needs "},
		{"no room in the middle", func(s *shell) { s.put("gzip", "head -c 99; echo 'gzip: stdout: No space left on device' >&2; exit 1") }, "",
			"without room (gzip: stdout: No space left on device)", "needs "},
		{"a broken transfer", func(s *shell) { s.put("gzip", "echo 'gzip: stdin: unexpected end of file' >&2; exit 1") }, "", "the transfer broke: gzip: stdin: unexpected end of file", ""},
		{"another program arrives", func(s *shell) { s.put("gzip", "cat >/dev/null; echo '#!/bin/sh'; echo 'echo no; exit 3'") }, "", "it does not run there: no", ""},
		{"a login shell that lets nobody in", script("echo This account is not available.; exit 1"), "", "did not run sh: This account is not available.", "command="},
		{"a login shell without sh", script("echo sh: not found >&2; exit 127"), "", "did not run sh", "login shell"},
		{"a login shell that does not answer", script("cat >/dev/null"), "", "did not answer within 200ms", "--connect-timeout"},
		{"a login shell that does not stop to talk", script("exec yes"), "", "prints too much", "login shell"},
		{"something removes what was brought", script(`rm -rf "$HOME/.cache"; exec sh "$@"`), "", "is gone again", "XDG_CACHE_HOME"},
		{"the solver does not start", func(*shell) {}, "fail: no namespaces", "no namespaces", "mend it"},
		{"another protocol", script(`echo 'mab-agent {"protocol":9,"mab":"v7"}'`), "", "is v7 and speaks protocol 9", "MAB_DIST"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			m := newShell(t)
			test.with(m)
			_, err := nodes.Over(t.Context(), "pi", m, nodes.Config{
				Programs: []string{}, Timeout: timeoutOf(test.want), Solver: nodes.SolverConfig{Toml: test.solver},
			})
			var lost interface{ Lost() bool }
			if err == nil || !strings.HasPrefix(err.Error(), `node "pi": `) || !strings.Contains(err.Error(), test.want) || !errors.As(err, &lost) || !lost.Lost() {
				t.Fatalf("got %v, want a lost node and %q", err, test.want)
			}
			var mendable interface{ Hint() string }
			if test.hint != "" && (!errors.As(err, &mendable) || !strings.Contains(mendable.Hint(), test.hint)) {
				t.Errorf("no hint %q in %v", test.hint, mendable)
			}
			left, _ := filepath.Glob(filepath.Join(m.home, ".cache/mab/bin/.new-*"))
			if len(left) > 0 {
				t.Errorf("it leaves %q", left)
			}
		})
	}
}

// timeoutOf is short only where the test is about it.
func timeoutOf(want string) time.Duration {
	if strings.Contains(want, "200ms") {
		return 200 * time.Millisecond
	}
	return 0
}

func TestBringWithout(t *testing.T) {
	for _, test := range []struct {
		rule string
		with func(*shell)
	}{
		{"gzip", func(s *shell) {
			// Everything that the scripts call, but for it.
			dir := filepath.Join(s.home, "tools")
			if err := os.Mkdir(dir, 0o755); err != nil {
				s.t.Fatal(err)
			}
			for _, name := range []string{"sh", "id", "ls", "df", "tail", "uname", "mkdir", "rm", "chmod", "wc", "sleep", "cat"} {
				path, err := exec.LookPath(name)
				if err == nil {
					err = os.Symlink(path, filepath.Join(dir, name))
				}
				if err != nil {
					s.t.Fatal(err)
				}
			}
			s.env[0] = "PATH=" + dir
		}},
		{"anything but busybox", func(s *shell) {
			busybox := need(s.t, "busybox")
			dir := filepath.Join(s.home, "tools")
			if err := errors.Join(os.Mkdir(dir, 0o755), exec.Command(busybox, "--install", "-s", dir).Run()); err != nil {
				s.t.Fatal(err)
			}
			s.env[0], s.login = "PATH="+dir, []string{filepath.Join(dir, "sh")}
		}},
		{"df", func(s *shell) { s.put("df", "exit 1") }},
		{"silence", func(s *shell) {
			s.put("login", `printf "Welcome! "; echo noise >&2; exec sh "$@"`)
			s.login = []string{filepath.Join(s.home, "path", "login")}
		}},
	} {
		t.Run("a machine without "+test.rule, func(t *testing.T) {
			m := newShell(t)
			test.with(m)
			r := reach(t, m, nodes.Config{Programs: []string{}})
			if got := says(t, r, "hello"); got != "hello" {
				t.Errorf("got %q", got)
			}
			if got := m.placed(); len(got) != 1 {
				t.Errorf("in its place is %q", got)
			}
		})
	}
}

// TestBringChanged is about a file that another took the place of, without a trace in its size and time.
func TestBringChanged(t *testing.T) {
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	cfg := nodes.Config{Programs: []string{t.TempDir()}}
	then := time.Now().Add(-time.Hour)
	write := func(last byte) {
		t.Helper()
		path := filepath.Join(cfg.Programs[0], "mab-linux-"+runtime.GOARCH)
		if err := errors.Join(os.WriteFile(path, append(self, last), 0o600), os.Chtimes(path, then, then)); err != nil {
			t.Fatal(err)
		}
	}
	write(1)
	first := newShell(t)
	reach(t, first, cfg)
	write(2)
	second := newShell(t)
	if _, err := nodes.Over(t.Context(), "pi", second, cfg); err == nil || !strings.Contains(err.Error(), "was changed meanwhile") {
		t.Errorf("got %v", err)
	}
	if got := second.placed(); len(got) > 0 {
		t.Errorf("in its place is %q", got)
	}
	reach(t, second, cfg)
	if got := second.placed(); len(got) != 1 || got[0] == first.placed()[0] {
		t.Errorf("in its place is %q", got)
	}
}

func TestBringTwiceAtOnce(t *testing.T) {
	m := newShell(t)
	group, ctx := errgroup.WithContext(t.Context())
	for range 3 {
		other := *m
		group.Go(func() error {
			r, err := nodes.Over(ctx, "pi", &other, nodes.Config{Programs: []string{}})
			if err != nil {
				return err
			}
			return r.Close()
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if got := m.placed(); len(got) != 1 {
		t.Errorf("in its place is %q", got)
	}
}

func TestPruning(t *testing.T) {
	m := newShell(t)
	dir := filepath.Join(m.home, ".cache", "mab", "bin")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	old, recent, running := "mab-"+strings.Repeat("a", 64), "mab-"+strings.Repeat("b", 64), "mab-"+strings.Repeat("c", 64)
	cat, err := exec.LookPath("cat")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(cat)
	if err != nil {
		t.Fatal(err)
	}
	for name, age := range map[string]time.Duration{
		old: 99 * time.Hour, running: 99 * time.Hour, recent: time.Hour, ".new-0a": time.Minute, ".new-0b": 0, "notes": 99 * time.Hour,
	} {
		path, then := filepath.Join(dir, name), time.Now().Add(-age)
		if err := errors.Join(os.WriteFile(path, program, 0o700), os.Chtimes(path, then, then)); err != nil {
			t.Fatal(err)
		}
	}
	user := exec.Command(filepath.Join(dir, running))
	stdin, err := user.StdinPipe()
	if err == nil {
		err = user.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	reach(t, m, nodes.Config{Programs: []string{}})
	if err := errors.Join(stdin.Close(), user.Wait()); err != nil {
		t.Error(err)
	}
	got := slices.DeleteFunc(m.placed(), func(name string) bool {
		return strings.HasPrefix(name, "mab-") && name != old && name != recent && name != running
	})
	if diff := cmp.Diff([]string{".new-0b", recent, running, "notes"}, got); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
	if err := nodes.PurgeOver(t.Context(), "pi", m, nodes.Config{Programs: []string{}}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"notes"}, m.placed()); diff != "" {
		t.Errorf("after the purge: want -, got +:\n%s", diff)
	}
}

func TestLinesForLoginShells(t *testing.T) {
	for _, line := range nodes.Lines() {
		script, ok := strings.CutPrefix(line, "exec sh -c '")
		script, closed := strings.CutSuffix(script, "'")
		// csh has history in single quotes and ends words at a newline, fish takes \' and \\ in them.
		if !ok || !closed || strings.ContainsAny(strings.ReplaceAll(script, "! ", ""), "'!\n") || strings.Contains(script, `\\`) {
			t.Errorf("some shell takes this for something else: %s", line)
		}
	}
}

func TestArchitectures(t *testing.T) {
	machine, err := exec.Command("uname", "-m").Output()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		strings.TrimSpace(string(machine)): runtime.GOARCH,
		"x86_64":                           "amd64",
		"aarch64":                          "arm64",
		"armv7l":                           "arm",
		"vax":                              "",
	} {
		if got, ok := nodes.ArchOf(name); got != want || ok != (want != "") {
			t.Errorf("%s is %q (%v), want %q", name, got, ok, want)
		}
	}
}

func TestErrorsShowNoScript(t *testing.T) {
	const line = "exec sh -c 'a \"script\"'"
	lost := &link.LostError{Host: "pi", Address: "pi@192.0.2.1:22", Err: errors.New("no answer")}
	for _, test := range []struct {
		err  error
		want string
	}{
		{lost, lost.Error()},
		{fmt.Errorf("running %q on pi: %w", line, lost), lost.Error()},
		{fmt.Errorf("running %q on pi: %w", line, context.Canceled), "context canceled"},
		{&link.ExitError{Line: line, Code: 3, Stderr: "x"}, "it ended with exit code 3"},
		{&link.ExitError{Line: line, Code: -1, Signal: "KILL"}, "it ended with signal KILL"},
		{&link.ExitError{Line: line, Code: -1}, "it ended with no exit code"},
		{io.EOF, "EOF"},
	} {
		if got := nodes.Brief(line, test.err); got == nil || got.Error() != test.want {
			t.Errorf("%v became %v, want %q", test.err, got, test.want)
		}
	}
	if err := nodes.Brief(line, nil); err != nil {
		t.Error(err)
	}
}
