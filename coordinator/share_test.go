// SPDX-License-Identifier: Apache-2.0

package coordinator_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"github.com/mab-build/mab/coordinator"
	"github.com/mab-build/mab/manifestlist"
)

// files lists the regular files below a directory with their content.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		content, err := os.ReadFile(path)
		out[name] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o600)); err != nil {
		t.Fatal(err)
	}
}

func writeTar(t *testing.T, w io.Writer, name string) {
	t.Helper()
	archive := tar.NewWriter(w)
	content := "of " + name
	err := archive.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(content))})
	if err == nil {
		_, err = io.WriteString(archive, content)
	}
	if err := errors.Join(err, archive.Close()); err != nil {
		t.Fatal(err)
	}
}

// shares makes a delivery of outputs, and a share of it for each node.
func shares(t *testing.T, stdout io.Writer, through bool, nodes int, values ...string) (*coordinator.Delivery, []*coordinator.Share) {
	t.Helper()
	d, err := coordinator.NewDelivery(&coordinator.Request{
		Request: request("linux/amd64", "linux/arm64"), Tags: []string{"r.example/a:1"}, Outputs: outputs(t, values...),
	}, stdout)
	if err != nil {
		t.Fatal(err)
	}
	var list []*coordinator.Share
	for range nodes {
		s, err := d.Share(through)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, s)
	}
	return d, list
}

func TestShares(t *testing.T) {
	t.Run("tars become one, in the order of the plan", func(t *testing.T) {
		tree(t)
		var out bytes.Buffer
		d, list := shares(t, &out, false, 2, "type=tar,dest=-")
		for i, s := range list {
			w, err := s.Exports()[0].Tar()
			if err != nil {
				t.Fatal(err)
			}
			writeTar(t, w, fmt.Sprint("node", i))
		}
		if err := errors.Join(d.Join(list), d.Close()); err != nil {
			t.Fatal(err)
		}
		var got []string
		for archive := tar.NewReader(&out); ; {
			header, err := archive.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			content, err := io.ReadAll(archive)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, header.Name+": "+string(content))
		}
		if diff := cmp.Diff([]string{"node0: of node0", "node1: of node1"}, got); diff != "" {
			t.Errorf("want -, got +:\n%s", diff)
		}
	})
	t.Run("a directory that loses other files loses them once", func(t *testing.T) {
		tree(t)
		write(t, "out/old", "old")
		d, list := shares(t, io.Discard, false, 2, "type=local,dest=out,mode=delete")
		for i, s := range list {
			e := s.Exports()[0]
			if e.Attrs["mode"] != "" {
				t.Errorf("a part removes files: %v", e.Attrs)
			}
			write(t, filepath.Join(e.Dir, fmt.Sprint("linux_", i), "a"), "new")
		}
		if got := files(t, "out")["old"]; got != "old" {
			t.Errorf("before the end, got %q", got)
		}
		if err := errors.Join(d.Join(list), list[0].Discard(), list[1].Discard(), d.Close()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(map[string]string{"out/linux_0/a": "new", "out/linux_1/a": "new"}, files(t, ".")); diff != "" {
			t.Errorf("want -, got +:\n%s", diff)
		}
	})
	t.Run("a directory gets its files when all parts are there", func(t *testing.T) {
		tree(t)
		write(t, "out/old", "old")
		write(t, "out/linux_0/a", "old")
		write(t, "out/linux_0/b/c", "old")
		d, list := shares(t, io.Discard, false, 3, "type=local,dest=out")
		for i, s := range list {
			dir := filepath.Join(s.Exports()[0].Dir, fmt.Sprint("linux_", i))
			write(t, filepath.Join(dir, "a"), "new")
			write(t, filepath.Join(dir, "b"), "new")
			write(t, filepath.Join(dir, "d", "e"), "new")
			if err := errors.Join(os.Chmod(filepath.Join(dir, "d"), 0o500), os.Chmod(dir, 0o500)); err != nil {
				t.Fatal(err)
			}
		}
		if got := files(t, "out")["linux_0/a"]; got != "old" {
			t.Errorf("before the end, got %q", got)
		}
		if err := errors.Join(list[2].Discard(), d.Join(list[:2]), list[0].Discard(), list[1].Discard(), d.Close()); err != nil {
			t.Fatal(err)
		}
		want := map[string]string{"out/old": "old"}
		for i := range 2 {
			for _, name := range []string{"a", "b", "d/e"} {
				want[fmt.Sprintf("out/linux_%d/%s", i, name)] = "new"
			}
			if info, err := os.Stat(fmt.Sprint("out/linux_", i)); err != nil || info.Mode().Perm() != 0o500 {
				t.Errorf("got %v, %v", info, err)
			}
			for _, name := range []string{"", "d"} { // or the test's directory is not removed
				if err := os.Chmod(filepath.Join(fmt.Sprint("out/linux_", i), name), 0o700); err != nil {
					t.Fatal(err)
				}
			}
		}
		if diff := cmp.Diff(want, files(t, ".")); diff != "" {
			t.Errorf("want -, got +:\n%s", diff)
		}
	})
	t.Run("a file of two platforms is refused, and nothing written", func(t *testing.T) {
		tree(t)
		d, list := shares(t, io.Discard, false, 2, "type=local,dest=out,platform-split=false")
		for _, s := range list {
			write(t, filepath.Join(s.Exports()[0].Dir, "bin/app"), "of one")
		}
		var hinted interface{ Hint() string }
		if err := d.Join(list); !errors.As(err, &hinted) || !strings.Contains(err.Error(), "out/bin/app") || !strings.Contains(hinted.Hint(), "platform-split=false") {
			t.Errorf("got %v", err)
		}
		if err := errors.Join(list[0].Discard(), list[1].Discard(), d.Close()); err != nil {
			t.Fatal(err)
		}
		if got := names(t, "."); len(got) > 0 {
			t.Errorf("left: %q", got)
		}
	})
	t.Run("blobs of two nodes may be equal", func(t *testing.T) {
		tree(t)
		d, list := shares(t, io.Discard, false, 2, "type=oci,dest=out.tar")
		for i, s := range list {
			write(t, filepath.Join(s.Exports()[0].Blobs, "blobs/sha256/same"), "same")
			write(t, filepath.Join(s.Exports()[0].Blobs, "blobs/sha256/own", fmt.Sprint(i)), "own")
		}
		if err := d.Join(list); err != nil {
			t.Fatal(err)
		}
		want := map[string]string{"blobs/sha256/same": "same", "blobs/sha256/own/0": "own", "blobs/sha256/own/1": "own"}
		if diff := cmp.Diff(want, files(t, d.Staging)); diff != "" {
			t.Errorf("want -, got +:\n%s", diff)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		if got := names(t, "."); len(got) > 0 {
			t.Errorf("left: %q", got)
		}
	})
	t.Run("what a node cannot push comes here", func(t *testing.T) {
		tree(t)
		d, list := shares(t, io.Discard, true, 1, "type=registry")
		e := list[0].Exports()[0]
		if e.Type != "oci" || e.Blobs == "" || e.Attrs["push"] != "" || e.Attrs["push-by-digest"] != "" || !e.AsImage {
			t.Errorf("got %+v", e)
		}
		if err := errors.Join(list[0].Discard(), d.Close()); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(e.Blobs); !os.IsNotExist(err) {
			t.Errorf("left: %q", e.Blobs)
		}
	})
}

func TestSeveral(t *testing.T) {
	a, b := blobs{}, blobs{}
	one := a.add(t, "text/plain", []byte("in the first"))
	two := b.add(t, "text/plain", []byte("in the second"))
	dirs := []manifestlist.Blobs{manifestlist.BlobDir(t.TempDir()), manifestlist.BlobDir(t.TempDir())}
	a.write(t, string(dirs[0].(manifestlist.BlobDir)))
	b.write(t, string(dirs[1].(manifestlist.BlobDir)))
	for _, desc := range []struct {
		want string
		ok   bool
	}{{"in the first", true}, {"in the second", true}, {"", false}} {
		at := one
		switch desc.want {
		case "in the second":
			at = two
		case "":
			at = blobs{}.add(t, "text/plain", []byte("nowhere"))
		}
		raw, err := manifestlist.ReadBlob(context.Background(), coordinator.Several(dirs), at)
		if string(raw) != desc.want || (err == nil) != desc.ok {
			t.Errorf("%q: got %q, %v", desc.want, raw, err)
		}
	}
}

// TestSharesAtOnce has many nodes not reach the registry at the same time, many times over.
func TestSharesAtOnce(t *testing.T) {
	tree(t)
	t.Setenv("TMPDIR", ".")
	for range 50 {
		d, _ := shares(t, io.Discard, true, 0, "type=registry")
		var group errgroup.Group
		for range 8 {
			group.Go(func() error { _, err := d.Share(true); return err })
		}
		if err := group.Wait(); err != nil {
			t.Fatal(err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		if got := names(t, "."); len(got) > 0 {
			t.Fatalf("left: %q", got)
		}
	}
}
