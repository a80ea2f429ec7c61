// SPDX-License-Identifier: Apache-2.0

//go:build linux

package nodes_test

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"unicode"

	"github.com/mab-build/mab/nodes"
)

// TestErrorsArePlain is about machines that write what a terminal would obey; their errors are shown as steps of builds, too.
func TestErrorsArePlain(t *testing.T) {
	const evil = "it says \x1b[2Jno\x07\u009b31m\x9b"
	for rule, says := range map[string]func(there net.Conn) error{
		"a mab": func(there net.Conn) error {
			return nodes.Answer{Error: evil, Hint: evil, Notes: []string{evil}}.Write(there)
		},
		"a login shell": func(there net.Conn) error { _, err := io.WriteString(there, evil+"\n"); return err },
	} {
		t.Run(rule, func(t *testing.T) {
			var told []string
			m := &odd{open: func(there net.Conn) { _ = says(there) }}
			_, err := nodes.Over(t.Context(), "pi", m, nodes.Config{Note: func(text string) { told = append(told, text) }})
			var mendable interface{ Hint() string }
			if err == nil || !errors.As(err, &mendable) || !strings.Contains(err.Error(), "it says") {
				t.Fatal(err)
			}
			for _, text := range append(told, err.Error(), mendable.Hint()) {
				if strings.ContainsFunc(text, unicode.IsControl) {
					t.Errorf("a terminal would obey %q", text)
				}
			}
		})
	}
}
