// SPDX-License-Identifier: Apache-2.0

package manifestlist_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/manifestlist"
)

func TestPing(t *testing.T) {
	r := newRegistry(t)
	ping := func(t *testing.T) (manifestlist.Reached, error) {
		got, err := newClient(t, manifestlist.Config{}).Ping(t.Context(), r.host)
		if got.Ahead == nil || got.Ahead.Abs() > 5*time.Second {
			t.Errorf("this machine's clock is ahead of itself by %v", got.Ahead)
		}
		got.Ahead = nil
		return got, err
	}
	refused := func(t *testing.T, err error, user string) {
		t.Helper()
		var wrong *manifestlist.CredentialsError
		if !errors.As(err, &wrong) || wrong.Registry != r.host || wrong.User != user {
			t.Fatalf("got %v", err)
		}
		if !strings.HasSuffix(wrong.Hint(), "docker login "+r.host) {
			t.Errorf("hint %q", wrong.Hint())
		}
	}
	for _, test := range []struct {
		rule   string
		config string
		answer func(http.ResponseWriter, *http.Request) bool
		want   manifestlist.Reached
		// refused is whose credentials are; - without credentials.
		refused string
	}{
		{"nobody asks for credentials, and there are none", `{}`, nil, manifestlist.Reached{Plain: true}, "-"},
		{"credentials are asked for, and there are none", `{}`, demand("me", "secret"), manifestlist.Reached{Plain: true}, "-"},
		{"right ones", fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, r.host, basic("me", "secret")), demand("me", "secret"),
			manifestlist.Reached{User: "me", Plain: true}, "-"},
		{"wrong ones", fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, r.host, basic("me", "wr0ng")), demand("me", "secret"),
			manifestlist.Reached{Plain: true}, "me"},
		{"a token for right ones", fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, r.host, basic("me", "secret")), r.demandToken("me", "secret"),
			manifestlist.Reached{User: "me", Plain: true}, "-"},
		{"no token for wrong ones", fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, r.host, basic("me", "wr0ng")), r.demandToken("me", "secret"),
			manifestlist.Reached{Plain: true}, "me"},
		{"a helper that is missing", fmt.Sprintf(`{"credHelpers":{%q:"mabmissing"}}`, r.host), nil, manifestlist.Reached{Plain: true}, ""},
	} {
		t.Run(test.rule, func(t *testing.T) {
			login(t, test.config)
			r.answer(test.answer)
			got, err := ping(t)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if test.refused == "-" {
				must(t, err)
				return
			}
			refused(t, err, test.refused)
			if strings.Contains(err.Error(), "wr0ng") {
				t.Errorf("the message gives the password away: %v", err)
			}
			if test.refused == "" && !strings.Contains(err.Error(), "docker-credential-mabmissing") {
				t.Errorf("the helper is not named: %v", err)
			}
		})
	}
}

// demandToken asks for a token, which /token gives for basic credentials.
func (r *testRegistry) demandToken(user, password string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, req *http.Request) bool {
		switch u, p, _ := req.BasicAuth(); {
		case req.URL.Path == "/token" && u == user && p == password:
			_, _ = w.Write([]byte(`{"token":"open sesame"}`))
		case req.URL.Path == "/token":
			w.WriteHeader(http.StatusUnauthorized)
		case req.Header.Get("Authorization") != "Bearer open sesame":
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="test"`, r.URL))
			w.WriteHeader(http.StatusUnauthorized)
		default:
			return false
		}
		return true
	}
}

func TestPingFailures(t *testing.T) {
	login(t, `{}`)
	answers := func(status int) string {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
		t.Cleanup(server.Close)
		return strings.TrimPrefix(server.URL, "http://")
	}
	closed := httptest.NewServer(nil)
	closed.Close()
	for _, test := range []struct{ rule, host, says, hint string }{
		{"nothing listens", strings.TrimPrefix(closed.URL, "http://"), "connection refused", "nothing listens at"},
		{"no registry", answers(http.StatusNotFound), "404", "is no registry"},
		{"a broken one", answers(http.StatusBadGateway), "502", "the fault is with"},
		{"no host", "http://registry.example", "registry", "without scheme and path"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			_, err := newClient(t, manifestlist.Config{}).Ping(t.Context(), test.host)
			if err == nil {
				t.Fatal("it was reached")
			}
			wantError(t, err, test.says, test.hint)
		})
	}
	t.Run("no answer", func(t *testing.T) {
		server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
		defer server.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err := newClient(t, manifestlist.Config{}).Ping(ctx, strings.TrimPrefix(server.URL, "http://"))
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

func TestPingTellsAWrongClock(t *testing.T) {
	login(t, `{}`)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat))
	}))
	defer server.Close()
	got, err := newClient(t, manifestlist.Config{}).Ping(t.Context(), strings.TrimPrefix(server.URL, "http://"))
	must(t, err)
	if got.Ahead == nil || (*got.Ahead-time.Hour).Abs() > 5*time.Second {
		t.Errorf("ahead by %v, want an hour", got.Ahead)
	}
}

func TestLogins(t *testing.T) {
	login(t, `{
		"auths": {
			"https://index.docker.io/v1/": {"auth": "bWU6c2VjcmV0"}, "registry.example:5000": {},
			"https://old.example/v1/": {}, "quay.io/org": {}
		},
		"credHelpers": {"gcr.example": "gcloud", "registry.example:5000": "pass"}
	}`)
	got, err := manifestlist.Logins()
	must(t, err)
	want := []string{"docker.io", "gcr.example", "old.example", "quay.io", "registry.example:5000"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	t.Run("without a configuration there are none", func(t *testing.T) {
		t.Setenv("DOCKER_CONFIG", t.TempDir())
		if got, err := manifestlist.Logins(); len(got) > 0 || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
	})
	t.Run("a damaged one is told", func(t *testing.T) {
		login(t, `{"auths": `)
		_, err := manifestlist.Logins()
		wantError(t, err, "reading docker's configuration", "docker login")
	})
}
