// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/mab-build/mab/emulation"
	"github.com/mab-build/mab/platforms"
	"github.com/mab-build/mab/solver"
)

type installCommand struct {
	*options
	cfg     emulation.InstallConfig
	host    bool
	persist bool
}

func newEmulationInstall(o *options) *cobra.Command {
	c := &installCommand{options: o}
	cmd := &cobra.Command{
		Use:   "install [flags] [ARCH…]",
		Short: "Take QEMU's emulators out of an image, without Docker",
		Long: `Take QEMU's emulators out of an OCI image, without Docker, for the builds of this machine: those of the architectures that are
named, else all that the image has and that the machine does not run by itself. Only emulators are unpacked, and each is
tried before it counts. A solver that runs takes them at once. They come before the system's.

The default image is ` + emulation.DefaultImage + `.

The host's handlers are changed by --host only. Standard output gets a line for each emulator.`,
		Example: `  mab emulation install
  mab emulation install arm64 riscv64
  mab emulation install --image oci-layout:///media/usb/binfmt arm64
  sudo mab emulation install --host --persist arm64`,
		RunE: func(cmd *cobra.Command, args []string) error { return c.run(cmd.Context(), args) },
	}
	flags := cmd.Flags()
	flags.StringVar(&c.cfg.Image, "image", "", "the image: a `REFERENCE`, oci-layout://DIR or oci-archive://FILE (default tonistiigi/binfmt, see above)")
	flags.BoolVar(&c.host, "host", false, "register them for the whole machine too; as root")
	flags.BoolVar(&c.persist, "persist", false, "with --host: at each start of the machine too, by a file in "+emulation.PersistDir)
	return cmd
}

func (c *installCommand) run(ctx context.Context, args []string) error {
	if c.persist && !c.host {
		return usage{errors.New("--persist says how long what --host registers lasts"), "add --host, or leave out --persist"}
	}
	state, err := c.state.Resolve()
	if err != nil {
		return err
	}
	if c.cfg.Handlers, err = architectures(args); err != nil {
		return err
	}
	var in emulation.Instance
	if c.host {
		if in, err = emulation.MountHost(); err != nil {
			return err
		}
	}
	if err := c.leaveOut(ctx); err != nil {
		return err
	}
	done, err := state.Emulators().Install(ctx, c.cfg)
	if err != nil {
		return err
	}
	c.note("%s", done)
	if c.host {
		if err := c.register(ctx, in, done.Emulators); err != nil {
			return err
		}
	}
	if err := c.refresh(ctx, state, done.Emulators); err != nil {
		return err
	}
	return c.print(done.Emulators)
}

// leaveOut finds out what this machine needs no emulator for.
func (c *installCommand) leaveOut(ctx context.Context) (err error) {
	if c.cfg.Except, err = native(ctx); err != nil {
		return err
	}
	for _, h := range c.cfg.Handlers {
		if slices.ContainsFunc(c.cfg.Except, func(e emulation.Handler) bool { return e.Name == h.Name }) {
			return usage{fmt.Errorf("this machine runs %s by itself", h.Platforms[0]), "leave it out: it needs no emulator"}
		}
	}
	return nil
}

// refresh has a solver that runs take the emulators.
func (c *installCommand) refresh(ctx context.Context, state solver.State, list []emulation.Installed) error {
	info, running, err := solver.Refresh(ctx, state)
	if err != nil {
		return err
	}
	for _, e := range list {
		if running && !slices.ContainsFunc(info.Survey, func(s emulation.Support) bool { return s.Interpreter == e.Path }) {
			c.note("%s: the running solver does not use it; mab emulation ls says what it uses", e.Handler.Platforms[0])
		}
	}
	return nil
}

func (o *options) note(format string, args ...any) {
	_, _ = fmt.Fprintf(printing{o.std.err}, "mab: note: "+format+"\n", args...)
}

func (c *installCommand) register(ctx context.Context, in emulation.Instance, list []emulation.Installed) error {
	// Who names an architecture wants this emulator for it.
	handlers, err := emulation.RegisterHost(ctx, in, emulation.HostConfig{
		Emulators: list, Force: len(c.cfg.Handlers) > 0, Dir: emulation.PersistDir, Persist: c.persist,
	})
	for _, h := range handlers {
		p := h.Handler.Platforms[0]
		switch {
		case h.Other:
			c.note("%s: the host's handler %s serves already and stays; to put mab's before it, name %s", p, h.Name, p.Architecture)
		case h.File != "":
			c.note("%s: registered on the host as %s, and at each start by %s", p, h.Name, h.File)
		default:
			c.note("%s: registered on the host as %s, until the machine stops; longer: --persist", p, h.Name)
		}
	}
	return err
}

func (c *installCommand) print(list []emulation.Installed) error {
	table := tabwriter.NewWriter(c.std.out, 0, 0, 2, ' ', 0)
	for _, e := range list {
		_, _ = fmt.Fprintf(table, "%s\tQEMU %s\t%s\n", e.Handler.Platforms[0], e.Version, e.Path)
		if t, ok := emulation.TroubleWith(e.Version, e.Handler.Platforms[0], platforms.Host()); ok {
			c.note("%s: QEMU %s: %s (%s); another image may have another version", e.Handler.Platforms[0], e.Version, t.What, t.Sources[0])
		}
	}
	return table.Flush()
}

// architectures reads the arguments; nil means all.
func architectures(args []string) ([]emulation.Handler, error) {
	var out []emulation.Handler
	for _, arg := range args {
		for name := range strings.SplitSeq(arg, ",") {
			if name == "all" {
				return nil, nil
			}
			p, err := platforms.Parse(name)
			if err != nil {
				return nil, usageError(err)
			}
			h, ok := emulation.HandlerFor(p)
			if !ok {
				return nil, usage{fmt.Errorf("there is no emulator for %s", p), "QEMU emulates Linux programs; mab emulation ls lists the platforms"}
			}
			if !slices.ContainsFunc(out, func(o emulation.Handler) bool { return o.Name == h.Name }) {
				out = append(out, h)
			}
		}
	}
	return out, nil
}

func usageError(err error) error {
	var known interface{ Hint() string }
	if errors.As(err, &known) {
		return usage{err, known.Hint()}
	}
	return err
}

// native returns the handlers of the platforms that the machine's CPU runs.
func native(ctx context.Context) ([]emulation.Handler, error) {
	survey, err := emulation.Survey(ctx, emulation.SurveyConfig{SkipVersions: true})
	if err != nil {
		return nil, err
	}
	var out []emulation.Handler
	for _, s := range survey {
		if h, ok := emulation.HandlerFor(s.Platform); ok && s.How == emulation.Native {
			out = append(out, h)
		}
	}
	return out, nil
}

type uninstallCommand struct {
	*options
	host bool
}

func newEmulationUninstall(o *options) *cobra.Command {
	c := &uninstallCommand{options: o}
	cmd := &cobra.Command{
		Use:   "uninstall [flags] [ARCH…]",
		Short: "Take back what install did",
		Long: `Remove the emulators that mab installed: those of the architectures that are named, else all. With --host their handlers on
the host go first, and the files that make them last. Handlers that are not mab's are never touched.

Standard output gets a line for each thing that was removed.`,
		Example: `  mab emulation uninstall arm64
  sudo mab emulation uninstall --host`,
		RunE: func(cmd *cobra.Command, args []string) error { return c.run(cmd.Context(), args) },
	}
	cmd.Flags().BoolVar(&c.host, "host", false, "mab's handlers on the host, too; as root")
	return cmd
}

func (c *uninstallCommand) run(ctx context.Context, args []string) error {
	state, err := c.state.Resolve()
	if err != nil {
		return err
	}
	list, err := architectures(args)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		list = emulation.Handlers()
	}
	if err := c.unregister(list); err != nil {
		return err
	}
	removed, err := state.Emulators().Remove(ctx, list)
	for _, e := range removed {
		_, _ = fmt.Fprintln(c.std.out, e.Path)
	}
	if err != nil {
		return err
	}
	if len(removed) == 0 {
		c.note("mab has no such emulator installed")
	}
	info, _, err := solver.Refresh(ctx, state)
	if err != nil {
		return err
	}
	for _, s := range info.Survey {
		if slices.ContainsFunc(removed, func(e emulation.Installed) bool { return e.Path == s.Interpreter }) {
			c.note("%s: a build is under way, so the running solver keeps the emulator until it stops", s.Platform)
		}
	}
	return nil
}

// unregister removes the host's handlers that are mab's, or makes sure that there are none that would lose their emulator.
func (c *uninstallCommand) unregister(list []emulation.Handler) error {
	in := emulation.Instance{Dir: emulation.HostDir}
	if !c.host {
		kept, err := emulation.OwnHost(in, emulation.PersistDir)
		if err != nil {
			return err
		}
		for _, h := range kept {
			if slices.ContainsFunc(list, func(l emulation.Handler) bool { return l.Name == h.Name }) {
				p := h.Platforms[0]
				return usage{fmt.Errorf("the host has a handler for %s by mab", p), "as root: mab emulation uninstall --host " + p.Architecture}
			}
		}
		return nil
	}
	removed, others, err := emulation.UnregisterHost(in, list, emulation.PersistDir)
	for _, name := range removed {
		_, _ = fmt.Fprintln(c.std.out, name)
	}
	if len(others) > 0 {
		c.note("handlers that are not mab's stay: %s", strings.Join(others, ", "))
	}
	return err
}
