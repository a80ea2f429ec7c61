// SPDX-License-Identifier: Apache-2.0

// Release describes the files of a release, from what the programs themselves say they were built of: it writes sbom.cdx.json, a
// bill of materials, and LICENSES, the licences of all that is in them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// config says what is released.
type config struct {
	root    string // of mab's source
	dist    string // where the programs are, and what is written goes
	version string
	made    time.Time
}

func main() {
	var cfg config
	flag.StringVar(&cfg.root, "root", "..", "the `directory` of mab's source")
	flag.StringVar(&cfg.dist, "dist", "../dist", "the `directory` of the release")
	flag.StringVar(&cfg.version, "version", "dev", "the version of mab")
	flag.Parse()
	if err := release(context.Background(), cfg); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func release(ctx context.Context, cfg config) error {
	seconds, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64)
	if err != nil {
		return fmt.Errorf("reading SOURCE_DATE_EPOCH: %w", err)
	}
	cfg.made = time.Unix(seconds, 0).UTC()
	program, err := readPrograms(cfg.dist)
	if err != nil {
		return err
	}
	runc, err := readCarried(filepath.Join(cfg.root, "runc", "carried"))
	if err != nil {
		return err
	}
	reader, err := readReaders(filepath.Join(cfg.root, "bake", "carried"))
	if err != nil {
		return err
	}
	source, err := readSource(filepath.Join(cfg.root, "runc", "carried"), runc.label)
	if err != nil {
		return err
	}
	err = errors.Join(
		findLicences(ctx, cfg.root, program.modules),
		findLicences(ctx, filepath.Join(cfg.root, "runc", "module"), runc.modules),
		findLicences(ctx, filepath.Join(cfg.root, "bake", "module"), reader.modules),
	)
	if err != nil {
		return err
	}
	what := contents{config: cfg, program: program, reader: reader, runc: runc, source: source}
	return errors.Join(
		os.WriteFile(filepath.Join(cfg.dist, source.file), source.content, 0o644),
		writeBOM(filepath.Join(cfg.dist, "sbom.cdx.json"), what),
		writeLicences(ctx, filepath.Join(cfg.dist, "LICENSES"), what),
	)
}

// contents is all that a release is made of.
type contents struct {
	config
	program program
	reader  program
	runc    carried
	source  source
}
