// SPDX-License-Identifier: Apache-2.0

package emulation_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gofrs/flock"
	"golang.org/x/sys/unix"

	"github.com/mab-build/mab/emulation"
)

// script writes a program that takes the place of an emulator.
func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "qemu")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestWhatAnEmulatorStartsEndsWithIt has children keep the output, and a pipe that tells when they are gone.
func TestWhatAnEmulatorStartsEndsWithIt(t *testing.T) {
	for _, test := range []struct {
		rule, end string
		want      error
	}{
		{"the caller gives up", "wait", context.Canceled},
		{"the emulator ends", "exit 0", nil},
	} {
		t.Run(test.rule, func(t *testing.T) {
			path := script(t, `exec 3>"${0%/*}/pipe"; sleep 60 & echo began >&3; `+test.end)
			pipe := filepath.Join(filepath.Dir(path), "pipe")
			if err := unix.Mkfifo(pipe, 0o600); err != nil {
				t.Fatal(err)
			}
			// Without a writer there would be an end of file before the script begins.
			writer, err := os.OpenFile(pipe, os.O_RDWR|unix.O_NONBLOCK, 0)
			if err != nil {
				t.Fatal(err)
			}
			reader, err := os.OpenFile(pipe, os.O_RDONLY|unix.O_NONBLOCK, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer reader.Close()
			if err := reader.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan error, 1)
			go func() {
				_, err := emulation.QEMUVersion(ctx, path)
				done <- err
			}()
			in := bufio.NewReader(reader)
			if line, err := in.ReadString('\n'); line != "began\n" {
				t.Fatalf("%q, %v", line, err)
			}
			if err := writer.Close(); err != nil {
				t.Fatal(err)
			}
			if test.want != nil {
				cancel()
			}
			if rest, err := io.ReadAll(in); err != nil || len(rest) > 0 {
				t.Errorf("a child lives: %q, %v", rest, err)
			}
			if err := <-done; err == nil || test.want != nil && !errors.Is(err, test.want) {
				t.Error(err)
			}
		})
	}
}

func TestTalkativeEmulator(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	// A closed output alone does not end it.
	_, err := emulation.QEMUVersion(ctx, script(t, `trap "" PIPE; while :; do echo qemu-arm version 7.2; done 2>/dev/null`))
	if err == nil || !strings.Contains(err.Error(), "it answers with more than 4096 bytes") {
		t.Error(err)
	}
}

func TestEmulatorsGetNoEnvironment(t *testing.T) {
	t.Setenv("SECRET", "token")
	if got, err := emulation.QEMUVersion(t.Context(), script(t, `echo "qemu-arm version ${SECRET:-none}"`)); err != nil || got != "none" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestInstallWaitsNoLongerThanItsContext(t *testing.T) {
	store := emulation.Store{Dir: t.TempDir()}
	other := flock.New(filepath.Join(store.Dir, "lock"))
	if err := other.Lock(); err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := store.Install(ctx, emulation.InstallConfig{Image: image(t, layer(t)), Handlers: want(t, guest)})
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "locking the directory of emulators") {
		t.Error(err)
	}
}
