// SPDX-License-Identifier: Apache-2.0

package contents_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"math/rand/v2"
	"os"
	"testing"
	"testing/iotest"

	"github.com/mab-build/mab/manifestlist/contents"
)

// packed is what compress/gzip makes of raw.
func packed(t testing.TB, raw []byte, level int, header gzip.Header) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, level)
	must(t, err)
	w.Header = header
	_, err = w.Write(raw)
	must(t, err)
	must(t, w.Close())
	return out.Bytes()
}

// samples are contents that make blocks of all kinds: stored ones, those of fixed codes, long and short copies, near and far.
func samples(t testing.TB) map[string][]byte {
	t.Helper()
	path, err := os.Executable()
	must(t, err)
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	code := make([]byte, 400_000)
	_, err = io.ReadFull(f, code)
	must(t, err)
	random := make([]byte, 100_000)
	_, err = rand.NewChaCha8([32]byte{}).Read(random)
	must(t, err)
	return map[string][]byte{
		"nothing": nil, "a byte": {7}, "code": code, "random": random, "zeros": make([]byte, 400_000),
		"short":    bytes.Repeat([]byte("abcdefg"), 40_000),
		"far":      bytes.Repeat(random[:32<<10], 5),
		"far less": bytes.Repeat(random[:32<<10-1], 20),
	}
}

func TestGunzip(t *testing.T) {
	for name, raw := range samples(t) {
		t.Run(name, func(t *testing.T) {
			for _, level := range []int{gzip.HuffmanOnly, 0, 1, 6, 9} {
				one := packed(t, raw, level, gzip.Header{})
				for rule, in := range map[string]io.Reader{
					"whole":            bytes.NewReader(one),
					"byte by byte":     iotest.OneByteReader(bytes.NewReader(one)),
					"end with content": iotest.DataErrReader(bytes.NewReader(one)),
				} {
					if got, err := contents.Gunzip(in); err != nil || !bytes.Equal(got, raw) {
						t.Errorf("level %d, %s: %d bytes of %d, %v", level, rule, len(got), len(raw), err)
					}
				}
				two := append(bytes.Clone(one), packed(t, raw, 9, gzip.Header{Name: "a", Comment: "b", Extra: []byte("c")})...)
				if got, err := contents.Gunzip(bytes.NewReader(two)); err != nil || !bytes.Equal(got, append(bytes.Clone(raw), raw...)) {
					t.Errorf("level %d, two members: %d bytes, %v", level, len(got), err)
				}
				for cut := range min(len(one)-1, 20) {
					if _, err := contents.Gunzip(bytes.NewReader(one[:len(one)-cut-1])); err == nil {
						t.Errorf("level %d: %d bytes less at the end, and no error", level, cut+1)
					}
				}
			}
		})
	}
}

// FuzzGunzip: what compress/gzip takes gives the same bytes, and nothing else is taken.
func FuzzGunzip(f *testing.F) {
	for _, raw := range samples(f) {
		raw = raw[:min(len(raw), 2000)]
		for _, level := range []int{gzip.HuffmanOnly, 0, 1, 9} {
			f.Add(packed(f, raw, level, gzip.Header{}))
		}
		f.Add(append(packed(f, raw, 6, gzip.Header{Name: "a", Extra: []byte("b")}), packed(f, raw, 6, gzip.Header{Comment: "a"})...))
	}
	header := []byte{0x1f, 0x8b, 8, 2, 0, 0, 0, 0, 0, 0xff} // with a checksum of its own
	f.Add(append(header, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0))
	f.Fuzz(func(t *testing.T, in []byte) {
		got, err := contents.Gunzip(bytes.NewReader(in))
		var want []byte
		r, wantErr := gzip.NewReader(bytes.NewReader(in))
		if wantErr == nil {
			want, wantErr = io.ReadAll(r)
		}
		if len(in) == 0 {
			wantErr = nil // that nothing is no gzip is found out before
		}
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("got %v, compress/gzip %v", err, wantErr)
		}
		if err == nil && !bytes.Equal(got, want) {
			t.Fatalf("got %d bytes, compress/gzip %d", len(got), len(want))
		}
	})
}
