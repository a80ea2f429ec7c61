// SPDX-License-Identifier: Apache-2.0

package link_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mab-build/mab/nodes/link"
)

func read(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// dial makes a link that is closed with the test.
func dial(t testing.TB, cfg link.Config) *link.Link {
	t.Helper()
	l, err := link.Dial(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}
