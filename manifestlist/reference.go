// SPDX-License-Identifier: Apache-2.0

package manifestlist

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
)

// Reference is the full name of an image: docker.io/library/alpine:3.22. It is comparable, and normalised when it comes from
// ParseReference. With neither Tag nor Digest it names the repository alone: pushing to it writes by digest, without a tag.
type Reference struct {
	Registry   string // host with optional port; Docker Hub is docker.io
	Repository string // path in the registry, library/ included
	Tag        string
	Digest     digest.Digest
}

// ParseReference reads an image name as docker does: a name without a registry is on Docker Hub, one without a slash in its
// library, and the tag is latest where neither tag nor digest is given. Its errors have a Hint.
func ParseReference(s string) (Reference, error) {
	named, err := reference.ParseNormalizedNamed(s)
	if err != nil {
		return Reference{}, misspelt{hinted{fmt.Errorf("reading reference %q: %w", s, err), referenceHint(s)}}
	}
	r := Reference{Registry: reference.Domain(named), Repository: reference.Path(named)}
	if d, ok := named.(reference.Digested); ok {
		if err := d.Digest().Validate(); err != nil {
			return Reference{}, misspelt{hintf(fmt.Errorf("reading reference %q: %w", s, err), "a digest is sha256: and 64 hexadecimal digits")}
		}
		r.Digest = d.Digest()
	}
	if t, ok := reference.TagNameOnly(named).(reference.Tagged); ok {
		r.Tag = t.Tag()
	}
	return r, nil
}

// misspelt is a reference that is none. It has the hint of what it wraps.
type misspelt struct{ error }

func (m misspelt) Unwrap() error { return m.error }

// Usage marks the error as the user's, for the exit code.
func (m misspelt) Usage() bool { return true }

// ParseReferences reads a list of tags in order; one that was named before is dropped. A digest among them is an error, since
// nobody can choose the digest to write to.
func ParseReferences(list []string) ([]Reference, error) {
	var refs []Reference
	seen := map[Reference]bool{}
	for _, s := range list {
		r, err := ParseReference(s)
		if err != nil {
			return nil, err
		}
		if err := r.writable(); err != nil {
			return nil, err
		}
		if !seen[r] {
			seen[r] = true
			refs = append(refs, r)
		}
	}
	return refs, nil
}

func (r Reference) writable() error {
	if r.Digest == "" {
		return nil
	}
	tag := r
	tag.Digest = ""
	return hintf(fmt.Errorf("writing to %q: %w", r, errors.New("a digest follows from the content and cannot be chosen")),
		"leave it out: %s", tag.Familiar())
}

// Name returns registry and repository without tag and digest: docker.io/library/alpine.
func (r Reference) Name() string { return r.Registry + "/" + r.Repository }

// String returns the full form, which ParseReference reads back to the same value.
func (r Reference) String() string {
	s := r.Name()
	if r.Tag != "" {
		s += ":" + r.Tag
	}
	if r.Digest != "" {
		s += "@" + r.Digest.String()
	}
	return s
}

// Familiar returns the short form that docker shows: alpine:3.22. It reads back to the same value, too.
func (r Reference) Familiar() string {
	short, hub := strings.CutPrefix(r.String(), "docker.io/")
	first, _, deep := strings.Cut(r.Repository, "/")
	switch {
	case !hub, deep && (first == "localhost" || strings.ContainsRune(first, '.')):
		return r.String() // without the registry, first would be taken for one
	case strings.Count(r.Repository, "/") == 1:
		return strings.TrimPrefix(short, "library/")
	}
	return short
}

func (r Reference) identifier() string {
	if r.Digest != "" {
		return r.Digest.String()
	}
	return r.Tag
}

func referenceHint(s string) string {
	// Only the path must be lower case: registries and tags may hold capitals.
	path, tag := s, ""
	if colon := strings.LastIndexByte(s, ':'); colon > strings.LastIndexByte(s, '/') {
		path, tag = s[:colon], s[colon:]
	}
	_, withoutScheme, scheme := strings.Cut(s, "://")
	switch {
	case strings.TrimSpace(s) == "":
		return "name an image, such as registry.example.com/team/app:1.0"
	case strings.ContainsAny(s, " \t\r\n"):
		return "image names hold no spaces: " + strings.Join(strings.Fields(s), "")
	case scheme:
		return "leave out the scheme: " + withoutScheme
	case path != strings.ToLower(path):
		return "repository names are lower case: " + strings.ToLower(path) + tag
	case tag == ":":
		return "a tag is missing after the colon: " + path + ":latest"
	case strings.HasSuffix(path, "/"):
		return "a name is missing after the last slash"
	}
	return "names are lower-case letters, digits, and . _ - between them; tags up to 128 letters, digits, . _ -"
}

// isLoopback reports whether host (with or without port) is this machine by its name alone. RFC 6761 section 6.3 gives
// .localhost to the loopback.
func isLoopback(host string) bool {
	host = strings.ToLower(hostname(host))
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.Unmap().IsLoopback()
	}
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// hostname strips the port and an IPv6 address's brackets.
func hostname(host string) string {
	if inner, ok := strings.CutPrefix(host, "["); ok {
		inner, _, _ = strings.Cut(inner, "]")
		return inner
	}
	name, _, _ := strings.Cut(host, ":")
	return name
}
