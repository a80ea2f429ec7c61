// SPDX-License-Identifier: Apache-2.0

package link_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/nodes/link"
)

// sshConfigs are texts that OpenSSH reads, with HERE for a directory that has files to include.
var sshConfigs = []struct{ rule, text string }{
	{"nothing", ""},
	{"the first value wins", "Host n\n Port 1\nHost *\n Port 2\n User u\n"},
	{"above all hosts", "Port 7\nHost n\n Port 1\n"},
	{"a negation excludes", "Host * !n\n Port 1\nHost *\n Port 2\n"},
	{"only negations match nothing", "Host !m\n Port 1\n"},
	{"a question mark is one character", "Host n?\n Port 1\nHost ?\n Port 2\n"},
	{"tabs and case", "HOST\tm\tn\n\tpOrT\t9\n"},
	{"an equals sign", "Host=n\nPort = 4\nUser=\"ab\"\n"},
	{"quotes and comments", "Host \"n\" # here\n HostName \"h\" # there\n"},
	{"a host name of tokens", "HostName %h.example.org\n"},
	{"several keys", "Host n\n IdentityFile ~/.ssh/a\n IdentityFile /b/%h-%p-%r-%n\nHost *\n IdentityFile %d/c\n Port 3\n User me\n"},
	{"certificates", "CertificateFile /a-cert.pub\nCertificateFile /b-cert.pub\n"},
	{"known hosts", "UserKnownHostsFile ~/a \"/with space\" /%k\nGlobalKnownHostsFile /g\nHostKeyAlias As\nHashKnownHosts yes\n"},
	{"strictness and agent", "StrictHostKeyChecking accept-new\nIdentitiesOnly yes\nIdentityAgent ~/agent.%r\n"},
	{"no agent", "IdentityAgent none\n"},
	{"a time-out", "ConnectTimeout 7\n"},
	{"an address family", "AddressFamily inet6\n"},
	{"a command", "ProxyCommand nc  %h   %p # %%\n"},
	{"a command before a jump", "ProxyCommand nc %h\nProxyJump none\n"},
	{"an include", "Include HERE/one HERE/t*\nPort 5\n"},
	{"an include for another host", "Host m\n Include HERE/one\nHost *\n Port 5\n"},
	{"a host goes on after an include", "Host n\n Include HERE/two\n Port 6\n"},
	{"an include that is not there", "Include HERE/none\nPort 6\n"},
	{"match all", "Host m\nMatch all\n Port 8\n"},
	{"match host", "HostName real\nMatch host rea*\n Port 8\nMatch host n\n User no\n"},
	{"match the original host", "HostName real\nMatch originalhost n,o\n Port 8\n"},
	{"match not", "Match !host n\n Port 8\nMatch !originalhost x host *\n Port 9\n"},
	{"match user", "User me\nMatch user m*,!you\n Port 8\n"},
	{"match local user", "Match localuser root\n Port 8\nMatch !localuser root\n Port 9\n"},
	{"match final", "Match final all\n Port 8\nMatch all\n User me\n"},
	{"match final comes last", "Match final\n Port 8\nHost n\n Port 4\n"},
	{"match canonical", "Match canonical\n Port 8\n"},
}

// TestSettings asks OpenSSH for its reading.
func TestSettings(t *testing.T) {
	if _, err := exec.LookPath("ssh"); err != nil {
		if os.Getenv("MAB_E2E") == "all" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	home, err := os.UserHomeDir()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "one"), "Port 11\nHost n\n User one\n")
	write(t, filepath.Join(dir, "two"), "Host m\n Port 12\n User two\nHost n\n User three\n")
	for i, test := range sshConfigs {
		t.Run(test.rule, func(t *testing.T) {
			file := filepath.Join(dir, "config"+strconv.Itoa(i))
			write(t, file, strings.ReplaceAll(test.text, "HERE", dir))
			var stderr bytes.Buffer
			cmd := exec.CommandContext(t.Context(), "ssh", "-G", "-F", file, "n")
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("%v: %s", err, stderr.Bytes())
			}
			values := map[string][]string{}
			for line := range strings.Lines(string(out)) {
				key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
				values[key] = append(values[key], value)
			}
			first := func(key string) string { return strings.Join(values[key], "|") }
			hops, err := link.Route(link.Config{Host: "n", Home: home, Files: []string{file}})
			if err != nil {
				t.Fatal(err)
			}
			got := hops[len(hops)-1]
			// What OpenSSH prints unexpanded is compared as far as it goes.
			want := link.Hop{Server: first("user") + "@" + first("hostname") + ":" + first("port"),
				Only: first("identitiesonly") == "yes", Hashed: first("hashknownhosts") == "yes"}
			have := link.Hop{Server: got.Server, Only: got.Only, Hashed: got.Hashed}
			if seconds, err := strconv.Atoi(first("connecttimeout")); err == nil {
				want.Timeout, have.Timeout = time.Duration(seconds)*time.Second, got.Timeout
			}
			if values["identityagent"] == nil {
				want.Agent, have.Agent = os.Getenv("SSH_AUTH_SOCK"), got.Agent
			}
			if diff := cmp.Diff(want, have); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
			if len(values["identityfile"]) < len(got.Keys) || len(values["certificatefile"]) != len(got.Certificates) {
				t.Errorf("keys %q, certificates %q, but OpenSSH has %q and %q", got.Keys, got.Certificates, values["identityfile"], values["certificatefile"])
			}
			if first("proxycommand") == "" != (got.Command == "") {
				t.Errorf("command %q, but OpenSSH has %q", got.Command, first("proxycommand"))
			}
		})
	}
}

// configured writes a file, and returns a Config that reads it.
func configured(t *testing.T, text string) link.Config {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config")
	write(t, file, text)
	return link.Config{Host: "n", User: "me", Home: "/home/me", Files: []string{file},
		Getenv: func(name string) string { return map[string]string{"SSH_AUTH_SOCK": "/agent", "OTHER": "/other"}[name] }}
}

func TestPaths(t *testing.T) {
	keys := func(names ...string) []string {
		for i, name := range names {
			names[i] = "/home/me/.ssh/" + name
		}
		return names
	}
	plain := link.Hop{Server: "me@n:22", Known: "n", Principal: "n", Network: "tcp", Agent: "/agent",
		Keys:  keys("id_rsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk"),
		Users: keys("known_hosts", "known_hosts2"), Globals: []string{"/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"}}
	for _, test := range []struct {
		rule, text string
		change     func(*link.Hop)
	}{
		{"OpenSSH's defaults", "", func(*link.Hop) {}},
		{"keys by tokens", "IdentityFile ~/%h-%p-%r-%n-%%\nIdentityFile %d/${OTHER}\nHostName x.Example", func(h *link.Hop) {
			h.Server, h.Known, h.Principal = "me@x.Example:22", "x.example", "x.example"
			h.Keys = []string{"/home/me/x.Example-22-me-n-%", "/home/me/other"}
		}},
		{"no keys", "IdentityFile none", func(h *link.Hop) { h.Keys = nil }},
		{"a key twice", "IdentityFile /a\nIdentityFile /a", func(h *link.Hop) { h.Keys = []string{"/a"} }},
		{"another port", "Port 2222", func(h *link.Hop) { h.Server, h.Known = "me@n:2222", "[n]:2222" }},
		{"an alias has no port", "Port 2222\nHostKeyAlias As", func(h *link.Hop) {
			h.Server, h.Known, h.Principal = "me@n:2222", "as", "as"
		}},
		{"an alias in a path", "HostKeyAlias as\nUserKnownHostsFile /known/%k", func(h *link.Hop) {
			h.Known, h.Principal, h.Users = "as", "as", []string{"/known/as"}
		}},
		{"an agent by its path", "IdentityAgent ~/a", func(h *link.Hop) { h.Agent = "/home/me/a" }},
		{"an agent by a variable", "IdentityAgent $OTHER", func(h *link.Hop) { h.Agent = "/other" }},
		{"an agent by a variable in a path", "IdentityAgent ${OTHER}/a", func(h *link.Hop) { h.Agent = "/other/a" }},
		{"the usual agent by name", "IdentityAgent SSH_AUTH_SOCK", func(*link.Hop) {}},
		{"no agent", "IdentityAgent none", func(h *link.Hop) { h.Agent = "" }},
		{"IPv4 alone", "AddressFamily inet", func(h *link.Hop) { h.Network = "tcp4" }},
		{"a command", "ProxyCommand nc %h %p %r %n %%", func(h *link.Hop) { h.Command = "nc n 22 me n %" }},
	} {
		t.Run(test.rule, func(t *testing.T) {
			want := plain
			test.change(&want)
			got, err := link.Route(configured(t, test.text))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]link.Hop{want}, got); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
		})
	}
}

func TestJumps(t *testing.T) {
	for _, test := range []struct {
		rule, text string
		want       []string
	}{
		{"one", "Host n\n ProxyJump j", []string{"u@j:22", "me@n:22"}},
		{"with user and port", "Host n\n ProxyJump you@j:7", []string{"you@j:7", "me@n:22"}},
		{"as a URL", "Host n\n ProxyJump ssh://you@[::1]:7/", []string{"you@[::1]:7", "me@n:22"}},
		{"several, in the order of the way", "Host n\n ProxyJump a,b,c", []string{"u@a:22", "u@b:22", "u@c:22", "me@n:22"}},
		{"each is looked up", "Host n\n ProxyJump j\nHost j\n HostName gate\n Port 9\n User x", []string{"x@gate:9", "me@n:22"}},
		{"the first one's own way counts", "Host n\n ProxyJump a,b\nHost a\n ProxyJump z\nHost b\n ProxyJump y", []string{"u@z:22", "u@a:22", "u@b:22", "me@n:22"}},
		{"none", "Host n\n ProxyJump none\nHost *\n ProxyJump j", []string{"me@n:22"}},
		{"a command that comes first", "Host n\n ProxyCommand nc\nHost *\n ProxyJump j", []string{"me@n:22"}},
		{"a jump that comes first", "Host n\n ProxyJump j\nHost n\n ProxyCommand nc", []string{"u@j:22", "me@n:22"}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			hops, err := link.Route(configured(t, test.text+"\nHost *\n User u\n"))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, h := range hops {
				got = append(got, h.Server)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
		})
	}
}

func TestConfigErrors(t *testing.T) {
	for _, test := range []struct{ rule, text, want, hint string }{
		{"a circle", "Host *\n ProxyJump j", "reaching n: the jump hosts go in a circle: n → j → j", "put this at the top of ~/.ssh/config: Host j, and below it: ProxyJump none"},
		{"a port", "Port x", `reaching n: reading Port "x": not a port`, ""},
		{"no value", "Port", "reaching n: reading \"FILE\": line 1: port has no value", ""},
		{"a quotation mark", "User \"x", "reaching n: reading \"FILE\": line 1: a quotation mark is missing in \"\\\"x\"", ""},
		{"a match without criteria", "Match", "reaching n: reading \"FILE\": line 1: match has no criteria", ""},
		{"a match without value", "Match host", "reaching n: reading \"FILE\": line 1: match host has no value", ""},
		{"a token", "IdentityFile /%z", `reaching n: reading the path "/%z": %z stands for nothing here`, ""},
		{"a variable", "IdentityFile ${NONE}", `reaching n: reading the path "${NONE}": the environment has no NONE`, ""},
		{"another's home", "IdentityFile ~you/x", `reaching n: reading the path "~you/x": homes of other users are not looked up`, ""},
		{"a time", "ConnectTimeout soon", `reaching n: reading ConnectTimeout "soon": not a number of seconds`, ""},
		{"a jump host", "ProxyJump a:b", `reaching n: reading ProxyJump "a:b": "b" is not a port`, ""},
		{"a descriptor", "ProxyCommand x\nProxyUseFdpass yes", "reaching n: the ProxyCommand of n hands over a descriptor (ProxyUseFdpass), which mab cannot take", ""},
		{"a name for the shell", "HostName $(x)", `reaching n: the name of host "$(x)" has characters that no host has`, ""},
		{"includes without end", "Include FILE", `reaching n: reading "FILE": more than 16 files include each other`, ""},
	} {
		t.Run(test.rule, func(t *testing.T) {
			cfg := configured(t, "")
			write(t, cfg.Files[0], strings.ReplaceAll(test.text, "FILE", cfg.Files[0]))
			_, err := link.Route(cfg)
			var wrong *link.ConfigError
			if !errors.As(err, &wrong) {
				t.Fatalf("%v is no ConfigError", err)
			}
			if got := strings.ReplaceAll(err.Error(), cfg.Files[0], "FILE"); got != test.want || wrong.Hint() != test.hint {
				t.Errorf("got  %s\nhint %s\nwant %s\nhint %s", got, wrong.Hint(), test.want, test.hint)
			}
		})
	}
}

func TestPassedOver(t *testing.T) {
	cfg := configured(t, "CanonicalizeHostname yes\nMatch exec \"test -f /x\"\n Port 1\nMatch !exec true\n Port 2\nMatch all\n Port 3\n")
	var notes []string
	cfg.Note = func(text string) { notes = append(notes, strings.ReplaceAll(text, cfg.Files[0], "FILE")) }
	hops, err := link.Route(cfg)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"FILE:2: passing over Match exec, which mab does not evaluate", "FILE:4: passing over Match exec, which mab does not evaluate",
		"passing over CanonicalizeHostname for n: give it a HostName"}
	if diff := cmp.Diff(want, notes); diff != "" || hops[0].Server != "me@n:3" {
		t.Errorf("%s; want -, got +:\n%s", hops[0].Server, diff)
	}
}

func TestWords(t *testing.T) {
	for _, test := range []struct {
		text string
		want []string
	}{
		{"", nil},
		{"a  b\tc ", []string{"a", "b", "c"}},
		{`"a b" 'c d'`, []string{"a b", "c d"}},
		{`a"b c"d`, []string{"ab cd"}},
		{`"" x`, []string{"", "x"}},
		{`a # b`, []string{"a"}},
		{`a#b`, []string{"a#b"}},
		{`"a # b"`, []string{"a # b"}},
		{`a\ b \"c\" \\ "it's" 'so "it" is'`, []string{"a b", `"c"`, `\`, "it's", `so "it" is`}},
		{`C:\Users\me "\ "`, []string{`C:\Users\me`, `\ `}},
	} {
		t.Run(test.text, func(t *testing.T) {
			got, err := link.Words(test.text)
			if diff := cmp.Diff(test.want, got); diff != "" || err != nil {
				t.Errorf("%v; want -, got +:\n%s", err, diff)
			}
		})
	}
}

// FuzzKnown reads what may have become of a known_hosts file.
func FuzzKnown(f *testing.F) {
	const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOXZ3RoIEO8aWEi4E5ByEE8JhHs1YD0KyxkTCVRl0gFj"
	for _, text := range []string{"n " + key, "@revoked * " + key, "|1|x|y " + key, "n,!m " + key + " a b c", "@", "@cert-authority"} {
		f.Add(text)
	}
	file := filepath.Join(f.TempDir(), "known_hosts")
	f.Fuzz(func(t *testing.T, text string) {
		if err := os.WriteFile(file, []byte(text+"\nlast.example "+key+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if link.Known(file, "last.example") == 0 {
			t.Errorf("the line after %q is gone", text)
		}
	})
}

func FuzzDirectives(f *testing.F) {
	for _, c := range sshConfigs {
		f.Add(c.text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, err := link.Directives(text)
		if lines := strings.Count(text, "\n") + 1; err == nil && n > lines {
			t.Errorf("%d directives in %d lines", n, lines)
		}
	})
}

// FuzzRoute reads what anybody may have written, and must come back.
func FuzzRoute(f *testing.F) {
	for _, c := range sshConfigs {
		f.Add(c.text)
	}
	file := filepath.Join(f.TempDir(), "config")
	f.Fuzz(func(t *testing.T, text string) {
		// What it includes is not the text's choice.
		text = strings.ReplaceAll(strings.ToLower(text), "include", "")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		hops, err := link.Route(link.Config{Host: "n", Home: "/home/me", Files: []string{file}, Getenv: func(string) string { return "" }})
		if err == nil && (len(hops) == 0 || strings.ContainsAny(hops[len(hops)-1].Server, " \n$`")) {
			t.Errorf("%+v", hops)
		}
	})
}

func FuzzWildcard(f *testing.F) {
	f.Add("a*b?c", "aXXbYc")
	f.Fuzz(func(t *testing.T, pattern, name string) {
		if strings.ContainsAny(pattern, "*?") {
			_ = link.Wildcard(pattern, name)
			return
		}
		if link.Wildcard(pattern, name) != (pattern == name) {
			t.Errorf("%q %q", pattern, name)
		}
		if name != "" && !link.Wildcard("*"+name[:1]+"*", name) {
			t.Errorf("%q does not begin with itself", name)
		}
	})
}
