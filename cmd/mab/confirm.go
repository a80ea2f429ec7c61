// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/term"
)

// confirm asks on a terminal; anything but yes is no. Where nobody can answer, it is wrong use.
func confirm(ctx context.Context, std streams, question string) (bool, error) {
	terminal, ok := std.in.(*os.File)
	if !ok || !term.IsTerminal(int(terminal.Fd())) {
		return false, usage{errors.New("asking before anything is removed: standard input is no terminal"), "add --force to remove without being asked"}
	}
	_, _ = fmt.Fprintf(std.err, "mab: %s [y/N] ", question)
	answer := make(chan string, 1)
	// Nothing ends a read from a terminal but an answer; the program ends without waiting for it.
	go func() {
		line, _ := bufio.NewReader(terminal).ReadString('\n')
		answer <- line
	}()
	select {
	case line := <-answer:
		line = strings.ToLower(strings.TrimSpace(line))
		return line == "y" || line == "yes", nil
	case <-ctx.Done():
		_, _ = fmt.Fprintln(std.err)
		return false, ctx.Err()
	}
}
