// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/moby/buildkit/client"
	"golang.org/x/sync/errgroup"
)

// CacheRecord is one thing that a solver keeps: the result of a step, a source, a cache mount.
type CacheRecord struct {
	ID          string `json:"id"`
	Type        string `json:"type"`
	Description string `json:"description"`
	// Parents are the records that this one is made of changes to.
	Parents []string `json:"parents"`
	// Size is in bytes, without the parents.
	Size int64 `json:"size"`
	// Reclaimable is a record that nothing uses now.
	Reclaimable bool `json:"reclaimable"`
	Mutable     bool `json:"mutable"`
	// Shared is a record whose bytes something else keeps as well: removing it frees nothing.
	Shared    bool      `json:"shared"`
	CreatedAt time.Time `json:"created_at"`
	// LastUsedAt is nil for a record that was never used after it was made.
	LastUsedAt *time.Time `json:"last_used_at"`
	UsageCount int        `json:"usage_count"`
}

func newCacheRecord(u *client.UsageInfo) CacheRecord {
	return CacheRecord{
		ID: u.ID, Type: string(u.RecordType), Description: u.Description, Parents: append([]string{}, u.Parents...), Size: u.Size,
		Reclaimable: !u.InUse, Mutable: u.Mutable, Shared: u.Shared,
		CreatedAt: u.CreatedAt, LastUsedAt: u.LastUsedAt, UsageCount: u.UsageCount,
	}
}

// Cache lists what the solver keeps and the filter means, the largest first.
func (c *Client) Cache(ctx context.Context, filter CacheFilter) ([]CacheRecord, error) {
	list, err := c.bk.DiskUsage(ctx, client.WithFilter(filter.expressions()), client.WithAgeLimit(filter.Unused))
	if err != nil {
		return nil, cacheError(ctx, "asking what is in the cache", err)
	}
	out := make([]CacheRecord, 0, len(list))
	for _, u := range list {
		out = append(out, newCacheRecord(u))
	}
	slices.SortFunc(out, func(a, b CacheRecord) int {
		return cmp.Or(cmp.Compare(b.Size, a.Size), cmp.Compare(a.ID, b.ID))
	})
	return out, nil
}

// Pruning says what to remove from a cache. The zero value removes all that nothing uses, but for images of frontends, what
// BuildKit keeps for itself and what is shared. Sizes are in bytes; with any of them the records unused for longest go first, and
// no more of them than need be.
type Pruning struct {
	Filter CacheFilter
	// All removes also what the zero value spares.
	All bool
	// MaxUsedSpace is the most the cache may take afterwards. Zero: no such limit.
	MaxUsedSpace int64
	// MinFreeSpace is what should be free on the disk afterwards. Zero: no such wish.
	MinFreeSpace int64
	// ReservedSpace is what the cache may always take. Zero: nothing.
	ReservedSpace int64
}

// Prune removes records and tells each one that is gone, without its type and whether it was shared, which BuildKit does not say then.
// Records that are in use stay. What was removed before an error is gone.
func (c *Client) Prune(ctx context.Context, p Pruning, tell func(CacheRecord)) error {
	expressions, err := c.pruneExpressions(ctx, &p.Filter)
	if err != nil || (expressions == nil && len(p.Filter.Selectors) > 0) {
		return err
	}
	options := []client.PruneOption{
		client.WithFilter(expressions),
		client.WithKeepOpt(p.Filter.Unused, p.ReservedSpace, p.MaxUsedSpace, p.MinFreeSpace),
	}
	if p.All {
		options = append(options, client.PruneAll)
	}
	removed := make(chan client.UsageInfo)
	group := errgroup.Group{}
	group.Go(func() error {
		defer close(removed)
		return c.bk.Prune(ctx, removed, options...)
	})
	for u := range removed {
		tell(newCacheRecord(&u))
	}
	if err := group.Wait(); err != nil {
		return cacheError(ctx, "removing from the cache", err)
	}
	return nil
}

// pruneExpressions is the filter in terms that BuildKit knows while it removes. Then it knows no parents: records are found by them
// beforehand and meant by their ids.
func (c *Client) pruneExpressions(ctx context.Context, filter *CacheFilter) ([]string, error) {
	if !slices.Contains(filter.keys, "parents") {
		return filter.expressions(), nil
	}
	records, err := c.Cache(ctx, *filter)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, r := range records {
		out = append(out, "id=="+r.ID)
	}
	return out, nil
}

func cacheError(ctx context.Context, what string, err error) error {
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return fmt.Errorf("%s: %w", what, err)
}
