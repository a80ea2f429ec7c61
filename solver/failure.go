// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/distribution/reference"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/util/grpcerrors"
	"github.com/opencontainers/go-digest"
	"google.golang.org/grpc/codes"

	"github.com/mab-build/mab/emulation"
	"github.com/mab-build/mab/platforms"
)

// Failure is a build that failed on the solver.
type Failure struct {
	err error
	// lost is the end of the connection, which not every message shows.
	lost bool
	// here is a disk of this machine that is full; emulated is the platform of the step on that solver; seen is what the step wrote.
	here, emulated bool
	seen           testimony
	// qemu is the version of the emulator. Empty: not known.
	qemu string
	// Source shows the lines of the Dockerfile that failed. Empty if none did.
	Source string
	// Base is the base image that lacks a platform which was asked for. Empty if that was not the reason.
	Base string
	// Step is the digest of the step that failed, as the graph has it. Empty if no step did.
	Step digest.Digest
	// Platform is the one whose code that step runs. Its zero value: not known.
	Platform platforms.Platform
}

func (f *Failure) Error() string {
	// BuildKit's client wraps each failure in these two; they say nothing.
	text := strings.TrimPrefix(f.err.Error(), "failed to solve: ")
	return strings.TrimPrefix(text, "failed to run Build function: ")
}

// Unwrap gives BuildKit's error.
func (f *Failure) Unwrap() error { return f.err }

// Lost reports whether the solver went away, be it that the connection broke or that it was stopped, so that the build may
// succeed elsewhere.
func (f *Failure) Lost() bool {
	code := grpcerrors.Code(f.err)
	return f.lost || code == codes.Unavailable || code == codes.Canceled
}

// explain finds in BuildKit's error what a user needs. A build that was cancelled here is cancelled, whatever the solver said.
func explain(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("building: %w", ctx.Err())
	}
	out := &Failure{err: err, Base: baseWithoutPlatform(err.Error())}
	var vertex *errdefs.VertexError
	if errors.As(err, &vertex) {
		out.Step = digest.Digest(vertex.Digest)
	}
	for _, source := range errdefs.Sources(err) {
		var b bytes.Buffer
		if source.Print(&b) == nil && b.Len() > 0 {
			out.Source = b.String()
			break
		}
	}
	return out
}

// baseWithoutPlatform finds the image in BuildKit's message about a base image that has no manifest for a platform:
// "…: REF: failed to resolve source metadata for REF: no match for platform in manifest: not found".
func baseWithoutPlatform(text string) string {
	const before, after = "failed to resolve source metadata for ", ": no match for platform in manifest"
	_, rest, ok := strings.Cut(text, before)
	if !ok {
		return ""
	}
	ref, _, ok := strings.Cut(rest, after)
	if !ok {
		return ""
	}
	return ref
}

// Hint says what mends the failures that a user can mend.
func (f *Failure) Hint() string { return f.HintFor("") }

// HintFor is Hint for a failure whose message names no registry although it is one's: then host is the one.
func (f *Failure) HintFor(host string) string {
	if late := (*overdueError)(nil); errors.As(f.err, &late) {
		return late.Hint()
	}
	if t, ok := emulation.TroubleSaid(f.seen.trouble, f.qemu, f.Platform); ok && f.emulated {
		return fmt.Sprintf("QEMU is known for this: %s (%s); what helps: %s", t.What, t.Sources[0], t.Remedy())
	}
	if f.here && saysNoRoom(f.Error()) {
		return "the disk that the result is written to is full: make room there, or write it elsewhere (TMPDIR is where parts wait that go elsewhere)"
	}
	if host == "" {
		host = sourceRegistry(f.Source)
	}
	return hint(f.Error(), host)
}

// failedFrom finds the image in the line of a Dockerfile that failed.
var failedFrom = regexp.MustCompile(`(?mi)^\s*\d+ \| >>>\s+FROM\s+(?:--\S+\s+)*(\S+)`)

// sourceRegistry is the registry of the FROM line that failed; empty if none did.
func sourceRegistry(source string) string {
	found := failedFrom.FindStringSubmatch(source)
	if found == nil {
		return ""
	}
	named, err := reference.ParseNormalizedNamed(found[1])
	if err != nil {
		return ""
	}
	return reference.Domain(named)
}

// remedies are the words of containerd and BuildKit by which failures are known that a user can mend, the most telling first. %s
// stands for the registry.
var remedies = []struct{ words, hint string }{
	{"when split option is disabled", "leave platform-split=false out, or have each platform name its files otherwise: $TARGETARCH"},
	{"unknown scheme git", "the solver found no git when it started: install it on this machine, and start a new one: mab serve --stop"},
	{"cannot run ssh", "git fetches this repository by ssh: install the ssh client on this machine"},
	{`"xz": executable file not found`, "the solver unpacks xz with the program of that name: install it, or pack with gzip or zstd"},
	{"repository does not contain ref", "name a branch, tag or commit that the repository has; they are listed by: git ls-remote URL"},
	{"could not read Username", "the repository wants credentials: --secret id=GIT_AUTH_TOKEN,env=VARIABLE, or an ssh URL with --ssh default"},
	{"Authentication failed", "the repository wants other credentials: --secret id=GIT_AUTH_TOKEN,env=VARIABLE"},
	{"Permission denied (publickey", "the repository wants a key that it knows: --ssh default=$HOME/.ssh/id_ed25519, or ssh-add it to the agent"},
	{"error fetching default branch for repository", "check the URL of the repository, and that this machine reaches it"},
	{"invalid response status 404", "there is nothing at that URL; a git repository is recognised by its URL's end: .git"},
	{"invalid response status 40", "the server refuses that URL to everybody; fetch it yourself and give it as a file: mab build FILE.tar"},
	{"failed to read dockerfile: unexpected EOF", "the archive is damaged, or ends too early; pack it again"},
	{"failed to read dockerfile: open ", "the context has no such file; -f names another, as a path in the context"},
	{"target stage ", "name a stage of the Dockerfile: FROM IMAGE AS NAME"},
	{"no space left on device", "the disk of the solver's state is full: make room there, or put the state elsewhere with --root (see mab serve --help for limits of the cache)"},
	// containerd's words for an owner that the user namespace does not know.
	{"number of subordinate IDs", "this user has too few subordinate ids for the image: sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $USER, and then: mab serve --stop"},
	{"server gave HTTP response to HTTPS client", "%s speaks plain HTTP; if that is meant, allow it: --insecure-registry"},
	{"certificate signed by unknown authority", "install the CA of %s on this machine, or name its CA in a buildkitd.toml (docs/serve.md)"},
	{"tls: certificate required", "%s wants to see a certificate: name it as keypair in a buildkitd.toml (docs/serve.md)"},
	{"connection refused", "nothing listens at %s; check host and port, and that the server runs"},
	{"no such host", "this machine cannot find the address of %s; check its spelling and the network"},
	{"insufficient_scope", "%s wants other credentials; log in: docker login %[1]s"},
	{"401 Unauthorized", "%s wants other credentials; log in: docker login %[1]s"},
	{"failed to fetch anonymous token", "%s wants other credentials; log in: docker login %[1]s"},
	{"failed to fetch oauth token", "%s wants other credentials; log in: docker login %[1]s"},
	{": unauthorized: ", "%s wants other credentials; log in: docker login %[1]s"},
	{": denied: ", "the credentials for %s do not permit this; log in as someone who may: docker login %[1]s"},
	{"403 Forbidden", "the credentials for %s do not permit this; log in as someone who may: docker login %[1]s"},
}

// registryHost finds the registry in the URL of a request, or in the reference that BuildKit names.
var registryHost = regexp.MustCompile(`https?://([^/"\s]+)/|failed to push ([^/\s]+)/|source metadata for ([^/\s]+)/`)

func hint(text, host string) string {
	// Of a program that failed the message holds the command, whose words are the user's.
	if strings.Contains(text, "did not complete successfully") {
		return ""
	}
	if found := registryHost.FindStringSubmatch(text); found != nil {
		host = found[1] + found[2] + found[3]
	} else if host == "" {
		host = "the registry"
	}
	for _, r := range remedies {
		if !strings.Contains(text, r.words) {
			continue
		}
		if !strings.Contains(r.hint, "%") {
			return r.hint
		}
		return fmt.Sprintf(r.hint, host)
	}
	return ""
}
