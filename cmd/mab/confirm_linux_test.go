// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	mab "github.com/mab-build/mab/cmd/mab"
)

// terminal opens both ends of a terminal (pty(7)).
func terminal(t *testing.T) (user, program *os.File) {
	t.Helper()
	user, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil && os.Getenv("MAB_E2E") == "all" {
		t.Fatal(err)
	}
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { _ = user.Close() })
	number, err := unix.IoctlGetInt(int(user.Fd()), unix.TIOCGPTN)
	if err := errors.Join(err, unix.IoctlSetPointerInt(int(user.Fd()), unix.TIOCSPTLCK, 0)); err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = program.Close() })
	return user, program
}

func TestConfirm(t *testing.T) {
	for _, test := range []struct {
		rule, answer string
		want         bool
	}{
		{"y", "y\n", true},
		{"yes, in any case", " YES \n", true},
		{"no", "n\n", false},
		{"an empty line is no", "\n", false},
		{"another word is no", "yesterday\n", false},
		{"the end of input is no", "\x04", false},
	} {
		t.Run(test.rule, func(t *testing.T) {
			user, program := terminal(t)
			if _, err := user.WriteString(test.answer); err != nil {
				t.Fatal(err)
			}
			var asked strings.Builder
			got, err := mab.Confirm(t.Context(), program, &asked, "go on?")
			if err != nil || got != test.want || asked.String() != "mab: go on? [y/N] " {
				t.Errorf("error %v, got %v, asked %q", err, got, asked.String())
			}
		})
	}
	t.Run("an interrupt ends the question", func(t *testing.T) {
		_, program := terminal(t)
		over, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := mab.Confirm(over, program, &strings.Builder{}, "go on?"); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("nobody is asked where nobody can answer", func(t *testing.T) {
		var asked strings.Builder
		_, err := mab.Confirm(t.Context(), strings.NewReader("y\n"), &asked, "go on?")
		var use interface {
			Usage() bool
			Hint() string
		}
		if !errors.As(err, &use) || !use.Usage() || !strings.Contains(use.Hint(), "--force") || asked.Len() > 0 {
			t.Errorf("error %v, asked %q", err, asked.String())
		}
	})
}
