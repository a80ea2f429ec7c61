// SPDX-License-Identifier: Apache-2.0

package solver_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/moby/buildkit/client/llb"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/mab-build/mab/solver"
)

// over is the same solver at the end of another connection.
func (d *maker) over(t testing.TB, wrap func(net.Conn) net.Conn) *maker {
	t.Helper()
	c, _, err := solver.Over(t.Context(), func(ctx context.Context) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", solver.State{Root: d.root, Runtime: d.root}.Socket())
		if err != nil {
			return nil, err
		}
		return wrap(conn), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return &maker{Client: c, root: d.root, cmd: d.cmd}
}

// after calls do when so many bytes came over a connection.
type after struct {
	net.Conn
	left *atomic.Int64
	do   func()
}

func (c after) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if left := c.left.Add(-int64(n)); left <= 0 && left > -int64(n) {
		c.do()
	}
	return n, err
}

// file is a part of one file of so many bytes.
func file(t testing.TB, size int) llb.State {
	return copied(run(t, rootfs(t), size, "/out/big"), "/out/big")
}

// tryUse has a solver copy all that there is of a part.
func tryUse(t testing.TB, on *maker, m *solver.Made, store content.Store) error {
	t.Helper()
	def, err := marshal(t, copied(part(m), "/out"))(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = on.Image(t.Context(), def, store, nothing)
	return err
}

func TestImportsOfLostSolver(t *testing.T) {
	m, c := serveMaker(t), serveMaker(t)
	var left atomic.Int64
	left.Store(1 << 40)
	far := m.over(t, func(conn net.Conn) net.Conn { return after{conn, &left, m.kill} })
	made := makePart(t, far, solver.Make{Definition: marshal(t, file(t, 20<<20))})
	imports := solver.NewImports()
	imports.Add(made)
	left.Store(5 << 20)
	if err := tryUse(t, c, made, imports.Store()); err == nil {
		t.Error("a part of a lost solver was fetched")
	}
	if err := imports.Err(); err == nil || !strings.Contains(err.Error(), "fetching "+made.Layers()[0].String()) {
		t.Errorf("fetching has the error %v", err)
	}
	if imports.Bytes() == 0 {
		t.Error("it was lost before anything was fetched")
	}
	<-made.Done()
	var failure *solver.Failure
	if err := made.Err(); !errors.As(err, &failure) || !failure.Lost() {
		t.Errorf("holding has the error %v", err)
	}
}

// TestImportsFromAnother takes what a solver does not give any more from one that has it, too.
func TestImportsFromAnother(t *testing.T) {
	m, other, c := serveMaker(t), serveMaker(t), serveMaker(t)
	made := makePart(t, m, solver.Make{Definition: marshal(t, file(t, 100))})
	imports := solver.NewImports()
	imports.Add(made)
	copy := makePart(t, other, solver.Make{Definition: marshal(t, part(made)), Imports: imports})
	if copy.Ref() != made.Ref() {
		t.Fatalf("the same layers are %s and %s", made.Ref(), copy.Ref())
	}
	imports.Add(copy)
	m.kill()
	<-made.Done()
	if err := tryUse(t, c, made, imports.Store()); err != nil || imports.Err() != nil {
		t.Errorf("%v, %v", err, imports.Err())
	}
}

// TestImportsOfBase has layers be fetched that their maker has not needed itself.
func TestImportsOfBase(t *testing.T) {
	m, other, c := serveMaker(t), serveMaker(t), serveMaker(t)
	below := makePart(t, m, solver.Make{Definition: marshal(t, file(t, 1000))})
	imports := solver.NewImports()
	imports.Add(below)
	merged := llb.Merge([]llb.State{part(below), copied(run(t, rootfs(t), 100, "/out/small"), "/out/small")})
	made := makePart(t, other, solver.Make{Definition: marshal(t, merged), Imports: imports})
	m.kill()
	<-below.Done()
	onTop := solver.NewImports()
	onTop.Add(made)
	if err := tryUse(t, c, made, onTop.Store()); err != nil || onTop.Err() != nil || onTop.Bytes() != made.Size {
		t.Errorf("%v, %v; %d of %d bytes", err, onTop.Err(), onTop.Bytes(), made.Size)
	}
}

// TestDamagedImports has a part be refused that is not what its digest says.
func TestDamagedImports(t *testing.T) {
	m, c := serveMaker(t), serveMaker(t)
	made := makePart(t, m, solver.Make{Definition: marshal(t, file(t, 3<<20))})
	imports := solver.NewImports()
	imports.Add(made)
	t.Run("by BuildKit, on its way", func(t *testing.T) {
		if err := tryUse(t, c, made, damaged{imports.Store()}); err == nil || !strings.Contains(err.Error(), "digest") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("where it was made", func(t *testing.T) {
		path := filepath.Join(m.root, "runc-overlayfs/content/blobs/sha256", made.Layers()[0].Encoded())
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		text[len(text)/2] ^= 1
		if err := errors.Join(os.Chmod(path, 0o600), os.WriteFile(path, text, 0o600)); err != nil {
			t.Fatal(err)
		}
		if err := tryUse(t, serveMaker(t), made, imports.Store()); err == nil || !strings.Contains(err.Error(), "gave other bytes") {
			t.Errorf("got %v", err)
		}
		if err := imports.Err(); err == nil || !strings.Contains(err.Error(), "gave other bytes") {
			t.Errorf("fetching has the error %v", err)
		}
	})
}

// damaged is a store whose layers are not what they were.
type damaged struct{ content.Store }

func (d damaged) ReaderAt(ctx context.Context, desc ocispec.Descriptor) (content.ReaderAt, error) {
	at, err := d.Store.ReaderAt(ctx, desc)
	return damagedReader{at}, err
}

type damagedReader struct{ content.ReaderAt }

func (r damagedReader) ReadAt(p []byte, off int64) (int, error) {
	n, err := r.ReaderAt.ReadAt(p, off)
	if r.Size() > 1<<20 {
		p[0] ^= 1
	}
	return n, err
}

// TestImportsAtOnce has two solvers fetch one part, and nothing be left when it is closed.
func TestImportsAtOnce(t *testing.T) {
	m := serveMaker(t)
	made := makePart(t, m, solver.Make{Definition: marshal(t, file(t, 5<<20))})
	imports := solver.NewImports()
	imports.Add(made)
	var group errgroup.Group
	for range 2 {
		c := serveMaker(t)
		group.Go(func() error { return tryUse(t, c, made, imports.Store()) })
	}
	if err := errors.Join(group.Wait(), imports.Err()); err != nil {
		t.Fatal(err)
	}
	if got := imports.Bytes(); got != 2*made.Size {
		t.Errorf("%d bytes moved, of twice %d", got, made.Size)
	}
	for _, d := range append(made.Layers(), made.Image.Digest) {
		at, err := imports.Store().ReaderAt(t.Context(), ocispec.Descriptor{Digest: d})
		if err != nil {
			t.Fatal(err)
		}
		// It asks for more than there is, and compares the error with io.EOF.
		text, err := io.ReadAll(io.NewSectionReader(at, 0, 1<<62))
		if err != nil || digest.FromBytes(text) != d {
			t.Errorf("%d bytes of %s, %v", len(text), d, err)
		}
		if err := at.Close(); err != nil {
			t.Error(err)
		}
	}
	// One that is not read to its end.
	at, err := imports.Store().ReaderAt(t.Context(), ocispec.Descriptor{Digest: made.Layers()[0]})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := at.ReadAt(make([]byte, 10), 0); n != 10 || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	if err := errors.Join(at.Close(), made.Close()); err != nil {
		t.Error(err)
	}
	// What is closed ends in its own time, as do the sessions of the tests before.
	var left string
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if left = running(t, "solver.(*hold)", "solver.(*stream)", "solver.newStream", "session.(*Session)"); left == "" {
			break
		}
		if time.Now().After(deadline) {
			t.Errorf("still running:\n%s", left)
			break
		}
	}
	if n, err := at.ReadAt(make([]byte, 10), 1); n != 0 || err == nil {
		t.Errorf("%d bytes of a part that was closed, %v", n, err)
	}
}

// running are the goroutines, if any of them is in one of these functions.
func running(t *testing.T, names ...string) string {
	t.Helper()
	var all bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&all, 1); err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(names, func(name string) bool { return strings.Contains(all.String(), name) }) {
		return ""
	}
	return all.String()
}

// late delivers what was sent only after a while, and takes whatever comes meanwhile.
type late struct {
	net.Conn
	by   time.Duration
	came chan arrival
	rest []byte
}

type arrival struct {
	at   time.Time
	text []byte
	err  error
}

// lateConn delays one direction, which to measure a round trip is enough.
func lateConn(conn net.Conn, by time.Duration) net.Conn {
	c := &late{Conn: conn, by: by, came: make(chan arrival, 1<<16)}
	go func() {
		for {
			text := make([]byte, 64<<10)
			n, err := conn.Read(text)
			c.came <- arrival{time.Now().Add(by), text[:n], err}
			if err != nil {
				return
			}
		}
	}()
	return c
}

func (c *late) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		a := <-c.came
		time.Sleep(time.Until(a.at))
		if a.err != nil {
			return 0, a.err
		}
		c.rest = a.text
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// BenchmarkImports fetches 20 MB as BuildKit asks for them, over links to the maker of which a round trip takes so long.
func BenchmarkImports(b *testing.B) {
	const size, request = 20 << 20, 1 << 20
	m := serveMaker(b)
	def := marshal(b, file(b, size))
	for _, by := range []time.Duration{0, 20 * time.Millisecond, 100 * time.Millisecond} {
		b.Run(by.String(), func(b *testing.B) {
			far := m.over(b, func(conn net.Conn) net.Conn { return lateConn(conn, by) })
			made := makePart(b, far, solver.Make{Definition: def})
			imports := solver.NewImports()
			imports.Add(made)
			p := make([]byte, request)
			b.SetBytes(made.Size)
			for b.Loop() {
				for off := int64(0); off < made.Size; off += request {
					at, err := imports.Store().ReaderAt(b.Context(), ocispec.Descriptor{Digest: made.Layers()[0]})
					if err != nil {
						b.Fatal(err)
					}
					if _, err := at.ReadAt(p, off); err != nil && !errors.Is(err, io.EOF) {
						b.Fatal(err)
					}
					if err := at.Close(); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(imports.Bytes())/float64(b.N)/float64(made.Size), "copies")
		})
	}
}
