// SPDX-License-Identifier: Apache-2.0

package link_test

import (
	"io"
	"testing"
)

// BenchmarkStream moves bytes through OpenSSH's server on this machine.
func BenchmarkStream(b *testing.B) {
	const chunk = 64 << 10
	server := newSSHD(b)
	l := dial(b, server.admitted(b, ""))
	b.Run("down", func(b *testing.B) {
		s, err := l.Open(b.Context(), "cat /dev/zero")
		if err != nil {
			b.Fatal(err)
		}
		defer s.Close()
		p := make([]byte, chunk)
		b.SetBytes(chunk)
		for b.Loop() {
			if _, err := io.ReadFull(s, p); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("up", func(b *testing.B) {
		s, err := l.Open(b.Context(), "cat > /dev/null")
		if err != nil {
			b.Fatal(err)
		}
		defer s.Close()
		p := make([]byte, chunk)
		b.SetBytes(chunk)
		for b.Loop() {
			if _, err := s.Write(p); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("ping", func(b *testing.B) {
		s, err := l.Open(b.Context(), "cat")
		if err != nil {
			b.Fatal(err)
		}
		defer s.Close()
		p := make([]byte, 100)
		for b.Loop() {
			if _, err := s.Write(p); err != nil {
				b.Fatal(err)
			}
			if _, err := io.ReadFull(s, p); err != nil {
				b.Fatal(err)
			}
		}
	})
}
