// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"os"
	"strings"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// purl names a Go module (https://github.com/package-url/purl-spec).
func purl(path, version string) string { return "pkg:golang/" + path + "@" + version }

// component describes what has a licence.
func component(kind cdx.ComponentType, ref, name, version string, ids ...string) cdx.Component {
	out := cdx.Component{BOMRef: ref, Type: kind, Name: name, Version: version, PackageURL: ref}
	if len(ids) > 0 {
		licences := cdx.Licenses{}
		for _, id := range ids {
			licences = append(licences, cdx.LicenseChoice{License: &cdx.License{ID: id}})
		}
		out.Licenses = &licences
	}
	return out
}

// bill is everything in a release and what it is in: the same for the same release, whenever and wherever it is made.
func bill(what contents) *cdx.BOM {
	about := what.runc.label
	bom := cdx.NewBOM()
	mab := component(cdx.ComponentTypeApplication, purl(mabPath, what.version), "mab", what.version, "Apache-2.0")
	reader := component(cdx.ComponentTypeApplication, purl(mabPath+"/bake/module", what.version), "mab-bake", what.version, "Apache-2.0")
	runc := component(cdx.ComponentTypeApplication, purl("github.com/opencontainers/runc", "v"+about.Version), "runc", about.Version, "Apache-2.0")
	seccomp := component(cdx.ComponentTypeLibrary, "pkg:generic/libseccomp@"+about.Seccomp, "libseccomp", about.Seccomp, "LGPL-2.1-only")
	seccomp.ExternalReferences = &[]cdx.ExternalReference{{
		Type: cdx.ERTypeSourceDistribution, URL: what.source.file,
		Hashes: &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: what.source.sha256}},
	}}
	libc := component(cdx.ComponentTypeLibrary, "pkg:generic/glibc@"+about.Libc, "glibc", about.Libc, "LGPL-2.1-or-later")
	components := []cdx.Component{reader, runc, seccomp, libc}
	known := map[string]bool{runc.BOMRef: true}
	list := func(modules []*module, goVersion string, more ...string) *[]string {
		std := strings.TrimPrefix(goVersion, "go")
		refs := append([]string{purl("std", std)}, more...)
		if !known[refs[0]] {
			known[refs[0]] = true
			components = append(components, component(cdx.ComponentTypeLibrary, refs[0], "std", std, "BSD-3-Clause"))
		}
		for _, m := range modules {
			ref := purl(m.path, m.version)
			refs = append(refs, ref)
			if !known[ref] {
				known[ref] = true
				components = append(components, component(cdx.ComponentTypeLibrary, ref, m.path, m.version, m.ids()...))
			}
		}
		return &refs
	}
	dependencies := []cdx.Dependency{
		{Ref: mab.BOMRef, Dependencies: list(what.program.modules, what.program.goVersion, reader.BOMRef, runc.BOMRef)},
		{Ref: reader.BOMRef, Dependencies: list(what.reader.modules, what.reader.goVersion)},
		{Ref: runc.BOMRef, Dependencies: list(what.runc.modules, what.runc.goVersion, seccomp.BOMRef, libc.BOMRef)},
	}
	bom.Metadata = &cdx.Metadata{Timestamp: what.made.Format(time.RFC3339), Component: &mab}
	bom.Components, bom.Dependencies = &components, &dependencies
	return bom
}

func writeBOM(file string, what contents) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	encoder := cdx.NewBOMEncoder(f, cdx.BOMFileFormatJSON).SetPretty(true)
	return errors.Join(encoder.EncodeVersion(bill(what), cdx.SpecVersion1_6), f.Close())
}
