// SPDX-License-Identifier: Apache-2.0

package manifestlist_test

import (
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/mab-build/mab/manifestlist"
)

func basic(user, password string) string {
	return base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
}

// login writes docker's config.json for the rest of the test.
func login(t *testing.T, config string) {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("DOCKER_CONFIG", dir)
	must(t, os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600))
}

// demand asks for basic credentials.
func demand(user, password string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if u, p, _ := r.BasicAuth(); u == user && p == password {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}
}

func TestCredentials(t *testing.T) {
	r := newRegistry(t)
	_, idx := pushed(t, r, "app")
	refs := []manifestlist.Reference{r.ref(t, "app:v1")}
	push := func(t *testing.T) error {
		_, err := newClient(t, manifestlist.Config{}).Push(t.Context(), idx, refs, nil)
		return err
	}
	t.Run("come from docker's config.json", func(t *testing.T) {
		r.answer(demand("me", "secret"))
		login(t, fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, r.host, basic("me", "secret")))
		must(t, push(t))
	})
	t.Run("come from a credential helper", func(t *testing.T) {
		if runtime.GOOS == "windows" {
			t.Skip("the helper is a shell script")
		}
		r.answer(demand("me", "secret"))
		bin := t.TempDir()
		script := "#!/bin/sh\n" + `echo '{"ServerURL":"x","Username":"me","Secret":"secret"}'` + "\n"
		must(t, os.WriteFile(filepath.Join(bin, "docker-credential-mabtest"), []byte(script), 0o755))
		t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
		login(t, fmt.Sprintf(`{"credHelpers":{%q:"mabtest"}}`, r.host))
		must(t, push(t))
	})
	t.Run("a helper that is missing is named", func(t *testing.T) {
		login(t, fmt.Sprintf(`{"credHelpers":{%q:"mabmissing"}}`, r.host))
		wantError(t, push(t), "docker-credential-mabmissing", "docker login "+r.host)
	})
	t.Run("wrong ones are told, and are not in the message", func(t *testing.T) {
		r.answer(demand("me", "secret"))
		login(t, fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, r.host, basic("me", "wr0ng")))
		err := push(t)
		wantError(t, err, "401", "docker login "+r.host)
		if strings.Contains(err.Error(), "wr0ng") || strings.Contains(err.Error(), basic("me", "wr0ng")) {
			t.Errorf("the message gives the password away: %v", err)
		}
	})
	t.Run("tokens are fetched once for all requests", func(t *testing.T) {
		r.answer(func(w http.ResponseWriter, req *http.Request) bool {
			switch {
			case req.URL.Path == "/token":
				fmt.Fprintf(w, `{"token":"scope %s"}`, req.URL.Query().Get("scope"))
			case req.Header.Get("Authorization") != "Bearer scope repository:app:push,pull":
				w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="test"`, r.URL))
				w.WriteHeader(http.StatusUnauthorized)
			default:
				return false
			}
			return true
		})
		login(t, fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, r.host, basic("me", "secret")))
		c := newClient(t, manifestlist.Config{})
		r.seen()
		for range 2 {
			_, err := c.Push(t.Context(), idx, refs, nil)
			must(t, err)
		}
		want := []string{"GET /v2/", "GET /token", put("app", "v1"), put("app", "v1")}
		if diff := cmp.Diff(want, r.seen()); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
}

func TestTLS(t *testing.T) {
	r := &testRegistry{}
	r.Server = httptest.NewUnstartedServer(r.handler())
	r.Config.ErrorLog = log.New(io.Discard, "", 0) // it tells of every handshake that fails, which is what is tested
	r.StartTLS()
	t.Cleanup(r.Close)
	r.host = strings.TrimPrefix(r.URL, "https://")
	s := newStage(t)
	idx := s.merged(false, "linux/amd64", "linux/arm64")
	refs := []manifestlist.Reference{r.ref(t, "app:v1")}

	t.Run("an unknown certificate is refused", func(t *testing.T) {
		_, err := newClient(t, manifestlist.Config{}).Push(t.Context(), idx, refs, s.dir)
		wantError(t, err, "certificate", "--insecure-registry")
	})
	t.Run("unless the registry is named insecure", func(t *testing.T) {
		_, err := newClient(t, manifestlist.Config{InsecureRegistries: []string{r.host}}).Push(t.Context(), idx, refs, s.dir)
		must(t, err)
	})
	t.Run("which names that one only", func(t *testing.T) {
		_, err := newClient(t, manifestlist.Config{InsecureRegistries: []string{"example.com"}}).Push(t.Context(), idx, refs, s.dir)
		wantError(t, err, "certificate", "--insecure-registry")
	})
	t.Run("the handshake comes by itself where plain HTTP is not taken", func(t *testing.T) {
		_, err := newClient(t, manifestlist.Config{Insecure: true}).Push(t.Context(), idx, refs, nil)
		must(t, err)
	})
}

func TestPlainHTTP(t *testing.T) {
	r := newRegistry(t)
	s := newStage(t)
	idx := s.merged(false, "linux/amd64", "linux/arm64")
	for _, host := range []string{"10.1.2.3:5000", "registry.example.com"} {
		login(t, fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, host, basic("me", "secret")))
		refs := names(t, host+"/app:v1")
		push := func(cfg manifestlist.Config) error {
			_, err := manifestlist.DialAlways(newClient(t, cfg), r.host).Push(t.Context(), idx, refs, s.dir)
			return err
		}
		t.Run("is refused outside this machine, and no request goes out: "+host, func(t *testing.T) {
			r.seen()
			wantError(t, push(manifestlist.Config{}), "server gave HTTP response to HTTPS client", host+" speaks plain HTTP; if that is meant, allow it: --insecure-registry")
			if seen := r.seen(); len(seen) > 0 {
				t.Errorf("sent %q", seen)
			}
		})
		t.Run("is taken on request: "+host, func(t *testing.T) {
			must(t, push(manifestlist.Config{InsecureRegistries: []string{host}}))
			resolves(t, r, "app", "v1", idx.Descriptor.Digest)
		})
	}
}

func TestNewRefuses(t *testing.T) {
	for _, host := range []string{"", "http://localhost", "localhost/app", "a b"} {
		t.Run(host, func(t *testing.T) {
			_, err := manifestlist.New(manifestlist.Config{InsecureRegistries: []string{host}})
			wantError(t, err, "not a host", "without scheme and path")
		})
	}
}
