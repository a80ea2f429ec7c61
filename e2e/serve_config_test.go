// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestServeConfig shows that a solver does what a buildkitd.toml says.
func TestServeConfig(t *testing.T) {
	l := newLab(t)
	buildctl := tool(t, "github.com/moby/buildkit/cmd/buildctl")
	socket := "unix://" + filepath.Join(l.root, "others")
	_, file := l.configured(fmt.Sprintf(`
insecure-entitlements = ["network.host"]
[log]
  level = "debug"
  format = "json"
[grpc]
  address = [%q]
  gid = 65534
[dns]
  nameservers = ["192.0.2.53"]
  searchDomains = ["e2e.test"]
[worker.oci]
  platforms = [%q]
  max-parallelism = 1
  snapshotter = "native"
  reservedSpace = "1GB"
  maxUsedSpace = "3GB"
  [worker.oci.labels]
    team = "red"
[worker.containerd]
  address = "/run/containerd/containerd.sock"
[frontend."gateway.v0"]
  allowedRepositories = ["docker.io/docker/dockerfile"]
[history]
  maxEntries = 2
`, socket, hostPlatform()))
	serve := l.foreground("--config", file)
	far := far{t, buildctl, []string{"--addr", socket}}

	t.Run("platforms, labels and the limits of the cache", func(t *testing.T) {
		out := far.run(t, "debug", "workers", "-v")
		for _, want := range []string{"team: red\n", "Platforms: " + hostPlatform() + "\n", "snapshotter: native\n", "Reserved space: 1.073741824GB\n", "Maximum used space: 3.221225472GB\n"} {
			if !strings.Contains(regexp.MustCompile("[\t ]+").ReplaceAllString(out, " "), want) {
				t.Errorf("no %q in\n%s", want, out)
			}
		}
	})
	t.Run("platforms for mab's builds", func(t *testing.T) {
		l := l.on(t)
		l.refused(3, []string{"the solver's config does not list it", "add " + foreignPlatform() + " to platforms of [worker.oci] in " + file},
			"build", "--platform", foreignPlatform(), l.contextOn(map[string]string{"Dockerfile": "FROM BASE\nRUN uname -m\n"}))
	})
	t.Run("name servers", func(t *testing.T) {
		l := l.on(t)
		l.must("build", "-o", "files", l.contextOn(map[string]string{"Dockerfile": "FROM BASE AS b\nRUN cat /etc/resolv.conf > /conf\nFROM scratch\nCOPY --from=b /conf /\n"}))
		conf := read(t, filepath.Join(l.dir, "files/conf"))
		if !strings.Contains(conf, "nameserver 192.0.2.53\n") || !strings.Contains(conf, "search e2e.test\n") {
			t.Errorf("got\n%s", conf)
		}
	})
	t.Run("entitlements", func(t *testing.T) {
		l := l.on(t)
		dir := l.contextOn(map[string]string{"Dockerfile": "FROM BASE\nRUN --security=insecure true\n"})
		l.refused(1, []string{"security.insecure"}, "build", "--allow", "security.insecure", dir)
		l.must("build", "--allow", "network.host", l.contextOn(map[string]string{"Dockerfile": "FROM BASE\nRUN --network=host true\n"}))
	})
	t.Run("frontends", func(t *testing.T) {
		l := l.on(t)
		l.refused(1, []string{"is not an allowed gateway source"}, "build",
			l.contextOn(map[string]string{"Dockerfile": "# syntax=" + registry(t) + "/frontend\nFROM BASE\n"}))
	})
	t.Run("one step at a time", func(t *testing.T) {
		l := l.on(t)
		// Each step fails if it meets another.
		run := "RUN --mount=type=cache,id=alone,target=/m test ! -e /m/%[1]s && touch /m/%[1]s && test $(ls /m | wc -l) = 1 && sleep 0.3 && test $(ls /m | wc -l) = 1 && rm /m/%[1]s && touch /%[1]s\n"
		var text strings.Builder
		for _, name := range []string{"a", "b", "c"} {
			fmt.Fprintf(&text, "FROM BASE AS "+name+"\n"+run, name)
		}
		text.WriteString("FROM scratch\nCOPY --from=a /a /\nCOPY --from=b /b /\nCOPY --from=c /c /\n")
		l.must("build", l.contextOn(map[string]string{"Dockerfile": text.String()}))
	})
	serve.signal(syscall.SIGTERM)
	out := serve.within(10 * time.Second)
	if out.code != 0 || !strings.Contains(out.stderr, "mab: note: "+file+": line 21: worker.containerd is not used: mab works without containerd\n") ||
		!strings.Contains(out.stderr, `"level":"debug"`) || !strings.Contains(out.stderr, `"msg":"solver ready"`) {
		t.Errorf("exit code %d\n%.3000s", out.code, out.stderr)
	}
}

// TestServeGrants: who serves others grants what only the machine's own builds are granted unasked if it is told to.
func TestServeGrants(t *testing.T) {
	l := newLab(t)
	dir := l.contextOn(map[string]string{"Dockerfile": "FROM BASE\nRUN --security=insecure true\n"})
	for _, test := range []struct {
		rule string
		args []string
		code int
	}{
		{"alone", nil, 0},
		{"for others", []string{"--addr", "unix://" + filepath.Join(l.root, "others")}, 1},
		{"for others, told to", []string{"--addr", "unix://" + filepath.Join(l.root, "others"), "--allow-insecure-entitlement", "security.insecure"}, 0},
	} {
		t.Run(test.rule, func(t *testing.T) {
			l := l.on(t)
			serve := l.foreground(test.args...)
			if out := l.mab("build", "--no-cache", "--allow", "security.insecure", dir); out.code != test.code {
				t.Errorf("exit code %d, want %d\n%s", out.code, test.code, out.stderr)
			}
			serve.signal(syscall.SIGTERM)
			serve.within(10 * time.Second)
		})
	}
}

// TestClientExamples runs BuildKit's own examples of clients, which are Go programs of its module.
func TestClientExamples(t *testing.T) {
	l := newLab(t)
	socket := "unix://" + filepath.Join(l.root, "others")
	serve := l.foreground("--addr", socket)
	dir := l.contextOn(map[string]string{"Dockerfile": "FROM BASE\nRUN uname -m > /machine\n"})

	// It ends in "docker load", which is this here.
	docker := "#!/bin/sh\ncat > \"$LOADED\"\n"
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "docker"), []byte(docker), 0o755); err != nil {
		t.Fatal(err)
	}
	example := tool(t, "github.com/moby/buildkit/examples/build-using-dockerfile")
	for _, mode := range []string{"--clientside-frontend=false", "--clientside-frontend=true"} {
		t.Run("build-using-dockerfile "+mode, func(t *testing.T) {
			loaded := filepath.Join(t.TempDir(), "image.tar")
			cmd := far{t, example, []string{"--buildkit-addr", socket}}.command(mode, "-t", "example", dir)
			cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "LOADED="+loaded)
			outputOf(t, cmd)
			wantMachine(t, hostPlatform(), layoutImage(t, untar(t, loaded)))
		})
	}
	t.Run("dockerfile2llb for buildctl", func(t *testing.T) {
		l := l.on(t)
		convert := far{t, tool(t, "github.com/moby/buildkit/examples/dockerfile2llb"), nil}.command()
		convert.Stdin = strings.NewReader("FROM scratch\nCOPY f /copied\n")
		graph := outputOf(t, convert)
		build := far{t, tool(t, "github.com/moby/buildkit/cmd/buildctl"), []string{"--addr", socket}}.command(
			"build", "--local", "context="+l.scratch(), "--output", "type=local,dest="+l.dir)
		build.Stdin = strings.NewReader(graph)
		outputOf(t, build)
		if got := read(t, filepath.Join(l.dir, "copied")); got != "file" {
			t.Errorf("got %q", got)
		}
	})
	serve.signal(syscall.SIGTERM)
	serve.within(10 * time.Second)
}
