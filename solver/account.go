// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"encoding/json"
	"fmt"

	gateway "github.com/moby/buildkit/frontend/gateway/client"

	"github.com/mab-build/mab/platforms"
)

// Account tells how a platform is built, as the full provenance (mode=max) is to have it: anything that has a JSON form. Nil: nothing is
// told of it.
type Account func(platforms.Platform) any

// namesAttr is the setting of an image's exporter that has Names of an Export.
const namesAttr = "build.mab.names"

const (
	// accountsKey is the metadata of a result in which accounts travel through BuildKit to where the provenance is written: JSON of one for
	// each platform.
	accountsKey = "build.mab.accounts"
	// accountField and accountField02 are where they are in a predicate of SLSA v1 and v0.2, beside BuildKit's own extensions, and named as
	// https://slsa.dev/spec/v1.0/provenance#extension-fields and BuildKit have it.
	accountField   = "mab_assignment"
	accountField02 = "https://github.com/mab-build/mab@v1#assignment"
)

// addAccounts gives a result the accounts of its targets, if who exports it knows what to do with them.
func (s *Solve) addAccounts(res *gateway.Result, targets []Target) error {
	if s.Account == nil || s.client.foreign.Load() {
		return nil
	}
	all := map[string]any{}
	for _, t := range targets {
		if account := s.Account(t.Platform); account != nil {
			all[t.exported().ID] = account
		}
	}
	if len(all) == 0 {
		return nil
	}
	text, err := json.Marshal(all)
	if err != nil {
		return fmt.Errorf("writing down how the platforms are built: %w", err)
	}
	res.AddMeta(accountsKey, text)
	return nil
}

// takeAccounts takes the accounts out of a result's metadata.
func takeAccounts(metadata map[string][]byte) (map[string]any, error) {
	text, ok := metadata[accountsKey]
	if !ok {
		return nil, nil
	}
	delete(metadata, accountsKey)
	var all map[string]any
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, fmt.Errorf("reading how the platforms are built: %w", err)
	}
	return all, nil
}

// account adds one to a predicate. The minimal one says nothing that depends on the nodes: so an index is the same wherever it is built.
func (p predicate) account(of any) {
	if of != nil && p.detailed && p.meta != nil {
		p.meta[p.accounts] = of
	}
}
