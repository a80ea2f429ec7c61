// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"context"
	"fmt"
	"time"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	ctdsnapshot "github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/plugins/snapshots/native"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay/overlayutils"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/cmd/buildkitd/config"
	"github.com/moby/buildkit/executor/oci"
	"github.com/moby/buildkit/exporter"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/util/disk"
	"github.com/moby/buildkit/util/network/netproviders"
	"github.com/moby/buildkit/version"
	"github.com/moby/buildkit/worker"
	"github.com/moby/buildkit/worker/base"
	"github.com/moby/buildkit/worker/runc"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// node is BuildKit's worker with two differences: its platforms are the ones that were probed at the start, and its
// exporters leave out of provenance what changes from one run of the same build to the next.
type node struct {
	*base.Worker
	platforms []ocispec.Platform
}

var _ worker.Worker = (*node)(nil)

// Platforms returns what was probed. BuildKit would probe again every 20 s, at the cost of a build that waits for it.
func (n *node) Platforms(bool) []ocispec.Platform { return n.platforms }

// Exporter returns BuildKit's exporter with steady provenance.
func (n *node) Exporter(name string, sm *session.Manager) (exporter.Exporter, error) {
	e, err := n.Worker.Exporter(name, sm)
	if err != nil {
		return nil, err
	}
	return steadyExporter{e}, nil
}

type workerConfig struct {
	root      string
	user      bool
	platforms []ocispec.Platform
	labels    map[string]string
	hosts     docker.RegistryHosts
	limits    Limits
}

func newNode(ctx context.Context, cfg workerConfig) (*node, error) {
	opt, err := runc.NewWorkerOpt(
		cfg.root, snapshotter(cfg.root), cfg.user, oci.ProcessSandbox, cfg.labels,
		nil, netproviders.Opt{Mode: "host"}, nil, "", "", false, nil, "", "", nil)
	if err != nil {
		return nil, fmt.Errorf("preparing the worker: %w", err)
	}
	opt.GCPolicy = gcPolicy(cfg.limits, cfg.root)
	opt.RegistryHosts = cfg.hosts
	opt.Platforms = cfg.platforms
	opt.BuildkitVersion = client.BuildkitVersion{Package: version.Package, Version: version.Version, Revision: version.Revision}
	w, err := base.NewWorker(ctx, opt)
	if err != nil {
		return nil, fmt.Errorf("making the worker: %w", err)
	}
	return &node{Worker: w, platforms: cfg.platforms}, nil
}

// snapshotter prefers overlayfs. Without it every layer is a full copy: slow, but it works on any file system.
func snapshotter(root string) runc.SnapshotterFactory {
	if overlayutils.Supported(root) != nil {
		return runc.SnapshotterFactory{Name: "native", New: native.NewSnapshotter}
	}
	return runc.SnapshotterFactory{Name: "overlayfs", New: func(dir string) (ctdsnapshot.Snapshotter, error) {
		return overlay.NewSnapshotter(dir, overlay.AsynchronousRemove)
	}}
}

// gcPolicy is BuildKit's default with the user's limits put in.
func gcPolicy(limits Limits, root string) []client.PruneInfo {
	space, _ := disk.GetDiskStat(root)
	cfg := config.DetectDefaultGCCap(space)
	if limits.CacheSize > 0 {
		cfg.GCMaxUsedSpace = config.DiskSpace{Bytes: limits.CacheSize}
		cfg.GCReservedSpace = config.DiskSpace{}
	}
	var out []client.PruneInfo
	for _, rule := range config.DefaultGCPolicy(cfg, space) {
		out = append(out, client.PruneInfo{
			Filter:        rule.Filters,
			All:           rule.All,
			KeepDuration:  rule.KeepDuration.Duration,
			ReservedSpace: rule.ReservedSpace.AsBytes(space),
			MaxUsedSpace:  rule.MaxUsedSpace.AsBytes(space),
			MinFreeSpace:  rule.MinFreeSpace.AsBytes(space),
		})
	}
	if limits.CacheAge > 0 {
		out = append(out, client.PruneInfo{All: true, KeepDuration: limits.CacheAge})
	}
	return out
}

// Limits bound what a solver keeps. A zero field means BuildKit's default.
type Limits struct {
	// CacheSize is the most the cache may take on disk, in bytes.
	CacheSize int64
	// CacheAge is how long an unused cache entry is kept.
	CacheAge time.Duration
}
