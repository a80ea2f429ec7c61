// SPDX-License-Identifier: Apache-2.0

package nodes_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"github.com/mab-build/mab/nodes"
)

func write(t *testing.T, text string) nodes.List {
	t.Helper()
	file := filepath.Join(t.TempDir(), "nodes.toml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return nodes.List{File: file}
}

func entries(t *testing.T, l nodes.List) []nodes.Entry {
	t.Helper()
	out, err := l.Entries()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func add(t *testing.T, l nodes.List, all ...nodes.Entry) {
	t.Helper()
	for _, e := range all {
		if err := l.Add(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
}

func TestListKeepsWhatIsAdded(t *testing.T) {
	l := nodes.List{File: filepath.Join(t.TempDir(), "new", "mab", "nodes.toml")}
	if got := entries(t, l); got != nil {
		t.Errorf("before there is a file: %+v", got)
	}
	first := nodes.Entry{Name: "z", URL: "unix:///run/\"x\".sock"}
	add(t, l, first, arm1, big)
	if diff := cmp.Diff([]nodes.Entry{first, arm1, big}, entries(t, l)); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
	gone, err := l.Remove(t.Context(), "arm1")
	if diff := cmp.Diff(arm1, gone); err != nil || diff != "" {
		t.Errorf("error %v; want -, got +:\n%s", err, diff)
	}
	want := `# The nodes of mab. mab nodes add and mab nodes rm write this file anew, without other comments than this one.

[[node]]
name = 'z'
url = 'unix:///run/"x".sock'

[[node]]
name = 'big'
url = 'tcp://big.example:1234'

[node.tls]
ca = '/ca'
cert = '/cert'
key = '/key'
`
	text, err := os.ReadFile(l.File)
	if diff := cmp.Diff(want, string(text)); err != nil || diff != "" {
		t.Errorf("error %v; want -, got +:\n%s", err, diff)
	}
	for _, name := range []string{"z", "big"} {
		if _, err := l.Remove(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	if got := entries(t, l); len(got) != 0 {
		t.Errorf("got %+v", got)
	}
}

func TestListByHand(t *testing.T) {
	l := write(t, `
# mine
node = [{name="a", url="ssh://h/"}, {name="b", url="tcp://b:1", tls={ca="pki/ca.pem", cert="/c", key="k", server_name="x"}}]
`)
	dir := filepath.Dir(l.File)
	want := []nodes.Entry{
		{Name: "a", URL: "ssh://h"},
		{Name: "b", URL: "tcp://b:1", TLS: nodes.TLS{CA: dir + "/pki/ca.pem", Cert: "/c", Key: dir + "/k", ServerName: "x"}},
	}
	if diff := cmp.Diff(want, entries(t, l)); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
	add(t, l, arm1)
	if diff := cmp.Diff(append(want, arm1), entries(t, l)); diff != "" {
		t.Errorf("after another was added: want -, got +:\n%s", diff)
	}
	if info, err := os.Stat(l.File); err != nil || info.Mode() != 0o600 {
		t.Errorf("what nobody may read is %v, %v", info.Mode(), err)
	}
}

func TestListMakesPathsAbsolute(t *testing.T) {
	l := write(t, "")
	t.Chdir(filepath.Dir(l.File))
	add(t, l, nodes.Entry{Name: "b", URL: "tcp://b:1", TLS: nodes.TLS{CA: "ca.pem", Cert: "c.pem", Key: "k.pem"}})
	text, err := os.ReadFile(l.File)
	if want := "ca = '" + filepath.Dir(l.File) + "/ca.pem'"; err != nil || !strings.Contains(string(text), want) {
		t.Errorf("no %s in %v\n%s", want, err, text)
	}
}

func TestListStaysALink(t *testing.T) {
	l := write(t, "")
	link := filepath.Join(t.TempDir(), "nodes.toml")
	if err := os.Symlink(l.File, link); err != nil {
		t.Fatal(err)
	}
	add(t, nodes.List{File: link}, arm1)
	if _, err := os.Readlink(link); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]nodes.Entry{arm1}, entries(t, l)); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
}

func TestWrongLists(t *testing.T) {
	for _, test := range []struct{ rule, text, what, hint string }{
		{"no TOML", "[[node]]\nname = \"a", ": line 2: ", "a node is [[node]]"},
		{"an unknown key", "[[node]]\nname = 'a'\nurl = 'ssh://a'\nport = 22\n", `: line 4: there is no key "node.port"`, "a node is [[node]]"},
		{"an unknown table", "[nodes.a]\nurl = 'ssh://a'\n", `: line 1: there is no key "nodes`, "a node is [[node]]"},
		{"a number for a name", "[[node]]\nname = 7\n", ": line 2: node.name cannot be a integer", "a node is [[node]]"},
		{"a URL that is none", "\n[[node]]\nname = 'a'\nurl = 'a'\n", `: line 2: understanding the node "a": it is no URL`, "did you mean: ssh://a"},
		{"no URL", "[[node]]\nname = 'a'\n", `: line 1: understanding the node "": it is no URL`, ""},
		{"no name", "[[node]]\nurl = 'ssh://a'\n", `"" is no name of a node`, "no capitals"},
		{"a URL for a name", "[[node]]\nname = 'ssh://a'\nurl = 'ssh://a'\n", `"ssh://a" is no name of a node`, "no capitals"},
		{"this machine", "[[node]]\nname = 'local'\nurl = 'local'\n", "local is there without being saved", "leave it out"},
		{"less than no slots", "[[node]]\nname = 'a'\nurl = 'ssh://a'\nslots = -1\n", "-1 slots", "as many as it may"},
		{"TLS by ssh", "[[node]]\nname = 'a'\nurl = 'ssh://a'\ntls.ca = 'x'\n", "there is TLS by tcp only", "leave the certificates out"},
		{"a name twice", "[[node]]\nname = 'a'\nurl = 'ssh://a'\n[[node]]\nname = 'a'\nurl = 'ssh://b'\n", `: line 4: the name "a" is there twice, for ssh://a and ssh://b`, "otherwise"},
		{"all at once", "[[node]]\nname = 'a'\nurl = 'x://'\n\n[[node]]\nname = 'B'\nurl = 'ssh://b'\n", ": line 5: ", "no capitals"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			l := write(t, test.text)
			got, err := l.Entries()
			checkWrong(t, err, test.what, test.hint)
			if !strings.Contains(err.Error(), l.File) || got != nil {
				t.Errorf("got %+v; the file is not named in %v", got, err)
			}
			checkWrong(t, l.Add(t.Context(), big), test.what, test.hint)
			if text, err := os.ReadFile(l.File); err != nil || string(text) != test.text {
				t.Errorf("it was changed: %v\n%s", err, text)
			}
		})
	}
	t.Run("a directory", func(t *testing.T) {
		_, err := nodes.List{File: t.TempDir()}.Entries()
		checkWrong(t, err, "is a directory", "a file that you can read")
	})
}

func TestRefusedChanges(t *testing.T) {
	for _, test := range []struct {
		rule       string
		add        nodes.Entry
		what, hint string
	}{
		{"a name that is there", nodes.Entry{Name: "arm1", URL: "ssh://x"}, `saving the node "arm1": there is one already, ssh://pi@raspberry`, "mab nodes rm arm1"},
		{"a machine that is there", nodes.Entry{Name: "x", URL: arm1.URL}, "is saved already, as arm1", "mab nodes rm arm1"},
		{"this machine", mine, "it is no name to save a node by", "local needs no saving"},
		{"no name", nodes.Entry{Name: "ssh://h", URL: "ssh://h"}, "it is no name to save a node by", "no capitals"},
		{"a wrong name", nodes.Entry{Name: "a b", URL: "ssh://h"}, `"a b" is no name of a node`, "no capitals"},
		{"a wrong URL", nodes.Entry{Name: "a", URL: "h"}, "it is no URL", "did you mean"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			l := write(t, "")
			add(t, l, saved...)
			checkWrong(t, l.Add(t.Context(), test.add), test.what, test.hint)
			if diff := cmp.Diff(saved, entries(t, l)); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
		})
	}
	t.Run("removing what is not there", func(t *testing.T) {
		l := write(t, "")
		add(t, l, arm1)
		_, err := l.Remove(t.Context(), "arm2")
		checkWrong(t, err, `there is no node "arm2"`, "the nodes: local, arm1")
	})
	t.Run("no file for it", func(t *testing.T) {
		checkWrong(t, nodes.List{}.Add(t.Context(), arm1), "there is no file for them", "MAB_NODES_FILE=FILE")
		if got := entries(t, nodes.List{}); got != nil {
			t.Errorf("got %+v", got)
		}
	})
	t.Run("a place where nothing can be", func(t *testing.T) {
		err := nodes.List{File: write(t, "").File + "/mab/nodes.toml"}.Add(t.Context(), arm1)
		var mendable interface{ Hint() string }
		if !errors.As(err, &mendable) || !strings.Contains(err.Error(), "not a directory") || !strings.Contains(mendable.Hint(), "MAB_NODES_FILE=FILE") {
			t.Errorf("got %v", err)
		}
	})
}

func TestListIsChangedByOneAtATime(t *testing.T) {
	l := write(t, "")
	group, ctx := errgroup.WithContext(t.Context())
	const many = 20
	for i := range many {
		group.Go(func() error {
			return l.Add(ctx, nodes.Entry{Name: fmt.Sprint("n", i), URL: fmt.Sprint("ssh://h", i)})
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if got := len(entries(t, l)); got != many {
		t.Errorf("got %d nodes, want %d", got, many)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Add(gone, arm1); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestDefaultListFile(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	for _, test := range []struct{ rule, xdg, want string }{
		{"of the home", "", home + "/.config/mab/nodes.toml"},
		{"of XDG", "/x", "/x/mab/nodes.toml"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			t.Setenv("XDG_CONFIG_HOME", test.xdg)
			if os.Getuid() == 0 {
				test.want = "/etc/mab/nodes.toml"
			}
			if diff := cmp.Diff(test.want, nodes.DefaultListFile()); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
		})
	}
}

func FuzzList(f *testing.F) {
	f.Add("[[node]]\nname = 'a'\nurl = 'ssh://a'\n")
	f.Add("node = [{name='a', url='tcp://[::1]:1', slots=3}]")
	f.Add("[[node]]\nname = 'a'\nurl = 'tcp://a:1'\n[node.tls]\nca = 'x'\ncert = 'y'\nkey = 'z'\n")
	f.Fuzz(func(t *testing.T, text string) {
		l := write(t, text)
		before, err := l.Entries()
		if err != nil {
			checkWrong(t, err, l.File, "")
			return
		}
		last := nodes.Entry{Name: "last-of-all", URL: "ssh://last-of-all"}
		if err := l.Add(t.Context(), last); err != nil {
			return
		}
		if diff := cmp.Diff(append(before, last), entries(t, l)); diff != "" {
			t.Errorf("want -, got +:\n%s", diff)
		}
	})
}
