// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	mab "github.com/mab-build/mab/cmd/mab"
	"github.com/mab-build/mab/solver"
)

func records() []solver.CacheRecord {
	used := time.Now().Add(-2 * time.Hour)
	made := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return []solver.CacheRecord{
		{ID: "aa", Type: "regular", Description: "[1/2] COPY a /", Parents: []string{"x", "y"}, Size: 1_500_000, Reclaimable: true, Shared: true,
			CreatedAt: made, LastUsedAt: &used, UsageCount: 3},
		{ID: "bb", Type: "source.local", Size: 2048, Mutable: true, CreatedAt: made},
	}
}

func TestPrintCache(t *testing.T) {
	const pretty = `ID:           aa
Parents:      x,y
Created at:   2026-01-02T03:04:05Z
Mutable:      false
Reclaimable:  true
Shared:       true
Size:         1.5MB
Description:  [1/2] COPY a /
Usage count:  3
Last used:    2 hours ago
Type:         regular

ID:           bb
Created at:   2026-01-02T03:04:05Z
Mutable:      true
Reclaimable:  false
Shared:       false
Size:         2.048kB
Usage count:  0
Type:         source.local

`
	const table = `ID   RECLAIMABLE  SIZE     LAST ACCESSED
aa   true         1.5MB*   2 hours ago
bb*  false        2.048kB  -
`
	const totals = `Shared:       1.5MB
Private:      2.048kB
Reclaimable:  1.5MB
Total:        1.502MB
`
	const nothing = `Reclaimable:  0B
Total:        0B
`
	state := &solver.Footprint{Root: "/state", Total: 3_000_000, Unreadable: 2, Parts: []solver.Part{{Name: "runc-overlayfs", Size: 2_900_000}, {Name: "solver.log", Size: 100_000}}}
	for _, test := range []struct {
		rule  string
		print func(*strings.Builder) error
		want  string
	}{
		{"a table", func(b *strings.Builder) error { return mab.PrintCache(b, records(), nil, false) }, table + totals},
		{"nothing", func(b *strings.Builder) error { return mab.PrintCache(b, nil, nil, false) }, "ID  RECLAIMABLE  SIZE  LAST ACCESSED\n" + nothing},
		{"verbose", func(b *strings.Builder) error { return mab.PrintCache(b, records(), state, false) }, pretty + totals + `
/state on disk:   3MB    at least, 2 directories could not be read
  runc-overlayfs  2.9MB  
  solver.log      100kB  
`},
		{"what was removed", func(b *strings.Builder) error { return mab.PrintPruned(b, records(), false) }, table + "Total:  1.502MB\n"},
		{"what was removed, verbose", func(b *strings.Builder) error { return mab.PrintPruned(b, records(), true) }, pretty + "Total:  1.502MB\n"},
		{"nothing was removed", func(b *strings.Builder) error { return mab.PrintPruned(b, nil, false) }, "Total:  0B\n"},
		{"JSON", func(b *strings.Builder) error {
			return mab.PrintCache(b, records()[1:], &solver.Footprint{Root: "/state", Parts: []solver.Part{}}, true)
		}, `{
  "records": [
    {
      "id": "bb",
      "type": "source.local",
      "description": "",
      "parents": null,
      "size": 2048,
      "reclaimable": false,
      "mutable": true,
      "shared": false,
      "created_at": "2026-01-02T03:04:05Z",
      "last_used_at": null,
      "usage_count": 0
    }
  ],
  "shared": 0,
  "reclaimable": 0,
  "total": 2048,
  "state": {
    "root": "/state",
    "parts": [],
    "total": 0,
    "unreadable": 0
  }
}
`},
	} {
		t.Run(test.rule, func(t *testing.T) {
			var got strings.Builder
			err := test.print(&got)
			if diff := cmp.Diff(test.want, got.String()); err != nil || diff != "" {
				t.Errorf("error %v; want -, got +:\n%s", err, diff)
			}
		})
	}
}
