// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// testEngine is a Docker Engine or a podman of the test's own.
type testEngine struct {
	t    testing.TB
	host string
	http *http.Client
}

// startEngine starts an engine in namespaces of its own, so that it finds no network to change, and all that it mounts and starts goes
// with it. In the command DIR stands for a directory of its own; it listens on DIR/sock.
func startEngine(t testing.TB, command string) *testEngine {
	t.Helper()
	dir, err := os.MkdirTemp("", "mab-engine-") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command("unshare", "-n", "-m", "-p", "-f", "--mount-proc", "--kill-child",
		"sh", "-c", "mount -t tmpfs tmpfs /run && exec "+strings.ReplaceAll(command, "DIR", dir))
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		// What is mounted goes when the last process has gone.
		eventually(t, 20*time.Second, "the engine's directory can be removed", func() bool { return os.RemoveAll(dir) == nil })
	})
	e := &testEngine{t: t, host: "unix://" + filepath.Join(dir, "sock")}
	e.http = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(dir, "sock"))
	}}}
	t.Cleanup(e.http.CloseIdleConnections)
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if _, err := e.get("/_ping"); err == nil {
			return e
		} else if time.Now().After(deadline) {
			t.Fatalf("the engine does not answer: %v\n%s", err, read(t, log.Name()))
		}
	}
}

func (e *testEngine) get(path string) ([]byte, error) {
	resp, err := e.http.Get("http://engine" + path)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s: %s", path, resp.Status, raw)
	}
	return raw, err
}

// wantLoaded has the engine hold TestOutputs' image for a platform under a name, with an ID, and give it back as it was made.
func (e *testEngine) wantLoaded(t testing.TB, name, id, platform string) {
	t.Helper()
	raw, err := e.get("/images/" + name + "/json")
	if err != nil {
		t.Fatal(err)
	}
	var image struct{ ID, Architecture string }
	if err := json.Unmarshal(raw, &image); err != nil {
		t.Fatal(err)
	}
	if want := strings.Split(platform, "/")[1]; image.ID != id || image.Architecture != want {
		t.Errorf("ID %s, want %s; architecture %s, want %s", image.ID, id, image.Architecture, want)
	}
	if raw, err = e.get("/images/" + name + "/get"); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "saved.tar")
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	saved, err := tarball.ImageFromPath(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	wantMachine(t, platform, saved)
}

// engines are those that tests start, by the programs that they need.
var engines = map[string]struct {
	programs []string
	command  string
}{
	"docker": {[]string{"dockerd", "containerd", "unshare"}, "dockerd --bridge=none --iptables=false --ip-forward=false --ip-masq=false " +
		"--data-root=DIR/data --exec-root=DIR/exec --pidfile=DIR/pid -H unix://DIR/sock"},
	"podman": {[]string{"podman", "conmon", "unshare"}, "podman --root DIR/data --runroot DIR/run --storage-driver vfs --events-backend none " +
		"--cgroup-manager cgroupfs system service --time=0 unix://DIR/sock"},
}

// shownBytes finds how much was sent in the progress.
var shownBytes = regexp.MustCompile(`sending ([0-9.]+)([kMG]?B) / ([0-9.]+[kMG]?B)`)

func TestLoadIntoEngines(t *testing.T) {
	for name, engine := range engines {
		t.Run(name, func(t *testing.T) {
			need(t, engine.programs...)
			e := startEngine(t, engine.command)
			testLoad(t, newLab(t).setting("DOCKER_HOST="+e.host), e, name)
		})
	}
}

func testLoad(t *testing.T, l *lab, e *testEngine, name string) {
	dir := l.context(map[string]string{"Dockerfile": machineDockerfile(t)})
	for n, platform := range twoPlatforms() {
		t.Run("an image for "+platform, func(t *testing.T) {
			l := l.on(t)
			ref := fmt.Sprintf("docker.io/mab/app:%d", n)
			out := l.mab("build", "--platform", platform, "-t", ref, "--load", "--iidfile", "id", dir)
			if out.code != 0 || !shownBytes.MatchString(out.stderr) || !strings.Contains(out.stderr, "loading into "+name+" at "+e.host) {
				t.Fatalf("exit code %d\n%s", out.code, out.stderr)
			}
			id := strings.TrimSpace(out.stdout)
			e.wantLoaded(t, ref, id, platform)
			if got := read(t, filepath.Join(l.dir, "id")); got != id {
				t.Errorf("--iidfile has %s, standard output %s", got, id)
			}
			empty(t, l.dir, "id")
		})
	}
	t.Run("an engine that is named, beside another output of the same image, without a name", func(t *testing.T) {
		l := l.on(t).setting("DOCKER_HOST=unix:///nosuch/sock")
		id := l.must("build", "--platform", hostPlatform(), "-o", "type=docker,context="+e.host, "-o", "type=oci,dest=app.tar", dir)
		wantMachine(t, hostPlatform(), layoutImage(t, untar(t, filepath.Join(l.dir, "app.tar"))))
		e.wantLoaded(t, id, id, hostPlatform())
	})
	t.Run("layers that are there are not sent again, where the engine can do without", func(t *testing.T) {
		l := l.on(t)
		load := func(file string) string {
			t.Helper()
			out := l.mab("build", "--platform", hostPlatform(), "-t", "docker.io/mab/layers:1", "--load", l.contextOn(map[string]string{"Dockerfile": "FROM BASE\nCOPY a /\n", "a": file}))
			all := shownBytes.FindAllStringSubmatch(out.stderr, -1)
			if out.code != 0 || len(all) == 0 {
				t.Fatalf("exit code %d\n%s", out.code, out.stderr)
			}
			return all[len(all)-1][2]
		}
		want := map[string]string{"docker": "kB", "podman": "MB"}[name]
		if first, second := load("first"), load("second"); first != "MB" || second != want {
			t.Errorf("sent %s, then %s", first, second)
		}
		if _, err := e.get("/images/docker.io/mab/layers:1/get"); err != nil {
			t.Error(err)
		}
	})
	t.Run("several platforms are refused before anything is built", func(t *testing.T) {
		l := l.on(t)
		out := l.refused(2, []string{"loading into " + name + " at " + e.host, "holds one platform", "hint: name one with --platform", "type=oci"},
			"build", "--platform", strings.Join(twoPlatforms(), ","), "--load", "--no-cache", dir)
		if strings.Contains(out.stderr, "RUN mkdir") {
			t.Errorf("it was built first:\n%s", out.stderr)
		}
	})
}

func TestLoadNowhere(t *testing.T) {
	l := newLab(t)
	dir := l.context(map[string]string{"Dockerfile": machineDockerfile(t)})
	t.Run("an engine that does not answer", func(t *testing.T) {
		l := l.on(t).setting("DOCKER_HOST=unix:///nosuch/engine.sock")
		out := l.refused(1, []string{"no engine", "unix:///nosuch/engine.sock (DOCKER_HOST)", "hint: start one", "-o type=docker,dest=FILE"}, "build", "--load", dir)
		if strings.Contains(out.stderr, "RUN mkdir") {
			t.Errorf("it was built first:\n%s", out.stderr)
		}
	})
	t.Run("a context that is not there", func(t *testing.T) {
		l.on(t).refused(1, []string{`there is no docker context "nosuch"`, "hint: the contexts that are there: docker context ls"}, "build", "-o", "type=docker,context=nosuch", dir)
	})
	t.Run("an engine that refuses, after the build", func(t *testing.T) {
		var said []string
		server := http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			said = append(said, r.URL.Path)
			switch {
			case strings.HasSuffix(r.URL.Path, "/info"):
				_, _ = io.WriteString(w, `{"OSType":"linux","Architecture":"x86_64"}`)
			case strings.HasSuffix(r.URL.Path, "/load"):
				_, _ = io.Copy(io.Discard, r.Body)
				_, _ = io.WriteString(w, `{"errorDetail":{"message":"the engine's own words"},"error":"the engine's own words"}`)
			case strings.HasSuffix(r.URL.Path, "/images/json"):
				_, _ = io.WriteString(w, `[]`)
			}
		})}
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan error, 1)
		go func() { served <- server.Serve(listener) }()
		l := l.on(t).setting("DOCKER_HOST=tcp://" + listener.Addr().String())
		l.refused(1, []string{"loading the image into docker at tcp://", "the engine's own words"}, "build", "--load", dir)
		_ = server.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
		if len(said) == 0 {
			t.Error("nobody asked")
		}
		empty(t, l.dir)
	})
}
