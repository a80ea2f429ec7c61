// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/mab-build/mab/manifestlist"
	"github.com/mab-build/mab/manifestlist/contents"
	"github.com/mab-build/mab/platforms"
	"github.com/mab-build/mab/solver"
)

// verifies reports whether the contents of the images are to be checked: those that leave the cache.
func (c *commission) verifies() bool { return c.request.Verify != VerifyOff && c.delivery.delivers() }

// verification is what a node is to check of what it makes. Nil: nothing.
func (c *commission) verification() *solver.Verify {
	if !c.verifies() {
		return nil
	}
	return &solver.Verify{Exempt: c.request.VerifyExempt, Strict: c.request.Verify == VerifyStrict}
}

// verify judges the images of a task by what its node has checked, and checks here what that has not.
func (r *run) verify(ctx context.Context, t *task, out *outcome, from manifestlist.Blobs) error {
	if !t.of.verifies() {
		return nil
	}
	reports, ok := checked(out.images, out.solved.Checked)
	if !ok {
		var err error
		if reports, err = r.checkHere(ctx, t, out.images, from); err != nil {
			return err
		}
	}
	for i := range reports {
		r.locate(t.of, &reports[i])
	}
	out.checked = reports
	return refuse(contents.Join(reports, nil), t.of.request.Verify == VerifyStrict)
}

// checked are the reports of images, in their order; false if one of them has none.
func checked(images []manifestlist.Image, reports []contents.ImageReport) ([]contents.ImageReport, bool) {
	var out []contents.ImageReport
	for _, image := range images {
		i := slices.IndexFunc(reports, func(r contents.ImageReport) bool {
			return r.Digest == image.Manifest.Digest && r.Platform == image.Platform
		})
		if i < 0 {
			return nil, false
		}
		out = append(out, reports[i])
	}
	return out, true
}

// checkHere checks the images of a node that does not check them itself. What it reads of layers is remembered on this machine.
func (r *run) checkHere(ctx context.Context, t *task, images []manifestlist.Image, from manifestlist.Blobs) (reports []contents.ImageReport, err error) {
	cfg := contents.Config{Exempt: t.of.request.VerifyExempt}
	if state, err := r.cfg.Attach.State.Resolve(); err == nil {
		cfg.Cache = state.Checks()
	}
	var list []platforms.Platform
	for _, image := range images {
		list = append(list, image.Platform)
	}
	_, near := from.(manifestlist.BlobDir)
	err = r.display(t.of, t.member).Show(ctx, "checking "+words(list), func(ctx context.Context, tell solver.Progress) error {
		var mu sync.Mutex
		cfg.Progress = func(p platforms.Platform, done, total int64) {
			mu.Lock()
			defer mu.Unlock()
			if !near {
				near = true
				r.say(fmt.Sprintf("the layers of %s are read here to check them, because the solver of %s does not check", words(list), t.member.Name))
			}
			tell(p.String(), done, total)
		}
		checker, err := contents.New(cfg)
		if err == nil {
			reports, err = checker.CheckImages(ctx, from, images)
		}
		return err
	})
	return reports, err
}

// locate tells for what is wrong where the Dockerfile has the step that wrote it.
func (r *run) locate(of *commission, report *contents.ImageReport) {
	i := r.place(Goal{of.name, report.Platform})
	if i < 0 || r.graphs[i] == nil {
		return
	}
	steps := r.graphs[i].TopLayers()
	for n := range report.Findings {
		f := &report.Findings[n]
		down := report.Layers - f.Layer // from the highest
		if f.Layer == 0 || down >= len(steps) {
			continue
		}
		if s := steps[down]; len(s.Locations) > 0 && instruction(s.Name) == instruction(f.CreatedBy) {
			f.Location = s.Locations[0].String()
		}
	}
}

// instruction is what a step's name, or a line of an image's history, begins with: RUN.
func instruction(text string) string {
	if _, rest, ok := strings.Cut(text, "] "); ok && strings.HasPrefix(text, "[") {
		text = rest
	}
	word, _, _ := strings.Cut(text, " ")
	return word
}

// joined puts what was found in all images of a request together, in its order.
func (c *commission) joined(done []*outcome) *contents.Report {
	var list []contents.ImageReport
	for _, o := range done {
		if o.task.of == c {
			list = append(list, o.checked...)
		}
	}
	if len(list) == 0 {
		return nil
	}
	return contents.Join(ordered(list, func(i contents.ImageReport) int { return slices.Index(c.request.Platforms, i.Platform) }), nil)
}

// refuse makes an error of a report, if it is one.
func refuse(report *contents.Report, strict bool) error {
	if err := report.Err(strict); err != nil {
		return &RefusedError{&ContentsError{Report: report, err: err}}
	}
	return nil
}

// ContentsError is what is wrong with the contents of images.
type ContentsError struct {
	Report *contents.Report
	err    error
}

// Error names the platforms.
func (e *ContentsError) Error() string {
	var list []string
	for _, image := range e.Report.Images {
		programs, damage := image.MoreFindings, 0
		for _, f := range image.Findings {
			if f.Path == "" {
				damage++
			} else {
				programs++
			}
		}
		switch {
		case damage > 0:
			list = append(list, image.Platform.String()+" is damaged")
		case programs == 1:
			list = append(list, image.Platform.String()+" has a program that it does not run")
		case programs > 1:
			list = append(list, fmt.Sprintf("%s has %d programs that it does not run", image.Platform, programs))
		}
	}
	return strings.Join(list, "; ")
}

// Hint tells what usually stands behind it, and what to do where it is meant.
func (e *ContentsError) Hint() string {
	for _, image := range e.Report.Images {
		for _, f := range image.Findings {
			if f.Path != "" {
				return "copy what is the platform's own: a name with an architecture in it takes $TARGETARCH, and a stage that is copied from must " +
					"make programs for $TARGETPLATFORM;\nwhat is meant to be there: --verify-exempt GLOB, or in the Dockerfile LABEL " + contents.ExemptLabel + "=GLOB; " +
					"--verify warn tells only"
			}
		}
	}
	return "the node's cache may be damaged: build again with --no-cache, or empty it: mab cache prune --all"
}

// Unwrap gives the count.
func (e *ContentsError) Unwrap() error { return e.err }
