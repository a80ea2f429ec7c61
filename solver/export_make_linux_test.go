// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"context"
	"encoding/json"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Store is Imports as BuildKit reads it.
func (i *Imports) Store() content.Store { return importStore{Imports: i} }

// Layers are the digests of a part's layers.
func (m *Made) Layers() []digest.Digest {
	var out []digest.Digest
	for _, b := range m.blobs {
		if b.text == nil {
			out = append(out, b.Digest)
		}
	}
	return out
}

// Image solves a definition that may name what is in store, and gives the layers of its image, whose times are all the same.
func (c *Client) Image(ctx context.Context, pb *pb.Definition, store content.Store, see func(*client.SolveStatus)) ([]ocispec.Descriptor, error) {
	var def llb.Definition
	def.FromPB(pb)
	status := make(chan *client.SolveStatus)
	seen := make(chan struct{})
	go func() {
		defer close(seen)
		for s := range status {
			see(s)
		}
	}()
	resp, err := c.bk.Solve(ctx, &def, client.SolveOpt{
		OCIStores: map[string]content.Store{ImportStore: store},
		Exports:   []client.ExportEntry{{Type: client.ExporterImage, Attrs: map[string]string{"source-date-epoch": "0", "rewrite-timestamp": "true"}}},
	}, status)
	<-seen
	if err != nil {
		return nil, err
	}
	out, err := result("", resp)
	if err != nil {
		return nil, err
	}
	text, err := c.blob(ctx, out.Index)
	if err != nil {
		return nil, err
	}
	var m ocispec.Manifest
	err = json.Unmarshal(text, &m)
	return m.Layers, err
}
