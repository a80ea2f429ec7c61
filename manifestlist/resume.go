// SPDX-License-Identifier: Apache-2.0

package manifestlist

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// resumed is a blob of a registry that is asked for again, from where it broke off, when the connection breaks. Whether the parts are of
// one, its digest tells.
type resumed struct {
	ctx  context.Context //nolint:containedctx // io.Reader has no place for it
	s    *session
	desc ocispec.Descriptor
	body io.ReadCloser
	at   int64
	// broken is where it broke off last.
	broken int64
	tries  int
}

// mostResumes is how often a blob is asked for again at one place; each byte that comes is a new place.
const mostResumes = 3

// Read reads.
func (r *resumed) Read(p []byte) (int, error) {
	n, err := r.body.Read(p)
	r.at += int64(n)
	if err == nil || errors.Is(err, io.EOF) && r.at >= r.desc.Size || r.ctx.Err() != nil || !isCut(err) && !errors.Is(err, io.EOF) {
		return n, err
	}
	if r.at > r.broken {
		r.broken, r.tries = r.at, 0
	}
	if r.tries++; r.tries > mostResumes {
		return n, err
	}
	body, again := r.open()
	if again != nil {
		return n, errors.Join(err, again)
	}
	_ = r.body.Close()
	r.body = body
	return n, nil
}

// open asks for what has not come yet. A registry that sends all of it is read up to there.
func (r *resumed) open() (body io.ReadCloser, err error) {
	err = r.s.client.retry(r.ctx, func() error {
		// Some registries know only ranges with an end.
		header := http.Header{"Range": {fmt.Sprintf("bytes=%d-%d", r.at, r.desc.Size-1)}}
		resp, err := r.s.do(r.ctx, request{method: http.MethodGet, path: "blobs/" + r.desc.Digest.String(), header: header})
		if err != nil {
			return err
		}
		if err := transport.CheckError(resp, http.StatusOK, http.StatusPartialContent); err != nil {
			drain(resp)
			return err
		}
		if resp.StatusCode == http.StatusOK {
			if _, err := io.CopyN(io.Discard, resp.Body, r.at); err != nil {
				return errors.Join(err, resp.Body.Close())
			}
		}
		body = resp.Body
		return nil
	})
	return body, err
}

// Close closes.
func (r *resumed) Close() error { return r.body.Close() }
