// SPDX-License-Identifier: Apache-2.0

package solver_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mab-build/mab/solver"
)

// tarFrom is an archive of empty files.
func tarFrom(t *testing.T, headers ...tar.Header) string {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, h := range headers {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// seen is what BuildKit v0.33.1 decides on (frontend/dockerui/context.go): a magic number, or a tar in the first 1024 bytes.
func seen(content string) bool {
	_, err := tar.NewReader(strings.NewReader(content[:min(len(content), 1024)])).Next()
	return err == nil || strings.HasPrefix(content, "\x1f\x8b\x08")
}

// extendedTars are tars that begin with something other than the header of a file, and whether BuildKit sees by itself what they are.
func extendedTars(t *testing.T) map[string]struct {
	content string
	seen    bool
} {
	t.Helper()
	first := tar.Header{Name: "Dockerfile", Mode: 0o644}
	commit := tar.Header{Typeflag: tar.TypeXGlobalHeader, Name: "pax_global_header", PAXRecords: map[string]string{"comment": strings.Repeat("0", 40)}}
	fraction := tar.Header{Name: "Dockerfile", Mode: 0o644, ModTime: time.Unix(1, 5e8), Format: tar.FormatPAX}
	attribute := tar.Header{Name: "Dockerfile", Mode: 0o644, PAXRecords: map[string]string{"SCHILY.xattr.user.a": strings.Repeat("a", 200<<10)}}
	long := tar.Header{Name: strings.Repeat("long/", 60) + "file", Mode: 0o644, Format: tar.FormatGNU}
	return map[string]struct {
		content string
		seen    bool
	}{
		"a file":               {tarFrom(t, first), true},
		"git archive's commit": {tarFrom(t, commit, first), true},
		"a fraction of a second, which only PAX can tell": {tarFrom(t, fraction), false},
		"a commit and then a fraction":                    {tarFrom(t, commit, fraction), true},
		"an attribute of 200 KiB":                         {tarFrom(t, attribute), false},
		"GNU's long name":                                 {tarFrom(t, long, first), false},
		"no entry":                                        {tarFrom(t), false},
		"no entry, in a record of GNU tar's size":         {strings.Repeat("\x00", 10240), false},
	}
}

func TestArchivesOfAllBeginnings(t *testing.T) {
	for rule, test := range extendedTars(t) {
		t.Run(rule, func(t *testing.T) {
			if seen(test.content) != test.seen {
				t.Fatalf("BuildKit sees the tar itself: want %t", test.seen)
			}
			file := filepath.Join(t.TempDir(), "context")
			if err := os.WriteFile(file, []byte(test.content), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, request := range []solver.Request{{Context: "-", Stdin: strings.NewReader(test.content)}, {Context: file}} {
				s, err := request.Sources()
				if err != nil {
					t.Fatal(err)
				}
				got := pulled(t, s)
				if got[0] != got[1] || !seen(got[0]) {
					t.Errorf("two pulls are the same: %t, BuildKit sees an archive: %t", got[0] == got[1], seen(got[0]))
				}
				if sent := got[0]; test.seen && sent != test.content || !test.seen && unwrapped(t, sent) != test.content {
					t.Errorf("the solver pulled %d bytes that are not the %d", len(sent), len(test.content))
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}
		})
		t.Run(rule+", behind gzip", func(t *testing.T) {
			content := gzipped(t, test.content)
			s, err := (&solver.Request{Context: "-", Stdin: strings.NewReader(content)}).Sources()
			if err != nil {
				t.Fatal(err)
			}
			if got := pulled(t, s); got != [2]string{content, content} {
				t.Error("what is compressed is sent as it is")
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// unwrapped is what gzip wraps.
func unwrapped(t *testing.T, content string) string {
	t.Helper()
	r, err := gzip.NewReader(strings.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestNoArchives(t *testing.T) {
	t.Run("a text longer than a header is a Dockerfile", func(t *testing.T) {
		s, err := (&solver.Request{Context: "-", Stdin: strings.NewReader("FROM scratch\n" + strings.Repeat("# long\n", 1<<10))}).Sources()
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := s.Attrs()["context"]; ok {
			t.Errorf("the context is %q", got)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	extended := extendedTars(t)["a fraction of a second, which only PAX can tell"].content
	for rule, content := range map[string]string{
		"garbage":                        strings.Repeat("\x00\xff\x7f", 1<<10),
		"zeros, fewer than an empty tar": strings.Repeat("\x00", 1023),
		"an extension of nothing":        extended[:1024],
	} {
		t.Run(rule, func(t *testing.T) {
			request := solver.Request{Context: "-", Stdin: strings.NewReader(content)}
			_, err := request.Receive(t.Context())
			checkUsage(t, err, "reading standard input: it is neither a tar archive nor a Dockerfile")
		})
	}
	t.Run("nothing behind gzip", func(t *testing.T) {
		request := solver.Request{Context: "-", Stdin: strings.NewReader(gzipped(t, ""))}
		_, err := request.Receive(t.Context())
		checkUsage(t, err, "reading standard input: it is gzip, but holds no tar archive (EOF)")
	})
}
