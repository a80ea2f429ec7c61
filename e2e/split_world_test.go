// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/mab-build/mab/e2e/farm"
)

// splitLab is a farm whose hosts are saved as nodes that build one platform at once, so that no node is expected to do several as soon as
// they all do one each. Steps on all of them, and on this machine, reach a server that counts.
type splitLab struct {
	*farmLab
	*counter
}

// newSplitLab makes a farm of hosts that are like any other.
func newSplitLab(t testing.TB, hosts ...farm.HostConfig) *splitLab {
	t.Helper()
	l := &splitLab{farmLab: newFarmLab(t, hosts...)}
	l.counter = newCounter(t, l.Host(hosts[0].Name))
	var saved strings.Builder
	for _, h := range hosts {
		fmt.Fprintf(&saved, "[[node]]\nname = %q\nurl = %q\nslots = 1\n", h.Name, l.Host(h.Name).URL("root"))
	}
	sound(t, os.WriteFile(filepath.Join(l.root, "nodes.toml"), []byte(saved.String()), 0o600))
	return l
}

// on is the lab for a subtest.
func (l *splitLab) on(t testing.TB) *splitLab { return &splitLab{l.farmLab.on(t), l.counter} }

// setting is the lab with variables added to its environment.
func (l *splitLab) setting(variables ...string) *splitLab {
	return &splitLab{l.farmLab.setting(variables...), l.counter}
}

// counter is a server that every host of a farm reaches. It counts, for each name, how often somebody asked for URL/hit/NAME, and serves the
// directory files.
type counter struct {
	URL, files string

	mu   sync.Mutex
	hits map[string]int
}

func newCounter(t testing.TB, h *farm.Host) *counter {
	t.Helper()
	// The first address of a farm's network is this machine's.
	here := h.Addr()[:strings.LastIndex(h.Addr(), ".")] + ".1"
	listener, err := net.Listen("tcp", here+":0")
	sound(t, err)
	c := &counter{URL: "http://" + listener.Addr().String(), files: t.TempDir(), hits: map[string]int{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /hit/{name...}", func(_ http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.hits[r.PathValue("name")]++
	})
	mux.Handle("GET /", http.FileServer(http.Dir(c.files)))
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: mux}}
	server.Start()
	t.Cleanup(server.Close)
	return c
}

// count is how often a name was asked for.
func (c *counter) count(name string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.hits[name]
}

// hit is a command of a step that counts as name.
func (c *counter) hit(name string) string {
	return "wget -q -O /dev/null " + c.URL + "/hit/" + name
}

// divided is what the tests read of plan --json about what is done apart.
type divided struct {
	Platforms []struct{ Platform, Node, Strategy string }
	Portions  []struct {
		Node, Strategy, Why string
		For                 []string
		Travels             []struct {
			Step  string
			Paths []string
			To    []string
			Bytes int64
		}
	}
}

// homes are the nodes that have platforms, each once, in the order of the plan.
func (d divided) homes() []string {
	var out []string
	for _, p := range d.Platforms {
		out = once(out, p.Node)
	}
	return out
}

// cuts are what travels, each once: the paths, sorted, or "layers" for all of a step's layers.
func (d divided) cuts() []string {
	var out []string
	for _, p := range d.Portions {
		for _, travel := range p.Travels {
			text := strings.Join(slices.Sorted(slices.Values(travel.Paths)), " ")
			if text == "" {
				text = "layers"
			}
			out = once(out, text)
		}
	}
	return out
}

func once(list []string, text string) []string {
	for _, have := range list {
		if have == text {
			return list
		}
	}
	return append(list, text)
}
