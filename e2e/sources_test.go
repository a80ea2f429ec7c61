// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// sourceFiles are a context whose result tells where it came from.
func sourceFiles(from string) map[string]string {
	return map[string]string{
		"Dockerfile": "FROM scratch\nCOPY from /\n", "from": from,
		"sub/Dockerfile": "FROM scratch\nCOPY from /\n", "sub/from": from + "/sub",
		"other": "FROM scratch\nCOPY from /other\n",
	}
}

// wantFrom checks the result of a build for both platforms.
func wantFrom(t testing.TB, out output, name, want string) {
	t.Helper()
	if out.code != 0 {
		t.Fatalf("exit code %d\n%s", out.code, out.stderr)
	}
	files := readTar(t, strings.NewReader(out.stdout))
	for _, platform := range twoPlatforms() {
		if got := files.text(t, strings.ReplaceAll(platform, "/", "_")+"/"+name); got != want {
			t.Errorf("%s: got %q, want %q", platform, got, want)
		}
	}
}

// packed is a directory as a tar, compressed by a program that reads standard input and writes standard output.
func packed(t testing.TB, dir string, compress ...string) string {
	t.Helper()
	raw := outputOf(t, exec.CommandContext(t.Context(), "tar", "-C", dir, "-cf", "-", "."))
	if len(compress) == 0 {
		return raw
	}
	cmd := exec.CommandContext(t.Context(), compress[0], compress[1:]...)
	cmd.Stdin = strings.NewReader(raw)
	return outputOf(t, cmd)
}

func TestContextFromStdin(t *testing.T) {
	need(t, "gzip", "bzip2", "xz", "zstd", "tar")
	temp := t.TempDir()
	l := newLab(t).setting("TMPDIR=" + temp)
	build := []string{"build", "--platform", strings.Join(twoPlatforms(), ","), "-o", "-"}
	for _, compress := range [][]string{nil, {"gzip"}, {"bzip2"}, {"xz"}, {"zstd", "-q"}} {
		t.Run("a tar, "+strings.Join(append(compress, "compressed or not")[:1], ""), func(t *testing.T) {
			l := l.on(t)
			content := packed(t, l.context(sourceFiles(t.Name())), compress...)
			wantFrom(t, l.piped(content, append(build, "-")...), "from", t.Name())
			wantFrom(t, l.piped(content, append(build, "-f", "other", "-")...), "other", t.Name())
			file := filepath.Join(l.dir, "context.any")
			if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			wantFrom(t, l.mab(append(build, file)...), "from", t.Name())
			wantFrom(t, l.piped("FROM scratch\nCOPY from /piped\n", append(build, "-f", "-", file)...), "piped", t.Name())
			empty(t, temp)
		})
	}
	for rule, format := range map[string]string{"PAX's": "pax", "GNU's": "gnu"} {
		t.Run("a tar that begins with an extension of "+rule, func(t *testing.T) {
			l := l.on(t)
			dir := l.context(sourceFiles(t.Name()))
			// GNU tar keeps the order of its arguments: the long name, which takes the extension, is the first.
			long := strings.Repeat("long", 30)
			if err := os.WriteFile(filepath.Join(dir, long), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			content := outputOf(t, exec.CommandContext(t.Context(), "tar", "-C", dir, "--format="+format, "-cf", "-", long, "Dockerfile", "from"))
			if _, err := tar.NewReader(strings.NewReader(content[:1024])).Next(); err == nil {
				t.Fatal("the first 1024 bytes tell what it is")
			}
			file := filepath.Join(l.dir, "context.tar")
			if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			wantFrom(t, l.piped(content, append(build, "-")...), "from", t.Name())
			wantFrom(t, l.mab(append(build, file)...), "from", t.Name())
			wantFrom(t, l.piped("FROM scratch\nCOPY from /piped\n", append(build, "-f", "-", file)...), "piped", t.Name())
			empty(t, temp)
		})
	}
	t.Run("a tar without entries has no Dockerfile", func(t *testing.T) {
		out := l.on(t).piped(strings.Repeat("\x00", 1024), "build", "-")
		if out.code != 1 || !strings.Contains(out.stderr, "Dockerfile: no such file or directory") {
			t.Errorf("exit code %d\n%s", out.code, out.stderr)
		}
	})
	t.Run("modes are the archive's, setuid too", func(t *testing.T) {
		l := l.on(t)
		var content bytes.Buffer
		w := tar.NewWriter(&content)
		const dockerfile = "FROM scratch\nADD tree /\n"
		if err := w.WriteHeader(&tar.Header{Name: "Dockerfile", Mode: 0o644, Size: int64(len(dockerfile))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(dockerfile)); err != nil {
			t.Fatal(err)
		}
		for _, h := range []tar.Header{{Name: "tree/", Typeflag: tar.TypeDir, Mode: 0o755}, {Name: "tree/file", Mode: 0o4711, Uid: 3, Gid: 4}} {
			if err := w.WriteHeader(&h); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		out := l.piped(content.String(), "build", "-o", "-", "-")
		files := readTar(t, strings.NewReader(out.stdout))
		if h := files["file"]; h.Header == nil || h.Mode != 0o4711 {
			t.Errorf("got %+v\n%s", h.Header, out.stderr)
		}
	})
	t.Run("a Dockerfile without context", func(t *testing.T) {
		l := l.on(t)
		wantFrom(t, l.piped("FROM scratch\nCOPY <<-E from\n\ttext\nE\n", append(build, "-")...), "from", "text")
	})
	t.Run("plan reads it, too", func(t *testing.T) {
		l := l.on(t)
		content := packed(t, l.context(sourceFiles("plan")), "gzip")
		out := l.piped(content, "plan", "--platform", strings.Join(twoPlatforms(), ","), "-")
		if out.code != 0 || !strings.Contains(out.stdout, "COPY from /") {
			t.Errorf("exit code %d\n%s%s", out.code, out.stdout, out.stderr)
		}
	})
	t.Run("an unchanged archive is found in the cache, and gives the digest that is there", func(t *testing.T) {
		l := l.on(t)
		content := packed(t, l.contextOn(map[string]string{"Dockerfile": "FROM BASE\nCOPY a /\nRUN " + uuid + " > /uuid\n", "a": "a"}))
		ref := registry(t) + "/stdin/steady:1"
		args := []string{"build", "--provenance=mode=max", "-t", ref, "--push", "-"}
		first, second := l.piped(content, args...), l.piped(content, args...)
		if first.code != 0 || first.stdout != second.stdout {
			t.Errorf("first %q, then %q\n%s", first.stdout, second.stdout, second.stderr)
		}
	})
	for _, test := range []struct {
		rule, in string
		args     []string
		words    []string
	}{
		{"nothing", "", []string{"-"}, []string{"standard input: it is empty", "hint: pipe an archive"}},
		{"a zip", "PK\x03\x04", []string{"-"}, []string{"it is a zip archive", "hint: pack it with: tar"}},
		{"no tar", "\x7fELF\x00", []string{"-"}, []string{"neither a tar archive nor a Dockerfile", "hint: pack it"}},
		{"for both", "FROM scratch", []string{"-f", "-", "-"}, []string{"standard input is one of them", "mab build -f - DIR"}},
	} {
		t.Run("refused: "+test.rule, func(t *testing.T) {
			l := l.on(t)
			out := l.piped(test.in, append([]string{"build"}, test.args...)...)
			for _, word := range test.words {
				if out.code != 2 || !strings.Contains(out.stderr, word) {
					t.Errorf("exit code %d, want %q in\n%s", out.code, word, out.stderr)
				}
			}
		})
	}
	t.Run("an archive that is cut short", func(t *testing.T) {
		l := l.on(t)
		content := packed(t, l.context(map[string]string{"Dockerfile": "FROM scratch\nCOPY a /\n", "a": strings.Repeat("a", 1<<16)}))
		out := l.piped(content[:1<<15], "build", "-")
		if out.code != 1 || !strings.Contains(out.stderr, "unexpected EOF") || !strings.Contains(out.stderr, "hint: the archive is damaged") {
			t.Errorf("exit code %d\n%s", out.code, out.stderr)
		}
	})
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGKILL} {
		t.Run("nothing stays after "+signal.String()+" while it is read", func(t *testing.T) {
			l := l.on(t)
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			cmd := exec.CommandContext(t.Context(), mabBinary, "build", "-")
			var stderr bytes.Buffer
			cmd.Dir, cmd.Env, cmd.Stdin, cmd.Stderr = l.dir, l.env, r, &stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			_ = r.Close()
			// A pipe holds 64 KiB: when all of this is written, the program reads.
			if _, err := w.Write([]byte(packed(t, l.context(map[string]string{"a": strings.Repeat("a", 4<<20)})))); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			if err := cmd.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			if code := cmd.ProcessState.ExitCode(); signal == syscall.SIGINT && code != 130 || time.Since(began) > 5*time.Second {
				t.Errorf("exit code %d after %v\n%s", code, time.Since(began), &stderr)
			}
			empty(t, temp)
		})
	}
}

// fileServer serves files at http, and bare repositories by git's dumb protocol.
func fileServer(t testing.TB, root string) string {
	t.Helper()
	server := httptest.NewServer(http.FileServer(http.Dir(root)))
	t.Cleanup(server.Close)
	return server.URL
}

// repository makes a bare repository of files with the branches main and other and the tag v1, and returns the first commit.
func repository(t testing.TB, path string, first, second map[string]string) string {
	t.Helper()
	work := t.TempDir()
	git := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "git", append([]string{"-C", work, "-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "init.defaultBranch=main"}, args...)...)
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
		return outputOf(t, cmd)
	}
	write := func(files map[string]string) {
		t.Helper()
		for name, content := range files {
			file := filepath.Join(work, name)
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		git("add", ".")
		git("commit", "-qm", "a")
	}
	git("init", "-q")
	write(first)
	commit := strings.TrimSpace(git("rev-parse", "HEAD"))
	git("tag", "v1")
	write(second)
	git("branch", "other", "v1")
	git("clone", "-q", "--bare", work, path)
	git("-C", path, "update-server-info")
	return commit
}

func TestRemoteContexts(t *testing.T) {
	need(t, "git")
	l := newLab(t)
	root := t.TempDir()
	commit := repository(t, filepath.Join(root, "app.git"), sourceFiles("first"), sourceFiles("second"))
	content := packed(t, l.context(sourceFiles("tar")))
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	_, _ = w.Write([]byte(content))
	_ = w.Close()
	for name, text := range map[string]string{"app.tar": content, "app.tgz": zipped.String(), "alone": "FROM scratch\nCOPY <<-E from\n\talone\nE\n", "Fetched": "FROM scratch\nCOPY from /fetched\n"} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	url := fileServer(t, root)
	local := l.context(sourceFiles("local"))
	build := []string{"build", "--platform", strings.Join(twoPlatforms(), ","), "-o", "-"}
	for _, test := range []struct {
		rule, name, want string
		args             []string
	}{
		{"a repository", "from", "second", []string{url + "/app.git"}},
		{"a branch", "from", "first", []string{url + "/app.git#other"}},
		{"a tag", "from", "first", []string{url + "/app.git#v1"}},
		{"a commit", "from", "first", []string{url + "/app.git#" + commit}},
		{"a directory of a branch", "from", "first/sub", []string{url + "/app.git#other:sub"}},
		{"a directory of the default branch", "from", "second/sub", []string{url + "/app.git#:sub"}},
		{"as a query", "from", "first/sub", []string{url + "/app.git?branch=other&subdir=sub"}},
		{"a commit that the branch must have", "from", "first", []string{url + "/app.git?tag=v1&checksum=" + commit}},
		{"-f in a repository", "other", "second", []string{"-f", "other", url + "/app.git"}},
		{"a local -f for a repository", "other", "second", []string{"-f", filepath.Join(local, "other"), url + "/app.git"}},
		{"a fetched -f for a repository", "fetched", "second", []string{"-f", url + "/Fetched", url + "/app.git"}},
		{"a fetched -f for a directory", "fetched", "local", []string{"-f", url + "/Fetched", local}},
		{"a tar", "from", "tar", []string{url + "/app.tar"}},
		{"a compressed tar", "from", "tar", []string{url + "/app.tgz"}},
		{"-f in a tar", "other", "tar", []string{"-f", "other", url + "/app.tar"}},
		{"a Dockerfile alone", "from", "alone", []string{url + "/alone"}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			wantFrom(t, l.on(t).mab(append(slices.Clone(build), test.args...)...), test.name, test.want)
		})
	}
	t.Run("a named context", func(t *testing.T) {
		dir := l.context(map[string]string{"Dockerfile": "FROM scratch\nCOPY --from=repo from /repo\nCOPY --from=file context /file\n"})
		out := l.on(t).mab(append(slices.Clone(build), "--build-context", "repo="+url+"/app.git#v1:sub", "--build-context", "file="+url+"/alone", dir)...)
		wantFrom(t, out, "repo", "first/sub")
		wantFrom(t, out, "file", "FROM scratch\nCOPY <<-E from\n\talone\nE")
	})
	t.Run("plan", func(t *testing.T) {
		if out := l.on(t).mab("plan", url+"/app.git"); out.code != 0 || !strings.Contains(out.stdout, "COPY from /") {
			t.Errorf("exit code %d\n%s%s", out.code, out.stdout, out.stderr)
		}
	})
	for _, test := range []struct {
		rule  string
		code  int
		words []string
		args  []string
	}{
		{"no such ref", 1, []string{"does not contain ref nothing", "hint: name a branch"}, []string{url + "/app.git#nothing"}},
		{"no such directory", 1, []string{"nothing"}, []string{url + "/app.git#main:nothing"}},
		{"no such repository", 1, []string{"none.git", "hint: check the URL of the repository"}, []string{url + "/none.git"}},
		{"no such tar", 1, []string{"404", "hint: there is nothing at that URL"}, []string{url + "/none.tar"}},
		{"no such fetched Dockerfile", 1, []string{"404", "hint: there is nothing at that URL"}, []string{"-f", url + "/none", local}},
		{"no such file in a tar", 1, []string{"open none", "hint: the context has no such file"}, []string{"-f", "none", url + "/app.tar"}},
		{"nobody there", 1, []string{"refused", "hint: nothing listens at 127.0.0.1:1"}, []string{"http://127.0.0.1:1/app.tar"}},
		{"a target that is not there", 1, []string{"target stage", "hint: name a stage of the Dockerfile"}, []string{"--build-context", "x=target:y", local}},
	} {
		t.Run("refused: "+test.rule, func(t *testing.T) {
			l.on(t).refused(test.code, test.words, append([]string{"build"}, test.args...)...)
		})
	}
}

// TestWithoutGit has a solver that finds no git.
func TestWithoutGit(t *testing.T) {
	l := newLab(t)
	bin := t.TempDir()
	for _, name := range []string{"runc", "mount", "newuidmap", "newgidmap"} {
		if path, err := exec.LookPath(name); err == nil {
			if err := os.Symlink(path, filepath.Join(bin, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	l = l.setting("PATH=" + bin)
	l.refused(1, []string{"unknown scheme git", "hint: the solver found no git when it started: install it", "mab serve --stop"}, "build", "http://127.0.0.1:1/app.git")
	out := l.piped("FROM scratch\n", "build", "-q", "-")
	if diff := cmp.Diff(0, out.code); diff != "" {
		t.Errorf("without a repository: exit code %d\n%s", out.code, out.stderr)
	}
}
