// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"

	"github.com/containerd/containerd/v2/core/diff/apply"
	ctdmetadata "github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	ctdsnapshot "github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/containerd/v2/plugins/diff/walking"
	"github.com/moby/buildkit/cache/metadata"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/cmd/buildkitd/config"
	"github.com/moby/buildkit/executor/oci"
	"github.com/moby/buildkit/executor/resources"
	"github.com/moby/buildkit/executor/runcexecutor"
	"github.com/moby/buildkit/exporter"
	"github.com/moby/buildkit/session"
	containerdsnapshot "github.com/moby/buildkit/snapshot/containerd"
	"github.com/moby/buildkit/util/disk"
	"github.com/moby/buildkit/util/leaseutil"
	"github.com/moby/buildkit/util/network/netproviders"
	"github.com/moby/buildkit/version"
	"github.com/moby/buildkit/worker"
	"github.com/moby/buildkit/worker/base"
	wlabel "github.com/moby/buildkit/worker/label"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	bolt "go.etcd.io/bbolt"

	"github.com/mab-build/mab/manifestlist/contents"
)

// node is BuildKit's worker with three differences: its platforms are the ones that were probed last, its
// exporters leave out of provenance what changes from one run of the same build to the next, and check images.
type node struct {
	*base.Worker
	able    *atomic.Pointer[abilities]
	machine *machineReader
	// kept is what earlier checks have read of layers.
	kept contents.CacheDir
}

var _ worker.Worker = (*node)(nil)

// Platforms returns what was probed. BuildKit would probe again every 20 s, at the cost of a build that waits for it.
func (n *node) Platforms(bool) []ocispec.Platform { return n.able.Load().platforms }

// Labels returns the worker's, with those of the last survey and the machine as it is now.
func (n *node) Labels() map[string]string {
	out := maps.Clone(n.Worker.Labels())
	maps.Copy(out, n.able.Load().labels)
	if text, err := json.Marshal(n.machine.read()); err == nil {
		out[machineLabel] = string(text)
	}
	return out
}

// Exporter returns BuildKit's exporter with steady provenance, which checks images for who asks for it.
func (n *node) Exporter(name string, sm *session.Manager) (exporter.Exporter, error) {
	e, err := n.Worker.Exporter(name, sm)
	if err != nil {
		return nil, err
	}
	return verifyingExporter{steadyExporter{e, pusher{n.Worker, sm}}, n.ContentStore(), n.kept}, nil
}

type workerConfig struct {
	root string
	user bool
	// runc is the path of the program.
	runc    string
	limited []Limit
	able    *atomic.Pointer[abilities]
	hosts   docker.RegistryHosts
	limits  Limits
	config  Config
	// entitlements are granted to who asks.
	entitlements []string
}

func newNode(ctx context.Context, cfg workerConfig) (*node, error) {
	opt, err := workerOptions(cfg)
	if err != nil {
		return nil, fmt.Errorf("preparing the worker: %w", err)
	}
	w, err := base.NewWorker(ctx, opt)
	if err != nil {
		return nil, fmt.Errorf("making the worker: %w", err)
	}
	return &node{Worker: w, able: cfg.able, machine: newMachineReader(os.DirFS("/"), cfg.root), kept: State{Root: cfg.root}.Checks()}, nil
}

// workerOptions is runc.NewWorkerOpt of BuildKit, but for the databases: see unsynced.
func workerOptions(cfg workerConfig) (base.WorkerOpt, error) {
	layers, err := newLayers(cfg.root, cfg.config.daemon.Workers.OCI.Snapshotter)
	if err != nil {
		return base.WorkerOpt{}, err
	}
	name, root := layers.name, layers.directory
	labels, err := workerLabels(cfg, layers)
	if err != nil {
		return base.WorkerOpt{}, err
	}
	networks, proxy, _, err := netproviders.Providers(netproviders.Opt{Mode: networkMode})
	if err != nil {
		return base.WorkerOpt{}, err
	}
	monitor, err := resources.NewMonitor()
	if err != nil {
		return base.WorkerOpt{}, err
	}
	exec, err := runcexecutor.New(runcexecutor.Opt{
		Root: filepath.Join(root, "executor"), Rootless: cfg.user, ProcessMode: oci.ProcessSandbox,
		ResourceMonitor: monitor, ProxyProvider: proxy, DNS: cfg.config.dns(),
		CommandCandidates: []string{cfg.runc},
	}, networks)
	if err != nil {
		return base.WorkerOpt{}, err
	}
	blobs, err := local.NewStore(filepath.Join(root, "content"))
	if err != nil {
		return base.WorkerOpt{}, err
	}
	db, err := bolt.Open(filepath.Join(root, "containerdmeta.db"), 0o600, unsynced())
	if err != nil {
		return base.WorkerOpt{}, err
	}
	meta := ctdmetadata.NewDB(db, blobs, map[string]ctdsnapshot.Snapshotter{name: layers.Snapshotter})
	if err := meta.Init(context.Background()); err != nil {
		return base.WorkerOpt{}, err
	}
	records, err := newRecords(root)
	if err != nil {
		return base.WorkerOpt{}, err
	}
	id, err := base.ID(root)
	if err != nil {
		return base.WorkerOpt{}, err
	}
	store := containerdsnapshot.NewContentStore(meta.ContentStore(), namespace)
	return base.WorkerOpt{
		ID: id, Root: root, Labels: labels, ParallelismSem: cfg.config.parallelism(),
		Platforms: cfg.able.Load().platforms, RegistryHosts: cfg.hosts, GCPolicy: gcPolicy(cfg.limits, cfg.config.daemon.Workers.OCI.GCConfig, cfg.root),
		BuildkitVersion:  client.BuildkitVersion{Package: version.Package, Version: version.Version, Revision: version.Revision},
		NetworkProviders: networks, ProxyProvider: proxy, Executor: hostNetwork{exec}, ResourceMonitor: monitor,
		MetadataStore: records,
		Snapshotter:   containerdsnapshot.NewSnapshotter(name, meta.Snapshotter(name), namespace, nil),
		ContentStore:  store,
		Applier:       apply.NewFileSystemApplier(store), Differ: walking.NewWalkingDiff(store),
		LeaseManager:   leaseutil.WithNamespace(ctdmetadata.NewLeaseManager(meta), namespace),
		GarbageCollect: meta.GarbageCollect,
		MountPoolRoot:  filepath.Join(root, "cachemounts"),
	}, nil
}

// newRecords opens BuildKit's own metadata.
func newRecords(root string) (*metadata.Store, error) {
	records, err := metadata.NewStore(filepath.Join(root, "metadata_v2.db"))
	if err != nil {
		return nil, err
	}
	if db, ok := records.DB().(*bolt.DB); ok {
		db.NoSync = true
	}
	return records, nil
}

// namespace is what BuildKit calls its share of containerd's databases.
const namespace = "buildkit"

// networkMode puts steps into the network of the machine: a network of their own would need a helper program for a plain user,
// and for root rules on the host.
const networkMode = "host"

func workerLabels(cfg workerConfig, layers *layers) (map[string]string, error) {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	out := map[string]string{
		wlabel.Executor: "oci", wlabel.Snapshotter: layers.name, wlabel.Hostname: host, wlabel.Network: networkMode,
		wlabel.OCIProcessMode: oci.ProcessSandbox.String(), wlabel.SELinuxEnabled: "false",
	}
	limits := cfg.limited
	if layers.limit != (Limit{}) {
		limits = append(slices.Clone(limits), layers.limit)
	}
	text, err := json.Marshal(limits)
	if err != nil {
		return nil, fmt.Errorf("writing down what limits the solver: %w", err)
	}
	out[limitsLabel] = string(text)
	return out, nil
}

// gcPolicy is what a config says, else BuildKit's default. The user's limits come before both.
func gcPolicy(limits Limits, cfg config.GCConfig, root string) []client.PruneInfo {
	space, _ := disk.GetDiskStat(root)
	if limits.CacheSize > 0 {
		cfg = config.DetectDefaultGCCap(space)
		cfg.GCMaxUsedSpace = config.DiskSpace{Bytes: limits.CacheSize}
		cfg.GCReservedSpace = config.DiskSpace{}
	}
	var out []client.PruneInfo
	for _, rule := range gcRules(cfg, space) {
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
