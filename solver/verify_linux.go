// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/moby/buildkit/cache"
	cacheconfig "github.com/moby/buildkit/cache/config"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/exporter"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/util/contentutil"
	"github.com/moby/buildkit/util/progress"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/mab-build/mab/manifestlist"
	"github.com/mab-build/mab/manifestlist/contents"
	"github.com/mab-build/mab/platforms"
)

// verifyingExporter makes an exporter that checks images where that is asked for, when all of the image is made and before any of it is
// pushed.
type verifyingExporter struct {
	exporter.Exporter
	store content.InfoReaderProvider
	kept  contents.Cache
}

func (e verifyingExporter) Resolve(ctx context.Context, id int, attrs map[string]string) (exporter.ExporterInstance, error) {
	text, wanted := attrs[verifyAttr]
	attrs = maps.Clone(attrs)
	delete(attrs, verifyAttr)
	in, err := e.Exporter.Resolve(ctx, id, attrs)
	if err != nil || !wanted {
		return in, err
	}
	out := verifyingInstance{ExporterInstance: in, store: e.store, kept: e.kept}
	if err := json.Unmarshal([]byte(text), &out.Verify); err != nil {
		return nil, fmt.Errorf("understanding %s: %w", verifyAttr, err)
	}
	return out, nil
}

type verifyingInstance struct {
	exporter.ExporterInstance
	Verify
	store content.InfoReaderProvider
	kept  contents.Cache
}

// Export answers with what it found. An image that is refused is not pushed; to tell so is the client's.
func (i verifyingInstance) Export(ctx context.Context, src *exporter.Source, info exporter.ExportBuildInfo) (map[string]string, exporter.FinalizeFunc, exporter.DescriptorReference, error) {
	answer, finalize, made, err := i.ExporterInstance.Export(ctx, src, info)
	if err != nil {
		return answer, finalize, made, err
	}
	reports, err := i.check(ctx, src, info, answer)
	var text []byte
	if err == nil {
		text, err = json.Marshal(reports)
	}
	if err != nil {
		if made != nil {
			err = errors.Join(err, made.Release())
		}
		return nil, nil, nil, err
	}
	answer[verifiedKey] = string(text)
	if contents.Join(reports, nil).Err(i.Strict) != nil {
		finalize = nil
	}
	return answer, finalize, made, nil
}

// check reads the image from the store. Nothing of it is collected meanwhile: the lease of the solve is in ctx.
func (i verifyingInstance) check(ctx context.Context, src *exporter.Source, info exporter.ExportBuildInfo, answer map[string]string) ([]contents.ImageReport, error) {
	made, err := result("", &client.SolveResponse{ExporterResponse: answer})
	if err != nil || made.Index.Digest == "" {
		return nil, err
	}
	from, err := i.blobs(ctx, src, info)
	if err != nil {
		return nil, fmt.Errorf("finding the layers to check: %w", err)
	}
	images, err := manifestlist.ReadImages(ctx, from, made.Index)
	if err != nil {
		return nil, fmt.Errorf("checking the image: %w", err)
	}
	shown := showChecks(ctx, images)
	checker, err := contents.New(contents.Config{Exempt: i.Exempt, Cache: i.kept, Progress: shown.progress})
	if err != nil {
		return nil, err
	}
	reports, err := checker.CheckImages(ctx, from, images)
	shown.end()
	for n := range reports {
		reports[n].Shorten(mostTold)
	}
	return reports, err
}

// blobs are those of the solver, and those of base images that it has not fetched, since no step needed their files and no registry
// their bytes. What is read of these is fetched, as for a step, with the credentials of the session, and kept.
func (i verifyingInstance) blobs(ctx context.Context, src *exporter.Source, info exporter.ExportBuildInfo) (manifestlist.Blobs, error) {
	out := contentutil.NewMultiProvider(i.store)
	var refs []cache.ImmutableRef
	if src.Ref != nil {
		refs = append(refs, src.Ref)
	}
	for _, ref := range src.Refs {
		if ref != nil {
			refs = append(refs, ref)
		}
	}
	how := cacheconfig.RefConfig{Compression: i.Config().Compression()}
	for _, ref := range refs {
		remotes, err := ref.GetRemotes(ctx, false, how, false, session.NewGroup(info.SessionID))
		if err != nil {
			return nil, err
		}
		for _, desc := range remotes[0].Descriptors {
			out.Add(desc.Digest, remotes[0].Provider)
		}
	}
	return providerBlobs{out}, nil
}

// providerBlobs reads what BuildKit has.
type providerBlobs struct{ content.Provider }

var _ manifestlist.Blobs = providerBlobs{}

// Open opens.
func (p providerBlobs) Open(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	at, err := p.ReaderAt(ctx, desc)
	if errdefs.IsNotFound(err) {
		return nil, fmt.Errorf("the solver does not have %s: %w", desc.Digest, fs.ErrNotExist)
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", desc.Digest, err)
	}
	return struct {
		io.Reader
		io.Closer
	}{content.NewReader(at), at}, nil
}

// String is how messages call it.
func (providerBlobs) String() string { return "the solver" }

// checks are shown as parts of the step that makes the image.
type checks struct {
	mu    sync.Mutex
	out   progress.Writer
	began time.Time
	list  []platforms.Platform
	told  map[platforms.Platform]progress.Status
	last  map[platforms.Platform]time.Time
}

func showChecks(ctx context.Context, images []manifestlist.Image) *checks {
	c := &checks{began: time.Now(), told: map[platforms.Platform]progress.Status{}, last: map[platforms.Platform]time.Time{}}
	c.out, _, _ = progress.NewFromContext(ctx)
	for _, image := range images {
		c.list = append(c.list, image.Platform)
		c.tell(image.Platform, progress.Status{Started: &c.began})
	}
	return c
}

// tell shows. What cannot be shown, nobody looks at.
func (c *checks) tell(p platforms.Platform, s progress.Status) {
	c.told[p], c.last[p] = s, time.Now()
	_ = c.out.Write("checking "+p.String(), s)
}

// progress is for contents.Config.
func (c *checks) progress(p platforms.Platform, done, total int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if done < total && time.Since(c.last[p]) < showEvery || int(done) < c.told[p].Current {
		return
	}
	c.tell(p, progress.Status{Started: &c.began, Current: int(done), Total: int(total)})
}

// showEvery is how often it is worth it.
const showEvery = 100 * time.Millisecond

func (c *checks) end() {
	now := time.Now()
	for _, p := range c.list {
		s := c.told[p]
		s.Completed = &now
		c.tell(p, s)
	}
	_ = c.out.Close()
}
