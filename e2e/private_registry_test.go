// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	distribution "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// private is a registry as companies have them: its certificate is of their own CA, it wants one of theirs, and tokens.
type private struct {
	t      testing.TB
	host   string
	ca     *authority
	client certificate
}

// newPrivate starts such a registry, with busybox in it.
func newPrivate(t *testing.T) *private {
	t.Helper()
	quiet := log.New(io.Discard, "", 0)
	p := &private{t: t, ca: newAuthority(t, "the company's CA")}
	p.client = p.ca.client()
	good := distribution.New(distribution.Logger(quiet), distribution.WithReferrersSupport(true))
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !p.tokenAuth(w, r) {
			good.ServeHTTP(w, r)
		}
	}))
	server.Config.ErrorLog = quiet
	server.TLS = &tls.Config{
		Certificates: []tls.Certificate{p.ca.server().pair(t)}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: p.ca.pool(),
	}
	server.StartTLS()
	t.Cleanup(server.Close)
	p.host = strings.Replace(strings.TrimPrefix(server.URL, "https://"), "127.0.0.1", "localhost", 1)
	base := pull(t, registry(t)+"/busybox:latest")
	if err := remote.WriteIndex(reference(t, p.host+"/busybox:latest"), base, p.options()...); err != nil {
		t.Fatal(err)
	}
	return p
}

// tokenAuth wants a token, which the registry itself gives for the password.
func (p *private) tokenAuth(w http.ResponseWriter, r *http.Request) bool {
	return tokenAuth(w, r, "https://"+p.host)
}

// options are how the test itself gets in.
func (p *private) options() []remote.Option {
	return []remote.Option{
		remote.WithTransport(&http.Transport{TLSClientConfig: &tls.Config{
			RootCAs: p.ca.pool(), Certificates: []tls.Certificate{p.client.pair(p.t)},
		}}),
		remote.WithAuth(&authn.Basic{Username: user, Password: password}),
	}
}

// section is what a buildkitd.toml says of the registry.
func (p *private) section() string {
	return fmt.Sprintf("[registry.%q]\n  ca = [%q]\n  [[registry.%q.keypair]]\n    cert = %q\n    key = %q\n", p.host, p.ca.file(), p.host, p.client.cert, p.client.key)
}

// configured is the lab with a buildkitd.toml, and the file.
func (l *lab) configured(text string) (*lab, string) {
	l.t.Helper()
	file := filepath.Join(l.t.TempDir(), "buildkitd.toml")
	l.configure(file, text)
	return l.setting("MAB_BUILDKITD_CONFIG=" + file), file
}

func (l *lab) configure(file, text string) {
	l.t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		l.t.Fatal(err)
	}
}

func TestPrivateRegistry(t *testing.T) {
	l := newWatchedLab(t)
	p := newPrivate(t)
	both := strings.Join(twoPlatforms(), ",")
	ref := p.host + "/app:1"
	auth := base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
	docker := t.TempDir()
	l.configure(filepath.Join(docker, "config.json"), fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, p.host, auth))
	l = l.setting("DOCKER_CONFIG=" + docker)
	dir := l.context(map[string]string{"Dockerfile": "FROM " + p.host + "/busybox\nRUN uname -m > /machine\n"})
	build := []string{"build", "--platform", both, "-t", ref, "--push", dir}
	known, file := l.configured(p.section())

	t.Run("unknown, it is not trusted", func(t *testing.T) {
		// On the loopback it would be taken for one that speaks plain HTTP.
		l, _ := l.on(t).configured(fmt.Sprintf("[registry.%q]\n  http = false\n", p.host))
		l.refused(1, []string{p.host, "certificate signed by unknown authority", `name its CA in a buildkitd.toml`}, build...)
	})
	t.Run("known by the config, images are pulled, pushed and merged", func(t *testing.T) {
		known := known.on(t)
		// The solver of the test before has another config.
		out := known.must(build...)
		index, err := remote.Index(reference(t, out), p.options()...)
		if err != nil {
			t.Fatal(err)
		}
		wantMachines(t, index)
		if known.starts() != 2 {
			t.Errorf("%d solvers were started, want one for each config", known.starts())
		}
	})
	t.Run("and inspected", func(t *testing.T) {
		if out := known.on(t).must("index", "inspect", ref); !strings.Contains(out, foreignPlatform()) {
			t.Errorf("got\n%s", out)
		}
	})
	t.Run("a base image that lacks a platform is told with those it has", func(t *testing.T) {
		known := known.on(t)
		known.refused(1, []string{"has no linux/mips64; it has linux/amd64"}, "build", "--platform", "linux/mips64", dir)
	})
	t.Run("an image in layers goes there, too", func(t *testing.T) {
		known := known.on(t)
		known.must("build", "--platform", both, "-t", p.host+"/app:2", "--push", "-o", "type=oci,dest=image.tar", dir)
		if _, err := remote.Head(reference(t, p.host+"/app:2"), p.options()...); err != nil {
			t.Error(err)
		}
	})
	t.Run("the same config again starts nothing", func(t *testing.T) {
		known := known.on(t)
		before := known.solver()
		known.configure(file, "# another word\n"+p.section())
		if out := known.mab(build...); out.code != 0 || strings.Contains(out.stderr, "note") || known.solver() != before {
			t.Errorf("exit code %d; solver %d was %d\n%s", out.code, known.solver(), before, out.stderr)
		}
	})
	t.Run("another config waits until no build runs, and says so", func(t *testing.T) {
		known := known.on(t)
		before := known.solver()
		running := known.startForever(hostPlatform())
		known.configure(file, p.section()+"[worker.oci]\n  max-parallelism = 7\n")
		out := known.mab("build", known.scratch())
		if out.code != 0 || !strings.Contains(out.stderr, "mab: note: the config has changed") || known.solver() != before {
			t.Errorf("exit code %d; solver %d was %d\n%s", out.code, known.solver(), before, out.stderr)
		}
		running.signal(syscall.SIGINT)
		running.within(interruptLimit)
		within(t, vanish, "the build goes on", func() string {
			if out := known.mab("build", known.scratch()); out.code != 0 || known.solver() == before {
				return out.stderr
			}
			return ""
		})
	})
	t.Run("what somebody else runs is left alone, and told", func(t *testing.T) {
		known := known.on(t)
		known.must("serve", "--stop")
		serve := known.foreground("--config=")
		out := known.mab("build", known.scratch())
		if out.code != 0 || !strings.Contains(out.stderr, "mab: note: the running solver was not started with "+file) {
			t.Errorf("exit code %d\n%s", out.code, out.stderr)
		}
		serve.signal(syscall.SIGINT)
		if out := serve.within(10 * time.Second); out.code != 0 {
			t.Errorf("exit code %d\n%s", out.code, out.stderr)
		}
	})
	l.noPanic()
}

// TestMirrors: what is pulled comes from the mirrors, whatever its name is, and plain HTTP and any certificate are taken where that is said.
func TestMirrors(t *testing.T) {
	l := newLab(t)
	ca := newAuthority(t, "nobody's")
	secret := httptest.NewUnstartedServer(distribution.New(distribution.Logger(log.New(io.Discard, "", 0))))
	secret.TLS = &tls.Config{Certificates: []tls.Certificate{ca.server().pair(t)}}
	secret.Config.ErrorLog = log.New(io.Discard, "", 0)
	secret.StartTLS()
	t.Cleanup(secret.Close)
	secretHost := strings.TrimPrefix(secret.URL, "https://")
	plain := newBadRegistry(t)
	plain.push("mirror/of/team/base:1", imageOf(t, pull(t, registry(t)+"/busybox:latest"), hostPlatform()))
	l, file := l.configured(fmt.Sprintf("root = \"/elsewhere\"\n[registry.\"registry.invalid\"]\n  mirrors = [\"localhost:1\", \"%s/mirror/of\"]\n[registry.%q]\n  http = true\n[registry.%q]\n  insecure = true\n  http = false\n",
		plain.host, plain.host, secretHost))

	t.Run("a base image comes from the mirror that has it", func(t *testing.T) {
		l := l.on(t)
		dir := l.context(map[string]string{"Dockerfile": "FROM registry.invalid/team/base:1\nRUN uname -m > /machine\n"})
		for _, told := range []bool{true, false} {
			out := l.mab("build", "-o", "files", dir)
			if note := "mab: note: " + file + ": line 1: root is not used"; out.code != 0 || strings.Contains(out.stderr, note) != told {
				t.Errorf("exit code %d; that the root is not used is told: %t\n%s", out.code, !told, out.stderr)
			}
		}
		if got := strings.TrimSpace(read(t, filepath.Join(l.dir, "files/machine"))); got != machineOf(t, hostPlatform()).uname {
			t.Errorf("uname -m = %q", got)
		}
		if out := l.must("index", "inspect", "registry.invalid/team/base:1"); !strings.HasPrefix(out, "registry.invalid/team/base:1\n") {
			t.Errorf("got\n%s", out)
		}
	})
	t.Run("any certificate", func(t *testing.T) {
		l := l.on(t)
		l.must("build", "--platform", strings.Join(twoPlatforms(), ","), "-t", secretHost+"/app:1", "--push", l.scratch())
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.pool()}}}
		index, err := remote.Index(reference(t, secretHost+"/app:1"), remote.WithTransport(client.Transport))
		var manifest *v1.IndexManifest
		if err == nil {
			manifest, err = index.IndexManifest()
		}
		if err != nil || len(manifest.Manifests) < 2 {
			t.Errorf("error %v; got %v", err, manifest)
		}
	})
}
