// SPDX-License-Identifier: Apache-2.0

package coordinator_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mab-build/mab/coordinator"
	"github.com/mab-build/mab/solver"
)

func TestLocalDelete(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	elsewhere := t.TempDir()
	if err := os.Symlink(elsewhere, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		rule, output string
		allow        []string
		ok           bool
	}{
		{"below the current directory", "type=local,dest=out/new,mode=delete", nil, true},
		{"the current directory itself", "type=local,dest=.,mode=delete", nil, false},
		{"above it", "type=local,dest=out/../..,mode=delete", nil, false},
		{"elsewhere", "type=local,dest=" + elsewhere + ",mode=delete", nil, false},
		{"elsewhere, spelled otherwise", `type=local,dest=` + elsewhere + `,mode= Delete`, nil, false},
		{"elsewhere by a link", "type=local,dest=link/new,mode=delete", nil, false},
		{"elsewhere, allowed", "type=local,dest=" + elsewhere + ",mode=delete", []string{solver.LocalDelete}, true},
		{"elsewhere, but nothing is removed", "type=local,dest=" + elsewhere + ",mode=copy", nil, true},
	} {
		t.Run(test.rule, func(t *testing.T) {
			o, err := coordinator.ParseOutput(test.output)
			if err != nil {
				t.Fatal(err)
			}
			d, err := coordinator.NewDelivery(&coordinator.Request{Outputs: []coordinator.Output{o}, Request: solver.Request{Allow: test.allow}}, nil)
			if err == nil {
				err = d.Close()
				if !test.ok || err != nil {
					t.Errorf("it is not refused; error %v", err)
				}
				return
			}
			if test.ok || !isUsage(err) || !strings.Contains(hint(err), "--allow buildx.local.delete") {
				t.Errorf("got %v, hint %q", err, hint(err))
			}
		})
	}
}
