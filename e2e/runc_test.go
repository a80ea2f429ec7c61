// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWrongRuncIsNamed(t *testing.T) {
	for _, test := range []struct{ rule, version, help, want string }{
		{"crun under its name", "crun version 1.8.1\n+SYSTEMD +SECCOMP", "--no-pivot", `is crun 1.8.1, which has no "run --keep"`},
		{"runc without seccomp", "runc version 1.5.2\nspec: 1.3.0", "--keep", "is runc 1.5.2 without seccomp"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			l := newLab(t)
			dir := t.TempDir()
			path := filepath.Join(dir, "runc")
			program := fmt.Sprintf("#!/bin/sh\ncase $1 in --version) echo '%s';; *) echo '%s';; esac\n", test.version, test.help)
			if err := os.WriteFile(path, []byte(program), 0o755); err != nil {
				t.Fatal(err)
			}
			l.env = append(l.env, "PATH="+dir)
			out := l.mab("build", l.context(map[string]string{"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"}))
			if out.code != 1 {
				t.Errorf("exit code %d", out.code)
			}
			for _, want := range []string{fmt.Sprintf("finding runc: %q %s", path, test.want), "hint: install runc 1.1 or later"} {
				if !strings.Contains(out.stderr, want) {
					t.Errorf("no %q in:\n%s", want, out.stderr)
				}
			}
		})
	}
}
