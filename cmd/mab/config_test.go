// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	mab "github.com/mab-build/mab/cmd/mab"
	"github.com/mab-build/mab/solver"
)

func TestServeListening(t *testing.T) {
	one, two := 1, 2
	file := solver.Listening{Addresses: []string{"unix:///file"}, TLS: solver.TLS{Cert: "c", Key: "k", CA: "a"}, GID: &one, UID: &one}
	for _, test := range []struct {
		rule string
		from solver.Listening
		args []string
		want solver.Listening
	}{
		{"nothing is said", solver.Listening{}, nil, solver.Listening{}},
		{"the file", file, nil, file},
		{
			"flags alone", solver.Listening{}, []string{"--addr", "unix:///a", "--addr", "tcp://:1", "--tlscert", "c", "--tlskey", "k", "--tlscacert", "a", "--group", "2"},
			solver.Listening{Addresses: []string{"unix:///a", "tcp://:1"}, TLS: file.TLS, GID: &two},
		},
		{
			"flags come before the file, each for itself", file, []string{"--addr", "unix:///a", "--tlskey", "other", "--group", "root"},
			solver.Listening{Addresses: []string{"unix:///a"}, TLS: solver.TLS{Cert: "c", Key: "other", CA: "a"}, GID: new(int), UID: &one},
		},
	} {
		t.Run(test.rule, func(t *testing.T) {
			got, err := mab.ServeListening(test.from, test.args...)
			if diff := cmp.Diff(test.want, got); err != nil || diff != "" {
				t.Errorf("error %v; (-want +got):\n%s", err, diff)
			}
		})
	}
}
