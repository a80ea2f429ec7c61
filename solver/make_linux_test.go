// SPDX-License-Identifier: Apache-2.0

package solver_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/mab-build/mab/platforms"
	"github.com/mab-build/mab/sandbox"
	"github.com/mab-build/mab/solver"
)

// maker is a solver of a test.
type maker struct {
	*solver.Client
	root string
	cmd  *exec.Cmd
}

// kill ends it at once, as a crash would.
func (d *maker) kill() { _ = d.cmd.Process.Kill() }

// memory is a directory for what need not outlast the test: a solver waits for the disk each time that it ends. Empty: that of all other files.
func memory() string {
	const dir, enough = "/dev/shm", 2 << 30 // bytes
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil || fs.Flags&unix.ST_NOEXEC != 0 || fs.Bavail*uint64(fs.Bsize) < enough {
		return ""
	}
	return dir
}

// serveMaker starts a solver that ends with the test.
func serveMaker(t testing.TB) *maker {
	t.Helper()
	root, err := os.MkdirTemp(memory(), "mab-make-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	log, err := os.Create(filepath.Join(root, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	d := &maker{root: root}
	started, ended := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(ended)
		// The solver is killed when the thread that started it ends.
		runtime.LockOSThread()
		var err error
		d.cmd, err = sandbox.Start(sandbox.Config{Env: append(os.Environ(), serveVar+"="+root), Stdout: w, Stderr: log})
		started <- err
		if err == nil {
			_ = d.cmd.Wait()
		}
	}()
	if err := errors.Join(<-started, w.Close()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = d.cmd.Process.Signal(syscall.SIGTERM)
		kill := time.AfterFunc(20*time.Second, d.kill)
		defer kill.Stop()
		<-ended
	})
	if line, err := bufio.NewReader(r).ReadString('\n'); line != "ready\n" {
		text, _ := os.ReadFile(log.Name())
		t.Fatalf("the solver did not start: %v\n%s", err, text)
	}
	if d.Client, err = solver.Dial(t.Context(), "unix://"+(solver.State{Root: root, Runtime: root}).Socket()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

// request is one for an empty context.
func request(t testing.TB) *solver.Request {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte("FROM scratch\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return &solver.Request{Context: dir}
}

func marshal(t testing.TB, st llb.State) func(context.Context) (*pb.Definition, error) {
	t.Helper()
	def, err := st.Marshal(t.Context(), llb.LinuxAmd64)
	if err != nil {
		t.Fatal(err)
	}
	return func(context.Context) (*pb.Definition, error) { return def.ToPB(), nil }
}

// TestHeld has a part stay while it is held, and go when it is not.
func TestHeld(t *testing.T) {
	ctx := t.Context()
	m, c := serveMaker(t), serveMaker(t)
	made := makePart(t, m, solver.Make{Definition: marshal(t, copied(run(t, rootfs(t), 100, "/out/file"), "/out/file"))})
	imports := solver.NewImports()
	imports.Add(made)
	prune := func() {
		t.Helper()
		if err := m.Prune(ctx, solver.Pruning{All: true}, func(solver.CacheRecord) {}); err != nil {
			t.Fatal(err)
		}
	}
	prune()
	imageOf(t, c, part(made), imports, nothing)
	if imports.Bytes() == 0 || imports.Err() != nil || made.Err() != nil {
		t.Errorf("%d bytes came from a solver that was pruned: %v, %v", imports.Bytes(), imports.Err(), made.Err())
	}
	if err := errors.Join(made.Close(), made.Close()); err != nil {
		t.Error(err)
	}
	<-made.Done()
	if err := made.Err(); err != nil {
		t.Errorf("a part that was closed has the error %v", err)
	}
	// The solver hears a moment later that nobody holds it.
	for end := time.Now().Add(20 * time.Second); ; {
		prune()
		left, err := m.Cache(ctx, solver.CacheFilter{})
		if err == nil && len(left) == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("error %v; what nobody holds is still there: %+v", err, left)
		}
	}
	if _, err := imports.Store().Info(ctx, made.Image.Digest); err != nil {
		t.Error(err)
	}
}

// TestMakeEnds has a part end as it should, whatever happens.
func TestMakeEnds(t *testing.T) {
	def := marshal(t, llb.Scratch().File(llb.Mkfile("/hello", 0o644, []byte("hello"))))
	t.Run("its definition cannot be given", func(t *testing.T) {
		no := errors.New("no")
		_, err := serveMaker(t).Make(t.Context(), solver.Make{Request: request(t), Definition: func(context.Context) (*pb.Definition, error) { return nil, no }})
		if !errors.Is(err, no) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("its step fails", func(t *testing.T) {
		fails := rootfs(t).Run(llb.Args([]string{"/step", "1", "/proc/no"})).Root()
		_, err := serveMaker(t).Make(t.Context(), solver.Make{Request: request(t), Definition: marshal(t, fails)})
		var failure *solver.Failure
		if !errors.As(err, &failure) || failure.Step == "" || failure.Lost() || failure.Platform != platforms.MustParse("linux/amd64") {
			t.Errorf("got %v of %v", err, failure)
		}
	})
	t.Run("its solver is killed while others make what it needs", func(t *testing.T) {
		d := serveMaker(t)
		_, err := d.Make(t.Context(), solver.Make{Request: request(t), Definition: func(ctx context.Context) (*pb.Definition, error) {
			d.kill()
			<-ctx.Done()
			return nil, ctx.Err()
		}})
		var failure *solver.Failure
		if !errors.As(err, &failure) || !failure.Lost() {
			t.Errorf("got %v", err)
		}
	})
	t.Run("its context ends while it is made", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		_, err := serveMaker(t).Make(ctx, solver.Make{Request: request(t), Definition: func(ctx context.Context) (*pb.Definition, error) {
			cancel()
			<-ctx.Done()
			return nil, ctx.Err()
		}})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("its context ends while it is held", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		made, err := serveMaker(t).Make(ctx, solver.Make{Request: request(t), Definition: def})
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		<-made.Done()
		if err := made.Err(); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		if err := made.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Run("its solver is killed", func(t *testing.T) {
		d := serveMaker(t)
		made, err := d.Make(t.Context(), solver.Make{Request: request(t), Definition: def})
		if err != nil {
			t.Fatal(err)
		}
		d.kill()
		<-made.Done()
		var failure *solver.Failure
		if err := made.Err(); !errors.As(err, &failure) || !failure.Lost() {
			t.Errorf("got %v", err)
		}
		if err := made.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestMakeWithoutCache has a step that is not to be looked up in the cache run once for a part, and again for the next.
func TestMakeWithoutCache(t *testing.T) {
	m, c := serveMaker(t), serveMaker(t)
	def := marshal(t, copied(rootfs(t).Run(llb.Args([]string{"/step", "100", "/out/file"}), llb.IgnoreCache).Root(), "/out/file"))
	var before string
	for range 2 {
		made := makePart(t, m, solver.Make{Definition: def})
		imports := solver.NewImports()
		imports.Add(made)
		if layers := imageOf(t, c, part(made), imports, nothing); len(layers) != 1 || imports.Bytes() != made.Size {
			t.Errorf("%d bytes came, of %d: %+v", imports.Bytes(), made.Size, layers)
		}
		if made.Ref() == before {
			t.Errorf("the step was not run again")
		}
		before = made.Ref()
		if err := made.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestMakeMaterials has a part name what it was made from, but not the parts of the build among it.
func TestMakeMaterials(t *testing.T) {
	m, other := serveMaker(t), serveMaker(t)
	const text = "what is fetched"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }))
	t.Cleanup(server.Close)
	below := makePart(t, m, solver.Make{Definition: marshal(t, llb.Scratch().File(llb.Mkfile("/a", 0o644, []byte("a"))))})
	imports := solver.NewImports()
	imports.Add(below)
	st := copied(part(below), "/a").File(llb.Copy(llb.HTTP(server.URL+"/file", llb.Filename("file")), "/file", "/file"))
	made := makePart(t, other, solver.Make{Definition: marshal(t, st), Imports: imports, Materials: true})
	want := []solver.Material{{URI: server.URL + "/file", Digest: map[string]string{"sha256": digest.FromString(text).Encoded()}}}
	if diff := cmp.Diff(want, made.Materials); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
	unasked := makePart(t, other, solver.Make{Definition: marshal(t, st), Imports: imports})
	if unasked.Ref() != made.Ref() || unasked.Materials != nil {
		t.Errorf("who does not ask gets %s with %v; want %s", unasked.Ref(), unasked.Materials, made.Ref())
	}
}

// TestMakeCopied has the layers of a part be compressed in the fast way where others only copy of it, and never the layers of what they make.
func TestMakeCopied(t *testing.T) {
	m, c := serveMaker(t), serveMaker(t)
	def := marshal(t, llb.Scratch().File(llb.Mkfile("/a", 0o644, bytes.Repeat([]byte("a"), 100_000))))
	made := makePart(t, m, solver.Make{Definition: def, Copied: true})
	imports := solver.NewImports()
	imports.Add(made)
	text, err := content.ReadBlob(t.Context(), imports.Store(), made.Image)
	if err != nil {
		t.Fatal(err)
	}
	var travels ocispec.Manifest
	if err := json.Unmarshal(text, &travels); err != nil {
		t.Fatal(err)
	}
	for what, test := range map[string]struct {
		layers []ocispec.Descriptor
		want   string
	}{
		"what travels":       {travels.Layers, ocispec.MediaTypeImageLayerZstd},
		"what is made of it": {imageOf(t, c, copied(part(made), "/a"), imports, nothing), ocispec.MediaTypeImageLayerGzip},
	} {
		if len(test.layers) != 1 || test.layers[0].MediaType != test.want {
			t.Errorf("the layers of %s are %+v; want one of %s", what, test.layers, test.want)
		}
	}
}

// TestMakeCaches has another solver find in a part's cache what was done for it, so that it runs nothing.
func TestMakeCaches(t *testing.T) {
	first, second := serveMaker(t), serveMaker(t)
	dir := filepath.Join(t.TempDir(), "cache")
	def := marshal(t, copied(run(t, rootfs(t), 100, "/out/file"), "/out/file"))
	two := []platforms.Platform{platforms.MustParse("linux/amd64"), platforms.MustParse("linux/arm64")}
	var refs []string
	for _, d := range []*maker{first, second} {
		req := request(t)
		req.Platforms = two
		req.CacheFrom, req.CacheTo = []string{"type=local,src=" + dir}, []string{"type=local,mode=max,dest=" + dir}
		made, err := d.Make(t.Context(), solver.Make{Request: req, Definition: def, Name: solver.PartName(platforms.Platform{}, 0)})
		if err != nil {
			t.Fatal(err)
		}
		refs = append(refs, made.Ref())
		if err := made.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if refs[0] != refs[1] {
		t.Errorf("another solver made the part again: %s, %s", refs[0], refs[1])
	}
	if names, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(names) != 1 || filepath.Base(names[0]) != "shared" {
		t.Errorf("the caches are %q, %v", names, err)
	}
}

// BenchmarkMake makes a part that is in the cache.
func BenchmarkMake(b *testing.B) {
	m := serveMaker(b)
	def := marshal(b, copied(run(b, rootfs(b), 1<<20, "/out/file"), "/out/file"))
	req := request(b)
	if err := makePart(b, m, solver.Make{Definition: def}).Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		made, err := m.Make(b.Context(), solver.Make{Request: req, Definition: def})
		if err != nil {
			b.Fatal(err)
		}
		if err := made.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
