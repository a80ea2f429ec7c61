// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"

	remoteserrors "github.com/containerd/containerd/v2/core/remotes/errors"
	"github.com/moby/buildkit/cache"
	cacheconfig "github.com/moby/buildkit/cache/config"
	"github.com/moby/buildkit/exporter"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/util/compression"
	"github.com/moby/buildkit/util/contentutil"
	"github.com/moby/buildkit/util/errutil"
	"github.com/moby/buildkit/util/push"
	"github.com/moby/buildkit/worker/base"
	"github.com/opencontainers/go-digest"
)

// pusher pushes by digest what an exporter has made under names with tags: BuildKit's own pushes by digest only under names without, and
// calls the image by these in its attestations.
type pusher struct {
	worker   *base.Worker
	sessions *session.Manager
}

// named is an exporter that makes the image under its names, and how it is to be pushed afterwards.
type named struct {
	exporter.ExporterInstance
	pusher
	repositories []string
	insecure     bool
	layers       cacheconfig.RefConfig
}

// takeNames takes the names of an image that is pushed by digest out of the settings of its exporter. No repositories: it has no such names.
func takeNames(attrs map[string]string) (own map[string]string, repositories []string) {
	names := attrs[namesAttr]
	own = maps.Clone(attrs)
	delete(own, namesAttr)
	if names == "" || !isTrue(attrs[string(exptypes.OptKeyPush)]) || !isTrue(attrs[string(exptypes.OptKeyPushByDigest)]) {
		return own, nil
	}
	repositories = strings.Split(attrs[string(exptypes.OptKeyName)], ",")
	own[string(exptypes.OptKeyName)] = names
	for _, key := range []exptypes.ImageExporterOptKey{exptypes.OptKeyPush, exptypes.OptKeyPushByDigest} {
		delete(own, string(key))
	}
	return own, repositories
}

func (p pusher) named(in exporter.ExporterInstance, repositories []string, attrs map[string]string) (*named, error) {
	compressed, err := compression.ParseAttributes(attrs)
	if err != nil {
		return nil, err
	}
	out := &named{ExporterInstance: in, pusher: p, repositories: repositories, layers: cacheconfig.RefConfig{Compression: compressed}}
	out.insecure = isTrue(attrs[string(exptypes.OptKeyInsecure)])
	out.layers.PreferNonDistributable, _ = strconv.ParseBool(attrs[string(exptypes.OptKeyPreferNondistLayers)])
	return out, nil
}

// Export exports, and has the image pushed where BuildKit does.
func (n *named) Export(ctx context.Context, src *exporter.Source, info exporter.ExportBuildInfo) (map[string]string, exporter.FinalizeFunc, exporter.DescriptorReference, error) {
	answer, finalize, ref, err := n.ExporterInstance.Export(ctx, src, info)
	if err != nil {
		return nil, nil, nil, err
	}
	made := digest.Digest(answer[exptypes.ExporterImageDigestKey])
	return answer, func(ctx context.Context) error {
		if finalize != nil {
			if err := finalize(ctx); err != nil {
				return err
			}
		}
		for _, repository := range n.repositories {
			if err := n.push(ctx, src, info.SessionID, repository, made); err != nil {
				var status remoteserrors.ErrUnexpectedStatus
				if errors.As(err, &status) {
					err = errutil.WithDetails(err)
				}
				return fmt.Errorf("failed to push %v: %w", repository, err) // BuildKit's words
			}
		}
		return nil
	}, ref, nil
}

// push is imageExporterInstance.pushImage of https://github.com/moby/buildkit/blob/v0.33.1/exporter/containerimage/export.go: layers that this
// machine never read come from where they are.
func (n *named) push(ctx context.Context, src *exporter.Source, id, repository string, made digest.Digest) error {
	store := n.worker.ContentStore()
	from := contentutil.NewMultiProvider(store)
	annotations := map[digest.Digest]map[string]string{}
	refs := maps.Clone(src.Refs)
	if src.Ref != nil {
		refs = map[string]cache.ImmutableRef{"": src.Ref}
	}
	for _, ref := range refs {
		if ref == nil {
			continue
		}
		remotes, err := ref.GetRemotes(ctx, false, n.layers, false, session.NewGroup(id))
		if err != nil {
			return err
		}
		for _, desc := range remotes[0].Descriptors {
			from.Add(desc.Digest, remotes[0].Provider)
			if desc.Annotations == nil {
				continue
			}
			if annotations[desc.Digest] == nil {
				annotations[desc.Digest] = map[string]string{}
			}
			maps.Copy(annotations[desc.Digest], desc.Annotations)
		}
	}
	return push.Push(ctx, n.sessions, id, from, store, made, repository, n.insecure, n.worker.RegistryHosts, true, annotations)
}
