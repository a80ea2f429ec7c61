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
)

// newSession is one for several builds, with all that opt has a solver read here; BuildKit's client makes them for one build each.
// Source: https://github.com/moby/buildkit/blob/v0.33.1/client/solve.go
func newSession(ctx context.Context, opt client.SolveOpt) (*session.Session, error) {
	s, err := session.NewSession(ctx, opt.SharedKey)
	if err != nil {
		return nil, fmt.Errorf("opening a session: %w", err)
	}
	dirs, err := provide(opt.LocalMounts)
	if err != nil {
		return nil, err
	}
	for _, a := range append([]session.Attachable{dirs}, opt.Session...) {
		s.Allow(a)
	}
	stores, err := sessionStores(opt)
	if err != nil {
		return nil, err
	}
	s.Allow(sessioncontent.NewAttachable(stores))
	return s, nil
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
