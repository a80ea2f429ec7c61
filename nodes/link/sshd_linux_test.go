// SPDX-License-Identifier: Apache-2.0

package link_test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mab-build/mab/nodes/link"
)

// need skips the test where a program is missing, and fails it where CI wants all.
func need(t testing.TB, programs ...string) {
	t.Helper()
	missing := ""
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			missing = err.Error()
		}
	}
	if os.Getuid() != 0 {
		missing = "sshd needs root"
	}
	if missing == "" {
		return
	}
	if os.Getenv("MAB_E2E") == "all" {
		t.Fatal(missing)
	}
	t.Skip(missing)
}

// sshd is OpenSSH's server on a port of its own.
type sshd struct {
	dir  string
	port int
	log  *record
	cmd  *exec.Cmd
}

// record is what a program writes, while it is read.
type record struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(p)
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

// keygen makes a key pair, and returns the path of the private half.
func keygen(t testing.TB, path string, args ...string) string {
	t.Helper()
	run(t, "ssh-keygen", append([]string{"-q", "-f", path, "-C", filepath.Base(path)}, args...)...)
	return path
}

func run(t testing.TB, program string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", cmd, err, out)
	}
	return string(out)
}

// newSSHD starts a server that lets in the keys of DIR/authorized, with an ed25519 and an ECDSA host key. It ends with the test.
func newSSHD(t testing.TB, config ...string) *sshd {
	t.Helper()
	need(t, "/usr/sbin/sshd", "ssh-keygen")
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &sshd{dir: t.TempDir(), port: listener.Addr().(*net.TCPAddr).Port, log: new(record)}
	_ = listener.Close()
	s.keys(t)
	write(t, filepath.Join(s.dir, "authorized"), "")
	s.start(t, config...)
	return s
}

// keys gives the server new host keys.
func (s *sshd) keys(t testing.TB) {
	t.Helper()
	for _, kind := range []string{"ed25519", "ecdsa"} {
		path := filepath.Join(s.dir, "host_"+kind)
		_ = os.Remove(path)
		keygen(t, path, "-t", kind, "-N", "")
	}
}

func (s *sshd) start(t testing.TB, config ...string) {
	t.Helper()
	lines := append(config, fmt.Sprintf("Port %d", s.port), "ListenAddress 127.0.0.1", "HostKey "+s.dir+"/host_ed25519", "HostKey "+s.dir+"/host_ecdsa",
		"AuthorizedKeysFile "+s.dir+"/authorized", "PasswordAuthentication no", "KbdInteractiveAuthentication no", "StrictModes no", "UsePAM no",
		"PidFile none", "PermitRootLogin yes", "LogLevel VERBOSE")
	write(t, filepath.Join(s.dir, "sshd_config"), strings.Join(lines, "\n")+"\n")
	s.cmd = exec.CommandContext(t.Context(), "/usr/sbin/sshd", "-D", "-e", "-f", filepath.Join(s.dir, "sshd_config"))
	s.cmd.Stderr = s.log
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.stop()
		if t.Failed() {
			t.Logf("sshd said:\n%s", s.log)
		}
	})
	for deadline := time.Now().Add(10 * time.Second); ; {
		conn, err := net.Dial("tcp", s.address())
		if err == nil {
			_ = conn.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("sshd does not listen: %v: %s", err, s.log)
		}
	}
}

func (s *sshd) stop() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

func (s *sshd) address() string { return fmt.Sprintf("127.0.0.1:%d", s.port) }

// admit lets in a key.
func (s *sshd) admit(t testing.TB, public string) {
	t.Helper()
	path := filepath.Join(s.dir, "authorized")
	write(t, path, read(t, path)+"\n"+public+"\n")
}

// hostKey is a line for known_hosts.
func (s *sshd) hostKey(t testing.TB, kind string) string {
	t.Helper()
	return fmt.Sprintf("[127.0.0.1]:%d %s\n", s.port, read(t, filepath.Join(s.dir, "host_"+kind+".pub")))
}

// config leads to the server with a home of its own, whose ssh_config is given, and that knows the server's ed25519 key.
func (s *sshd) config(t testing.TB, sshConfig string) link.Config {
	t.Helper()
	home := t.TempDir()
	write(t, filepath.Join(home, ".ssh", "config"), sshConfig)
	write(t, filepath.Join(home, ".ssh", "known_hosts"), s.hostKey(t, "ed25519"))
	return link.Config{Host: "127.0.0.1", User: "root", Port: s.port, Home: home, Files: []string{filepath.Join(home, ".ssh", "config")},
		Getenv: func(string) string { return "" }, Note: func(text string) { t.Log(text) }}
}

// admitted is config with a key that the server lets in.
func (s *sshd) admitted(t testing.TB, sshConfig string) link.Config {
	t.Helper()
	cfg := s.config(t, sshConfig)
	key := keygen(t, filepath.Join(cfg.Home, ".ssh", "id_ed25519"), "-t", "ed25519", "-N", "")
	s.admit(t, read(t, key+".pub"))
	return cfg
}
