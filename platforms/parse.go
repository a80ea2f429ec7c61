// SPDX-License-Identifier: Apache-2.0

package platforms

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// SyntaxError is a spelling Parse cannot read.
type SyntaxError struct {
	Spelling string // as the user typed it
	Reason   string // what is wrong with it
	hint     string
}

// Error names the spelling and what is wrong with it.
func (e *SyntaxError) Error() string {
	return fmt.Sprintf("parsing platform %q: %s", e.Spelling, e.Reason)
}

// Hint returns the nearest known spelling, or the list of known ones.
func (e *SyntaxError) Hint() string { return e.hint }

// Parse reads one platform: an architecture (arm64, x86_64, armhf), architecture/variant (amd64/v3), an operating system
// (its platform for this machine's architecture), os/architecture or os/architecture/variant, in upper or lower case.
// Its error is a *SyntaxError. Versions of operating systems, wildcards and "local" are none of the spellings.
func Parse(s string) (Platform, error) {
	p, err := parse(strings.ToLower(strings.TrimSpace(s)))
	if e := (*SyntaxError)(nil); errors.As(err, &e) {
		e.Spelling = s
	}
	return p, err
}

func parse(s string) (Platform, error) {
	parts := strings.Split(s, "/")
	if s == "" {
		return Platform{}, &SyntaxError{Reason: "no platform given", hint: listHint()}
	}
	if len(parts) > 3 || slices.Contains(parts, "") {
		return Platform{}, &SyntaxError{Reason: "not of the form [os/]architecture[/variant]", hint: nearestHint(s)}
	}
	os := "linux"
	if canonical, ok := systems[parts[0]]; ok {
		os, parts = canonical, parts[1:]
		if len(parts) == 0 {
			host := Host()
			return Platform{OS: os, Architecture: host.Architecture, Variant: host.Variant}, nil
		}
	} else if _, ok := spellings[parts[0]]; !ok && len(parts) > 1 && spellings[parts[1]].arch != "" {
		return Platform{}, &SyntaxError{Reason: fmt.Sprintf("unknown operating system %q", parts[0]), hint: nearestHint(s)}
	}
	variant := ""
	if len(parts) > 1 {
		variant = parts[1]
	}
	return assemble(os, parts[0], variant, s)
}

func assemble(os, arch, variant, whole string) (Platform, error) {
	sp, ok := spellings[arch]
	if !ok {
		return Platform{}, &SyntaxError{Reason: fmt.Sprintf("unknown architecture %q", arch), hint: nearestHint(whole)}
	}
	p := FromOCI(ocispec.Platform{OS: os, Architecture: sp.arch, Variant: sp.variant})
	if variant == "" {
		return p, nil
	}
	q := FromOCI(ocispec.Platform{OS: os, Architecture: sp.arch, Variant: variant})
	if q.Variant != "" && !slices.Contains(variants[sp.arch], q.Variant) {
		return Platform{}, &SyntaxError{Reason: fmt.Sprintf("unknown variant %q of %s", variant, sp.arch), hint: variantHint(os, sp.arch)}
	}
	if sp.variant != "" && q != p {
		return Platform{}, &SyntaxError{
			Reason: fmt.Sprintf("%q already says %s", arch, p),
			hint:   fmt.Sprintf("write %s or %s", p, q),
		}
	}
	return q, nil
}

// ParseList reads the platforms of a repeatable flag: each item may hold several, separated by commas. The order is
// kept; a platform that was named before, in whatever spelling, is dropped. No items give none.
func ParseList(list []string) ([]Platform, error) {
	var out []Platform
	for _, item := range list {
		for s := range strings.SplitSeq(item, ",") {
			p, err := Parse(s)
			if err != nil {
				return nil, err
			}
			if !slices.Contains(out, p) {
				out = append(out, p)
			}
		}
	}
	return out, nil
}

// MustParse is Parse for tables and tests; it panics on an error.
func MustParse(s string) Platform {
	p, err := Parse(s)
	if err != nil {
		panic(err)
	}
	return p
}
