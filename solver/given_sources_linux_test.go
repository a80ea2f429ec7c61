// SPDX-License-Identifier: Apache-2.0

package solver_test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mab-build/mab/solver"
)

const basic = `FROM scratch
COPY busybox /bin/sh
COPY busybox /bin/busybox
COPY busybox /bin/cat
COPY busybox /bin/test
ENV OF=base
`

// TestGivenSources has a given solve read what builds read, each out of the session of its own client.
func TestGivenSources(t *testing.T) {
	lead, home, plain := fresh(t), fresh(t), fresh(t)
	images := newShelf(t)
	layout := images.put(t, plain, "base", solver.Request{Context: kitchen(t, basic)})
	other := kitchen(t, "")
	socket, err := net.Listen("unix", filepath.Join(t.TempDir(), "agent"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = socket.Close() })
	from := "FROM " + images.address + "/base\n"
	for _, test := range []struct {
		rule, dockerfile string
		request          solver.Request
		archive          bool
	}{
		{rule: "a base by its tag", dockerfile: from + "RUN echo $OF > /of\n"},
		{rule: "a base by its digest", dockerfile: "FROM " + images.address + "/base@" + layout.index.Digest.String() + "\nRUN echo $OF > /of\n"},
		{rule: "a base by both, and by its tag", dockerfile: from + "COPY --from=" + images.address + "/base:latest@" + layout.index.Digest.String() + " /bin/cat /cat\n"},
		{rule: "a named directory", dockerfile: "FROM scratch\nCOPY --from=other file /\n", request: solver.Request{NamedContexts: []string{"other=" + other}}},
		{rule: "a named layout", dockerfile: "FROM other\nRUN echo $OF > /of\n",
			request: solver.Request{NamedContexts: []string{"other=oci-layout://" + layout.dir + "@" + layout.index.Digest.String()}}},
		{rule: "a stage by another name", dockerfile: "FROM " + images.address + "/base AS mid\nRUN echo 1 > /of\nFROM scratch AS last\nCOPY --from=other /of /of\n",
			request: solver.Request{Target: "last", NamedContexts: []string{"other=target:mid"}, Provenance: "false"}},
		{rule: "an archive", dockerfile: from + "COPY file /\n", archive: true},
		{rule: "a Dockerfile of standard input", request: solver.Request{File: "-", Stdin: strings.NewReader(from + "COPY file /\n")}},
		{rule: "secrets", dockerfile: from + "RUN --mount=type=secret,id=a cat /run/secrets/a > /a\nRUN --mount=type=secret,id=b,env=B echo $B > /b\n",
			request: solver.Request{Secrets: []string{"id=a,src=" + filepath.Join(other, "file"), "id=b,env=PATH"}, Provenance: "mode=max"}},
		{rule: "an agent", dockerfile: from + "RUN --mount=type=ssh test -S $SSH_AUTH_SOCK\n",
			request: solver.Request{SSH: []string{"default=" + socket.Addr().String()}, Provenance: "mode=max"}},
		{rule: "a cache mount", dockerfile: from + "RUN --mount=type=cache,target=/cache echo 1 > /cache/a && cat /cache/a > /a\n"},
		{rule: "no network", dockerfile: from + "RUN --network=none echo 1 > /a\n"},
		{rule: "a file of the web", dockerfile: "FROM scratch\nADD http://" + images.address + "/files/a http://" + images.address + "/files/b /\n"},
		{rule: "for several platforms", dockerfile: "FROM --platform=$BUILDPLATFORM " + images.address + "/base AS a\nRUN echo $TARGETPLATFORM > /of\nFROM scratch\nCOPY --from=a /of /\n",
			request: solver.Request{Platforms: list(t, "linux/amd64", "linux/s390x"), Provenance: "mode=max"}},
		{rule: "arguments and labels", dockerfile: from + "ARG A\nRUN echo $A > /a\n", request: solver.Request{BuildArgs: []string{"A=1"}, Labels: []string{"l=2"}}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			if test.dockerfile != "" {
				test.request.Context = kitchen(t, test.dockerfile)
			} else {
				test.request.Context = other
			}
			if test.archive {
				test.request.Context = packed(t, test.request.Context)
			}
			in, err := test.request.Receive(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if in != nil {
				t.Cleanup(func() { _ = in.Close() })
			}
			want := mustBake(t, plain, solver.Solve{Request: &test.request, Input: in})
			targets := graphs(t, lead, &test.request, func(s *solver.Solve) { s.Input = in })
			same(t, want, mustBake(t, home, solver.Solve{Request: &test.request, Input: in, Given: given(targets)}))
		})
	}
}

// packed is a directory as a tar file.
func packed(t *testing.T, dir string) string {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	if err := w.AddFS(os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "context.tar")
	if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestGivenGit has the repository be named in the provenance with its commit, though nothing of the given graph fetches it.
func TestGivenGit(t *testing.T) {
	core, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		t.Fatal(err) // Whoever has this repository has git.
	}
	lead, home, plain := fresh(t), fresh(t), fresh(t)
	for rule, dockerfile := range map[string]string{
		"files of it are used": "FROM scratch\nCOPY file /\n",
		"only its Dockerfile":  "FROM scratch\nCOPY <<EOF /a\na\nEOF\n",
	} {
		t.Run(rule, func(t *testing.T) {
			root := t.TempDir()
			repository := filepath.Join(root, "app.git")
			git(t, kitchenAt(t, filepath.Join(root, "work"), dockerfile), repository)
			server := httptest.NewServer(&cgi.Handler{
				Path: filepath.Join(strings.TrimSpace(string(core)), "git-http-backend"), Stderr: io.Discard,
				Env: []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1"},
			})
			defer server.Close()
			request := solver.Request{Context: server.URL + "/app.git#main"}
			want := mustBake(t, plain, solver.Solve{Request: &request})
			got := mustBake(t, home, solver.Solve{Request: &request, Given: given(graphs(t, lead, &request))})
			same(t, want, got)
			_, provenances := got.manifests(t)
			for _, p := range provenances {
				if text := fmt.Sprint(p); !strings.Contains(text, "sha1") {
					t.Errorf("no commit in %s", text)
				}
			}
		})
	}
}

// kitchenAt is kitchen in a directory.
func kitchenAt(t *testing.T, dir, dockerfile string) string {
	t.Helper()
	if err := os.Rename(kitchen(t, dockerfile), dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

// git makes a bare repository of a directory.
func git(t *testing.T, work, repository string) {
	t.Helper()
	for _, args := range [][]string{
		{"init", "-q", "-b", "main"}, {"add", "."},
		{"-c", "user.name=a", "-c", "user.email=a@example", "commit", "-qm", "a"},
		{"clone", "-q", "--bare", ".", repository},
	} {
		cmd := exec.Command("git", args...)
		cmd.Dir = work
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %s: %v\n%s", args, err, out)
		}
	}
}
