// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"

	"github.com/mab-build/mab/bake/flat"
)

// Print asks as mab does, and returns what is printed.
func Print(ctx context.Context, q flat.Question) (string, error) {
	text, err := json.Marshal(q)
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	if err := serve(ctx, bytes.NewReader(text), &out); err != nil {
		return "", err
	}
	var found flat.Answer
	if err := json.Unmarshal(out.Bytes(), &found); err != nil {
		return "", err
	}
	for _, f := range []*flat.Fault{found.Fault, found.Selection.Fault, found.Selection.PrintFault} {
		if f != nil {
			return "", errors.New(f.Text)
		}
	}
	return found.Selection.Print, nil
}
