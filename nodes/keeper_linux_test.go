// SPDX-License-Identifier: Apache-2.0

package nodes_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mab-build/mab/nodes"
	"github.com/mab-build/mab/nodes/link"
)

// keeping is a home whose user may log in to a real sshd, behind which a solver listens at a door.
type keeping struct {
	*testing.T
	dir   string
	entry nodes.Entry
	cfg   nodes.Config
	// ended has what the keepers returned, stop ends the one that was started last.
	ended chan error
	stop  context.CancelFunc
	sshd  *exec.Cmd
}

// newKeeping starts sshd with lines of its configuration. Nothing is kept yet.
func newKeeping(t *testing.T, idle time.Duration, config ...string) *keeping {
	t.Helper()
	for _, program := range []string{"/usr/sbin/sshd", "ssh-keygen"} {
		if _, err := exec.LookPath(program); err == nil && os.Getuid() == 0 {
			continue
		}
		if os.Getenv("MAB_E2E") == "all" {
			t.Fatalf("no %s, or no root for it", program)
		}
		t.Skipf("no %s, or no root for it", program)
	}
	dir, err := os.MkdirTemp("", "keep") // The path of a socket must be short.
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	k := &keeping{T: t, dir: dir, ended: make(chan error, 9), stop: func() {}}
	t.Setenv("HOME", dir)
	t.Setenv("SSH_AUTH_SOCK", "")
	k.serve(config...)
	k.listen()
	k.cfg = nodes.Config{Version: "1", Solver: nodes.SolverConfig{Toml: "door: " + k.path("door")}, Keep: k.keep(idle)}
	t.Cleanup(func() { k.stop() })
	return k
}

func (k *keeping) path(name string) string { return filepath.Join(k.dir, name) }

func (k *keeping) write(name, text string) {
	k.Helper()
	err := os.MkdirAll(filepath.Dir(k.path(name)), 0o700)
	if err := errors.Join(err, os.WriteFile(k.path(name), []byte(text), 0o600)); err != nil {
		k.Fatal(err)
	}
}

// serve starts sshd, whom the home knows and who lets it in, with lines of its configuration.
func (k *keeping) serve(config ...string) {
	k.Helper()
	k.write(".ssh/config", "")
	for _, name := range []string{"host", ".ssh/id_ed25519"} {
		if out, err := exec.CommandContext(k.Context(), "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", k.path(name)).CombinedOutput(); err != nil {
			k.Fatalf("%v: %s", err, out)
		}
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		k.Fatal(err)
	}
	address := free.Addr().String()
	_, port, _ := net.SplitHostPort(address)
	_ = free.Close()
	k.entry = nodes.Entry{Name: "own", URL: "ssh://root@" + address}
	k.write(".ssh/known_hosts", fmt.Sprintf("[127.0.0.1]:%s %s", port, k.read("host.pub")))
	k.write("sshd_config", strings.Join(append(config, "Port "+port, "ListenAddress 127.0.0.1", "HostKey "+k.path("host"),
		"AuthorizedKeysFile "+k.path(".ssh/id_ed25519.pub"), "StrictModes no", "UsePAM no", "PidFile none", "PermitRootLogin yes", "LogLevel VERBOSE",
		"SetEnv HOME="+k.dir+" XDG_CACHE_HOME="+k.path("cache")), "\n")+"\n")
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		k.Fatal(err)
	}
	log, err := os.Create(k.path("log"))
	if err != nil {
		k.Fatal(err)
	}
	server := exec.CommandContext(k.Context(), "/usr/sbin/sshd", "-D", "-e", "-f", k.path("sshd_config"))
	server.Stderr = log
	if err := server.Start(); err != nil {
		k.Fatal(err)
	}
	k.sshd = server
	k.Cleanup(func() {
		_ = server.Process.Kill()
		_, _ = server.Wait(), log.Close()
		if k.Failed() {
			k.Logf("sshd said:\n%s", k.read("log"))
		}
	})
	k.eventually("sshd listens", func() bool {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
}

// listen has a solver answer at the door, and say what it hears. Closing the returned listener shuts it.
func (k *keeping) listen() net.Listener {
	k.Helper()
	l, err := net.Listen("unix", k.path("door"))
	if err != nil {
		k.Fatal(err)
	}
	var group errgroup.Group
	group.Go(func() error {
		for {
			conn, err := l.Accept()
			if err != nil {
				return err
			}
			group.Go(func() error {
				_, _ = io.WriteString(conn, "hello\n")
				_, err := io.Copy(conn, conn)
				return errors.Join(err, conn.Close())
			})
		}
	})
	k.Cleanup(func() {
		_ = l.Close()
		_ = group.Wait()
	})
	return l
}

// keep starts keepers in this process.
func (k *keeping) keep(idle time.Duration) *nodes.Keep {
	return &nodes.Keep{Socket: k.path("links"), Start: func() (io.WriteCloser, error) {
		r, w := io.Pipe()
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() {
			defer close(done)
			k.ended <- nodes.KeepLinks(ctx, nodes.KeeperConfig{Socket: k.path("links"), Idle: idle, Wanted: r})
		}()
		k.stop = func() {
			cancel()
			<-done
		}
		// As with the end of a build.
		time.AfterFunc(100*time.Millisecond, func() { _ = w.Close() })
		return w, nil
	}}
}

func (k *keeping) read(name string) string {
	k.Helper()
	text, err := os.ReadFile(k.path(name))
	if err != nil {
		k.Fatal(err)
	}
	return string(text)
}

func (k *keeping) eventually(what string, holds func() bool) {
	k.Helper()
	for deadline := time.Now().Add(30 * time.Second); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			k.Fatalf("it does not come true: %s", what)
		}
	}
}

// logins is how many there were.
func (k *keeping) logins() int { return strings.Count(k.read("log"), "Accepted publickey") }

// reach reaches the node, hears its solver say what it is told, and leaves it again.
func (k *keeping) reach() (kept bool) {
	k.Helper()
	r, err := nodes.Reach(k.Context(), k.entry, k.cfg)
	if err != nil {
		k.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	k.talk(r)
	return r.Kept()
}

func (k *keeping) talk(r *nodes.Reached) net.Conn {
	k.Helper()
	conn, err := r.Dial(k.Context())
	if err != nil {
		k.Fatal(err)
	}
	k.Cleanup(func() { _ = conn.Close() })
	_, err = io.WriteString(conn, "x")
	for c := []byte{0}; err == nil && c[0] != 'x'; {
		_, err = conn.Read(c)
	}
	if err != nil {
		k.Fatal(err)
	}
	return conn
}

// start has a link kept: after one reach of its own, the next ones go by that.
func (k *keeping) start() {
	k.Helper()
	if k.reach() {
		k.Fatal("the first link is one that is kept")
	}
	k.eventually("a link is kept", k.reach)
}

func TestKeptLink(t *testing.T) {
	k := newKeeping(t, time.Minute)
	k.start()
	t.Run("nobody logs in again", func(t *testing.T) {
		before := k.logins()
		for range 5 {
			if !k.reach() {
				t.Error("a link of its own")
			}
		}
		if now := k.logins(); now != before {
			t.Errorf("%d logins", now-before)
		}
	})
	t.Run("more at once than the server allows sessions", func(t *testing.T) {
		var group errgroup.Group
		for range 30 {
			group.Go(func() error {
				r, err := nodes.Reach(t.Context(), k.entry, k.cfg)
				if err == nil && !r.Kept() {
					err = errors.New("a link of its own")
				}
				if r != nil {
					err = errors.Join(err, r.Close())
				}
				return err
			})
		}
		if err := group.Wait(); err != nil {
			t.Error(err)
		}
	})
	for _, test := range []struct {
		rule   string
		change func(k *keeping)
	}{
		{"another mab", func(k *keeping) { k.cfg.Version = "2" }},
		{"another config for the solver", func(k *keeping) { k.cfg.Solver.Files = map[string][]byte{"a": nil} }},
		{"other settings of the host", func(k *keeping) { k.write(".ssh/config", "IdentitiesOnly yes\n") }},
		{"another key", func(k *keeping) {
			now := time.Now().Add(time.Second)
			if err := os.Chtimes(k.path(".ssh/id_ed25519"), now, now); err != nil {
				k.Fatal(err)
			}
		}},
		{"one more host key", func(k *keeping) {
			_, port, _ := net.SplitHostPort(strings.TrimPrefix(k.entry.URL, "ssh://root@"))
			k.write(".ssh/known_hosts", k.read(".ssh/known_hosts")+fmt.Sprintf("[127.0.0.1]:%s %s", port, k.read(".ssh/id_ed25519.pub")))
		}},
		{"a way that nobody can vouch for", func(k *keeping) {
			k.write(".ssh/config", "ProxyCommand bash -c 'exec 3<>/dev/tcp/%h/%p; cat <&3 & cat >&3; kill %%1'\n")
		}},
	} {
		t.Run("not for "+test.rule, func(t *testing.T) {
			k := *k
			k.T = t
			test.change(&k)
			if k.reach() {
				t.Error("it is shared")
			}
		})
	}
	t.Run("a host whose key was forgotten is a stranger", func(t *testing.T) {
		k.write(".ssh/known_hosts", "")
		_, err := nodes.Reach(t.Context(), k.entry, k.cfg)
		var stranger *link.HostKeyError
		if !errors.As(err, &stranger) {
			t.Errorf("got %v", err)
		}
	})
}

func TestKeptLinkFails(t *testing.T) {
	t.Run("a door that is shut is passed by", func(t *testing.T) {
		k := newKeeping(t, time.Minute)
		if err := os.Remove(k.path("door")); err != nil {
			t.Fatal(err)
		}
		door := k.listen()
		k.start()
		if err := door.Close(); err != nil {
			t.Fatal(err)
		}
		r, err := nodes.Reach(t.Context(), k.entry, k.cfg)
		if err != nil || r.Kept() {
			t.Fatalf("got %v", err)
		}
		k.listen()
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		before := k.logins()
		k.eventually("the link is used again", k.reach)
		if now := k.logins(); now > before {
			t.Logf("%d more logins while the node was asked", now-before)
		}
	})
	for rule, end := range map[string]struct {
		do   func(k *keeping)
		want string
	}{
		"a link that is lost is noticed, and replaced":   {func(k *keeping) { k.hangUp() }, "was lost"},
		"a keeper that is gone is noticed, and replaced": {func(k *keeping) { k.stop() }, "the process that kept the link ended"},
	} {
		t.Run(rule, func(t *testing.T) {
			k := newKeeping(t, time.Minute)
			k.start()
			r, err := nodes.Reach(t.Context(), k.entry, k.cfg)
			if err != nil || !r.Kept() || r.Err() != nil {
				t.Fatalf("got %v", err)
			}
			conn := k.talk(r)
			end.do(k)
			var lost interface{ Lost() bool }
			if _, err := conn.Read(make([]byte, 1)); !errors.As(err, &lost) || !strings.Contains(err.Error(), end.want) {
				t.Errorf("reading: %v", err)
			}
			select {
			case <-r.Done():
			case <-time.After(10 * time.Second):
				t.Error("it is not done")
			}
			if err := r.Err(); err == nil || !strings.Contains(err.Error(), end.want) {
				t.Errorf("got %v", err)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
			k.cfg.Keep = k.keep(time.Minute)
			if k.reach() {
				t.Error("the dead link is used")
			}
			k.eventually("another link is kept", k.reach)
		})
	}
	t.Run("a server that forbids it is not asked for each build", func(t *testing.T) {
		k := newKeeping(t, time.Minute, "AllowStreamLocalForwarding no")
		k.reach()
		k.eventually("the keeper has tried", func() bool { return k.logins() == 2 })
		for range 3 {
			if k.reach() {
				t.Error("it is kept")
			}
		}
		if got := k.logins(); got != 5 {
			t.Errorf("%d logins", got)
		}
	})
}

func TestKeeperEnds(t *testing.T) {
	k := newKeeping(t, time.Second)
	k.start()
	r, err := nodes.Reach(t.Context(), k.entry, k.cfg)
	if err != nil || !r.Kept() {
		t.Fatalf("got %v", err)
	}
	select {
	case err := <-k.ended:
		t.Fatalf("it ended in the middle of a build: %v", err)
	case <-time.After(2 * time.Second): // longer than it keeps what nobody uses
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	select {
	case err = <-k.ended:
	case <-time.After(10 * time.Second):
		t.Fatal("it goes on")
	}
	if err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(k.path("links")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("its socket is left: %v", err)
	}
	k.eventually("the server has no connection", func() bool { return len(k.sessions()) == 0 })
}

// TestKeeperThatWasReplaced needs no server: of two keepers that began at once one is never asked, and ends before the other.
func TestKeeperThatWasReplaced(t *testing.T) {
	dir, err := os.MkdirTemp("", "keep") // The path of a socket must be short.
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "links")
	begin := func() (end func()) {
		r, w := io.Pipe()
		ctx, cancel := context.WithCancel(t.Context())
		var group errgroup.Group
		group.Go(func() error { return nodes.KeepLinks(ctx, nodes.KeeperConfig{Socket: socket, Wanted: r}) })
		k := &keeping{T: t}
		k.eventually("it listens", func() bool { _, err := os.Stat(socket); return err == nil })
		return func() {
			cancel()
			if err := errors.Join(group.Wait(), w.Close()); err != nil {
				t.Error(err)
			}
		}
	}
	endFirst := begin()
	// The second took it for the socket of one that is gone.
	if err := os.Remove(socket); err != nil {
		t.Fatal(err)
	}
	endSecond := begin()
	endFirst()
	if _, err := os.Stat(socket); err != nil {
		t.Errorf("it took away the socket of the one that is asked: %v", err)
	}
	endSecond()
	if _, err := os.Stat(socket); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("its own socket is left: %v", err)
	}
}

// hangUp ends the server's connections.
func (k *keeping) hangUp() {
	k.Helper()
	for _, pid := range k.sessions() {
		if err := exec.CommandContext(k.Context(), "kill", "-9", pid).Run(); err != nil {
			k.Fatal(err)
		}
	}
}

// sessions are the processes of the server that have somebody logged in.
func (k *keeping) sessions() []string {
	k.Helper()
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", k.sshd.Process.Pid, k.sshd.Process.Pid))
	return strings.Fields(string(text))
}
