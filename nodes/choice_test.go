// SPDX-License-Identifier: Apache-2.0

package nodes_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/nodes"
)

var (
	mine  = nodes.Entry{Name: "local", URL: "local"}
	arm1  = nodes.Entry{Name: "arm1", URL: "ssh://pi@raspberry", Slots: 2}
	big   = nodes.Entry{Name: "big", URL: "tcp://big.example:1234", TLS: nodes.TLS{CA: "/ca", Cert: "/cert", Key: "/key"}}
	saved = []nodes.Entry{arm1, big}
)

func TestChoose(t *testing.T) {
	url := func(name, s string) nodes.Entry { return nodes.Entry{Name: name, URL: s} }
	for _, test := range []struct {
		rule  string
		saved []nodes.Entry
		env   string
		flags []string
		alone bool // no solver runs here
		want  []nodes.Entry
	}{
		{"nothing is named: this machine", nil, "", nil, false, []nodes.Entry{mine}},
		{"nothing is named, and no solver runs here: this machine tells so", nil, "", nil, true, []nodes.Entry{mine}},
		{"saved ones come after this machine", saved, "", nil, false, []nodes.Entry{mine, arm1, big}},
		{"saved ones alone where no solver runs", saved, "", nil, true, []nodes.Entry{arm1, big}},
		{"the environment is an exact list", saved, "ssh://a, ssh://b\n", nil, false, []nodes.Entry{url("a", "ssh://a"), url("b", "ssh://b")}},
		{"the environment names saved ones", saved, "big local", nil, false, []nodes.Entry{big, mine}},
		{"an environment of spaces names nothing", saved, " ,\t", nil, false, []nodes.Entry{mine, arm1, big}},
		{"flags are an exact list, in their order", saved, "ssh://a", []string{"big,local", "arm1"}, true, []nodes.Entry{big, mine, arm1}},
		{"a URL may get a name", nil, "", []string{"m1=ssh://u@h:22"}, false, []nodes.Entry{{Name: "m1", URL: "ssh://u@h:22"}}},
		{"a URL that is saved is the saved node", saved, "", []string{"ssh://pi@raspberry/", "tcp://big.example:1234"}, false, []nodes.Entry{arm1, big}},
		{"twice is once", saved, "", []string{"arm1", "arm1,ssh://pi@raspberry", "local,local"}, false, []nodes.Entry{arm1, mine}},
		{"a name comes before what was saved under it", saved, "", []string{"arm1=ssh://other"}, false, []nodes.Entry{{Name: "arm1", URL: "ssh://other"}}},
		{"TLS in the URL", nil, "", []string{"tcp://h:1?ca=/a%2Cb&cert=c&key=d&servername=e"}, false,
			[]nodes.Entry{{Name: "h", URL: "tcp://h:1", TLS: nodes.TLS{CA: "/a,b", Cert: "c", Key: "d", ServerName: "e"}}}},
		{"plain TCP on the loopback", nil, "", []string{"tcp://127.0.0.1:1", "tcp://[::1]:1", "tcp://localhost:1"}, false,
			[]nodes.Entry{url("127.0.0.1", "tcp://127.0.0.1:1"), url("tcp://[::1]:1", "tcp://[::1]:1"), url("localhost", "tcp://localhost:1")}},
		{"two ports of one host", nil, "", []string{"ssh://pi", "ssh://pi:2222"}, false,
			[]nodes.Entry{url("pi", "ssh://pi"), url("ssh://pi:2222", "ssh://pi:2222")}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			got, err := nodes.Choose(test.saved, test.env, test.flags, !test.alone)
			if diff := cmp.Diff(test.want, got); err != nil || diff != "" {
				t.Errorf("error %v; want -, got +:\n%s", err, diff)
			}
		})
	}
}

func TestWrongChoices(t *testing.T) {
	for _, test := range []struct {
		rule       string
		env        string
		flag       string
		what, hint string
	}{
		{"no node of that name", "", "arm2", `understanding --node: there is no node "arm2"`, "the nodes: local, arm1, big; a URL such as ssh://HOST"},
		{"no node of that name, in the environment", "arm2", "", `understanding MAB_NODES: there is no node "arm2"`, "mab nodes add"},
		{"a host without its scheme", "", "pi@raspberry", `there is no node "pi@raspberry"`, "did you mean: ssh://pi@raspberry"},
		{"a password without a scheme", "", "u:geheim@h", `there is no node "u:…@h"`, "the nodes: local"},
		{"an empty flag", "", "", `there is no node ""`, "the nodes: local"},
		{"an empty word", "", "arm1,", `there is no node ""`, "the nodes: local"},
		{"a URL that is none", "", "docker://", "not there yet", "tcp://HOST:PORT"},
		{"two of one name", "", "a=ssh://b,a=ssh://c", `understanding --node: "a" names two nodes`, "NAME=URL"},
		{"a saved name for another", "", "arm1,arm1=ssh://c", `"arm1" names two nodes`, "NAME=URL"},
		{"one machine twice", "", "arm1,x=ssh://pi@raspberry", `"arm1" and "x" are the same node`, "name it once"},
		{"a capital", "", "Pi=ssh://h", `"Pi" is no name of a node`, "no capitals"},
		{"no name before the =", "", "=ssh://h", "there is no name before the =", "NAME=URL"},
		{"the name of this machine for another", "", "local=ssh://h", "the name local and the URL local are this machine's", "call another machine otherwise"},
		{"another name for this machine", "", "me=local", "the name local and the URL local are this machine's", "this one needs no name"},
		{"plain TCP to elsewhere", "", "tcp://192.0.2.1:1", "whoever is between could run programs there", "tcp://192.0.2.1:1?ca=FILE"},
		{"half of TLS", "", "tcp://h:1?ca=/ca", "its TLS is not complete", "ca, cert and key"},
		{"half of TLS on the loopback", "", "tcp://[::1]:1?cert=/c&key=/k", "its TLS is not complete", "ca, cert and key"},
		{"an unknown word of TLS", "", "tcp://h:1?cacert=/ca", `there is no "cacert" in its query`, "ca, cert and key"},
		{"a word of TLS twice", "", "tcp://h:1?ca=/ca&ca=/ca", "ca is there twice", "ca, cert and key"},
		{"an empty word of TLS", "", "tcp://h:1?ca=", "ca is empty", "ca, cert and key"},
		{"a query that is none", "", "tcp://h:1?ca=%x", "its query: ", "ca, cert and key"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			var flags []string
			if test.env == "" {
				flags = []string{test.flag}
			}
			got, err := nodes.Choose(saved, test.env, flags, true)
			checkWrong(t, err, test.what, test.hint)
			if got != nil {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestNamed(t *testing.T) {
	got, err := nodes.Named(saved, []string{"big,local", "arm1"})
	if diff := cmp.Diff([]nodes.Entry{big, mine, arm1}, got); err != nil || diff != "" {
		t.Errorf("error %v; want -, got +:\n%s", err, diff)
	}
	_, err = nodes.Named(saved, []string{"arm2"})
	checkWrong(t, err, `there is no node "arm2"`, "the nodes: local, arm1, big")
	if strings.Contains(err.Error(), "--node") {
		t.Errorf("nobody gave the flag: %v", err)
	}
}

func TestFind(t *testing.T) {
	for _, test := range []struct {
		word string
		want nodes.Entry
	}{
		{"arm1", arm1},
		{"local", mine},
		{"ssh://pi@raspberry", arm1},
		{"ssh://h", nodes.Entry{Name: "h", URL: "ssh://h"}},
		{"x=ssh://h", nodes.Entry{Name: "x", URL: "ssh://h"}},
	} {
		t.Run(test.word, func(t *testing.T) {
			got, err := nodes.Find(saved, test.word)
			if diff := cmp.Diff(test.want, got); err != nil || diff != "" {
				t.Errorf("error %v; want -, got +:\n%s", err, diff)
			}
		})
	}
	_, err := nodes.Find(nil, "arm1")
	checkWrong(t, err, `there is no node "arm1"`, "the nodes: local; a URL such as ssh://HOST names one, too, and mab nodes add NAME ssh://HOST saves it")
}
