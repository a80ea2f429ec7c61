// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package emulation

import (
	"context"
	"errors"
	"fmt"
	"os/exec"

	"github.com/mab-build/mab/platforms"
)

// Probe returns errors.ErrUnsupported: programs of Linux platforms run on Linux only.
func Probe(_ context.Context, p platforms.Platform, _ string) error {
	return fmt.Errorf("probing %s: %w", p, errors.ErrUnsupported)
}

// ProbeUnder returns errors.ErrUnsupported, as Probe does.
func ProbeUnder(_ context.Context, _ string, p platforms.Platform, _ string) error {
	return fmt.Errorf("probing %s: %w", p, errors.ErrUnsupported)
}

// Score returns errors.ErrUnsupported, as Probe does.
func Score(_ context.Context, p platforms.Platform, _ string) (float64, error) {
	return 0, fmt.Errorf("scoring %s: %w", p, errors.ErrUnsupported)
}

// BenchConfig is as on Linux.
type BenchConfig struct {
	Platforms []platforms.Platform
	Find      FindConfig
	Measurer  func(platforms.Platform) []string
}

// Bench returns errors.ErrUnsupported, as Probe does.
func Bench(context.Context, BenchConfig) ([]Measured, error) {
	return nil, fmt.Errorf("measuring emulators: %w", errors.ErrUnsupported)
}

// Measure returns errors.ErrUnsupported, as Probe does.
func Measure() (Speeds, error) { return Speeds{}, fmt.Errorf("measuring: %w", errors.ErrUnsupported) }

// MountHost returns errors.ErrUnsupported: binfmt_misc is Linux's.
func MountHost() (Instance, error) {
	return Instance{}, fmt.Errorf("looking for binfmt_misc: %w", errors.ErrUnsupported)
}

// MountPrivate returns errors.ErrUnsupported: binfmt_misc is Linux's.
func MountPrivate(dir string) (Instance, error) {
	return Instance{}, fmt.Errorf("mounting a private binfmt_misc on %q: %w", dir, errors.ErrUnsupported)
}

// group leaves a program as it is: emulators run on Linux only.
func group(*exec.Cmd) (kill func()) { return func() {} }
