// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/util/grpcerrors"
	"google.golang.org/grpc/codes"
)

// Failure is a build that failed on the solver.
type Failure struct {
	err error
	// Source shows the lines of the Dockerfile that failed. Empty if none did.
	Source string
	// Base is the base image that lacks a platform which was asked for. Empty if that was not the reason.
	Base string
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
	return code == codes.Unavailable || code == codes.Canceled
}

// explain finds in BuildKit's error what a user needs. A build that was cancelled here is cancelled, whatever the solver said.
func explain(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("building: %w", ctx.Err())
	}
	out := &Failure{err: err, Base: baseWithoutPlatform(err.Error())}
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
