// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"context"
	"fmt"
)

// Named is a request among others that are built together, as the targets of a bake file are.
type Named struct {
	// Name is what the others know it by, and the user.
	Name string
	Request
	// Links are the named contexts of the request that are results of others, by the name of the context: their values are Names.
	Links map[string]string
}

// BuildAll builds several requests together. The results come in their order. If one fails, nothing of any is written.
func (c *Coordinator) BuildAll(ctx context.Context, list []Named) ([]*Result, error) {
	out := make([]*Result, len(list))
	for i, n := range list {
		var err error
		if out[i], err = c.Build(ctx, n.Request); err != nil {
			return nil, fmt.Errorf("building %s: %w", n.Name, err)
		}
	}
	return out, nil
}
