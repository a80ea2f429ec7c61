// SPDX-License-Identifier: Apache-2.0

package manifestlist

import (
	"slices"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// beyond is what a repository may lack: all but what was read from it.
func (c contents) beyond(repo Reference, from Blobs) contents {
	in := func(dgst digest.Digest) bool {
		at, ok := repository(from, dgst)
		return ok && at == repo
	}
	c.blobs = slices.DeleteFunc(slices.Clone(c.blobs), func(d ocispec.Descriptor) bool { return in(d.Digest) })
	c.manifests = slices.DeleteFunc(slices.Clone(c.manifests), func(d document) bool { return in(d.desc.Digest) })
	return c
}

// origins are the other repositories of repo's registry that have what is lacking.
func (c contents) origins(repo Reference, from Blobs) []Reference {
	var out []Reference
	for _, desc := range c.blobs {
		at, ok := repository(from, desc.Digest)
		if ok && at.Registry == repo.Registry && !slices.Contains(out, at) {
			out = append(out, at)
		}
	}
	return out
}

// mounting is the standing to push to a repository, with what the registry wants of who mounts from others.
func (c *Client) mounting(repo Reference, origins []Reference) (*session, error) {
	var also []string
	for _, origin := range origins {
		also = append(also, "repository:"+origin.Repository+":"+transport.PullScope)
	}
	return c.session(repo, transport.PushScope, also...)
}

// mountable has the registry take a blob from another of its repositories, where it lies in one. A registry that does not do that gets
// it sent.
func (s *session) mountable(layer *blobLayer) v1.Layer {
	at, ok := repository(layer.from, layer.desc.Digest)
	if !ok || at.Registry != s.host {
		return layer
	}
	tag := s.repo.Registry.Repo(at.Repository).Tag(name.DefaultTag)
	return &remote.MountableLayer{Layer: layer, Reference: tag}
}
