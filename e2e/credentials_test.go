// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	user     = "builder"
	password = "correct-horse-battery-staple"
	token    = "a-token-that-nobody-may-see"
)

// basicAuth lets only those in that know the password.
func basicAuth(w http.ResponseWriter, r *http.Request) bool {
	if u, p, ok := r.BasicAuth(); ok && u == user && p == password {
		return false
	}
	w.Header().Set("WWW-Authenticate", `Basic realm="the test"`)
	refuse(http.StatusUnauthorized, "UNAUTHORIZED")(w, r)
	return true
}

// tokenAuth lets only those in that got a token from /token for the password, as Docker Hub does.
func (b *badRegistry) tokenAuth(w http.ResponseWriter, r *http.Request) bool {
	return tokenAuth(w, r, "http://"+b.host)
}

// tokenAuth is that of a registry at an address, which gives the tokens itself.
// https://distribution.github.io/distribution/spec/auth/token/
func tokenAuth(w http.ResponseWriter, r *http.Request, address string) bool {
	if r.URL.Path == "/token" {
		_, given, _ := r.BasicAuth()
		if r.Method == http.MethodPost {
			given = r.FormValue("password")
		}
		if given != password {
			refuse(http.StatusUnauthorized, "UNAUTHORIZED")(w, r)
		} else {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"token":%q,"access_token":%q,"expires_in":300}`, token, token)
		}
		return true
	}
	if r.Header.Get("Authorization") == "Bearer "+token {
		return false
	}
	w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="test",scope="repository:app:pull,push"`, address))
	refuse(http.StatusUnauthorized, "UNAUTHORIZED")(w, r)
	return true
}

// login makes a directory with a Docker configuration that has these credentials for a registry.
func login(t *testing.T, host, user, password string) string {
	t.Helper()
	dir := t.TempDir()
	auth := base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
	config := fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, host, auth)
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// helper makes a directory with a Docker configuration that names a credential helper, and that helper.
func helper(t *testing.T, host, user, password string) string {
	t.Helper()
	dir := t.TempDir()
	script := fmt.Sprintf("#!/bin/sh\nread host\n[ \"$1 $host\" = 'get %s' ] || { echo credentials not found in native keychain; exit 1; }\necho '%s'\n",
		host, fmt.Sprintf(`{"ServerURL":%q,"Username":%q,"Secret":%q}`, host, user, password))
	config := fmt.Sprintf(`{"credHelpers":{%q:"e2etest"}}`, host)
	if err := os.WriteFile(filepath.Join(dir, "docker-credential-e2etest"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestCredentials(t *testing.T) {
	l := newWatchedLab(t)
	for _, kind := range []struct {
		name  string
		guard func(b *badRegistry) spoiler
	}{
		{"basic", func(*badRegistry) spoiler { return basicAuth }},
		{"token", func(b *badRegistry) spoiler { return b.tokenAuth }},
	} {
		for _, test := range []struct {
			rule string
			dir  func(t *testing.T, host string) string
			fits bool
		}{
			{"none", func(t *testing.T, _ string) string { return t.TempDir() }, false},
			{"wrong", func(t *testing.T, host string) string { return login(t, host, user, "wrong") }, false},
			{"right", func(t *testing.T, host string) string { return login(t, host, user, password) }, true},
			{"right, by a helper", func(t *testing.T, host string) string { return helper(t, host, user, password) }, true},
		} {
			t.Run(kind.name+", "+test.rule, func(t *testing.T) {
				b := newBadRegistry(t)
				base := b.base(1 << 10)
				b.spoiled(kind.guard(b))
				dir := test.dir(t, b.host)
				l := l.on(t).setting("DOCKER_CONFIG="+dir, "PATH="+dir+":"+os.Getenv("PATH"))
				push := l.start("build", "--platform", two, "-t", b.host+"/app:v1", "--push", l.pushContext()).within(time.Minute)
				pull := l.start("build", "--platform", "linux/amd64", l.context(map[string]string{"Dockerfile": "FROM " + base + "\nCOPY f /\n", "f": ""})).within(time.Minute)
				if !test.fits {
					wantFailed(t, push, []string{b.host + "/app"}, "docker login "+b.host)
					wantFailed(t, pull, nil, "docker login "+b.host)
				} else if push.code != 0 || pull.code != 0 {
					t.Errorf("exit codes %d and %d\n%s%s", push.code, pull.code, push.stderr, pull.stderr)
				}
				if b.has("app", "v1") != test.fits {
					t.Errorf("the tag is there: %v", !test.fits)
				}
				for _, out := range []output{push, pull} {
					mustNotTell(t, "the build", []byte(out.stdout+out.stderr))
				}
			})
		}
	}
	t.Run("nothing of them is kept", func(t *testing.T) {
		err := filepath.WalkDir(l.root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			content, err := os.ReadFile(path)
			mustNotTell(t, strings.TrimPrefix(path, l.root), content)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	})
	l.noPanic()
}

func mustNotTell(t *testing.T, where string, content []byte) {
	t.Helper()
	for _, secret := range []string{password, token, base64.StdEncoding.EncodeToString([]byte(user + ":" + password))} {
		if bytes.Contains(content, []byte(secret)) {
			t.Errorf("%s has %q", where, secret)
		}
	}
}
