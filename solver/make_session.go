// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"context"
	"fmt"
	"os"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/session"
	sessioncontent "github.com/moby/buildkit/session/content"
	"github.com/moby/buildkit/session/filesync"
	"github.com/tonistiigi/fsutil"
	"github.com/tonistiigi/fsutil/types"
)

// newSession is one for several builds, with all that opt has a solver read here; BuildKit's client makes them for one build each.
// Source: https://github.com/moby/buildkit/blob/v0.33.1/client/solve.go
func newSession(ctx context.Context, opt client.SolveOpt) (*session.Session, error) {
	s, err := session.NewSession(ctx, opt.SharedKey)
	if err != nil {
		return nil, fmt.Errorf("opening a session: %w", err)
	}
	dirs := filesync.StaticDirSource{}
	for name, dir := range opt.LocalMounts {
		if dirs[name], err = fsutil.NewFilterFS(dir, &fsutil.FilterOpt{Map: ofRoot}); err != nil {
			return nil, fmt.Errorf("opening the context %q: %w", name, err)
		}
	}
	s.Allow(filesync.NewFSSyncProvider(dirs))
	for _, a := range opt.Session {
		s.Allow(a)
	}
	stores, err := sessionStores(opt)
	if err != nil {
		return nil, err
	}
	s.Allow(sessioncontent.NewAttachable(stores))
	return s, nil
}

// ofRoot has files belong to root, whoever owns them here.
func ofRoot(_ string, stat *types.Stat) fsutil.MapResult {
	stat.Uid, stat.Gid = 0, 0
	return fsutil.MapResultKeep
}

// sessionStores are the OCI stores and the local caches.
func sessionStores(opt client.SolveOpt) (map[string]content.Store, error) {
	out := map[string]content.Store{}
	for name, store := range opt.OCIStores {
		out["oci:"+name] = store
	}
	var dirs []string
	for _, e := range opt.CacheImports {
		if e.Type == localCache {
			dirs = append(dirs, e.Attrs["src"])
		}
	}
	for _, e := range opt.CacheExports {
		if e.Type != localCache {
			continue
		}
		if err := os.MkdirAll(e.Attrs["dest"], 0o755); err != nil {
			return nil, fmt.Errorf("opening the cache: %w", err)
		}
		dirs = append(dirs, e.Attrs["dest"])
	}
	for _, dir := range dirs {
		store, err := local.NewStore(dir)
		if err != nil {
			return nil, fmt.Errorf("opening the cache %q: %w", dir, err)
		}
		out["local:"+dir] = store
	}
	return out, nil
}
