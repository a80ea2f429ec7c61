// SPDX-License-Identifier: Apache-2.0

package emulation

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/mab-build/mab/platforms"
)

// Emulator is a file of QEMU's that can serve a handler.
type Emulator struct {
	Handler Handler
	// Path is absolute; links in it are kept, for it is what the user knows the file by.
	Path string
	// Why it comes before others that could serve the handler and would come first. Empty: it is the first.
	Why string
}

// Refusal is a file that looks like an emulator by its name but cannot serve.
type Refusal struct {
	Handler Handler
	Path    string
	Reason  string
}

// FindConfig says where to look. The zero value looks in PATH, then where distributions and images put QEMU.
type FindConfig struct {
	// Store comes before all directories: who installed an emulator with mab wants that one, be it because the system's is bad.
	Store Store
	// Dirs are searched in order instead of the default places.
	Dirs []string
	// Host is the platform the emulators must be programs of; the zero value is platforms.Host().
	Host platforms.Platform
	// Measured decides where there are several files for a handler. Without any the first is taken.
	Measured Measurements
}

// emulatorDirs are the places besides PATH: distributions' packages, the images moby/buildkit and tonistiigi/binfmt, NixOS.
var emulatorDirs = []string{
	"/usr/bin", "/usr/local/bin", "/bin", "/opt/qemu/bin", "/usr/libexec/qemu-binfmt", "/usr/libexec/qemu", "/run/current-system/sw/bin",
}

// emulatorNames are what the file is called, best first: the static builds of distributions; QEMU's own name, which may be either
// (it is static in tonistiigi/binfmt); BuildKit's image; the links that Debian's binfmt.d names.
var emulatorNames = []string{"qemu-%s-static", "qemu-%s", "buildkit-qemu-%s", "%s-binfmt-P"}

// Find returns for each handler the first file that can serve it, in the table's order, and what it refused for handlers that got
// none. A file must be a static program of the host's machine: binfmt_misc opens the emulator itself beforehand
// (flag F), but a dynamic one's loader and libraries would be looked up inside the container. The host's own
// architecture is left out. It runs nothing, and its errors are those of the configuration only.
func Find(cfg FindConfig) ([]Emulator, []Refusal, error) {
	s, err := cfg.search()
	if err != nil {
		return nil, nil, err
	}
	var found []Emulator
	var refused []Refusal
	for _, h := range s.handlers() {
		several := cfg.Measured.several(h)
		list, refusals := s.files(h, several)
		switch {
		case len(list) == 0:
			refused = append(refused, refusals...)
		case several:
			found = append(found, s.choose(h, list))
		default:
			found = append(found, list[0])
		}
	}
	return found, refused, nil
}

// Candidates returns every file that can serve a handler, in the table's order and for each handler in the order in which Find takes them. The same
// file under several names is there once.
func Candidates(cfg FindConfig) ([]Emulator, error) {
	s, err := cfg.search()
	if err != nil {
		return nil, err
	}
	var out []Emulator
	for _, h := range s.handlers() {
		list, _ := s.files(h, true)
		out = append(out, list...)
	}
	return out, nil
}

// search is a FindConfig whose defaults are filled in.
type search struct {
	FindConfig
	elf platforms.ELF
}

func (cfg FindConfig) search() (*search, error) {
	if cfg.Host == (platforms.Platform{}) {
		cfg.Host = platforms.Host()
	}
	row, ok := cfg.Host.ELF()
	if !ok {
		return nil, fmt.Errorf("finding emulators for %s: %w", cfg.Host, errors.ErrUnsupported)
	}
	if cfg.Dirs == nil {
		cfg.Dirs = slices.Concat(filepath.SplitList(os.Getenv("PATH")), emulatorDirs)
	}
	return &search{cfg, row}, nil
}

// handlers are those of other architectures than the host's.
func (s *search) handlers() []Handler {
	return slices.DeleteFunc(Handlers(), func(h Handler) bool { return h.Platforms[0].Architecture == s.Host.Architecture })
}

// files are those that can serve a handler: all, or the first.
func (s *search) files(h Handler, all bool) ([]Emulator, []Refusal) {
	var out []Emulator
	var refusals []Refusal
	var seen []os.FileInfo
	paths := s.paths(h)
	for _, path := range paths {
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil && slices.ContainsFunc(seen, func(o os.FileInfo) bool { return os.SameFile(o, info) }) {
			continue
		}
		reason, err := refuse(path, s.elf)
		if err != nil {
			reason = err.Error()
		}
		if reason != "" {
			refusals = append(refusals, Refusal{h, path, reason})
			continue
		}
		seen = append(seen, info)
		out = append(out, Emulator{Handler: h, Path: path})
		if !all {
			break
		}
	}
	return out, refusals
}

// paths are where a handler's emulator may be, the store's first.
func (s *search) paths(h Handler) []string {
	var out []string
	if path := s.Store.lookup(h); path != "" {
		out = append(out, path)
	}
	for _, name := range emulatorNames {
		for i, dir := range s.Dirs {
			if filepath.IsAbs(dir) && !slices.Contains(s.Dirs[:i], dir) {
				out = append(out, filepath.Join(dir, fmt.Sprintf(name, h.QEMU)))
			}
		}
	}
	return out
}

// choose takes one of several by what was measured of them.
func (s *search) choose(h Handler, list []Emulator) Emulator {
	digests := make([]digest.Digest, len(list))
	for i, e := range list {
		digests[i], _ = fileDigest(e.Path) // One that cannot be read was not measured.
	}
	at, why := s.Measured.choose(h, list, digests, s.Host)
	list[at].Why = why
	return list[at]
}

// refuse says why the file at path cannot be an emulator, or returns "".
func refuse(path string, host platforms.ELF) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0 {
		return "not an executable file", nil
	}
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = file.Close() }() // Only read from.
	header := make([]byte, platforms.HeaderSize)
	if _, err := file.ReadAt(header, 0); err != nil {
		return "not an ELF program", nil
	}
	e, ok := platforms.ParseELF(header)
	if !ok {
		return "not an ELF program", nil
	}
	if !host.Accepts(e) {
		return fmt.Sprintf("a program for another machine (%s)", e.Machine), nil
	}
	parsed, err := elf.NewFile(file)
	if err != nil {
		return "a damaged ELF program", nil
	}
	for _, p := range parsed.Progs {
		if p.Type == elf.PT_INTERP {
			return "dynamically linked: its libraries would be looked up inside the container", nil
		}
	}
	return "", nil
}

// QEMUVersion runs the emulator at path with --version and returns its version, such as "7.2.22".
func QEMUVersion(ctx context.Context, path string) (string, error) {
	running, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	cmd := exec.CommandContext(running, path, "--version")
	out := &answer{stop: stop}
	cmd.Stdout = out
	err := runAlone(cmd)
	if running.Err() != nil {
		err = context.Cause(running)
	}
	if err != nil {
		return "", fmt.Errorf("asking %q for its version: %w", path, err)
	}
	return parseVersion(path, string(out.text))
}

// maxAnswer is many times what qemu-user prints: one line with its version and one about who wrote it.
const maxAnswer = 4 << 10

// answer keeps what a program says, and stops the program if it says too much.
type answer struct {
	stop context.CancelCauseFunc
	text []byte
}

// Write takes all of p or stops the program.
func (a *answer) Write(p []byte) (int, error) {
	if len(a.text)+len(p) > maxAnswer {
		err := fmt.Errorf("it answers with more than %d bytes", maxAnswer)
		a.stop(err)
		return 0, err
	}
	a.text = append(a.text, p...)
	return len(p), nil
}

// runAlone runs a program that nobody vouches for. Of this process's environment it gets nothing: there are tokens in it, and QEMU_CPU
// and its like would reach QEMU here, but not in a container. What it started ends with it, and does not keep the caller
// waiting by an open output.
func runAlone(cmd *exec.Cmd) error {
	cmd.Env = []string{}
	cmd.WaitDelay = time.Second
	kill := group(cmd)
	err := cmd.Run()
	if cmd.Process != nil {
		kill()
	}
	return err
}

// parseVersion reads what qemu-user prints: "qemu-arm version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)".
func parseVersion(path, out string) (string, error) {
	line, _, _ := strings.Cut(out, "\n")
	_, rest, ok := strings.Cut(line, " version ")
	if fields := strings.Fields(rest); ok && len(fields) > 0 {
		return strings.TrimSuffix(fields[0], ","), nil
	}
	return "", fmt.Errorf("asking %q for its version: unknown answer %.80q", path, line)
}
