// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"strings"
	"unicode"
)

// printable is a text in which nothing tells a terminal what to do: other machines may have written some of it.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\r':
			return -1
		case unicode.IsControl(r) && r != '\n' && r != '\t':
			return unicode.ReplacementChar
		}
		return r
	}, text)
}

// printing writes what is printable. Each piece must be whole characters.
type printing struct{ w io.Writer }

func (p printing) Write(b []byte) (int, error) {
	if _, err := io.WriteString(p.w, printable(string(b))); err != nil {
		return 0, err
	}
	return len(b), nil
}
