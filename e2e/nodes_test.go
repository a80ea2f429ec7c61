// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// seen is what mab nodes says of a node with --json, as far as a test looks at it.
type seen struct {
	Name, URL, Status, Error, Hint string
	Info                           struct {
		Survey []struct {
			Platform, How string
		}
		Machine struct {
			CPUs   int
			Kernel string
		}
		Running int
		Latency float64 `json:"latency_seconds"`
	}
}

func jsonOf[T any](t *testing.T, text string) (out T) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return out
}

// platform is how the node runs one; empty if it does not know it.
func (s seen) platform(name string) string {
	for _, p := range s.Info.Survey {
		if p.Platform == name {
			return p.How
		}
	}
	return ""
}

// TestNodesOfOthers saves, lists and checks solvers that listen on a socket and on a port with mutual TLS.
func TestNodesOfOthers(t *testing.T) {
	far, l := newLab(t), newLab(t)
	ca := newAuthority(t, "ours")
	server, client, port := ca.server(), ca.client(), freePort(t)
	socket := filepath.Join(far.root, "others", "s")
	serve := far.foreground("--addr", "unix://"+socket, "--addr", "tcp://"+port, "--tlscert", server.cert, "--tlskey", server.key, "--tlscacert", ca.file())
	l = l.setting("MAB_NODES_FILE="+filepath.Join(l.root, "nodes.toml"), "MAB_NODES=")
	tls := []string{"--tlscacert", ca.file(), "--tlscert", client.cert, "--tlskey", client.key}
	query := fmt.Sprintf("tcp://%s?ca=%s&cert=%s&key=%s", port, ca.file(), client.cert, client.key)

	t.Run("added once they were reached", func(t *testing.T) {
		l := l.on(t)
		out := l.mab("nodes", "add", "sock", "unix://"+socket)
		if out.code != 0 || !strings.Contains(out.stderr, "saved sock in ") || !strings.Contains(out.stdout, "native") {
			t.Errorf("exit code %d\n%s%s", out.code, out.stdout, out.stderr)
		}
		got := jsonOf[seen](t, l.must(append([]string{"nodes", "add", "--json", "--slots=3", "port", "tcp://" + port}, tls...)...))
		if got.Name != "port" || got.Status != "ready" || got.platform(hostPlatform()) != "native" || got.platform(foreignPlatform()) != "emulated" {
			t.Errorf("got %+v", got)
		}
		saved := read(t, filepath.Join(l.root, "nodes.toml"))
		if !strings.Contains(saved, "slots = 3") || strings.Index(saved, "'sock'") > strings.Index(saved, "'port'") {
			t.Errorf("saved:\n%s", saved)
		}
	})
	t.Run("listed with this machine before them, and with the dead", func(t *testing.T) {
		l := l.on(t)
		l.must("nodes", "add", "--no-check", "gone", "unix://"+socket+"-gone")
		list := jsonOf[[]seen](t, l.must("nodes", "ls", "--json"))
		var names []string
		for _, n := range list {
			names = append(names, n.Name+" "+n.Status)
			if n.Status == "ready" && (n.Info.Latency <= 0 || n.Info.Machine.CPUs == 0 || n.Info.Machine.Kernel == "") {
				t.Errorf("got %+v", n)
			}
		}
		if got, want := strings.Join(names, ", "), "local ready, sock ready, port ready, gone unreachable"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if gone := list[len(list)-1]; !strings.Contains(gone.Error, "no such file") || !strings.Contains(gone.Hint, "mab serve --addr") {
			t.Errorf("got %+v", gone)
		}
		table := l.must("nodes", "ls")
		if lines := strings.Split(table, "\n"); len(lines) != 8 || !strings.HasPrefix(lines[0], "NAME ") || !strings.Contains(lines[2], hostPlatform()) {
			t.Errorf("got\n%s", table)
		}
	})
	t.Run("inspected, by a name and by a URL that says all", func(t *testing.T) {
		l := l.on(t)
		for _, name := range []string{"port", "unix://" + socket, "x=" + query} {
			text := l.must("nodes", "inspect", name)
			for _, word := range []string{"KERNEL", "CPUS", "LATENCY", "\nPLATFORM", foreignPlatform() + " "} {
				if !strings.Contains(text, word) {
					t.Errorf("%s: no %q in\n%s", name, word, text)
				}
			}
		}
	})
	t.Run("checked", func(t *testing.T) {
		l := l.on(t)
		out := l.mab("nodes", "check")
		if out.code != 4 || !strings.Contains(out.stdout, "gone   unreachable: ") || !strings.Contains(out.stderr, "1 of 4 nodes cannot be reached") {
			t.Errorf("exit code %d\n%s%s", out.code, out.stdout, out.stderr)
		}
		l.must("nodes", "rm", "gone")
		if text := l.must("nodes", "check", "sock", "port"); strings.Count(text, " ok, "+hostPlatform()) != 2 {
			t.Errorf("got\n%s", text)
		}
	})
	t.Run("builds run there", func(t *testing.T) {
		l := l.on(t)
		dir := l.contextOn(map[string]string{"Dockerfile": "FROM BASE\nRUN uname -m > /machine\n"})
		for _, node := range []string{"sock", "port", query} {
			out := l.mab("build", "--node", node, "--platform", foreignPlatform(), "--output=type=oci,dest="+filepath.Join(l.dir, "out.tar"), dir)
			if out.code != 0 {
				t.Fatalf("--node %s: exit code %d\n%s", node, out.code, out.stderr)
			}
			wantMachine(t, foreignPlatform(), layoutImage(t, untar(t, filepath.Join(l.dir, "out.tar"))))
		}
	})
	t.Run("strangers are told what is wrong", func(t *testing.T) {
		l := l.on(t)
		other := newAuthority(t, "other").client()
		for _, test := range []struct {
			words []string
			args  []string
		}{
			{[]string{"remote error: tls: ", "mab: hint: the solver does not take this certificate"}, []string{"--tlscacert", ca.file(), "--tlscert", other.cert, "--tlskey", other.key}},
			{[]string{"signed by unknown authority", "mab: hint: name the CA that signed"}, []string{"--tlscacert", newAuthority(t, "third").file(), "--tlscert", client.cert, "--tlskey", client.key}},
			{[]string{"not far.example", "mab: hint: name it as its certificate does"}, append([]string{"--tls-server-name=far.example"}, tls...)},
			{[]string{`no-key.pem": no such file`, "PEM files"}, []string{"--tlscacert", ca.file(), "--tlscert", client.cert, "--tlskey", "no-key.pem"}},
			{[]string{"it did not answer within 500ms", "mab: hint: if it wants TLS, give certificates"}, []string{"--connect-timeout=500ms"}},
		} {
			l.refused(4, append(test.words, "mab: note: nothing was saved"), append([]string{"nodes", "add", "stranger", "tcp://" + strings.Replace(port, "127.0.0.1", "localhost", 1)}, test.args...)...)
		}
		if saved := read(t, filepath.Join(l.root, "nodes.toml")); strings.Contains(saved, "stranger") {
			t.Errorf("saved:\n%s", saved)
		}
	})
	t.Run("a dead node delays nobody", func(t *testing.T) {
		if err := serve.cmd.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		serve.wait()
		l := l.on(t)
		began := time.Now()
		list := jsonOf[[]seen](t, l.must("nodes", "ls", "--json", "local", "sock", "port"))
		if took := time.Since(began); took > 10*time.Second || list[0].Status != "ready" || list[1].Status+list[2].Status != "unreachableunreachable" {
			t.Errorf("it took %s: %+v", took, list)
		}
	})
}
