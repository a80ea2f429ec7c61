// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// freePort is a loopback address that nobody listens on.
func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// far is a client of BuildKit and how it reaches a solver.
type far struct {
	t       testing.TB
	program string
	reach   []string
}

func (f far) command(args ...string) *exec.Cmd {
	return exec.CommandContext(f.t.Context(), f.program, slices.Concat(f.reach, args)...)
}

// run is for a command that must end well, and returns all that it says.
func (f far) run(t testing.TB, args ...string) string {
	t.Helper()
	out, err := f.command(args...).CombinedOutput()
	if err != nil {
		t.Fatalf("buildctl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func dockerfileBuild(dir string, more ...string) []string {
	return append([]string{"build", "--progress=plain", "--frontend=dockerfile.v0", "--local=context=" + dir, "--local=dockerfile=" + dir}, more...)
}

// guarded starts a solver that serves others on a socket and by TCP, and returns buildctl for both.
func guarded(l *lab, buildctl string, ca *authority, args ...string) (serve *running, unix, tcp far) {
	l.t.Helper()
	server, client, port := ca.server(), ca.client(), freePort(l.t)
	socket := filepath.Join(l.root, "others", "s")
	serve = l.foreground(append([]string{
		"--addr", "unix://" + socket, "--addr", "tcp://" + port, "--tlscert", server.cert, "--tlskey", server.key, "--tlscacert", ca.file(),
	}, args...)...)
	unix = far{l.t, buildctl, []string{"--addr", "unix://" + socket}}
	tcp = far{l.t, buildctl, []string{"--addr", "tcp://" + port, "--tlscacert", ca.file(), "--tlscert", client.cert, "--tlskey", client.key}}
	return serve, unix, tcp
}

// settings is how a client of HTTP/2 begins: the preface and an empty SETTINGS frame. https://www.rfc-editor.org/rfc/rfc9113#section-3.4
const settings = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"

func TestServeOthers(t *testing.T) {
	l := newLab(t)
	buildctl := tool(t, "github.com/moby/buildkit/cmd/buildctl")
	serve, unix, tcp := guarded(l, buildctl, newAuthority(t, "ours"), "--group", "65534")

	for _, by := range []struct {
		name string
		far
	}{{"unix", unix}, {"tcp", tcp}} {
		t.Run(by.name, func(t *testing.T) {
			l := l.on(t)
			dir := l.contextOn(map[string]string{"Dockerfile": "FROM BASE\nRUN uname -m > /machine && echo " + by.name + "\n"})
			platform := "--opt=platform=" + foreignPlatform()
			t.Run("files", func(t *testing.T) {
				dest := filepath.Join(l.dir, "files")
				by.run(t, dockerfileBuild(dir, platform, "--output=type=local,dest="+dest)...)
				if got, want := strings.TrimSpace(read(t, dest+"/machine")), machineOf(t, foreignPlatform()).uname; got != want {
					t.Errorf("uname -m = %q, want %q", got, want)
				}
			})
			t.Run("an image, pushed", func(t *testing.T) {
				ref := registry(t) + "/others/" + by.name + ":1"
				out := by.run(t, dockerfileBuild(dir, platform, "--output=type=image,push=true,name="+ref)...)
				if !cached(out, "RUN uname -m") {
					t.Errorf("the step of the build before was run again:\n%s", out)
				}
				wantMachine(t, foreignPlatform(), pullImage(t, ref))
			})
			t.Run("an archive", func(t *testing.T) {
				file := filepath.Join(l.dir, "image.tar")
				by.run(t, dockerfileBuild(dir, platform, "--output=type=oci,dest="+file)...)
				wantMachine(t, foreignPlatform(), layoutImage(t, untar(t, file)))
			})
			t.Run("two platforms", func(t *testing.T) {
				ref := registry(t) + "/others/" + by.name + ":2"
				both := strings.Join(twoPlatforms(), ",")
				by.run(t, dockerfileBuild(dir, "--opt=platform="+both, "--output=type=image,push=true,name="+ref)...)
				wantMachines(t, pull(t, ref))
			})
			t.Run("the cache, exported and imported", func(t *testing.T) {
				ref := registry(t) + "/others/cache-" + by.name
				by.run(t, dockerfileBuild(dir, "--export-cache=type=registry,mode=max,ref="+ref, "--import-cache=type=registry,ref="+ref)...)
			})
			t.Run("what it says of itself", func(t *testing.T) {
				for _, question := range []struct {
					args []string
					want string
				}{
					{[]string{"debug", "workers"}, foreignPlatform()},
					{[]string{"debug", "workers", "-v"}, "GC Policy rule#0"},
					{[]string{"debug", "info"}, "BuildKit:"},
					{[]string{"debug", "histories"}, "COMPLETE"},
					{[]string{"du"}, "Total:"},
					{[]string{"du", "-v"}, "mount / from exec"},
				} {
					if out := by.run(t, question.args...); !strings.Contains(out, question.want) {
						t.Errorf("buildctl %v: no %q in\n%s", question.args, question.want, out)
					}
				}
			})
			t.Run("the history and the cache are emptied", func(t *testing.T) {
				by.run(t, "prune-histories")
				if out := by.run(t, "debug", "histories"); strings.Contains(out, "\nCOMPLETE") {
					t.Errorf("there still is a history:\n%s", out)
				}
				by.run(t, "prune", "--all")
				if out := by.run(t, "du"); !strings.Contains(out, "Total:\t\t0B") {
					t.Errorf("there still is a cache:\n%s", out)
				}
			})
		})
	}
	// By TCP it would carry what the connection does, and leave TLS to who uses it.
	t.Run("dial-stdio", func(t *testing.T) {
		dial := unix.command("dial-stdio")
		dial.Stdin = strings.NewReader(settings)
		out, err := dial.Output()
		if err != nil || len(out) < 9 || out[3] != 4 {
			t.Errorf("error %v; the answer is no SETTINGS frame: %q", err, out)
		}
	})
	t.Run("builds on this machine use the same solver", func(t *testing.T) {
		l := l.on(t)
		l.must("build", l.scratch())
		if l.starts() != 0 {
			t.Error("the build started another one")
		}
	})
	t.Run("the socket is its group's, and the solver's own is not", func(t *testing.T) {
		for path, want := range map[string]fs.FileMode{"others/s": 0o660, "solver.sock": 0o600} {
			info, err := os.Stat(filepath.Join(l.root, path))
			if err != nil || info.Mode().Perm() != want {
				t.Errorf("%s: error %v, mode %v, want %v", path, err, info.Mode(), want)
			}
		}
		info, err := os.Stat(filepath.Join(l.root, "others/s"))
		if err != nil || info.Sys().(*syscall.Stat_t).Gid != 65534 {
			t.Errorf("error %v; group of %v", err, info.Sys())
		}
	})
	t.Run("the service manager is told when it is ready", func(t *testing.T) {
		l := newLab(t)
		path := filepath.Join(l.root, "notify")
		conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		l = l.setting("NOTIFY_SOCKET=" + path)
		l.foreground()
		word := make([]byte, 32)
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, err := conn.Read(word)
		if err != nil || string(word[:n]) != "READY=1" {
			t.Errorf("error %v; got %q", err, word[:n])
		}
		// A step is told nothing of it.
		l.must("build", l.contextOn(map[string]string{"Dockerfile": "FROM BASE\nRUN test -z \"$NOTIFY_SOCKET\"\n"}))
	})
	t.Run("a second one on the same address says so", func(t *testing.T) {
		l := newLab(t)
		for _, reach := range []string{unix.reach[1], tcp.reach[1]} {
			args := []string{"serve", "--addr", reach}
			l.refused(1, []string{`listening on "`, "mab: hint: choose another address"}, args...)
		}
	})
	serve.signal(syscall.SIGTERM)
	if out := serve.within(10 * time.Second); out.code != 0 {
		t.Errorf("exit code %d\n%s", out.code, out.stderr)
	}
	if l.has("others/s") {
		t.Error("the socket is left")
	}
}

// TestServeRefusesStrangers: who cannot show the right certificate learns why, and gets nothing.
func TestServeRefusesStrangers(t *testing.T) {
	l := newWatchedLab(t)
	buildctl := tool(t, "github.com/moby/buildkit/cmd/buildctl")
	ours, others := newAuthority(t, "ours"), newAuthority(t, "others")
	serve, _, tcp := guarded(l, buildctl, ours)
	port := tcp.reach[1]
	with := func(trusted *authority, c certificate) []string {
		return []string{"--addr", port, "--tlscacert", trusted.file(), "--tlscert", c.cert, "--tlskey", c.key}
	}
	later, before := time.Now().Add(time.Hour), time.Now().Add(-time.Hour)
	for _, test := range []struct {
		rule  string
		reach []string
		says  string
	}{
		{"no certificate", []string{"--addr", port, "--tlscacert", ours.file(), "--tlsservername", "localhost"}, "certificate required"},
		{"another CA's certificate, which the client then keeps to itself", with(ours, others.client()), "certificate required"},
		{"one that has expired", with(ours, ours.issue("old", x509.ExtKeyUsageClientAuth, before)), "expired certificate"},
		{"one for servers", with(ours, ours.issue("wrong", x509.ExtKeyUsageServerAuth, later)), "bad certificate"},
		{"a client that does not trust the server", with(others, ours.client()), "certificate signed by unknown authority"},
		{"no TLS", []string{"--addr", port}, "error reading server preface"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			out, err := far{t, buildctl, test.reach}.command("debug", "workers").CombinedOutput()
			if err == nil || !bytes.Contains(out, []byte(test.says)) {
				t.Errorf("error %v; no %q in\n%s", err, test.says, out)
			}
		})
	}
	t.Run("a client that says nothing of HTTP/2, as buildx does not", func(t *testing.T) {
		conn, err := tls.Dial("tcp", strings.TrimPrefix(port, "tcp://"), &tls.Config{RootCAs: ours.pool(), Certificates: []tls.Certificate{ours.client().pair(t)}})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		frame := make([]byte, 9)
		if _, err = io.WriteString(conn, settings); err == nil {
			_, err = io.ReadFull(conn, frame)
		}
		if err != nil || frame[3] != 4 {
			t.Errorf("error %v; the answer is no SETTINGS frame: %q", err, frame)
		}
	})
	t.Run("the right one still comes in", func(t *testing.T) { tcp.run(t, "debug", "workers") })
	t.Run("renewed certificates count at once", func(t *testing.T) {
		client := others.client()
		if err := os.WriteFile(ours.file(), readFile(t, others.file()), 0o600); err != nil {
			t.Fatal(err)
		}
		renewed := others.server()
		for from, to := range map[string]string{renewed.cert: filepath.Join(ours.dir, "server.pem"), renewed.key: filepath.Join(ours.dir, "server-key.pem")} {
			if err := os.WriteFile(to, readFile(t, from), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		far{t, buildctl, with(others, client)}.run(t, "debug", "workers")
	})
	serve.signal(syscall.SIGTERM)
	out := serve.within(10 * time.Second)
	if n := strings.Count(out.stderr, "client refused"); out.code != 0 || n < 5 {
		t.Errorf("exit code %d; %d refusals in the log\n%s", out.code, n, out.stderr)
	}
}

// TestServeEnds: a signal ends a solver soon, whatever it does, and what was finished is not done again.
func TestServeEnds(t *testing.T) {
	l := newWatchedLab(t)
	buildctl := tool(t, "github.com/moby/buildkit/cmd/buildctl")
	for _, test := range []struct {
		rule    string
		signals []syscall.Signal
		limit   time.Duration
		code    int
	}{
		{"SIGTERM", []syscall.Signal{syscall.SIGTERM}, 10 * time.Second, 0},
		{"SIGINT", []syscall.Signal{syscall.SIGINT}, 10 * time.Second, 0},
		{"twice", []syscall.Signal{syscall.SIGTERM, syscall.SIGTERM}, time.Second, -1},
	} {
		t.Run(test.rule, func(t *testing.T) {
			l := l.on(t)
			socket := filepath.Join(l.root, "s")
			serve := l.foreground("--addr", "unix://"+socket)
			b := far{t, buildctl, []string{"--addr", "unix://" + socket}}.command(dockerfileBuild(l.foreverContext())...)
			if err := b.Start(); err != nil {
				t.Fatal(err)
			}
			eventually(t, 20*time.Second, "the RUN is under way", func() bool { return len(l.containers(forever)) == 3 })
			f := l.family()
			began := time.Now()
			for i, s := range test.signals {
				if i > 0 {
					time.Sleep(200 * time.Millisecond) // two equal signals at once are one
				}
				serve.signal(s)
			}
			out := serve.within(test.limit)
			t.Logf("it ended after %v", time.Since(began).Round(time.Millisecond))
			if out.code != test.code {
				t.Errorf("exit code %d, want %d\n%s", out.code, test.code, out.stderr)
			}
			if err := b.Wait(); err == nil {
				t.Error("the build ended well")
			}
			l.gone(f)
			l.mustFinish(hostPlatform())
			l.must("serve", "--stop")
		})
	}
}
