// SPDX-License-Identifier: Apache-2.0

package solver_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/docker/cli/cli/config/configfile"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/moby/buildkit/session/upload"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/mab-build/mab/solver"
)

// tarOf is an archive of one Dockerfile.
func tarOf(t *testing.T, dockerfile string) string {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	if err := w.WriteHeader(&tar.Header{Name: "Dockerfile", Mode: 0o644, Size: int64(len(dockerfile))}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(dockerfile)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func gzipped(t *testing.T, text string) string {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err := io.WriteString(w, text)
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func zstandard(t *testing.T, text string) string {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	return string(w.EncodeAll([]byte(text), nil))
}

// pulled is what a solver gets that pulls an archive twice, both at once.
func pulled(t *testing.T, s *solver.Sources) [2]string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	s.Uploads().Register(server)
	var served errgroup.Group
	served.Go(func() error { return server.Serve(listener) })
	defer func() {
		server.Stop()
		if err := served.Wait(); err != nil {
			t.Error(err)
		}
	}()
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	address, ok := strings.CutPrefix(s.Attrs()["context"], "http://buildkit-session")
	if !ok {
		t.Fatalf("the context is %q", s.Attrs()["context"])
	}
	ctx := metadata.AppendToOutgoingContext(t.Context(), "urlpath", address)
	var streams [2]upload.Upload_PullClient
	for i := range streams {
		if streams[i], err = upload.NewUploadClient(conn).Pull(ctx); err != nil {
			t.Fatal(err)
		}
	}
	var out [2]string
	for i, stream := range streams {
		for {
			var part upload.BytesMessage
			err := stream.RecvMsg(&part)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			out[i] += string(part.Data)
		}
	}
	return out
}

func TestReceiveArchive(t *testing.T) {
	text := tarOf(t, "FROM scratch\n"+strings.Repeat("# long\n", 1<<20))
	for rule, content := range map[string]string{"tar": text, "gzip": gzipped(t, text), "zstd": zstandard(t, text)} {
		t.Run(rule, func(t *testing.T) {
			temp := t.TempDir()
			t.Setenv("TMPDIR", temp)
			file := filepath.Join(t.TempDir(), "context")
			if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			var urls []string
			for _, request := range []solver.Request{
				{Context: "-", File: "ci/Dockerfile", Stdin: strings.NewReader(content)},
				{Context: file, File: "ci/Dockerfile"},
			} {
				s, err := request.Sources()
				if err != nil {
					t.Fatal(err)
				}
				if got := pulled(t, s); got != [2]string{content, content} {
					t.Errorf("the solver pulled %d and %d bytes, want twice the %d", len(got[0]), len(got[1]), len(content))
				}
				urls = append(urls, s.Attrs()["context"])
				if diff := cmp.Diff(attrs{"context": urls[0], "filename": "ci/Dockerfile"}, s.Attrs()); diff != "" {
					t.Errorf("attributes: want -, got +:\n%s", diff)
				}
				if left, _ := os.ReadDir(temp); len(left) > 0 && runtime.GOOS == "linux" {
					t.Errorf("while it is used, a kill would leave %v", left)
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}
			if left, _ := os.ReadDir(temp); len(left) > 0 {
				t.Errorf("left is %v", left)
			}
			if _, err := os.Stat(file); err != nil {
				t.Errorf("the user's own file: %v", err)
			}
		})
	}
}

func TestReceiveErrors(t *testing.T) {
	dir := t.TempDir()
	for _, test := range []struct {
		rule, in   string
		request    solver.Request
		want, hint string
	}{
		{"nothing for a context", "", solver.Request{Context: "-"}, "reading standard input: it is empty", "| mab build -"},
		{"nothing for a Dockerfile", "", solver.Request{Context: dir, File: "-"}, "reading standard input: it is empty", "mab build -f - ."},
		{"an archive for a Dockerfile", tarOf(t, "x"), solver.Request{Context: dir, File: "-"}, "reading standard input: it is an archive (tar), no Dockerfile", "mab build - <"},
		{"two Dockerfiles", "FROM scratch", solver.Request{Context: "-", File: "x"}, `reading standard input: it is a Dockerfile, and so is "x"`, "leave -f out"},
		{"a zip archive", "PK\x03\x04 and more", solver.Request{Context: "-"}, "reading standard input: it is a zip archive", "tar -czf"},
		{"a compression that nobody reads", "\x04\x22\x4d\x18\x00", solver.Request{Context: "-"}, "reading standard input: it is compressed by lz4", "zstd"},
		{"a program", "\x7fELF\x00\x00", solver.Request{Context: "-"}, "reading standard input: it is neither a tar archive nor a Dockerfile", "tar -czf"},
		{"no tar behind gzip", gzipped(t, "FROM scratch"), solver.Request{Context: "-"}, "reading standard input: it is gzip, but holds no tar archive (unexpected EOF)", "tar -czf"},
		{"no tar behind zstd", zstandard(t, "FROM scratch"), solver.Request{Context: "-"}, "reading standard input: it is zstd, but holds no tar archive (unexpected EOF)", "tar -czf"},
		{"no end of a Dockerfile", strings.Repeat("# no end\n", 1<<20), solver.Request{Context: dir, File: "-"}, "reading standard input: it is too long for a Dockerfile", "tar"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			temp := t.TempDir()
			t.Setenv("TMPDIR", temp)
			test.request.Stdin = strings.NewReader(test.in)
			_, err := test.request.Receive(t.Context())
			checkUsage(t, err, test.want)
			var hinted interface{ Hint() string }
			if !errors.As(err, &hinted) || !strings.Contains(hinted.Hint(), test.hint) {
				t.Errorf("got the hint of %#v, want %q in it", err, test.hint)
			}
			if left, _ := os.ReadDir(temp); len(left) > 0 {
				t.Errorf("left is %v", left)
			}
		})
	}
	t.Run("what cannot be read", func(t *testing.T) {
		for _, head := range []string{"", "FROM", tarOf(t, strings.Repeat("x", 1<<21))} {
			request := solver.Request{Context: "-", Stdin: io.MultiReader(strings.NewReader(head), broken{})}
			if _, err := request.Receive(t.Context()); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("after %d bytes: got %v", len(head), err)
			}
		}
	})
	t.Run("it ends with its context, also where nothing comes", func(t *testing.T) {
		for _, head := range []string{"", tarOf(t, strings.Repeat("x", 1<<21))} {
			ctx, cancel := context.WithCancel(t.Context())
			silent, write := io.Pipe()
			defer write.Close()
			request := solver.Request{Context: "-", Stdin: io.MultiReader(strings.NewReader(head), stopper{cancel}, silent)}
			if _, err := request.Receive(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("after %d bytes: got %v", len(head), err)
			}
		}
	})
}

// stopper cancels when it is read, and has nothing.
type stopper struct{ cancel context.CancelFunc }

func (s stopper) Read([]byte) (int, error) {
	s.cancel()
	return 0, io.EOF
}

func TestProxyArgs(t *testing.T) {
	all := map[string]configfile.ProxyConfig{
		"default":           {HTTPProxy: "http://a", HTTPSProxy: "http://b", NoProxy: "c", FTPProxy: "http://d"},
		"tcp://engine:2375": {HTTPProxy: "http://e"},
	}
	for _, test := range []struct {
		rule, host string
		given      attrs
		want       attrs
	}{
		{"the default ones", "unix:///run/docker.sock", nil, attrs{
			"build-arg:HTTP_PROXY": "http://a", "build-arg:HTTPS_PROXY": "http://b", "build-arg:NO_PROXY": "c", "build-arg:FTP_PROXY": "http://d"}},
		{"those of the engine", "tcp://engine:2375", nil, attrs{"build-arg:HTTP_PROXY": "http://e"}},
		{"what is given goes before, in any case", "tcp://engine:2375", attrs{"build-arg:A": "b", "build-arg:http_proxy": "http://f"}, attrs{}},
		{"a label of that name is none", "tcp://engine:2375", attrs{"label:HTTP_PROXY": "x"}, attrs{"build-arg:HTTP_PROXY": "http://e"}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			if diff := cmp.Diff(test.want, solver.ProxyArgs(all, test.host, test.given)); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
		})
	}
}

func TestOverSSH(t *testing.T) {
	for context, want := range map[string]bool{
		"git@example.com:me/app.git#main": true, "ssh://git@example.com/app.git": true,
		"https://example.com/app.git": false, "git://example.com/app.git": false, ".": false, "-": false, "": false,
	} {
		if got := solver.OverSSH(context); got != want {
			t.Errorf("%q: got %t, want %t", context, got, want)
		}
	}
}
