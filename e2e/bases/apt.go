// SPDX-License-Identifier: Apache-2.0

package bases

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// aptRoot is an apt of its own for one port: it shares the machine's keys and network settings, and neither the
// machine's architecture, nor its lists, nor its package state.
type aptRoot struct {
	dir  string
	port port
	from mirror
	// sources is whether it is of source packages alone.
	sources bool
}

// download puts the newest version of each package into dir and returns their files in the order of packages.
func (a aptRoot) download(ctx context.Context, dir string, packages []string) ([]string, error) {
	err := a.get(ctx, dir, append([]string{"-q", "download"}, packages...)...)
	if err != nil {
		return nil, err
	}
	return debFiles(dir, packages)
}

// downloadAll puts the newest version of each package, and of all that they depend on, into dir and returns their files, sorted.
func (a aptRoot) downloadAll(ctx context.Context, dir string, packages []string) ([]string, error) {
	args := []string{
		"-q", "-y", "--no-install-recommends", "--download-only", "-o", "Dir::Cache::archives=" + dir, "-o", "Debug::NoLocking=1", "install",
	}
	if err := os.MkdirAll(filepath.Join(dir, "partial"), 0o755); err != nil {
		return nil, err
	}
	if err := a.get(ctx, dir, append(args, packages...)...); err != nil {
		return nil, err
	}
	return filepath.Glob(filepath.Join(dir, "*.deb"))
}

// get runs apt-get in dir to get packages, with fresh lists if it does not go well otherwise.
func (a aptRoot) get(ctx context.Context, dir string, args ...string) error {
	if err := a.configure(ctx); err != nil {
		return err
	}
	lists, err := filepath.Glob(filepath.Join(a.dir, "lists", "*_*"))
	if err != nil {
		return err
	}
	fresh := len(lists) == 0
	if fresh {
		err = a.update(ctx)
	}
	if err == nil {
		err = a.run(ctx, dir, args...)
	}
	// Lists grow old, and a mirror keeps only the newest version of a package.
	if err != nil && !fresh && ctx.Err() == nil {
		if err = a.update(ctx); err == nil {
			err = a.run(ctx, dir, args...)
		}
	}
	return err
}

func (a aptRoot) update(ctx context.Context) error {
	if err := os.RemoveAll(filepath.Join(a.dir, "lists")); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(a.dir, "lists", "partial"), 0o755); err != nil {
		return err
	}
	// Without Error-Mode apt-get update succeeds when nothing could be fetched.
	return a.run(ctx, a.dir, "-q", "-o", "APT::Update::Error-Mode=any", "update")
}

// configure writes the configuration of a. Dir::Etc::parts leaves out the machine's own, whose hooks are not meant for
// this; of those settings, only Acquire's (proxies, time-outs) are taken over.
func (a aptRoot) configure(ctx context.Context) error {
	for _, dir := range []string{"lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(a.dir, dir), 0o755); err != nil {
			return err
		}
	}
	dump, err := exec.CommandContext(ctx, "apt-config", "dump").Output()
	if err != nil {
		return fmt.Errorf("reading apt's configuration: %w", orNoApt(err))
	}
	var conf strings.Builder
	for line := range strings.Lines(string(dump)) {
		if strings.HasPrefix(line, "Acquire::") {
			conf.WriteString(line)
		}
	}
	fmt.Fprintf(&conf, `APT::Architecture "%[1]s";
APT::Architectures { "%[1]s"; };
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "3";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Dir::State "%[2]s";
Dir::State::status "%[2]s/status";
Dir::Cache "%[2]s/cache";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "%[2]s/sources";
Dir::Etc::main "/dev/null";
Dir::Etc::parts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
`, a.port.debian, a.dir)
	if err := os.MkdirAll(filepath.Join(a.dir, "sources"), 0o755); err != nil {
		return err
	}
	stanza := a.from.stanza(a.port.release.suite)
	if a.sources {
		stanza = strings.Replace(stanza, "Types: deb\n", "Types: deb-src\n", 1)
	}
	return errors.Join(
		os.WriteFile(filepath.Join(a.dir, "apt.conf"), []byte(conf.String()), 0o644),
		os.WriteFile(filepath.Join(a.dir, "status"), nil, 0o644),
		os.WriteFile(filepath.Join(a.dir, "sources", "debian.sources"), []byte(stanza), 0o644),
	)
}

// run runs apt-get in dir.
func (a aptRoot) run(ctx context.Context, dir string, args ...string) error {
	cmd := exec.CommandContext(ctx, "apt-get", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "APT_CONFIG="+filepath.Join(a.dir, "apt.conf"), "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("running apt-get %q for %s: %w: %s", args, a.port.debian, orNoApt(err), lastLines(out, 5))
	}
	return nil
}

// debFiles finds the file of each package: NAME_VERSION_ARCH.deb, the version's colon escaped.
func debFiles(dir string, packages []string) ([]string, error) {
	files := make([]string, len(packages))
	for i, pkg := range packages {
		found, err := filepath.Glob(filepath.Join(dir, pkg+"_*.deb"))
		if err != nil {
			return nil, err
		}
		if len(found) != 1 {
			return nil, fmt.Errorf("downloading package %q: %d files", pkg, len(found))
		}
		files[i] = found[0]
	}
	return files, nil
}

// debVersion returns package=version from the name of its file.
func debVersion(file string) string {
	parts := strings.Split(filepath.Base(file), "_")
	version, err := url.PathUnescape(parts[1])
	if err != nil {
		version = parts[1]
	}
	return parts[0] + "=" + version
}

func lastLines(out []byte, n int) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "; ")
}

// noAptError tells that this is no machine that has Debian's tools.
type noAptError struct{ err error }

func orNoApt(err error) error {
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		return &noAptError{err}
	}
	return err
}

func (e *noAptError) Error() string { return e.err.Error() }
func (e *noAptError) Unwrap() error { return e.err }

// Hint says what to do about it.
func (e *noAptError) Hint() string { return "base images are made with Debian's apt-get and dpkg-deb" }
