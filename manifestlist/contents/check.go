// SPDX-License-Identifier: Apache-2.0

package contents

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/mab-build/mab/manifestlist"
	"github.com/mab-build/mab/platforms"
)

// ExemptLabel is the label of an image that holds globs as in Config.Exempt, separated by commas or newlines.
const ExemptLabel = "mab.verify.exempt"

// Config says how images are checked.
type Config struct {
	// Exempt are globs of paths that may hold programs of any platform, with the syntax of .dockerignore; none by default.
	Exempt []string
	// Parallel is how many layers are read at once; 0 is as many as there are CPUs to use.
	Parallel int
	// Cache has what earlier checks have read of layers: what is in it is not read again, nor that it is there. Nil: everything is read.
	Cache Cache
	// Progress is told how many bytes of an image's layers are read, of how many that must be. What several images share counts for the
	// first. It is called by several goroutines at once. Nil: nobody is told.
	Progress func(image platforms.Platform, done, total int64)
}

// Checker checks images. It is safe for concurrent use.
type Checker struct {
	cfg Config
}

// New refuses globs that cannot be read.
func New(cfg Config) (*Checker, error) {
	if _, err := newPatterns(cfg.Exempt); err != nil {
		return nil, fmt.Errorf("reading the globs %q: %w", cfg.Exempt, err)
	}
	if cfg.Parallel <= 0 {
		cfg.Parallel = runtime.GOMAXPROCS(0)
	}
	return &Checker{cfg}, nil
}

// Check reads everything that root reaches, whose bytes are raw: indexes in indexes, images with their layers, attestations. What is
// damaged, missing or wrong is in the report; an error is what kept it from looking.
func (c *Checker) Check(ctx context.Context, from manifestlist.Blobs, root ocispec.Descriptor, raw []byte) (*Report, error) {
	images, others, err := manifestlist.Entries(root, raw)
	if err != nil {
		return nil, fmt.Errorf("checking %s: %w", root.Digest, err)
	}
	reports, err := c.CheckImages(ctx, from, images)
	if err != nil {
		return nil, err
	}
	for _, image := range images {
		others = append(others, image.Attestations...)
	}
	report := Join(reports, nil)
	for _, desc := range others {
		inner, err := c.checkOther(ctx, from, desc)
		if err != nil {
			return nil, err
		}
		report = Join(append(report.Images, inner.Images...), append(report.Findings, inner.Findings...))
	}
	return report, nil
}

// checkOther checks an entry that is no image: an index is checked as such, of everything else the bytes are.
func (c *Checker) checkOther(ctx context.Context, from manifestlist.Blobs, desc ocispec.Descriptor) (*Report, error) {
	raw, err := manifestlist.ReadBlob(ctx, from, desc)
	if err != nil {
		return refuse(desc, err)
	}
	var inner struct {
		ocispec.Index
		Config *ocispec.Descriptor  `json:"config"`
		Layers []ocispec.Descriptor `json:"layers"`
		Blobs  []ocispec.Descriptor `json:"blobs"`
	}
	if err := json.Unmarshal(raw, &inner); err != nil {
		return &Report{}, nil //nolint:nilerr // a blob that is not JSON has nothing behind it, which is no fault
	}
	if len(inner.Manifests) > 0 {
		return c.Check(ctx, from, desc, raw)
	}
	blobs := append(inner.Layers, inner.Blobs...)
	if inner.Config != nil {
		blobs = append(blobs, *inner.Config)
	}
	report := &Report{}
	for _, blob := range blobs {
		if err := drain(ctx, from, blob); err != nil {
			refused, err := refuse(blob, err)
			if err != nil {
				return nil, err
			}
			report.Findings = append(report.Findings, refused.Findings...)
		}
	}
	return report, nil
}

func drain(ctx context.Context, from manifestlist.Blobs, desc ocispec.Descriptor) error {
	rc, err := manifestlist.OpenBlob(ctx, from, desc)
	if err != nil {
		return err
	}
	defer rc.Close()
	_, err = io.Copy(io.Discard, rc)
	return err
}

// refuse makes a finding of an error that is about a blob's content, and returns every other as it is.
func refuse(desc ocispec.Descriptor, err error) (*Report, error) {
	var damaged *manifestlist.DigestError
	var wrong malformed
	switch {
	case errors.As(err, &damaged):
		found, expected := damaged.Got.String(), damaged.Want.String()
		if found == expected {
			found, expected = fmt.Sprintf("%d bytes", damaged.GotSize), fmt.Sprintf("%d bytes", damaged.WantSize)
		}
		return &Report{Findings: []Finding{{Found: found, Expected: expected, Blob: desc.Digest}}}, nil
	case manifestlist.IsMissing(err):
		return &Report{Findings: []Finding{{Found: "nothing", Expected: desc.Digest.String(), Blob: desc.Digest}}}, nil
	case errors.As(err, &wrong):
		return &Report{Findings: []Finding{{Found: wrong.Error(), Blob: desc.Digest}}}, nil
	}
	return nil, fmt.Errorf("checking %s: %w", desc.Digest, err)
}

// CheckImages checks images, whose blobs may be on this machine alone, and returns a report for each, in their order. Their
// attestations are not looked at. Reports of several machines are put together by Join.
func (c *Checker) CheckImages(ctx context.Context, from manifestlist.Blobs, images []manifestlist.Image) ([]ImageReport, error) {
	work := &work{cfg: c.cfg, from: from, layers: map[layerKey]*layerResult{}}
	reports := make([]ImageReport, len(images))
	subjects := make([]*subject, len(images))
	g, inner := errgroup.WithContext(ctx)
	g.SetLimit(c.cfg.Parallel)
	for i, image := range images {
		g.Go(func() (err error) {
			subjects[i], err = c.open(inner, from, image, &reports[i])
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if err := work.read(ctx, subjects); err != nil {
		return nil, err
	}
	for i, s := range subjects {
		if s != nil {
			work.finish(s, &reports[i])
		}
	}
	return reports, nil
}

// open reads manifest and config of an image, and checks that they agree. It returns nil for what has no layers to look at.
func (c *Checker) open(ctx context.Context, from manifestlist.Blobs, image manifestlist.Image, r *ImageReport) (*subject, error) {
	r.Platform, r.Digest = image.Platform, image.Manifest.Digest
	find := func(desc ocispec.Descriptor, err error) (*subject, error) {
		refused, err := refuse(desc, err)
		if err == nil {
			r.Findings = append(r.Findings, refused.Findings...)
		}
		return nil, err
	}
	s := &subject{}
	raw, err := manifestlist.ReadBlob(ctx, from, withData(image.Manifest, image.Raw))
	if err != nil {
		return find(image.Manifest, err)
	}
	if err := json.Unmarshal(raw, &s.manifest); err != nil {
		return find(image.Manifest, malformed{fmt.Errorf("a manifest that cannot be read: %w", err)})
	}
	rawConfig, err := manifestlist.ReadBlob(ctx, from, s.manifest.Config)
	if err != nil {
		return find(s.manifest.Config, err)
	}
	if !isImage(s.manifest) {
		r.Unchecked = fmt.Sprintf("it is no image, but %q", s.manifest.Config.MediaType)
		for _, desc := range s.manifest.Layers {
			if err := drain(ctx, from, desc); err != nil {
				return find(desc, err)
			}
		}
		return nil, nil
	}
	if err := json.Unmarshal(rawConfig, &s.config); err != nil {
		return find(s.manifest.Config, malformed{fmt.Errorf("a config that cannot be read: %w", err)})
	}
	if err := s.agree(r); err != nil {
		return find(s.manifest.Config, malformed{err})
	}
	s.exempt, err = newExemptions(s.platform, c.ownRules(s.config.Config.Labels[ExemptLabel]))
	if err != nil {
		return find(s.manifest.Config, malformed{fmt.Errorf("its label %s: %w", ExemptLabel, err)})
	}
	return s, nil
}

func withData(desc ocispec.Descriptor, raw []byte) ocispec.Descriptor {
	if raw != nil {
		desc.Data = raw
	}
	return desc
}

func isImage(m ocispec.Manifest) bool {
	return m.Config.MediaType == ocispec.MediaTypeImageConfig || m.Config.MediaType == "application/vnd.docker.container.image.v1+json"
}

// agree compares the index's entry with the config, and the config with the manifest.
func (s *subject) agree(r *ImageReport) error {
	if s.config.OS == "" || s.config.Architecture == "" {
		return errors.New("a config that names no platform")
	}
	says := platforms.FromOCI(s.config.Platform)
	if r.Platform == (platforms.Platform{}) {
		r.Platform = says
	}
	s.platform, r.RootFS, r.Layers = r.Platform, s.config.RootFS.DiffIDs, len(s.manifest.Layers)
	if !r.Platform.Covers(says) {
		r.Findings = append(r.Findings, Finding{
			Found: "a config for " + says.String(), Expected: r.Platform.String(), Blob: s.manifest.Config.Digest,
		})
	}
	if got, want := len(s.config.RootFS.DiffIDs), len(s.manifest.Layers); got != want {
		return fmt.Errorf("a config of %d layers, and a manifest of %d", got, want)
	}
	return nil
}

// ownRules are the user's exemptions.
func (c *Checker) ownRules(label string) []Rule {
	var own []Rule
	if len(c.cfg.Exempt) > 0 {
		own = append(own, Rule{Name: "--verify-exempt", Reason: "was asked for", Paths: c.cfg.Exempt})
	}
	globs := strings.FieldsFunc(label, func(r rune) bool { return r == ',' || r == '\n' })
	if len(globs) > 0 {
		own = append(own, Rule{Name: ExemptLabel, Reason: "was asked for in a label of the image", Paths: globs})
	}
	return own
}

// isForeign tells layers that are to be had elsewhere: those of Windows.
// Source: https://github.com/opencontainers/image-spec/blob/v1.1.1/layer.md#non-distributable-layers
func isForeign(mediaType string) bool {
	return strings.Contains(mediaType, ".nondistributable.") || strings.Contains(mediaType, ".foreign.")
}

// finish applies the layers of an image and judges what comes of it. Without one of them there is nothing to judge.
func (w *work) finish(s *subject, r *ImageReport) {
	s.tree = newTree()
	for i, desc := range s.manifest.Layers {
		result := w.layers[s.key(i)]
		finding := result.found
		switch {
		case finding != nil:
		case result.layer == nil:
			r.Unchecked = "a layer of it is not distributed with it"
		default:
			r.Bytes += result.layer.bytes
			if err := s.tree.apply(result.layer); err != nil {
				finding = &Finding{Found: err.Error(), Blob: desc.Digest}
			}
		}
		if finding != nil {
			at := *finding
			at.Layer, at.CreatedBy = i+1, createdBy(s.config.History, len(s.manifest.Layers), i)
			r.Findings = append(r.Findings, at)
			r.Unchecked = "a layer cannot be read"
		}
	}
	if r.Unchecked == "" {
		s.judge(r)
	}
}
