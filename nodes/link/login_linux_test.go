// SPDX-License-Identifier: Apache-2.0

package link_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mab-build/mab/nodes/link"
)

// newAgent starts an agent with keys. It ends with the test.
func newAgent(t *testing.T, keys ...string) string {
	t.Helper()
	need(t, "ssh-agent", "ssh-add")
	// The path of a socket must be short.
	dir, err := os.MkdirTemp("", "agent")
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "socket")
	cmd := exec.CommandContext(t.Context(), "ssh-agent", "-D", "-a", socket)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = os.RemoveAll(dir)
	})
	for deadline := time.Now().Add(10 * time.Second); ; {
		if _, err := os.Stat(socket); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the agent does not start")
		}
	}
	for _, key := range keys {
		add := exec.CommandContext(t.Context(), "ssh-add", "-q", key)
		add.Env = append(os.Environ(), "SSH_AUTH_SOCK="+socket)
		if out, err := add.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	return socket
}

// login is a home at one moment of a test.
type login struct {
	*testing.T
	server *sshd
	cfg    link.Config
	asked  []string
}

func (l *login) path(name string) string { return filepath.Join(l.cfg.Home, ".ssh", name) }

func (l *login) config(text string) {
	write(l.T, l.cfg.Files[0], text)
}

// key makes a key that the server lets in.
func (l *login) key(name string, args ...string) {
	l.stranger(name, args...)
	l.server.admit(l.T, read(l.T, l.path(name)+".pub"))
}

// stranger makes a key that the server does not let in.
func (l *login) stranger(name string, args ...string) {
	keygen(l.T, l.path(name), append([]string{"-N", ""}, args...)...)
}

// certify has the authority of users sign a key.
func (l *login) certify(name string) {
	run(l.T, "ssh-keygen", "-q", "-s", filepath.Join(l.server.dir, "users"), "-I", "id", "-n", "root", l.path(name)+".pub")
}

func (l *login) agent(names ...string) {
	for i, name := range names {
		names[i] = l.path(name)
	}
	socket := newAgent(l.T, names...)
	l.cfg.Getenv = func(name string) string { return map[string]string{"SSH_AUTH_SOCK": socket}[name] }
}

// answer answers questions in turn.
func (l *login) answer(answers ...string) {
	l.cfg.Ask = func(_ context.Context, prompt string) (string, error) {
		l.asked = append(l.asked, strings.ReplaceAll(prompt, l.cfg.Home, "~"))
		if len(answers) < len(l.asked) {
			return "", errors.New("no more answers")
		}
		return answers[len(l.asked)-1], nil
	}
}

func (l *login) forget(name string) {
	if err := os.Remove(l.path(name)); err != nil {
		l.Fatal(err)
	}
}

func TestLogin(t *testing.T) {
	dir := t.TempDir()
	need(t, "ssh-keygen")
	authority := keygen(t, filepath.Join(dir, "users"), "-t", "ed25519", "-N", "")
	s := newSSHD(t, "TrustedUserCAKeys "+authority+".pub", "MaxAuthTries 8")
	for _, name := range []string{"users", "users.pub"} {
		write(t, filepath.Join(s.dir, name), read(t, filepath.Join(dir, name))+"\n")
	}
	const prompt = "Passphrase of the key ~/.ssh/id_ed25519: "
	for _, test := range []struct {
		rule  string
		setup func(*login)
		asked int
		// want and hint are of the error; empty: there is none.
		want, hint string
	}{
		{"an ed25519 key", func(l *login) { l.key("id_ed25519", "-t", "ed25519") }, 0, "", ""},
		{"an ECDSA key", func(l *login) { l.key("id_ecdsa", "-t", "ecdsa") }, 0, "", ""},
		{"an RSA key", func(l *login) { l.key("id_rsa", "-t", "rsa", "-b", "1024") }, 0, "", ""},
		{"a key by its name", func(l *login) {
			l.key("mine", "-t", "ed25519")
			l.config("IdentityFile ~/.ssh/none\nIdentityFile ~/.ssh/mine")
		}, 0, "", ""},
		{"the second key", func(l *login) {
			l.stranger("id_ecdsa", "-t", "ecdsa")
			l.key("id_ed25519", "-t", "ed25519")
		}, 0, "", ""},
		{"a key with a passphrase", func(l *login) {
			l.key("id_ed25519", "-t", "ed25519", "-a", "1", "-N", "secret")
			l.answer("secret")
		}, 1, "", ""},
		{"a passphrase is asked for three times", func(l *login) {
			l.key("id_ed25519", "-t", "ed25519", "-a", "1", "-N", "secret")
			l.answer("wrong", "wrong", "secret")
		}, 3, "", ""},
		{"a passphrase is asked for only of keys that the server wants", func(l *login) {
			l.stranger("id_ecdsa", "-t", "ecdsa", "-a", "1", "-N", "secret")
			l.key("id_ed25519", "-t", "ed25519")
			l.answer()
		}, 0, "", ""},
		{"a key that nobody opens is in nobody's way", func(l *login) {
			l.key("id_ecdsa", "-t", "ecdsa", "-a", "1", "-N", "secret")
			l.key("id_ed25519", "-t", "ed25519")
		}, 0, "", ""},
		{"an old key file", func(l *login) {
			l.key("id_ed25519", "-t", "rsa", "-b", "1024", "-m", "PEM", "-a", "1", "-N", "secret")
			l.forget("id_ed25519.pub")
			l.answer("secret")
		}, 1, "", ""},
		{"an agent", func(l *login) {
			l.key("a", "-t", "ed25519")
			l.agent("a")
		}, 0, "", ""},
		{"an agent instead of a passphrase", func(l *login) {
			l.key("id_ed25519", "-t", "rsa", "-b", "1024")
			l.agent("id_ed25519")
			run(l.T, "ssh-keygen", "-q", "-p", "-a", "1", "-N", "secret", "-f", l.path("id_ed25519"))
			l.answer()
		}, 0, "", ""},
		{"an agent's key that is named by its public half", func(l *login) {
			l.key("a", "-t", "ed25519")
			l.stranger("b", "-t", "ed25519")
			l.agent("b", "a")
			l.forget("a")
			l.config("IdentitiesOnly yes\nIdentityFile ~/.ssh/a.pub")
		}, 0, "", ""},
		{"a certificate", func(l *login) {
			l.stranger("id_ed25519", "-t", "ed25519")
			l.certify("id_ed25519")
		}, 0, "", ""},
		{"a certificate for a key with a passphrase", func(l *login) {
			l.stranger("id_ed25519", "-t", "ed25519", "-a", "1", "-N", "secret")
			l.certify("id_ed25519")
			l.answer("secret")
		}, 1, "", ""},
		{"a certificate for an RSA key of the agent", func(l *login) {
			l.stranger("a", "-t", "rsa", "-b", "1024")
			l.agent("a")
			l.certify("a")
			l.config("CertificateFile ~/.ssh/a-cert.pub")
		}, 0, "", ""},
		{"a certificate in the agent", func(l *login) {
			l.stranger("a", "-t", "ed25519")
			l.certify("a")
			l.agent("a")
			l.config("IdentitiesOnly yes\nIdentityFile ~/.ssh/a")
			l.forget("a-cert.pub")
		}, 0, "", ""},

		{"no key", func(*login) {}, 0, "there is no key for root@127.0.0.1:PORT", "give the server your key: ssh-copy-id -p PORT root@127.0.0.1"},
		{"a stranger's key", func(l *login) { l.stranger("id_ed25519", "-t", "ed25519") }, 0,
			"root@127.0.0.1:PORT took no key of ~/.ssh/id_ed25519", "give the server your key: ssh-copy-id -p PORT root@127.0.0.1"},
		{"a passphrase and nobody to ask", func(l *login) { l.key("id_ed25519", "-t", "ed25519", "-a", "1", "-N", "secret") }, 0,
			"root@127.0.0.1:PORT took no key of ~/.ssh/id_ed25519; the key ~/.ssh/id_ed25519 needs a passphrase, and there is nobody to ask",
			"give the key to an agent: ssh-add ~/.ssh/id_ed25519"},
		{"a passphrase that is wrong again and again", func(l *login) {
			l.key("id_ed25519", "-t", "ed25519", "-a", "1", "-N", "secret")
			l.answer("a", "b", "c")
		}, 3, "root@127.0.0.1:PORT took no key of ~/.ssh/id_ed25519; the key ~/.ssh/id_ed25519 has another passphrase", "give the key to an agent: ssh-add ~/.ssh/id_ed25519"},
		{"an agent's key that is not named", func(l *login) {
			l.key("a", "-t", "ed25519")
			l.agent("a")
			l.config("IdentitiesOnly yes")
		}, 0, "there is no key for root@127.0.0.1:PORT", "give the server your key: ssh-copy-id -p PORT root@127.0.0.1"},
		{"an agent that is switched off", func(l *login) {
			l.key("a", "-t", "ed25519")
			l.agent("a")
			l.config("IdentityAgent none")
		}, 0, "there is no key for root@127.0.0.1:PORT", "give the server your key: ssh-copy-id -p PORT root@127.0.0.1"},
		{"a key that is named and not there", func(l *login) { l.config("IdentityFile ~/.ssh/mine") }, 0,
			"there is no key for root@127.0.0.1:PORT; reading the key open ~/.ssh/mine: no such file or directory",
			"give the server your key: ssh-copy-id -p PORT root@127.0.0.1"},
		{"a key file that is none", func(l *login) { write(l.T, l.path("id_ed25519"), "text") }, 0,
			`there is no key for root@127.0.0.1:PORT; reading the key "~/.ssh/id_ed25519": ssh: no key found`,
			"give the server your key: ssh-copy-id -p PORT root@127.0.0.1"},
		{"too many keys", func(l *login) {
			var names []string
			for i := range 9 {
				names = append(names, fmt.Sprint("k", i))
				l.stranger(names[i], "-t", "ed25519")
			}
			l.agent(names...)
		}, 0, "root@127.0.0.1:PORT took no key of the agent's k0, the agent's k1, the agent's k2, the agent's k3, the agent's k4, the agent's k5, the agent's k6, " +
			"the agent's k7, the agent's k8", "name the right key below Host 127.0.0.1 in ~/.ssh/config: IdentityFile, and IdentitiesOnly yes"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			write(t, filepath.Join(s.dir, "authorized"), "")
			l := &login{T: t, server: s, cfg: s.config(t, "")}
			test.setup(l)
			got, err := link.Dial(t.Context(), l.cfg)
			if err == nil {
				_ = got.Close()
			}
			if len(l.asked) != test.asked || (test.asked > 0 && l.asked[0] != prompt) {
				t.Errorf("it asked %q", l.asked)
			}
			var refused *link.AuthError
			switch {
			case test.want == "" && err != nil:
				t.Fatal(err)
			case test.want == "":
				return
			case !errors.As(err, &refused):
				t.Fatalf("%v is no AuthError", err)
			}
			name := strings.NewReplacer(fmt.Sprint(s.port), "PORT", l.cfg.Home, "~").Replace
			if name(err.Error()) != "reaching 127.0.0.1: "+test.want || name(refused.Hint()) != test.hint {
				t.Errorf("got  %s\nhint %s\nwant %s\nhint %s", name(err.Error()), name(refused.Hint()), test.want, test.hint)
			}
		})
	}
}

func TestOtherMethods(t *testing.T) {
	for _, test := range []struct{ rule, methods, want string }{
		{"more than a key", "publickey,password", "root@127.0.0.1:PORT took no key of ~/.ssh/id_ed25519; it wants more than a key: password"},
		{"no key", "password", "there is no key for root@127.0.0.1:PORT; it wants no key, but: password"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			s := newSSHD(t, "AuthenticationMethods "+test.methods, "PasswordAuthentication yes")
			cfg := s.admitted(t, "")
			_, err := link.Dial(t.Context(), cfg)
			var refused *link.AuthError
			if !errors.As(err, &refused) {
				t.Fatal(err)
			}
			name := strings.NewReplacer(fmt.Sprint(s.port), "PORT", cfg.Home, "~").Replace
			if name(err.Error()) != "reaching 127.0.0.1: "+test.want {
				t.Errorf("got  %s\nwant reaching 127.0.0.1: %s", name(err.Error()), test.want)
			}
			if want := "let the server take keys alone: AuthenticationMethods publickey in /etc/ssh/sshd_config on 127.0.0.1"; refused.Hint() != want {
				t.Errorf("hint %s", refused.Hint())
			}
		})
	}
}
