// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestSecrets(t *testing.T) {
	l := newLab(t)
	const fromFile, fromEnv = "s3cr3t-0f-a-f1le", "s3cr3t-0f-th3-3nv"
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(fromFile), 0o600); err != nil {
		t.Fatal(err)
	}
	l = l.setting("MAB_TEST_SECRET=" + fromEnv)
	dir := l.contextOn(map[string]string{"Dockerfile": `FROM BASE
RUN --mount=type=secret,id=file --mount=type=secret,id=env,target=/other --mount=type=secret,id=variable,env=VARIABLE \
    tr a-z A-Z < /run/secrets/file > /file; tr a-z A-Z < /other > /env; echo "$VARIABLE" | tr a-z A-Z > /variable
`})
	ref := registry(t) + "/secrets/app:1"
	args := []string{
		"build", "--platform", strings.Join(twoPlatforms(), ","), "-t", ref, "--push", "--provenance=mode=max", "--metadata-file", "metadata.json",
		"--secret", "id=file,src=" + file, "--secret", "id=env,env=MAB_TEST_SECRET", "--secret", "id=variable,src=" + file,
	}
	out := l.mab(append(args, dir)...)
	if out.code != 0 {
		t.Fatalf("exit code %d\n%s", out.code, out.stderr)
	}
	index := pull(t, ref)

	t.Run("the step sees them", func(t *testing.T) {
		for _, platform := range twoPlatforms() {
			files := rootfsOf(t, imageOf(t, index, platform))
			got := []string{files.text(t, "file"), files.text(t, "env"), files.text(t, "variable")}
			want := []string{strings.ToUpper(fromFile), strings.ToUpper(fromEnv), strings.ToUpper(fromFile)}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", platform, diff)
			}
			if list := files.below("run/secrets"); len(list) > 0 {
				t.Errorf("left in the image: %v", list)
			}
		}
	})
	t.Run("nothing else does", func(t *testing.T) {
		if seen := wordsIn(t, []string{strings.ToUpper(fromFile)}, l.root); len(seen) == 0 {
			t.Fatal("the solver's state was not searched: what the step wrote is not found in it")
		}
		found := wordsIn(t, []string{fromFile, fromEnv}, l.root, l.dir)
		for _, text := range []string{out.stderr, out.stdout} {
			if strings.Contains(text, fromFile) || strings.Contains(text, fromEnv) {
				found = append(found, "the output")
			}
		}
		if len(found) > 0 {
			t.Errorf("a secret is in %v", found)
		}
	})
	t.Run("nothing else does: every blob that was pushed", func(t *testing.T) {
		for _, d := range indexManifest(t, index).Manifests {
			image, err := index.Image(d.Digest)
			if err != nil {
				t.Fatal(err)
			}
			config, err := image.RawConfigFile()
			if err != nil {
				t.Fatal(err)
			}
			manifest, err := image.RawManifest()
			if err != nil {
				t.Fatal(err)
			}
			layers, err := image.Layers()
			if err != nil {
				t.Fatal(err)
			}
			all := [][]byte{config, manifest}
			for _, layer := range layers {
				all = append(all, uncompressed(t, layer))
			}
			for _, blob := range all {
				if bytes.Contains(blob, []byte(fromFile)) || bytes.Contains(blob, []byte(fromEnv)) {
					t.Errorf("a secret is in a blob of %s", d.Platform)
				}
			}
		}
	})
	t.Run("a secret that is not given", func(t *testing.T) {
		l := l.on(t)
		required := l.contextOn(map[string]string{"Dockerfile": "FROM BASE\nRUN --mount=type=secret,id=absent,required=true cat /run/secrets/absent\n"})
		l.refused(1, []string{"mab: error: ", "absent"}, "build", required)
	})
	t.Run("a changed secret is no change", func(t *testing.T) {
		l := l.on(t).setting("MAB_TEST_SECRET=another")
		if err := os.WriteFile(file, []byte("another"), 0o600); err != nil {
			t.Fatal(err)
		}
		again := pull(t, l.must(append(args, dir)...))
		for _, platform := range twoPlatforms() {
			if x, y := digestOf(t, imageOf(t, index, platform)), digestOf(t, imageOf(t, again, platform)); x != y {
				t.Errorf("%s: first %s, then %s", platform, x, y)
			}
		}
	})
}

// wordsIn lists the files below directories that hold one of the words, in content or name.
func wordsIn(t testing.TB, words []string, dirs ...string) []string {
	t.Helper()
	var found []string
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			content, err := os.ReadFile(path)
			for _, word := range words {
				if bytes.Contains(content, []byte(word)) || strings.Contains(path, word) {
					found = append(found, path)
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return found
}

// inside builds testdata/inside for platforms into a new directory, as inside-ARCH.
func inside(t testing.TB, platforms ...string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, platform := range platforms {
		arch := strings.TrimPrefix(platform, "linux/")
		file := filepath.Join(t.TempDir(), "inside")
		build := exec.CommandContext(t.Context(), "go", "build", "-ldflags=-s -w", "-o", file, "./testdata/inside")
		build.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+arch, "CGO_ENABLED=0")
		outputOf(t, build)
		out["inside-"+arch] = string(readFile(t, file))
	}
	return out
}

func TestInsideSteps(t *testing.T) {
	need(t, "ssh-agent", "ssh-keygen", "ssh-add")
	l := newLab(t)
	both := twoPlatforms()
	files := inside(t, both...)
	files["Dockerfile"] = `FROM BASE
ARG TARGETARCH
COPY --chmod=4755 inside-$TARGETARCH /inside
USER 1000:1000
RUN /inside ids > /tmp/ids
USER 0
RUN --mount=type=ssh /inside keys > /default
RUN --mount=type=ssh,id=other /inside keys > /other
RUN --mount=type=ssh test -n "$SSH_AUTH_SOCK"; if test -e /run/buildkit/ssh_agent.1; then exit 1; fi
`
	agent := startAgent(t, "key-of-the-agent")
	key := newKey(t, "key-of-the-file")
	dir := l.contextOn(files)
	ref := registry(t) + "/inside/app:1"
	l.setting("SSH_AUTH_SOCK="+agent).must("build", "--platform", strings.Join(both, ","), "-t", ref, "--push",
		"--ssh", "default", "--ssh", "other="+key, dir)
	index := pull(t, ref)
	for _, platform := range both {
		t.Run(platform, func(t *testing.T) {
			got := rootfsOf(t, imageOf(t, index, platform))
			if ids := got.text(t, "tmp/ids"); ids != "uid=1000 euid=0" {
				t.Errorf("a setuid program runs as %s", ids)
			}
			if keys := got.text(t, "default"); keys != "ssh-ed25519 key-of-the-agent" {
				t.Errorf("the step's agent has %q", keys)
			}
			if keys := got.text(t, "other"); !strings.HasPrefix(keys, "ssh-ed25519 ") || strings.Contains(keys, "\n") {
				t.Errorf("the step's other agent has %q", keys)
			}
		})
	}
	t.Run("no agent on this side", func(t *testing.T) {
		l := l.on(t).setting("SSH_AUTH_SOCK=")
		l.refused(2, []string{"mab: error: ", "mab: hint: ", "--ssh"}, "build", "--ssh", "default", dir)
	})
	t.Run("an agent that the step asks for and nobody gives", func(t *testing.T) {
		l := l.on(t)
		required := l.contextOn(map[string]string{"Dockerfile": "FROM BASE\nRUN --mount=type=ssh,required=true true\n"})
		l.refused(1, []string{"mab: error: "}, "build", required)
	})
}

func newKey(t testing.TB, comment string) string {
	t.Helper()
	key := filepath.Join(t.TempDir(), "key")
	outputOf(t, exec.CommandContext(t.Context(), "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", key))
	return key
}

// startAgent starts an ssh-agent that holds a new key, and returns its socket.
func startAgent(t testing.TB, comment string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "mab-e2e-agent-") // the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "agent")
	agent := exec.Command("ssh-agent", "-D", "-a", socket)
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = agent.Process.Kill(), agent.Wait() })
	add := func() *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), "ssh-add", "-q", newKey(t, comment))
		cmd.Env = append(os.Environ(), "SSH_AUTH_SOCK="+socket)
		return cmd
	}
	eventually(t, 10*time.Second, "ssh-agent takes a key", func() bool { return add().Run() == nil })
	return socket
}
