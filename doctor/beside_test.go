// SPDX-License-Identifier: Apache-2.0

package doctor_test

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/doctor"
	"github.com/mab-build/mab/manifestlist"
)

// hinted is an error that a user can mend.
type hinted struct{ text, hint string }

func (h hinted) Error() string { return h.text }
func (h hinted) Hint() string  { return h.hint }

const (
	ok      = doctor.OK
	limited = doctor.Limited
	missing = doctor.Missing
)

func compare(t *testing.T, want, got doctor.Check) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
}

func TestJudgeRegistry(t *testing.T) {
	const name, host = "registry r.example", "r.example"
	for _, test := range []struct {
		rule    string
		reached manifestlist.Reached
		err     error
		want    doctor.Check
	}{
		{"without credentials", manifestlist.Reached{}, nil, doctor.Check{Name: name, Status: ok, Found: "reached, anonymous"}},
		{"with right ones", manifestlist.Reached{User: "me", Plain: true}, nil,
			doctor.Check{Name: name, Status: ok, Found: "reached, logged in as me, plain HTTP"}},
		{"with wrong ones", manifestlist.Reached{}, &manifestlist.CredentialsError{Registry: host, User: "me", Err: errors.New("401")}, doctor.Check{
			Name: name, Status: limited, Found: `reached, but r.example refuses the credentials of "me": 401`,
			Then: "builds that pull from it or push to it fail", Mend: "docker login r.example"}},
		{"with a helper that is not there", manifestlist.Reached{}, &manifestlist.CredentialsError{Registry: host, Err: errors.New("docker-credential-x: not found")}, doctor.Check{
			Name: name, Status: limited, Found: "reached, but getting the credentials for r.example: docker-credential-x: not found",
			Then: "builds that pull from it or push to it fail", Mend: "mend docker's config.json, or log in again: docker login r.example"}},
		{"not reached", manifestlist.Reached{}, hinted{"refused", "look"}, doctor.Check{Name: name, Status: missing, Found: "refused", Mend: "look"}},
	} {
		t.Run(test.rule, func(t *testing.T) { compare(t, test.want, doctor.JudgeRegistry(host, test.reached, test.err)) })
	}
}

func TestJudgeClock(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.Local)
	const mend = "sudo timedatectl set-ntp true, or set it: sudo date -s 'YYYY-MM-DD hh:mm'"
	const then = "tokens and certificates may be taken for expired, and images get wrong times"
	at := func(t time.Time) string { return t.Format(time.RFC3339) }
	var unknown time.Time
	later := now.Add(time.Hour)
	for _, test := range []struct {
		rule          string
		built, newest time.Time
		ahead         map[string]time.Duration
		want          doctor.Check
	}{
		{"nothing to compare with", unknown, unknown, nil, doctor.Check{Status: ok, Found: at(now)}},
		{"all was before", now.Add(-time.Hour), now.Add(-time.Second), nil, doctor.Check{Status: ok, Found: at(now)}},
		{"a minute is no harm", now.Add(time.Minute), unknown, nil, doctor.Check{Status: ok, Found: at(now)}},
		{"a program of the future", later, unknown, nil, doctor.Check{
			Status: missing, Mend: mend,
			Found: at(now) + ", before this program was made (" + at(later) + "), so certificates are taken for not valid yet"}},
		{"a file of the future", unknown, later, nil, doctor.Check{
			Status: missing, Mend: mend,
			Found: at(now) + ", before the newest file of the solver's state (" + at(later) + "), so certificates are taken for not valid yet"}},
		{"a registry knows better than a file", unknown, later, map[string]time.Duration{"r.example": -2 * time.Second}, doctor.Check{
			Status: ok, Found: at(now) + ", as r.example has it"}},
		{"ahead", unknown, unknown, map[string]time.Duration{"a.example": time.Second, "b.example": 90 * time.Second}, doctor.Check{
			Status: limited, Found: at(now) + ", 1m30s ahead of b.example", Then: then, Mend: mend}},
		{"behind", unknown, unknown, map[string]time.Duration{"a.example": -time.Hour, "b.example": 90 * time.Second}, doctor.Check{
			Status: limited, Found: at(now) + ", 1h0m0s behind a.example", Then: then, Mend: mend}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			test.want.Name = "clock"
			compare(t, test.want, doctor.JudgeClock(now, test.built, test.newest, test.ahead))
		})
	}
}

func TestJudgeAgent(t *testing.T) {
	const then, mend = "--ssh and RUN --mount=type=ssh have no keys", `eval "$(ssh-agent)" && ssh-add`
	for _, test := range []struct {
		rule   string
		socket string
		keys   int
		err    error
		want   doctor.Check
	}{
		{"none", "", 0, nil, doctor.Check{Status: ok, Found: "none; only --ssh and RUN --mount=type=ssh need one: " + mend}},
		{"dead", "/a", 0, errors.New("refused"), doctor.Check{Status: limited, Found: "SSH_AUTH_SOCK is /a, but no agent answers there: refused", Then: then, Mend: mend}},
		{"empty", "/a", 0, nil, doctor.Check{Status: limited, Found: "no keys at /a", Then: then, Mend: "ssh-add"}},
		{"one key", "/a", 1, nil, doctor.Check{Status: ok, Found: "1 key at /a"}},
		{"more keys", "/a", 3, nil, doctor.Check{Status: ok, Found: "3 keys at /a"}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			test.want.Name = "ssh agent"
			compare(t, test.want, doctor.JudgeAgent(test.socket, test.keys, test.err))
		})
	}
}

// listen serves one connection on a unix socket with a short path.
func listen(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "doctor")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "s")
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Skipf("no unix sockets: %v", err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if conn, err := l.Accept(); err == nil {
			serve(conn)
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
		_ = os.RemoveAll(dir)
	})
	return path
}

func TestCountKeys(t *testing.T) {
	for _, test := range []struct {
		rule, answer string
		want         int
		wrong        string
	}{
		{"two", "\x00\x00\x00\x09\x0c\x00\x00\x00\x02", 2, ""},
		{"none", "\x00\x00\x00\x05\x0c\x00\x00\x00\x00", 0, ""},
		{"a refusal", "\x00\x00\x00\x01\x05\x00\x00\x00\x00", 0, "it gave no list of keys"},
		{"half an answer", "\x00\x00\x00", 0, "it gave no list of keys"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			asked := make([]byte, 5)
			path := listen(t, func(conn net.Conn) {
				_, _ = conn.Read(asked)
				_, _ = conn.Write([]byte(test.answer))
			})
			got, err := doctor.CountKeys(t.Context(), path)
			if got != test.want || (err == nil) != (test.wrong == "") || err != nil && !strings.HasPrefix(err.Error(), test.wrong) {
				t.Errorf("got %d, %v", got, err)
			}
		})
	}
	t.Run("silence ends with the context", func(t *testing.T) {
		over := make(chan struct{})
		path := listen(t, func(net.Conn) { <-over })
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if _, err := doctor.CountKeys(ctx, path); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		close(over)
	})
	t.Run("a socket that nobody listens on", func(t *testing.T) {
		if _, err := doctor.CountKeys(t.Context(), filepath.Join(t.TempDir(), "s")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("got %v", err)
		}
	})
}

func TestJudgeGit(t *testing.T) {
	compare(t, doctor.Check{Name: "git", Status: ok, Found: "2.39.5 at /bin/git"}, doctor.JudgeGit("/bin/git", "git version 2.39.5\n"))
	compare(t, doctor.Check{Name: "git", Status: ok, Found: "at /bin/git"}, doctor.JudgeGit("/bin/git", ""))
	compare(t, doctor.Check{
		Name: "git", Status: limited, Found: "none in PATH", Then: "a context or ADD from a git repository fails",
		Mend: "install git (Debian, Ubuntu: sudo apt-get install git)",
	}, doctor.JudgeGit("", ""))
}

func TestEngineAddresses(t *testing.T) {
	for _, test := range []struct {
		rule string
		env  map[string]string
		want []string
	}{
		{"the system's", nil, []string{"unix:///var/run/docker.sock", "unix:///run/podman/podman.sock"}},
		{"the user's own first", map[string]string{"XDG_RUNTIME_DIR": "/run/user/7"}, []string{
			"unix:///run/user/7/docker.sock", "unix:///run/user/7/podman/podman.sock", "unix:///var/run/docker.sock", "unix:///run/podman/podman.sock"}},
		{"DOCKER_HOST alone", map[string]string{"DOCKER_HOST": "ssh://me@there", "XDG_RUNTIME_DIR": "/run/user/7"}, []string{"ssh://me@there"}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			if diff := cmp.Diff(test.want, doctor.EngineAddresses(func(name string) string { return test.env[name] })); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
		})
	}
}

func TestAskEngine(t *testing.T) {
	serve := func(t *testing.T, body string) string {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/version" {
				w.WriteHeader(http.StatusNotFound)
			}
			_, _ = w.Write([]byte(body))
		}))
		t.Cleanup(server.Close)
		return "tcp://" + strings.TrimPrefix(server.URL, "http://")
	}
	const then = "no image can be loaded into it"
	docker := serve(t, `{"Version":"28.1.0","Components":[{"Name":"Engine"}]}`)
	podman := serve(t, `{"Version":"5.4.0","Components":[{"Name":"Podman Engine"}]}`)
	for _, test := range []struct{ rule, address, want string }{
		{"docker", docker, "Docker 28.1.0 at " + docker},
		{"podman", podman, "podman 5.4.0 at " + podman},
		{"over ssh", "ssh://me@there", "DOCKER_HOST is ssh://me@there, which is not looked at"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			compare(t, doctor.Check{Name: "engine", Status: ok, Found: test.want}, doctor.JudgeEngine(doctor.AskEngine(t.Context(), test.address)))
		})
	}
	t.Run("another server", func(t *testing.T) {
		got := doctor.JudgeEngine(doctor.AskEngine(t.Context(), serve(t, "hello")))
		if got.Status != limited || !strings.HasPrefix(got.Found, "no engine answers at tcp://") || got.Then != then {
			t.Errorf("got %+v", got)
		}
	})
	for _, test := range []struct {
		rule   string
		engine doctor.Engine
		want   doctor.Check
	}{
		{"none", doctor.Engine{}, doctor.Check{Status: ok, Found: "neither Docker nor podman; only loading an image into one needs it"}},
		{"one that is not for this user", doctor.NewEngine("unix:///s", "", "", fs.ErrPermission), doctor.Check{
			Status: limited, Found: "unix:///s does not let this user in", Then: then, Mend: "sudo usermod -aG docker $USER, and log in again"}},
		{"one that is dead", doctor.NewEngine("unix:///s", "", "", errors.New("refused")), doctor.Check{
			Status: limited, Found: "no engine answers at unix:///s: refused", Then: then, Mend: "start it, or unset DOCKER_HOST"}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			test.want.Name = "engine"
			compare(t, test.want, doctor.JudgeEngine(test.engine))
		})
	}
}
