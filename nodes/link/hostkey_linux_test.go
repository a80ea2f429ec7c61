// SPDX-License-Identifier: Apache-2.0

package link_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mab-build/mab/nodes/link"
)

func TestHostKey(t *testing.T) {
	dir := t.TempDir()
	need(t, "ssh-keygen")
	authority := keygen(t, filepath.Join(dir, "hosts"), "-t", "ed25519", "-N", "")
	other := keygen(t, filepath.Join(dir, "other"), "-t", "ed25519", "-N", "")
	s := newSSHD(t)
	certified := newSSHD(t)
	certified.stop()
	run(t, "ssh-keygen", "-q", "-s", authority, "-h", "-I", "id", "-n", "127.0.0.*,elsewhere", filepath.Join(certified.dir, "host_ecdsa.pub"))
	certified.start(t, "HostCertificate "+filepath.Join(certified.dir, "host_ecdsa-cert.pub"))
	public := func(path string) string { return read(t, path+".pub") + "\n" }
	fingerprint := func(path string) string { return strings.Fields(run(t, "ssh-keygen", "-l", "-f", path+".pub"))[1] }
	host := func(s *sshd, kind string) string { return filepath.Join(s.dir, "host_"+kind) }
	name := func(s *sshd) string { return fmt.Sprintf("[127.0.0.1]:%d ", s.port) }
	hashed := filepath.Join(dir, "hashed")
	write(t, hashed, name(s)+public(host(s, "ed25519")))
	run(t, "ssh-keygen", "-q", "-H", "-f", hashed)

	const unknown = "ssh-ed25519 FINGERPRINT, is unknown"
	const changed = "ssh-ed25519 FINGERPRINT, is not the one that is known by ~/.ssh/known_hosts:1; somebody may be listening in"
	scan := "if the fingerprint is the host's own, give --accept-new-host-key, or run: ssh-keyscan -p PORT 127.0.0.1 >> ~/.ssh/known_hosts"
	forget := "if you know that it has a new key, forget the old one: ssh-keygen -R '[127.0.0.1]:PORT' -f ~/.ssh/known_hosts"
	for _, test := range []struct {
		rule          string
		server        *sshd
		known, config string
		accept        bool
		// want and hint are of the error; empty: there is none. After is what known_hosts has more than before.
		want, hint, after string
	}{
		{rule: "the key is known", server: s, known: name(s) + public(host(s, "ed25519"))},
		{rule: "another kind is known, and shown first", server: s, known: name(s) + public(host(s, "ecdsa"))},
		{rule: "both kinds are known", server: s, known: name(s) + public(host(s, "ecdsa")) + name(s) + public(host(s, "ed25519"))},
		{rule: "its name is hashed", server: s, known: read(t, hashed) + "\n"},
		{rule: "its name is a pattern", server: s, known: "[127.0.*]:*,!other " + public(host(s, "ed25519"))},
		{rule: "it is known on every port", server: s, known: "127.0.0.1 " + public(host(s, "ed25519"))},
		{rule: "its comment has spaces", server: s, known: name(s) + strings.TrimSpace(public(host(s, "ed25519"))) + " in the cellar, on the left\n"},
		{rule: "other lines make no sense", server: s, known: "what\n@what x y\n\n# z\n" + name(s) + "ssh-what AAAA\n" + name(s) + public(host(s, "ed25519"))},
		{rule: "it has an alias", server: s, known: "as " + public(host(s, "ed25519")), config: "HostKeyAlias As"},
		{rule: "it is in another file", server: s, known: "", config: "UserKnownHostsFile /none HERE/other"},
		{rule: "it is in a file of all users", server: s, known: "", config: "GlobalKnownHostsFile HERE/other"},
		{rule: "an authority vouches for it", server: certified, known: "@cert-authority [127.*]:* " + public(authority)},
		{rule: "an authority vouches for its alias", server: certified, known: "@cert-authority elsewhere " + public(authority), config: "HostKeyAlias elsewhere"},
		{rule: "without an authority its key counts", server: certified, known: name(certified) + public(host(certified, "ecdsa"))},
		{rule: "a new key is accepted when asked for", server: s, accept: true, after: name(s) + public(host(s, "ed25519"))},
		{rule: "a new key is accepted by the user's file", server: s, config: "StrictHostKeyChecking accept-new", after: name(s) + public(host(s, "ed25519"))},
		{rule: "a new key is accepted where nothing is checked", server: s, config: "StrictHostKeyChecking no", after: name(s) + public(host(s, "ed25519"))},
		{rule: "a line without an end is not touched", server: s, known: "else " + strings.TrimSpace(public(other)), accept: true, after: "\n" + name(s) + public(host(s, "ed25519"))},

		{rule: "unknown", server: s, known: "else " + public(host(s, "ed25519")), want: unknown, hint: scan},
		{rule: "known on another port", server: s, known: "[127.0.0.1]:1 " + public(host(s, "ed25519")), want: unknown, hint: scan},
		{rule: "unknown, and strict", server: s, config: "StrictHostKeyChecking yes", want: unknown, hint: scan},
		{rule: "changed", server: s, known: name(s) + public(other), want: changed, hint: forget},
		{rule: "a changed key is not accepted", server: s, known: name(s) + public(other), accept: true, want: changed, hint: forget},
		{rule: "a changed key is not accepted where nothing is checked", server: s, known: name(s) + public(other), config: "StrictHostKeyChecking no", want: changed, hint: forget},
		{rule: "changed, of an alias", server: s, known: "as " + public(other), config: "HostKeyAlias as", want: changed,
			hint: "if you know that it has a new key, forget the old one: ssh-keygen -R as -f ~/.ssh/known_hosts"},
		{rule: "revoked", server: s, known: name(s) + public(host(s, "ed25519")) + "@revoked * " + public(host(s, "ed25519")), accept: true,
			want: "ssh-ed25519 FINGERPRINT, was revoked by ~/.ssh/known_hosts:2",
			hint: "the host needs a new key: ssh-keygen -A there, after removing /etc/ssh/ssh_host_*_key"},
		{rule: "the authority is revoked", server: certified, known: "@cert-authority * " + public(authority) + "@revoked * " + public(authority),
			want: "ecdsa-sha2-nistp256 FINGERPRINT, was revoked by ~/.ssh/known_hosts:2",
			hint: "the host needs a new key: ssh-keygen -A there, after removing /etc/ssh/ssh_host_*_key"},
		{rule: "the certificate is for others", server: certified, known: "@cert-authority strange " + public(authority), config: "HostKeyAlias strange", accept: true,
			want: `ecdsa-sha2-nistp256 FINGERPRINT, has a certificate that does not hold: ssh: principal "strange" not in the set of valid principals for given certificate: ["127.0.0.*" "elsewhere"]`,
			hint: "the host needs a certificate that is valid for strange; see its end: ssh-keygen -L -f /etc/ssh/ssh_host_ed25519_key-cert.pub"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			write(t, filepath.Join(test.server.dir, "authorized"), "")
			cfg := test.server.admitted(t, strings.ReplaceAll(test.config, "HERE", dir))
			write(t, filepath.Join(dir, "other"), name(test.server)+public(host(test.server, "ed25519")))
			file := filepath.Join(cfg.Home, ".ssh", "known_hosts")
			write(t, file, test.known)
			if test.known == "" {
				if err := os.Remove(file); err != nil {
					t.Fatal(err)
				}
			}
			var notes []string
			cfg.AcceptNewHostKey, cfg.Note = test.accept, func(text string) { notes = append(notes, text) }
			l, err := link.Dial(t.Context(), cfg)
			if err == nil {
				_ = l.Close()
			}
			after, _ := os.ReadFile(file)
			// OpenSSH's lines end with the name of the key's maker.
			want := test.known
			if test.after != "" {
				want += strings.Join(strings.Fields(test.after)[:3], " ") + "\n"
				if strings.HasPrefix(test.after, "\n") {
					want = test.known + "\n" + strings.Join(strings.Fields(test.after)[:3], " ") + "\n"
				}
			}
			if string(after) != want || (len(notes) == 1) != (test.after != "") {
				t.Errorf("known_hosts is\n%swant\n%snotes %q", after, want, notes)
			}
			if info, err := os.Stat(file); test.after != "" && (err != nil || info.Mode().Perm() != 0o600) {
				t.Errorf("%v %v", info.Mode(), err)
			}
			var wrong *link.HostKeyError
			switch {
			case test.want == "" && err != nil:
				t.Fatal(err)
			case test.want == "":
				return
			case !errors.As(err, &wrong):
				t.Fatalf("%v is no HostKeyError", err)
			}
			short := strings.NewReplacer(fmt.Sprint(test.server.port), "PORT", cfg.Home, "~", fingerprint(host(test.server, "ed25519")), "FINGERPRINT",
				fingerprint(host(test.server, "ecdsa")), "FINGERPRINT").Replace
			if want := "reaching 127.0.0.1: the host key of root@127.0.0.1:PORT, " + test.want; short(err.Error()) != want || short(wrong.Hint()) != test.hint {
				t.Errorf("got  %s\nhint %s\nwant %s\nhint %s", short(err.Error()), short(wrong.Hint()), want, test.hint)
			}
		})
	}
}

// TestAcceptedKeysAreOpenSSHs has OpenSSH read what was written.
func TestAcceptedKeysAreOpenSSHs(t *testing.T) {
	s := newSSHD(t)
	for _, hash := range []string{"yes", "no"} {
		t.Run(hash, func(t *testing.T) {
			cfg := s.admitted(t, "HashKnownHosts "+hash+"\nUserKnownHostsFile ~/new/known")
			cfg.AcceptNewHostKey = true
			l, err := link.Dial(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			_ = l.Close()
			file := filepath.Join(cfg.Home, "new", "known")
			if is := strings.HasPrefix(read(t, file), "|1|"); is != (hash == "yes") {
				t.Errorf("%s", read(t, file))
			}
			if info, err := os.Stat(filepath.Dir(file)); err != nil || info.Mode().Perm() != 0o700 {
				t.Errorf("%v %v", info.Mode(), err)
			}
			if out := run(t, "ssh-keygen", "-F", fmt.Sprintf("[127.0.0.1]:%d", s.port), "-f", file); !strings.Contains(out, "ssh-ed25519") {
				t.Errorf("OpenSSH finds %q", out)
			}
			cfg.AcceptNewHostKey = false
			dial(t, cfg)
		})
	}
}
