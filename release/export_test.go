// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"io"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// Identify is identify.
func Identify(text []byte) []string { return identify(text) }

// AddTwice reads two builds of a program and returns the modules in them, as path@version.
func AddTwice(one, other io.ReaderAt) ([]string, error) {
	var p program
	var out []string
	for _, r := range []io.ReaderAt{one, other} {
		if err := p.add(r); err != nil {
			return nil, err
		}
	}
	for _, m := range p.modules {
		out = append(out, m.path+"@"+m.version)
	}
	return out, nil
}

// LicencesOf returns the identifiers of the licences of one module that the module in dir needs.
func LicencesOf(ctx context.Context, dir, path, version string) ([]string, error) {
	m := &module{path: path, version: version}
	err := findLicences(ctx, dir, []*module{m})
	return m.ids(), err
}

// TwoModules is a release of two modules that share a third.
func TwoModules() (*cdx.BOM, string) {
	shared := &module{path: "example.org/shared", version: "v1.0.0", licences: []licence{{ids: []string{"MIT"}}}}
	what := contents{
		config:  config{version: "v1.2.3", made: time.Unix(0, 0).UTC()},
		program: program{goVersion: "go1.26.8", modules: []*module{{path: "example.org/a", version: "v0.1.0"}, shared}},
		reader:  program{goVersion: "go1.26.8", modules: []*module{shared}},
		runc:    carried{program{goVersion: "go1.26.8", modules: []*module{shared}}, label{"1.5.2", "2.6.0", "2.36"}},
		source:  source{file: "libseccomp-2.6.0.tar.gz", sha256: "00ff"},
	}
	var text bytes.Buffer
	introduce(&text, what)
	return bill(what), text.String()
}
