// SPDX-License-Identifier: Apache-2.0

// Demo builds examples/hello for six platforms with mab, pushes it to a registry that it starts itself, and runs what was
// pushed, platform by platform. It leaves nothing behind but the caches of Go and of base images.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/mab-build/mab/e2e/bases"
)

func main() {
	mab := flag.String("mab", "bin/mab", "the mab to use")
	source := flag.String("source", "examples/hello", "the directory to build")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	start := time.Now()
	err := run(ctx, *mab, *source)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "demo: error: %v\n", err)
		var hinted interface{ Hint() string }
		if errors.As(err, &hinted) {
			fmt.Fprintf(os.Stderr, "demo: hint: %s\n", hinted.Hint())
		}
		os.Exit(1)
	}
	fmt.Printf("\nmake demo: %d platforms built, pushed and run in %s\n", len(machines), time.Since(start).Round(time.Second))
}

func say(format string, args ...any) { fmt.Printf("\n==> "+format+"\n", args...) }

func run(ctx context.Context, mab, source string) (err error) {
	mab, err = filepath.Abs(mab)
	if err != nil {
		return err
	}
	if err := install(ctx); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "mab-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	say("making base images out of Debian's packages, and starting a registry for them")
	registry, err := bases.Serve(ctx, bases.Config{}, bases.Image{Name: bases.CC})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, registry.Close()) }()
	fmt.Printf("%s: %s\n", registry.Ref(bases.CC), strings.Join(bases.Platforms(bases.CC), ", "))

	d := demo{mab: mab, source: source, dir: dir, base: registry.Ref(bases.CC), ref: registry.Addr() + "/hello:latest"}
	defer func() { err = errors.Join(err, d.stop(ctx)) }()
	return d.run(ctx)
}

// demo is one run.
type demo struct {
	mab, source string
	dir         string // for everything that the run makes
	base, ref   string
}

func (d demo) run(ctx context.Context) error {
	layout := filepath.Join(d.dir, "layout")
	say("building %s for %d platforms: pushed as %s, and written as an OCI layout", d.source, len(machines), d.ref)
	err := d.command(ctx, "build", "--platform", strings.Join(platforms(), ","), "--build-arg", "BASE="+d.base,
		"-t", d.ref, "--push", "-o", "type=oci,dest="+layout+",tar=false", d.source)
	if err != nil {
		return err
	}
	if err := checkLayout(layout); err != nil {
		return err
	}
	say("what was pushed")
	if err := d.command(ctx, "index", "inspect", d.ref); err != nil {
		return err
	}
	say("running what was pushed")
	return runPushed(ctx, d.ref, d.dir)
}

// command shows and runs mab.
func (d demo) command(ctx context.Context, args ...string) error {
	fmt.Println("$ mab", strings.Join(args, " "))
	cmd := d.mabCommand(ctx, args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("running mab %s: %w", args[0], err)
	}
	return nil
}

// stop stops the solver that mab started, even after Ctrl-C.
func (d demo) stop(ctx context.Context) error {
	if out, err := d.mabCommand(context.WithoutCancel(ctx), "serve", "--stop").CombinedOutput(); err != nil {
		return fmt.Errorf("stopping the solver: %w: %s", err, out)
	}
	return nil
}

// mabCommand is a command of mab whose solver and state are the demo's own.
func (d demo) mabCommand(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, d.mab, args...)
	cmd.Env = append(os.Environ(), "MAB_ROOT="+filepath.Join(d.dir, "root"), "MAB_RUNTIME_DIR="+filepath.Join(d.dir, "run"))
	// Ctrl-C reaches mab by itself; a kill would cut its clean-up short.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 30 * time.Second
	return cmd
}
