// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"slices"
	"time"

	"github.com/mab-build/mab/manifestlist"
	"github.com/mab-build/mab/solver"
)

// Config says what to examine. The zero value examines this machine for the current user, and the registries that docker is
// logged in to.
type Config struct {
	// State is that of the solver.
	State solver.State
	// Solver is the config of a solver that is started, and of registries.
	Solver solver.Config
	// Registries are hosts to ask besides those that docker is logged in to.
	Registries []string
	// Insecure accepts plain HTTP and any certificate, of every registry.
	Insecure bool
	// Built is when this program was made; the zero value is unknown.
	Built time.Time
}

// How long the parts may take.
const (
	briefWait    = 3 * time.Second
	registryWait = 5 * time.Second
	insideWait   = 45 * time.Second
	buildWait    = 90 * time.Second
)

// Examine looks at everything there is to look at, and returns the lines in an order that is always the same: this machine, what it
// reaches, the build that decides. It takes as long as its slowest part; no part takes longer than a minute and a half. The error is
// a cancelled ctx, or a State that is none.
func Examine(ctx context.Context, cfg Config) ([]Check, error) {
	state, err := cfg.State.Resolve()
	if err != nil {
		return nil, err
	}
	client, err := manifestlist.New(manifestlist.Config{Insecure: cfg.Insecure, Registries: cfg.Solver.Registries})
	if err != nil {
		return nil, err
	}
	defer client.Close()
	m := lookAtMachine(ctx, state)
	defer m.close()
	r := registries{client: client, given: cfg.Registries, clock: clock{built: cfg.Built, newest: m.newest()}}
	out := examine(ctx, slices.Concat(m.parts(), []part{
		// Its registries have the time each, at once.
		{"clock", registryWait + 2*grace, r.look},
		{"ssh agent", briefWait, lookAtAgent},
		{"git", briefWait, lookAtGit},
		{"engine", briefWait, lookAtEngine},
		m.build(cfg.Solver),
	}))
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return out, nil
}
