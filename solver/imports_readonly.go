// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"context"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
)

// readOnly refuses whatever of a content store is not reading.
type readOnly struct{}

// Update refuses.
func (readOnly) Update(context.Context, content.Info, ...string) (content.Info, error) {
	return content.Info{}, errdefs.ErrPermissionDenied
}

// Walk finds nothing: what is there is known by its digest.
func (readOnly) Walk(context.Context, content.WalkFunc, ...string) error { return nil }

// Delete refuses.
func (readOnly) Delete(context.Context, digest.Digest) error { return errdefs.ErrPermissionDenied }

// Status finds nothing that is being written.
func (readOnly) Status(context.Context, string) (content.Status, error) {
	return content.Status{}, errdefs.ErrNotFound
}

// ListStatuses finds nothing that is being written.
func (readOnly) ListStatuses(context.Context, ...string) ([]content.Status, error) { return nil, nil }

// Abort refuses.
func (readOnly) Abort(context.Context, string) error { return errdefs.ErrPermissionDenied }

// Writer refuses.
func (readOnly) Writer(context.Context, ...content.WriterOpt) (content.Writer, error) {
	return nil, errdefs.ErrPermissionDenied
}
