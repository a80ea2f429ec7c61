// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/docker/cli/cli/config"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/manifestlist"
	"github.com/mab-build/mab/manifestlist/contents"
	"github.com/mab-build/mab/platforms"
)

// Decide looks at the graphs of a build, before a step was run, and says whether this solve goes on: false ends it well, an error with it.
type Decide func(ctx context.Context, targets []Target) (bool, error)

// Export is one thing that a solve leaves behind.
type Export struct {
	// Type is BuildKit's: image, oci, local, tar.
	Type  string
	Attrs map[string]string
	// Names are what the attestations of an image call it that is pushed by digest; a solver that is not mab's calls it by its repositories.
	Names []string
	// AsImage has an oci export be the very image that one of type image is: with the provenance that others have only if it is asked for.
	AsImage bool
	// Blobs is a directory that gets the blobs of an oci export, as an OCI layout without index.json has them.
	Blobs string
	// Dir gets the files of a local export.
	Dir string
	// Tar opens what a tar export is written to; BuildKit closes it.
	Tar func() (io.WriteCloser, error)
}

// Solve is one build on one node: a request, what to leave behind, and who may still say no.
type Solve struct {
	Request *Request
	// Input is what the request received; it stays the caller's. Nil: the request wants none.
	Input   *Input
	Exports []Export
	// Whole are the platforms of the whole build, where the request is for a part of them: what comes out has the form and the bytes that it
	// would have in one solve for all. Nil: those of the request.
	Whole []platforms.Platform
	// SplitCaches has each platform of the solve write a cache of its own, in a tag or a directory that is named after it beside or in the one
	// that the request names. What is read are always both. Caches inside images stay what they are.
	SplitCaches bool
	// Decide is asked once, when the graphs are known. Nil: go on.
	Decide Decide
	// Files reads files while Decide decides. Nil: none are read.
	Files *Files
	// BuildPlatform is what the frontend takes for BUILDPLATFORM, unless the request gives that. Zero: the solver's own.
	BuildPlatform platforms.Platform
	// Given gives what is to be solved instead of the frontend. Then Decide is not looked at, and what the
	// frontend would be told is only in the provenance. Nil: the frontend.
	Given Giver
	// Contexts are named contexts of the request that are results of others, read before, by the contexts' names: the frontend takes them as
	// they are. Companions are the requests that these results are made by, and Renaming is that of the request's own sources in definitions.
	Contexts   map[string][]Target
	Companions []Companion
	Renaming   crossbuild.Renaming
	// Account tells of each platform how it is built, after the decision. Nil: nobody does.
	Account Account
	// Early are graphs that are solved while Given waits. Their failures are those of the solve that needs them.
	Early []*pb.Definition
	// Imports are what other solvers have made and definitions name. Nil: none is named.
	Imports *Imports
	// Registries say how registries are reached that have certificates of their own.
	Registries manifestlist.Registries
	// StepLimit ends the solve if a step takes longer than it says. Nil: none is limited.
	StepLimit StepLimit
	// Verify checks the images before they go anywhere. Nil: nobody does.
	Verify *Verify
	// Display shows the progress. Nil: nobody looks.
	Display *Display

	// ref is the build's name in the history, and sharedKey what local directories are known by. Empty: newRef's, the context's.
	ref, sharedKey string
	// evidence is what explains a failure. Nil: none is wanted.
	evidence *evidence
	// client is the one that builds.
	client *Client
	count  tally
	dog    *watchdog
}

// Result is what a solve left behind.
type Result struct {
	// Index is the index or manifest that BuildKit made of the platforms; its zero value: there was no image to make.
	Index ocispec.Descriptor
	// Refs is the solver's own name of the build in its history.
	Ref string
	// Steps is how many steps were done, and Cached how many of them were in the cache.
	Steps, Cached int
	// Times are how long the steps took that were run, waiting for a place in the queue of the solver included, by their digests as Failure.Step has them.
	Times map[digest.Digest]time.Duration
	// Checked are what the solver found in the images that it made, if the solve wanted that. Nil: it does not check.
	Checked []contents.ImageReport
	// Warnings are what it warned of, in the order of their coming.
	Warnings []*Warning
}

// errEnough ends a solve that Decide has ended.
var errEnough = errors.New("not to be solved")

// Build runs the frontend, lets Decide look at the graphs, and solves.
func (c *Client) Build(ctx context.Context, s Solve) (*Result, error) {
	if s.Input == nil && s.Request.receives() {
		return nil, errors.New("building: the request's input was not received")
	}
	src, err := s.sources()
	if err != nil {
		return nil, err
	}
	s.client, s.evidence, s.ref = c, &evidence{}, cmp.Or(s.ref, newRef())
	opt, err := s.options(src)
	if err != nil {
		return nil, err
	}
	var stopped error
	build := func(ctx context.Context, gw gateway.Client) (*gateway.Result, error) {
		res, err := s.run(ctx, gw, src, opt.FrontendAttrs)
		var own *contextError
		var stop *stopError
		switch {
		case errors.As(err, &own):
			stopped = err
		case errors.As(err, &stop):
			stopped = stop.error
		}
		return res, err
	}
	resp, err := c.solve(ctx, opt, build, &s)
	switch {
	case err != nil && s.evidence.overdue() != nil:
		// What waits for something else is told of nothing but the end.
		return nil, c.explain(ctx, err, &s)
	case errors.Is(stopped, errEnough):
		return &Result{Warnings: s.count.warnings}, nil
	case stopped != nil:
		return nil, stopped
	case err != nil:
		return nil, c.explain(ctx, err, &s)
	}
	out, err := result(opt.Ref, resp)
	if err == nil {
		out.Steps, out.Cached = s.count.counts()
		out.Times = s.count.times(s.evidence)
		out.Checked, err = verified(resp.ExporterResponse)
		out.Warnings = s.count.warnings
	}
	return out, err
}

// run has the frontend read what is to be built, and what remains after the decision be solved.
func (s *Solve) run(ctx context.Context, gw gateway.Client, src *sources, attrs map[string]string) (*gateway.Result, error) {
	attrs = s.buildArgs(gw, attrs)
	if s.Given != nil {
		return s.runGiven(ctx, gw, attrs)
	}
	if err := src.fetch(ctx, gw); err != nil {
		return nil, err
	}
	request, err := withStages(ctx, gw, attrs, src.stages)
	if err == nil {
		err = s.withContexts(gw, &request)
	}
	if err != nil {
		return nil, err
	}
	res, err := gw.Solve(ctx, request)
	if err != nil {
		return nil, err
	}
	targets, err := s.targets(ctx, res)
	if err != nil {
		return nil, err
	}
	s.evidence.targets = targets
	if s.Decide == nil {
		return res, s.addAccounts(res, targets)
	}
	done := s.Files.open(gw)
	goOn, err := s.Decide(ctx, targets)
	done()
	if err == nil && !goOn {
		err = errEnough
	}
	if err != nil {
		return nil, &stopError{err}
	}
	return res, s.addAccounts(res, targets)
}

// buildArgs gives the frontend BUILDPLATFORM and its kin, where they are not what it takes by itself. What the request gives stays.
func (s *Solve) buildArgs(gw gateway.Client, attrs map[string]string) map[string]string {
	if s.BuildPlatform == (platforms.Platform{}) || s.BuildPlatform == ownPlatform(gw) {
		return attrs
	}
	attrs = maps.Clone(attrs)
	for _, arg := range platforms.Args(s.BuildPlatform, platforms.Platform{}) {
		key := "build-arg:" + arg.Name
		if _, given := attrs[key]; !given && strings.HasPrefix(arg.Name, "BUILD") {
			attrs[key] = arg.Value
		}
	}
	return attrs
}

// see looks at what is shown.
func (s *Solve) see(status *client.SolveStatus) {
	soften(status)
	s.evidence.see(status)
	s.count.see(status)
	s.dog.see(status)
}

// stopError is the decision not to go on.
type stopError struct{ error }

func (c *Client) solve(ctx context.Context, opt client.SolveOpt, build gateway.BuildFunc, s *Solve) (*client.SolveResponse, error) {
	dirs, err := provide(opt.LocalMounts)
	if err != nil {
		return nil, err
	}
	opt.LocalMounts, opt.Session = nil, append(opt.Session, dirs)
	var resp *client.SolveResponse
	status := make(chan *client.SolveStatus)
	ctx, stop := s.watch(ctx)
	defer stop()
	group, ctx := errgroup.WithContext(ctx)
	watched, over := context.WithCancel(ctx)
	if c.link != nil {
		group.Go(func() error { c.pulse(watched); return nil })
	}
	group.Go(func() error { return s.Display.follow(status, s.see) })
	group.Go(func() error {
		defer over()
		var err error
		resp, err = c.bk.Build(ctx, opt, "", build, status)
		return err
	})
	return resp, group.Wait()
}

func (s *Solve) options(src *sources) (client.SolveOpt, error) {
	r := s.Request
	attrs, err := r.attrs(os.LookupEnv)
	if err != nil {
		return client.SolveOpt{}, err
	}
	maps.Copy(attrs, src.attrs)
	if slices.ContainsFunc(s.Exports, func(e Export) bool { return e.AsImage }) {
		everywhere(attrs)
	}
	if len(s.whole()) > 1 {
		attrs["multi-platform"] = "true"
	}
	docker := config.LoadDefaultConfigFile(io.Discard)
	maps.Copy(attrs, proxyArgs(docker.Proxies, manifestlist.EngineHost(manifestlist.EngineConfig{}), attrs))
	session, err := s.merged().attachables()
	if err != nil {
		return client.SolveOpt{}, err
	}
	session = withNodeTokens(session, s.Registries)
	imports, exports, err := r.caches()
	if err != nil {
		return client.SolveOpt{}, err
	}
	if imports, exports, err = s.splitCaches(imports, exports); err != nil {
		return client.SolveOpt{}, err
	}
	if len(src.uploads) > 0 {
		session = append(session, src.uploads)
	}
	if s.Imports != nil {
		src.stores[ImportStore] = importStore{Imports: s.Imports}
	}
	opt := client.SolveOpt{
		FrontendAttrs:       attrs,
		LocalMounts:         src.dirs,
		OCIStores:           src.stores,
		SharedKey:           cmp.Or(s.sharedKey, sharedKey(r.Context)),
		Session:             session,
		CacheImports:        imports,
		CacheExports:        exports,
		AllowedEntitlements: s.merged().entitlements(),
		Ref:                 cmp.Or(s.ref, newRef()),
	}
	for _, e := range s.Exports {
		e.Attrs = s.partAttrs(e)
		if e.Attrs, err = s.verifyAttrs(e); err != nil {
			return client.SolveOpt{}, err
		}
		entry, err := e.entry(s.evidence)
		if err != nil {
			return client.SolveOpt{}, err
		}
		opt.Exports = append(opt.Exports, entry)
	}
	return opt, nil
}

func (e Export) entry(seen *evidence) (client.ExportEntry, error) {
	out := client.ExportEntry{Type: e.Type, Attrs: e.Attrs, OutputDir: e.Dir}
	if e.Blobs != "" {
		store, err := local.NewStore(e.Blobs)
		if err != nil {
			return client.ExportEntry{}, fmt.Errorf("opening %q for the image: %w", e.Blobs, err)
		}
		out.OutputStore = store
	}
	if e.Tar != nil {
		out.Output = func(map[string]string) (io.WriteCloser, error) {
			to, err := e.Tar()
			if err != nil {
				return nil, err
			}
			return observed{to, seen}, nil
		}
	}
	return out, nil
}

func result(ref string, resp *client.SolveResponse) (*Result, error) {
	out := &Result{Ref: ref}
	text := resp.ExporterResponse[exptypes.ExporterImageDescriptorKey]
	if text == "" {
		return out, nil
	}
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("reading the solver's answer: %w", err)
	}
	if err := json.Unmarshal(raw, &out.Index); err != nil {
		return nil, fmt.Errorf("reading the solver's answer: %w", err)
	}
	return out, nil
}
