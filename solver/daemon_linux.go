// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/moby/buildkit/cache/remotecache"
	inlineremotecache "github.com/moby/buildkit/cache/remotecache/inline"
	localremotecache "github.com/moby/buildkit/cache/remotecache/local"
	registryremotecache "github.com/moby/buildkit/cache/remotecache/registry"
	"github.com/moby/buildkit/control"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/solver"
	"github.com/moby/buildkit/solver/bboltcachestorage"
	"github.com/moby/buildkit/util/db/boltutil"
	"github.com/moby/buildkit/util/resolver"
	"github.com/moby/buildkit/util/tracing/detect"
	"github.com/moby/buildkit/worker"
	_ "google.golang.org/grpc/encoding/proto" // BuildKit's codec replaces it and must be registered after it.

	_ "github.com/moby/buildkit/util/grpcutil/encoding/proto" // BuildKit's messages need its codec.
)

// newController composes BuildKit's daemon as cmd/buildkitd does, with one worker. The caller closes the controller.
func newController(ctx context.Context, cfg workerConfig) (*control.Controller, error) {
	sessions, err := session.NewManager()
	if err != nil {
		return nil, fmt.Errorf("making the session manager: %w", err)
	}
	cfg.config.limitRegistries()
	cfg.hosts = resolver.NewRegistryConfig(cfg.config.registries())
	n, err := newNode(ctx, cfg)
	if err != nil {
		return nil, err
	}
	workers := &worker.Controller{}
	if err := workers.Add(n); err != nil {
		return nil, fmt.Errorf("adding the worker: %w", err)
	}
	frontends, err := cfg.config.frontends(workers.Infos())
	if err != nil {
		return nil, err
	}
	cache, err := bboltcachestorage.NewStore(filepath.Join(cfg.root, "cache.db"))
	if err != nil {
		return nil, fmt.Errorf("opening the cache: %w", err)
	}
	history, err := boltutil.SafeOpen(filepath.Join(cfg.root, "history.db"), 0o600, unsynced())
	if err != nil {
		return nil, fmt.Errorf("opening the history: %w", err)
	}
	// Without a recorder BuildKit logs an error for each build's missing trace.
	detect.Recorder = detect.NewTraceRecorder()
	return control.NewController(control.Opt{
		SessionManager:   sessions,
		WorkerController: workers,
		Frontends:        frontends,
		CacheManager:     solver.NewCacheManager(ctx, "local", cache, worker.NewCacheResultStorage(workers)),
		CacheStore:       cache,
		ResolveCacheExporterFuncs: map[string]remotecache.ResolveCacheExporterFunc{
			"registry": registryremotecache.ResolveCacheExporterFunc(sessions, cfg.hosts),
			"local":    localremotecache.ResolveCacheExporterFunc(sessions),
			"inline":   inlineremotecache.ResolveCacheExporterFunc(),
		},
		ResolveCacheImporterFuncs: map[string]remotecache.ResolveCacheImporterFunc{
			"registry": registryremotecache.ResolveCacheImporterFunc(sessions, n.ContentStore(), cfg.hosts),
			"local":    localremotecache.ResolveCacheImporterFunc(sessions),
		},
		Entitlements:   cfg.entitlements,
		TraceCollector: detect.Recorder,
		HistoryDB:      history,
		HistoryConfig:  cfg.config.daemon.History,
		LeaseManager:   n.LeaseManager(),
		ContentStore:   n.ContentStore(),
		GarbageCollect: n.GarbageCollect,
		GracefulStop:   ctx.Done(),
	})
}
