// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/manifestlist/contents"
	"github.com/mab-build/mab/platforms"
	"github.com/mab-build/mab/solver"
)

// maxDifferent is how many files a DifferenceError names.
const maxDifferent = 5

// DifferenceError is a step that makes other files assisted than plainly emulated.
type DifferenceError struct {
	Platform platforms.Platform
	Step     string
	// Toolchain is what it was assisted by.
	Toolchain string
	// Files are those that differ, sorted.
	Files []string
}

// Error names the step and the first of the files.
func (e *DifferenceError) Error() string {
	list := strings.Join(e.Files[:min(len(e.Files), maxDifferent)], ", ")
	if more := len(e.Files) - maxDifferent; more > 0 {
		list += " and " + count(more, "more file")
	}
	return fmt.Sprintf("step %q of %s makes other files assisted by %s than without: %s", e.Step, e.Platform, e.Toolchain, list)
}

// Hint says how to do without.
func (*DifferenceError) Hint() string {
	return "a step that makes something else each time it is run differs, too; to build it without: --assist off"
}

// checkAssist has every step of the plan that was assisted be done plainly, too, and compares what they change. It fails with a RefusedError.
func (r *run) checkAssist(ctx context.Context) error {
	if !r.common().CheckAssist || r.dry || r.plan == nil || len(r.faults) > 0 {
		return nil
	}
	checked := 0
	for _, a := range r.plan.Assignments {
		for _, h := range a.Steps {
			if h.Aid == nil {
				continue
			}
			if err := r.checkStep(ctx, a, h); err != nil {
				return err
			}
			checked++
		}
	}
	r.say(fmt.Sprintf("%s made the same plainly emulated", count(checked, "assisted step")))
	return nil
}

func (r *run) checkStep(ctx context.Context, a Assignment, h crossbuild.Handling) error {
	at := r.places(r.plan)
	homes := crossbuild.Places{Home: at.Home, Private: make([]string, len(at.Home))}
	var found [2]map[string]string
	for i, assist := range []func(string, *crossbuild.Step) *crossbuild.Aid{at.Assist, nil} {
		homes.Assist = assist
		cut, err := crossbuild.NewCut(r.graphs, nil, homes)
		if err != nil {
			return err
		}
		def, err := cut.Changes(r.place(a.goal()), h.Step.Digest)
		if err != nil || def == nil {
			return err
		}
		if found[i], err = r.changed(ctx, a, def); err != nil {
			return fmt.Errorf("checking how step %q is assisted: %w", h.Step.Name, err)
		}
	}
	if files := different(found[0], found[1]); len(files) > 0 {
		return &RefusedError{&DifferenceError{Platform: a.Platform, Step: h.Step.Name, Toolchain: strings.Join(h.Aid.Toolchains(), " and "), Files: files}}
	}
	return nil
}

// changed solves a definition on the node of an assignment, and lists the files that it makes.
func (r *run) changed(ctx context.Context, a Assignment, def *crossbuild.Definition) (map[string]string, error) {
	m, of := r.member(a.Node), r.commission(a.Target)
	request := of.request.Request
	request.Platforms = []platforms.Platform{a.Platform}
	request.Provenance, request.SBOM, request.Attests, request.CacheTo = "false", "", nil, nil
	reader, writer := io.Pipe()
	var out map[string]string
	var reading errgroup.Group
	reading.Go(func() error {
		var err error
		out, err = listing(reader)
		reader.CloseWithError(err)
		return err
	})
	_, err := m.client.Build(ctx, solver.Solve{
		Request: &request, Input: of.input, Display: r.display(of, m), Renaming: of.renaming, Companions: of.companions(), Registries: r.cfg.Attach.Config.Registries,
		Exports: []solver.Export{{Type: "tar", Tar: func() (io.WriteCloser, error) { return writer, nil }}},
		Given: func(context.Context) (solver.Given, error) {
			return solver.Given{Targets: []solver.Target{{Platform: a.Platform, Definition: def}}}, nil
		},
	})
	writer.CloseWithError(err) // Nil is the end.
	return out, errors.Join(err, reading.Wait())
}

// listing is what a tar holds: for each name all that counts of the file.
func listing(r io.Reader) (map[string]string, error) {
	out := map[string]string{}
	in := tar.NewReader(r)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			// The rest is padding.
			_, err = io.Copy(io.Discard, r)
			return out, err
		}
		if err != nil {
			return nil, fmt.Errorf("reading the files of a step: %w", err)
		}
		name := path.Join("/", h.Name)
		sum, err := contentOf(name, in)
		if err != nil {
			return nil, fmt.Errorf("reading the files of a step: %w", err)
		}
		if !fleetingFile(name) {
			out[name] = fmt.Sprintf("%c %o %d:%d %q %d:%d %s %q", h.Typeflag, h.Mode, h.Uid, h.Gid, h.Linkname, h.Devmajor, h.Devminor, sum, contents.Attributes(h))
		}
	}
}

// action is an entry of Go's build cache (cmd/go/internal/cache): v1, the ids of an action and of its output, a size and the time when it was
// made.
var action = regexp.MustCompile(`^/(?:.*/)?[0-9a-f]{2}/[0-9a-f]{64}-a$`)

// contentOf is the sum of a file. The time in an entry of Go's build cache does not count.
func contentOf(name string, r io.Reader) (string, error) {
	if !action.MatchString(name) {
		sum := sha256.New()
		_, err := io.Copy(sum, r)
		return fmt.Sprintf("%x", sum.Sum(nil)), err
	}
	text, err := io.ReadAll(r)
	if at := bytes.LastIndexByte(bytes.TrimRight(text, " \n"), ' '); at > 0 && bytes.HasPrefix(text, []byte("v1 ")) {
		text = text[:at]
	}
	return fmt.Sprintf("%x", sha256.Sum256(text)), err
}

// fleetingFile reports whether a file differs from run to run: when Go's build cache was trimmed, and Go's telemetry counters
// (https://go.dev/doc/telemetry), whose names have the platform of the program that counts.
func fleetingFile(name string) bool {
	return path.Base(name) == "trim.txt" || strings.Contains(name, "/go/telemetry/")
}

// different are the names of the files that two lists do not have alike, sorted.
func different(a, b map[string]string) []string {
	var out []string
	for name, what := range a {
		if b[name] != what {
			out = append(out, name)
		}
	}
	for name := range b {
		if _, both := a[name]; !both {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}
