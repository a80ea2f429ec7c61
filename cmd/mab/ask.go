// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"runtime"
	"time"

	"golang.org/x/term"
)

var (
	errTimeout = errors.New("understanding --connect-timeout: it is below zero")
	errSecret  = errors.New("asking for a secret: nothing was entered")
)

// terminals are the files of the terminal that a program was started on, to read from and to write to.
var terminals = map[string][2]string{"windows": {"CONIN$", "CONOUT$"}}

// ask returns what asks the user for a secret, one at a time, on the terminal; nil where there is none. Standard input may be something else.
func ask() func(ctx context.Context, prompt string) (string, error) {
	paths, ok := terminals[runtime.GOOS]
	if !ok {
		paths = [2]string{"/dev/tty", "/dev/tty"}
	}
	in, out, err := openTerminal(paths)
	if err != nil {
		return nil
	}
	_ = errors.Join(in.Close(), out.Close())
	turn := make(chan struct{}, 1)
	return func(ctx context.Context, prompt string) (string, error) {
		select {
		case turn <- struct{}{}:
		case <-ctx.Done():
			return "", ctx.Err()
		}
		defer func() { <-turn }()
		return askOn(ctx, paths, prompt)
	}
}

func openTerminal(paths [2]string) (in, out *os.File, err error) {
	in, err = os.OpenFile(paths[0], os.O_RDWR, 0)
	if err != nil {
		return nil, nil, err
	}
	if !term.IsTerminal(int(in.Fd())) {
		return nil, nil, errors.Join(errors.New("it is no terminal"), in.Close())
	}
	out, err = os.OpenFile(paths[1], os.O_RDWR, 0)
	if err != nil {
		return nil, nil, errors.Join(err, in.Close())
	}
	return in, out, nil
}

func askOn(ctx context.Context, paths [2]string, prompt string) (string, error) {
	in, out, err := openTerminal(paths)
	if err != nil {
		return "", fmt.Errorf("asking for a secret: %w", err)
	}
	shown, err := term.GetState(int(in.Fd()))
	if err != nil {
		return "", fmt.Errorf("asking for a secret: %w", errors.Join(err, in.Close(), out.Close()))
	}
	type answer struct {
		secret []byte
		err    error
	}
	answers := make(chan answer, 1)
	// Nothing ends a read from a terminal but an answer; the program ends without waiting for it.
	go func() {
		secret, err := term.ReadPassword(int(in.Fd()))
		answers <- answer{secret, err}
	}()
	awaitHidden(int(in.Fd()), shown)
	_, _ = fmt.Fprint(out, prompt)
	defer func() { _, _ = fmt.Fprintln(out); _ = out.Close() }()
	select {
	case a := <-answers:
		_ = in.Close()
		if a.err == nil && len(a.secret) == 0 {
			a.err = errSecret
		}
		return string(a.secret), a.err
	case <-ctx.Done():
		// The terminal shows again what is typed.
		_ = term.Restore(int(in.Fd()), shown)
		return "", ctx.Err()
	}
}

const (
	hiddenWait = time.Second
	hiddenPoll = time.Millisecond
)

// awaitHidden waits until the terminal no longer shows what is typed, which ReadPassword sees to: who answers the moment the question is there
// must not be shown the answer.
func awaitHidden(terminal int, shown *term.State) {
	for range int(hiddenWait / hiddenPoll) {
		now, err := term.GetState(terminal)
		if err != nil || !reflect.DeepEqual(now, shown) {
			return
		}
		time.Sleep(hiddenPoll)
	}
}
