// SPDX-License-Identifier: Apache-2.0

// Mab-bake reads bake and compose files for mab bake, by buildx's own library, of which mab itself has nothing: it would make every start of mab
// slower. It reads a question of package flat from standard input, and writes the answer to standard output.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/mab-build/mab/bake/flat"
)

func main() {
	if err := serve(context.Background(), os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve(ctx context.Context, in io.Reader, out io.Writer) error {
	var q query
	if err := json.NewDecoder(in).Decode(&q.Question); err != nil {
		return fmt.Errorf("reading the question: %w", err)
	}
	if err := json.NewEncoder(out).Encode(reply(ctx, q)); err != nil {
		return fmt.Errorf("writing the answer: %w", err)
	}
	return nil
}

func reply(ctx context.Context, q query) flat.Answer {
	d, err := read(q)
	if err != nil {
		return flat.Answer{Fault: flatten(err)}
	}
	out := flat.Answer{Targets: d.list(), Variables: d.variables()}
	s, err := d.choose(ctx)
	if err != nil {
		out.Selection.Fault = flatten(err)
		return out
	}
	out.Selection = s.answer()
	return out
}
