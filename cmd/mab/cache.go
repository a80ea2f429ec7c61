// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mab-build/mab/solver"
)

func newCache(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cache",
		Short: "Show what the solver keeps, and remove it",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newCacheUsage(o), newCachePrune(o))
	return cmd
}

type cacheUsageCommand struct {
	*options
	filter        solver.CacheFilter
	verbose, json bool
}

func newCacheUsage(o *options) *cobra.Command {
	u := &cacheUsageCommand{options: o}
	cmd := &cobra.Command{
		Use:   "du [flags]",
		Short: "Show what is in the cache, and how much it takes",
		Long: `Show what is in the cache, as docker buildx du does. An asterisk marks a record that may change (at its ID), or whose bytes
something else keeps as well (at its SIZE). With --verbose each record has all that is known of it, and the directory of the state is
measured with everything in it: the cache, logs, databases.

A solver is started if none runs, unless the state holds no cache.`,
		Example: `  mab cache du
  mab cache du --verbose --filter type=exec.cachemount
  mab cache du --filter until=24h --filter description~=golang`,
		Args: arguments(0, 0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error { return u.run(cmd.Context()) },
	}
	flags := cmd.Flags()
	filterFlag(flags, &u.filter)
	flags.BoolVar(&u.verbose, "verbose", false, "show all that is known of each record, and what the whole state takes")
	flags.BoolVar(&u.json, "json", false, "print JSON")
	return cmd
}

func (u *cacheUsageCommand) run(ctx context.Context) error {
	report := cacheReport{Records: []solver.CacheRecord{}}
	err := u.withCache(ctx, func(c *solver.Client) (err error) {
		report.Records, err = c.Cache(ctx, u.filter)
		return err
	})
	if err != nil {
		return err
	}
	report.sum()
	if u.verbose {
		state, err := u.state.Footprint(ctx)
		if err != nil {
			return err
		}
		report.State = &state
	}
	if u.json {
		return printJSON(u.std.out, report)
	}
	return printCache(u.std.out, &report)
}

// withCache calls do with a client of the solver, which is started if need be. Where there is no cache it does not.
func (o *options) withCache(ctx context.Context, do func(*solver.Client) error) error {
	if o.state.Fresh() {
		return nil
	}
	attach, err := o.attach()
	if err != nil {
		return err
	}
	client, _, err := solver.Attach(ctx, attach)
	if err != nil {
		return err
	}
	return errors.Join(do(client), client.Close())
}

type cachePruneCommand struct {
	*options
	pruning        solver.Pruning
	force, verbose bool
	json           bool
}

func newCachePrune(o *options) *cobra.Command {
	p := &cachePruneCommand{options: o}
	cmd := &cobra.Command{
		Use:   "prune [flags]",
		Short: "Remove from the cache what nothing uses",
		Long: `Remove from the cache what nothing uses, as docker buildx prune does, after asking. Builds that run keep what they use. Later builds
run again the steps whose results are gone.`,
		Example: `  mab cache prune --filter until=24h
  mab cache prune --all --force
  mab cache prune --max-used-space 10gb --force`,
		Args: arguments(0, 0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("keep-storage") {
				_, _ = fmt.Fprintln(p.std.err, "mab: note: --keep-storage is called --reserved-space now")
			}
			return p.run(cmd.Context())
		},
	}
	flags := cmd.Flags()
	filterFlag(flags, &p.pruning.Filter)
	flags.BoolVarP(&p.pruning.All, "all", "a", false, "remove images of frontends, internal and shared records too")
	flags.BoolVarP(&p.force, "force", "f", false, "do not ask")
	flags.Var((*byteSize)(&p.pruning.ReservedSpace), "reserved-space", "`size` that the cache may always take, as 512mb or 10gb")
	flags.Var((*byteSize)(&p.pruning.MaxUsedSpace), "max-used-space", "the most the cache may take: the `size` down to which the longest unused is removed")
	flags.Var((*byteSize)(&p.pruning.MinFreeSpace), "min-free-space", "the `size` that should be free on the disk afterwards")
	flags.Var((*byteSize)(&p.pruning.ReservedSpace), "keep-storage", "older name of --reserved-space")
	_ = flags.MarkHidden("keep-storage")
	flags.BoolVar(&p.verbose, "verbose", false, "show all that is known of each record")
	flags.BoolVar(&p.json, "json", false, "print JSON")
	return cmd
}

func (p *cachePruneCommand) run(ctx context.Context) error {
	if !p.force {
		sure, err := confirm(ctx, p.std, p.question())
		if err != nil {
			return err
		}
		if !sure {
			_, _ = fmt.Fprintln(p.std.err, "mab: note: nothing was removed")
			return nil
		}
	}
	report := cacheReport{Records: []solver.CacheRecord{}}
	err := p.withCache(ctx, func(c *solver.Client) error {
		return c.Prune(ctx, p.pruning, func(r solver.CacheRecord) { report.Records = append(report.Records, r) })
	})
	if err != nil && len(report.Records) == 0 {
		return err
	}
	report.sum()
	if p.json {
		return errors.Join(err, printJSON(p.std.out, report))
	}
	return errors.Join(err, printPruned(p.std.out, &report, p.verbose))
}

func (p *cachePruneCommand) question() string {
	what := "all of the cache that nothing uses, but images of frontends and what is shared"
	if p.pruning.All {
		what = "all of the cache that nothing uses"
	}
	if filter := p.pruning.Filter; len(filter.Selectors) > 0 || filter.Unused > 0 {
		what += ", as far as it fits the filter"
	}
	return "this removes " + what + "; go on?"
}

// filterFlag is the flag --filter.
func filterFlag(flags *pflag.FlagSet, filter *solver.CacheFilter) {
	flags.Var((*cacheFilter)(filter), "filter", "only records that fit: `until=24h`, type=TYPE, id=ID, description~=REGEXP, … (repeatable; all must fit)")
}

type cacheFilter solver.CacheFilter

func (f *cacheFilter) String() string     { return "" }
func (f *cacheFilter) Type() string       { return "filter" }
func (f *cacheFilter) Set(s string) error { return (*solver.CacheFilter)(f).Add(s) }

// byteSize is a size on the command line. As in docker buildx its units are powers of 1024.
type byteSize int64

func (b *byteSize) String() string { return strconv.FormatInt(int64(*b), 10) }
func (b *byteSize) Type() string   { return "bytes" }

func (b *byteSize) Set(s string) error {
	size, err := units.RAMInBytes(strings.TrimSpace(s))
	if err != nil || size < 0 {
		return usage{fmt.Errorf("understanding the size %q", s), "write a size such as 512mb or 10gb"}
	}
	*b = byteSize(size)
	return nil
}
