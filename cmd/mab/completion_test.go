// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	mab "github.com/mab-build/mab/cmd/mab"
	"github.com/mab-build/mab/nodes"
)

// The numbers are cobra's ShellCompDirective: 0 files, 2 no space after it, 4 no files, 16 directories.
func TestCompletion(t *testing.T) {
	list := filepath.Join(t.TempDir(), "nodes.toml")
	t.Setenv("MAB_NODES_FILE", list)
	for _, name := range []string{"arm1", "big"} {
		if err := (nodes.List{File: list}).Add(t.Context(), nodes.Entry{Name: name, URL: "ssh://" + name}); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct{ rule, line, want string }{
		{"a platform", "build --platform linux/arm", "linux/arm64 linux/arm/v7 linux/arm/v6 linux/arm/v5 :6"},
		{"the next platform", "plan --platform linux/arm64,linux/arm", "linux/arm64,linux/arm/v7 linux/arm64,linux/arm/v6 linux/arm64,linux/arm/v5 :6"},
		{"progress", "build --progress p", "plain :4"},
		{"a strategy", "build --strategy native,", "native,cross native,emulated :6"},
		{"an output goes on", "build -o type=o", "type=oci,dest= :6"},
		{"an output is complete", "build --output type=r", "type=registry :4"},
		{"a file behind an output", "build -o type=oci,dest=a", ":0"},
		{"a filter", "cache prune --filter ty", "type= :6"},
		{"a directory of the state", "cache du --root /", ":16"},
		{"a context", "build -q ", ":16"},
		{"a Dockerfile", "build -f D", ":0"},
		{"a command", "ca", "cache\tShow what the solver keeps, and remove it :4"},
		{"a node", "nodes inspect l", "local :4"},
		{"the next node", "build --node arm1,", "arm1,local arm1,big :6"},
		{"no hidden flag", "cache prune --keep", ":4"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			var out, stderr strings.Builder
			if code := mab.Run(context.Background(), append([]string{"__complete"}, strings.Split(test.line, " ")...), &out, &stderr); code != 0 {
				t.Fatalf("exit code %d: %s", code, stderr.String())
			}
			got := strings.ReplaceAll(strings.TrimSpace(out.String()), "\n", " ")
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
		})
	}
}

// TestCompletionOffers has a flag for each row of the table.
func TestCompletionOffers(t *testing.T) {
	flags := mab.AllFlags()
	for _, name := range mab.CompletionNames() {
		if !flags[name] {
			t.Errorf("there is no flag --%s", name)
		}
	}
}
