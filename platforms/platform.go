// SPDX-License-Identifier: Apache-2.0

// Package platforms names what images are built for: it reads every spelling users type, normalises it as the OCI image
// specification and containerd do, and knows what follows from a name alone: which images a machine may run, the
// build arguments, the ELF header.
//
// Its one rule: a Platform in hand is always normalised. Values come from Parse, FromOCI or Host, never from a literal,
// so that == compares them and a map keyed by them finds them.
//
// A bare architecture means Linux, whatever this binary runs on, because mab builds Linux images: "arm64" on a Mac is
// linux/arm64. Normal forms leave out what is the default (linux/arm64 is v8, linux/amd64 is v1), but 32-bit ARM always
// carries its version: linux/arm is linux/arm/v7.
package platforms

import (
	"fmt"
	"strings"

	cplatforms "github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Platform is what an image is built for. It is comparable and normalised; the zero value means "no platform".
type Platform struct{ OS, Architecture, Variant string }

// FromOCI returns o normalised. It accepts any platform an image may carry, unknown/unknown (attestations) included,
// and drops what a Platform does not have: OSVersion and OSFeatures.
func FromOCI(o ocispec.Platform) Platform {
	if o.OS == "" && o.Architecture == "" {
		return Platform{}
	}
	os, arch := strings.ToLower(o.OS), strings.ToLower(o.Architecture)
	// containerd reads "8" as v8 for arm and arm64, but not "8.1", nor amd64's "3".
	variant := strings.ToLower(o.Variant)
	if versioned(arch) && variant != "" && variant[0] >= '0' && variant[0] <= '9' {
		variant = "v" + variant
	}
	// An empty OS would become that of this binary, which is not what the image says.
	if os == "" {
		os = "unknown"
	}
	n := cplatforms.Normalize(ocispec.Platform{OS: os, Architecture: arch, Variant: variant})
	return Platform{OS: n.OS, Architecture: n.Architecture, Variant: n.Variant}
}

func versioned(arch string) bool {
	switch spellings[arch].arch {
	case "amd64", "arm", "arm64":
		return true
	}
	return false
}

// OCI returns p as the OCI specification writes it, for descriptors and image configurations.
func (p Platform) OCI() ocispec.Platform {
	return ocispec.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant}
}

// Host returns the platform this binary runs on. The variant is given where the name means nothing definite without it
// (arm/v6 is not arm/v7); amd64 and arm64 come without, as BuildKit names them: what else the CPU can do is probed.
func Host() Platform {
	o := cplatforms.DefaultSpec()
	if o.Architecture != "arm" || o.Variant == "unknown" {
		o.Variant = ""
	}
	return FromOCI(o)
}

// String returns the normal form, os/architecture or os/architecture/variant, which Parse reads back to the same value.
// The zero value gives "".
func (p Platform) String() string {
	if p == (Platform{}) {
		return ""
	}
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}

// Slug returns the normal form with dashes for slashes (linux-arm-v7), as file names and tags need it.
func (p Platform) Slug() string { return strings.ReplaceAll(p.String(), "/", "-") }

// MarshalText writes the normal form, so that JSON has "linux/arm/v7", map keys included.
func (p Platform) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads what MarshalText wrote and every spelling Parse accepts; empty text gives the zero value.
func (p *Platform) UnmarshalText(text []byte) error {
	switch string(text) {
	case "":
		*p = Platform{}
		return nil
	case "unknown/unknown":
		*p = Platform{OS: "unknown", Architecture: "unknown"}
		return nil
	}
	q, err := Parse(string(text))
	if err != nil {
		return fmt.Errorf("reading a platform: %w", err)
	}
	*p = q
	return nil
}
