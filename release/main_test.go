// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"bytes"
	"os"
	"os/exec"
	"runtime/debug"
	"strings"
	"testing"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/google/go-cmp/cmp"

	main "github.com/mab-build/mab/release"
)

func TestIdentify(t *testing.T) {
	own, err := os.ReadFile("../LICENSE")
	if err != nil {
		t.Fatal(err)
	}
	const mit = `Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated documentation files (the "Software"), to deal in the Software without restriction, including without limitation the rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.`
	for _, test := range []struct {
		rule, text string
		want       []string
	}{
		{"Apache's", string(own), []string{"Apache-2.0"}},
		{"MIT's", mit, []string{"MIT"}},
		{"two in one file", string(own) + "\n" + mit, []string{"Apache-2.0", "MIT"}},
		{"terms of its own after a licence", mit + strings.Repeat("\nAnd you owe me a beer.", 40), nil},
		{"no licence", "All rights reserved.", nil},
	} {
		t.Run(test.rule, func(t *testing.T) {
			if diff := cmp.Diff(test.want, main.Identify([]byte(test.text))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestModulesOfAProgram(t *testing.T) {
	own, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	got, err := main.AddTwice(bytes.NewReader(own), bytes.NewReader(own))
	if err != nil {
		t.Fatal(err)
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		t.Fatal("no build info in the test")
	}
	var want []string
	for _, dep := range info.Deps {
		want = append(want, dep.Path+"@"+dep.Version)
	}
	if diff := cmp.Diff(want, got); diff != "" || len(got) == 0 {
		t.Errorf("%d modules: %s", len(got), diff)
	}
	if _, err := main.AddTwice(bytes.NewReader(own), strings.NewReader("#!/bin/sh\n")); err == nil {
		t.Error("a script was taken for a program")
	}
}

func TestLicencesOfAModule(t *testing.T) {
	for _, test := range []struct{ rule, dir, path string }{
		{"a licence", ".", "github.com/google/go-cmp"},
		{"a licence beside a grant of patents", "../runc/module", "golang.org/x/sys"},
	} {
		list := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Version}}", test.path)
		list.Dir = test.dir
		version, err := list.Output()
		if err != nil {
			t.Fatal(err)
		}
		got, err := main.LicencesOf(t.Context(), test.dir, test.path, strings.TrimSpace(string(version)))
		if err != nil {
			t.Fatalf("%s: %v", test.rule, err)
		}
		if diff := cmp.Diff([]string{"BSD-3-Clause"}, got); diff != "" {
			t.Errorf("%s: %s", test.rule, diff)
		}
	}
	if _, err := main.LicencesOf(t.Context(), ".", "github.com/google/go-cmp", "v0.0.1"); err == nil {
		t.Error("the licence of another version was taken")
	}
}

func TestBill(t *testing.T) {
	bom, notice := main.TwoModules()
	var list []string
	for _, c := range *bom.Components {
		line := c.BOMRef
		if c.Licenses != nil {
			for _, l := range *c.Licenses {
				line += " " + l.License.ID
			}
		}
		list = append(list, line)
	}
	const reader, runc = "pkg:golang/github.com/mab-build/mab/bake/module@v1.2.3", "pkg:golang/github.com/opencontainers/runc@v1.5.2"
	want := []string{
		reader + " Apache-2.0",
		runc + " Apache-2.0",
		"pkg:generic/libseccomp@2.6.0 LGPL-2.1-only",
		"pkg:generic/glibc@2.36 LGPL-2.1-or-later",
		"pkg:golang/std@1.26.8 BSD-3-Clause",
		"pkg:golang/example.org/a@v0.1.0",
		"pkg:golang/example.org/shared@v1.0.0 MIT",
	}
	if diff := cmp.Diff(want, list); diff != "" {
		t.Error(diff)
	}
	wantDeps := []cdx.Dependency{
		{Ref: "pkg:golang/github.com/mab-build/mab@v1.2.3", Dependencies: &[]string{
			"pkg:golang/std@1.26.8", reader, runc, "pkg:golang/example.org/a@v0.1.0", "pkg:golang/example.org/shared@v1.0.0",
		}},
		{Ref: reader, Dependencies: &[]string{"pkg:golang/std@1.26.8", "pkg:golang/example.org/shared@v1.0.0"}},
		{Ref: runc, Dependencies: &[]string{
			"pkg:golang/std@1.26.8", "pkg:generic/libseccomp@2.6.0", "pkg:generic/glibc@2.36", "pkg:golang/example.org/shared@v1.0.0",
		}},
	}
	if diff := cmp.Diff(wantDeps, *bom.Dependencies); diff != "" {
		t.Error(diff)
	}
	for _, text := range []string{"mab v1.2.3 is", "runc 1.5.2", "libseccomp 2.6.0", "C Library 2.36", "libseccomp-2.6.0.tar.gz", "sha256 00ff"} {
		if !strings.Contains(notice, text) {
			t.Errorf("no %q in the notice:\n%s", text, notice)
		}
	}
}
