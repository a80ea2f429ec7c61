// SPDX-License-Identifier: Apache-2.0

package nodes_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/nodes"
)

func TestParseURL(t *testing.T) {
	type endpoint = nodes.Endpoint
	for _, test := range []struct {
		rule, url string
		want      endpoint
		written   string // how String writes it; empty: as it came
	}{
		{"this machine", "local", endpoint{Kind: nodes.Local}, ""},
		{"ssh decides", "ssh://pi", endpoint{Kind: nodes.SSH, Host: "pi"}, ""},
		{"a user and a port", "ssh://pi@raspberry:2222", endpoint{Kind: nodes.SSH, User: "pi", Host: "raspberry", Port: 2222}, ""},
		{"a slash at the end", "ssh://pi@raspberry/", endpoint{Kind: nodes.SSH, User: "pi", Host: "raspberry"}, "ssh://pi@raspberry"},
		{"an address", "ssh://192.0.2.7", endpoint{Kind: nodes.SSH, Host: "192.0.2.7"}, ""},
		{"IPv6", "ssh://[2001:DB8::1]:22", endpoint{Kind: nodes.SSH, Host: "2001:db8::1", Port: 22}, "ssh://[2001:db8::1]:22"},
		{"IPv6 without a port", "ssh://u@[::1]", endpoint{Kind: nodes.SSH, User: "u", Host: "::1"}, ""},
		{"IPv6 with a zone", "ssh://[fe80::1%25eth0]", endpoint{Kind: nodes.SSH, Host: "fe80::1%eth0"}, ""},
		{"a zone as people write it", "ssh://[fe80::1%eth0]:22", endpoint{Kind: nodes.SSH, Host: "fe80::1%eth0", Port: 22}, "ssh://[fe80::1%25eth0]:22"},
		{"a user with an at", "ssh://ann%40corp@build-1.example", endpoint{Kind: nodes.SSH, User: "ann@corp", Host: "build-1.example"}, "ssh://ann%40corp@build-1.example"},
		{"the same, as people write it", "ssh://ann@corp@build", endpoint{Kind: nodes.SSH, User: "ann@corp", Host: "build"}, "ssh://ann%40corp@build"},
		{"a socket behind ssh", "ssh+unix://u@h:22/run/buildkit/buildkitd.sock", endpoint{Kind: nodes.SSHUnix, User: "u", Host: "h", Port: 22, Path: "/run/buildkit/buildkitd.sock"}, ""},
		{"a socket", "unix:///run/a b?c.sock", endpoint{Kind: nodes.Unix, Path: "/run/a b?c.sock"}, ""},
		{"a port", "tcp://build.example:1234", endpoint{Kind: nodes.TCP, Host: "build.example", Port: 1234}, ""},
		{"a port of IPv6", "tcp://[::1]:1234/", endpoint{Kind: nodes.TCP, Host: "::1", Port: 1234}, "tcp://[::1]:1234"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			got, err := nodes.ParseURL(test.url)
			if diff := cmp.Diff(test.want, got); err != nil || diff != "" {
				t.Fatalf("error %v; want -, got +:\n%s", err, diff)
			}
			want := test.written
			if want == "" {
				want = test.url
			}
			if diff := cmp.Diff(want, got.String()); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
		})
	}
}

func TestWrongURLs(t *testing.T) {
	for _, test := range []struct{ rule, url, what, hint string }{
		{"nothing", "", `understanding the node "": it is no URL`, "write local, ssh://"},
		{"a host alone", "pi@raspberry", "it is no URL", "did you mean: ssh://pi@raspberry"},
		{"two words", "two words", "it is no URL", "write local, ssh://"},
		{"a scheme of nobody's", "gopher://h", "there are no nodes by gopher", "write local, ssh://"},
		{"schemes are lower case", "SSH://h", "there are no nodes by SSH", "write local, ssh://"},
		{"docker", "docker://default", "nodes by docker are not there yet", "tcp://HOST:PORT"},
		{"kube", "kube://pod", "nodes by kube are not there yet", "have a buildkitd listen there"},
		{"http", "https://h:1234", "there are no nodes by https", "did you mean: tcp://h:1234"},
		{"a password", "ssh://u:geheim@h", `understanding the node "ssh://u:…@h": it holds a password`, "ssh-copy-id"},
		{"a password by tcp", "tcp://u:geheim@h:1", "it holds a password", "--tlscert"},
		{"a user by tcp", "tcp://u@h:1", "there are no users by tcp", "did you mean: tcp://h:1, or ssh://u@h:1"},
		{"no user before the at", "ssh://@h", `"" is no user's name`, ""},
		{"a user that is an option", "ssh://-l@h", `"-l" is no user's name`, ""},
		{"a host that is an option", "ssh://-oProxyCommand=x", "is no host's name", ""},
		{"no host", "ssh://u@", "it names no host", ""},
		{"no host by tcp", "tcp://:1234", "it names no host", ""},
		{"a space", "ssh://a b", `"a b" is no host's name`, ""},
		{"a path for ssh", "ssh://u@h/run/x.sock", "it has a path", "for mab's own solver: ssh://u@h; for a buildkitd that listens there: ssh+unix://u@h/run/x.sock"},
		{"a path for tcp", "tcp://h:1/x", "it has a path", "did you mean: tcp://h:1"},
		{"a query for ssh", "ssh://h?x=y", `it goes on after the host with "?x=y"`, ""},
		{"no port for tcp", "tcp://h", "it has no port", "tcp://h:1234"},
		{"port 0", "ssh://h:0", `"0" is no port`, "from 1 to 65535"},
		{"no number", "ssh://h:ssh", `"ssh" is no port`, ""},
		{"too high a port", "tcp://h:65536", `"65536" is no port`, ""},
		{"an empty port", "ssh://h:", `"" is no port`, ""},
		{"IPv6 without brackets", "ssh://u@2001:db8::1", "it has many colons", "an IPv6 address goes in brackets: ssh://u@[2001:db8::1]"},
		{"an open bracket", "ssh://[::1", "a bracket is not closed", ""},
		{"a name in brackets", "ssh://[h]", `"h" is no IPv6 address`, ""},
		{"IPv4 in brackets", "ssh://[192.0.2.1]", `"192.0.2.1" is no IPv6 address`, ""},
		{"words behind a bracket", "ssh://[::1]22", `after the bracket comes "22"`, ""},
		{"no socket behind ssh", "ssh+unix://h", "it names no socket", "as in ssh+unix://h/run/buildkit/buildkitd.sock"},
		{"no socket", "unix://", "it names no socket", ""},
		{"a relative path", "unix://run/x.sock", "its path is not absolute", "unix:///run/x.sock"},
		{"a path that no socket has", "unix:///" + strings.Repeat("x", 107), "its path is longer than the 107 bytes that a socket's may have", ""},
		{"a line break", "unix:///a\nb", "characters that cannot be printed", ""},
	} {
		t.Run(test.rule, func(t *testing.T) {
			got, err := nodes.ParseURL(test.url)
			checkWrong(t, err, test.what, test.hint)
			if got != (nodes.Endpoint{}) {
				t.Errorf("got %+v", got)
			}
		})
	}
}

// checkWrong wants an error of wrong use that has these words.
func checkWrong(t *testing.T, err error, what, hint string) {
	t.Helper()
	var mendable interface {
		error
		Hint() string
		Usage() bool
	}
	if !errors.As(err, &mendable) || !mendable.Usage() {
		t.Fatalf("got %v, of type %T", err, err)
	}
	if !strings.Contains(err.Error(), what) {
		t.Errorf("error: got %q, want %q in it", err, what)
	}
	if !strings.Contains(mendable.Hint(), hint) {
		t.Errorf("hint: got %q, want %q in it", mendable.Hint(), hint)
	}
	if mendable.Hint() == "" {
		t.Error("there is no hint")
	}
	if strings.Contains(err.Error()+mendable.Hint(), "geheim") {
		t.Errorf("it shows a password: %v; %s", err, mendable.Hint())
	}
}

func FuzzParseURL(f *testing.F) {
	for _, s := range []string{
		"local", "ssh://u@h:22", "ssh://[fe80::1%25e]:22", "ssh+unix://h/x", "unix:///x", "tcp://h:1", "ssh://u:p@h", "ssh://a%40b@h", "docker://x", "ssh://::1", "tcp://[::1]:1/",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e, err := nodes.ParseURL(s)
		if err != nil {
			checkWrong(t, err, "understanding the node", "")
			return
		}
		again, err := nodes.ParseURL(e.String())
		if err != nil || again != e {
			t.Errorf("%q is %+v, but its %q is %+v, %v", s, e, e.String(), again, err)
		}
		if (e.Kind == nodes.TCP) != (e.Kind != nodes.SSH && e.Kind != nodes.SSHUnix && e.Host != "") {
			t.Errorf("%q has a host: %+v", s, e)
		}
		if strings.HasPrefix(e.Host, "-") || strings.HasPrefix(e.User, "-") {
			t.Errorf("%q could be an option: %+v", s, e)
		}
	})
}
