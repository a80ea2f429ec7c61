// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/content/proxy"
	"github.com/containerd/errdefs"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/util/grpcerrors"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc/codes"

	"github.com/mab-build/mab/emulation"
	"github.com/mab-build/mab/platforms"
)

// surveyLabel is the worker label that tells what the solver found able to run, as the JSON of []emulation.Support.
const surveyLabel = "build.mab.emulation"

// surveyedLabel is the worker label that tells when it found that out, as RFC 3339 has it.
const surveyedLabel = "build.mab.surveyed"

// machineLabel is the worker label that tells what the solver runs on, as the JSON of Machine.
const machineLabel = "build.mab.machine"

// These worker labels tell which mab the solver is, the digest of its config, and whether a build started it.
const (
	versionLabel  = "build.mab.version"
	configLabel   = "build.mab.config"
	onDemandLabel = "build.mab.on-demand"
)

// Client talks to one solver. It is safe for several builds at once.
type Client struct {
	bk *client.Client
	// held is let go of with the connection; nil holds nothing.
	held io.Closer
	// link is the only connection. Nil: gRPC opens them.
	link *link
	// survey is what the solver said last of how it runs each platform.
	survey atomic.Pointer[[]emulation.Support]
	// foreign tells that it is not mab's.
	foreign atomic.Bool
}

// Dial connects to a solver at a BuildKit address such as unix:///run/mab/solver.sock. The caller closes the client.
func Dial(ctx context.Context, address string) (*Client, error) {
	bk, err := client.New(ctx, address)
	if err != nil {
		return nil, fmt.Errorf("connecting to the solver at %q: %w", address, err)
	}
	return &Client{bk: bk}, nil
}

// Over connects to a solver through the one connection that dial opens, and asks it for what it can. When the connection ends, whatever is
// under way fails at once, and so does all that is asked later: reaching the solver anew is the caller's decision. The caller closes the
// client, and with it the connection. An error of dial is wrapped as it is.
func Over(ctx context.Context, dial func(context.Context) (net.Conn, error)) (*Client, Info, error) {
	conn, err := dial(ctx)
	if err != nil {
		return nil, Info{}, fmt.Errorf("connecting to the solver: %w", err)
	}
	l := &link{conn: conn}
	bk, err := client.New(ctx, "passthrough:///solver", client.WithContextDialer(l.dial))
	if err != nil {
		return nil, Info{}, errors.Join(fmt.Errorf("connecting to the solver: %w", err), l.Close())
	}
	c := &Client{bk: bk, held: l, link: l}
	info, err := c.Info(ctx)
	if err != nil {
		return nil, Info{}, errors.Join(err, c.Close())
	}
	return c, info, nil
}

// Close ends the connection. Builds that still run on it fail.
func (c *Client) Close() error {
	if c.held == nil {
		return c.bk.Close()
	}
	return errors.Join(c.bk.Close(), c.held.Close())
}

// Info is what a solver said about itself.
type Info struct {
	// Platforms are those that the solver says it can run, its own first.
	Platforms []platforms.Platform
	// Survey is how each is run. If the solver is not mab's, it is made of what that one lists, and no emulator has a version.
	Survey []emulation.Support
	// Foreign is a solver that is not mab's.
	Foreign bool
	// Limits are what the solver does less well than it might. Empty if the solver is not mab's.
	Limits []Limit
	// Surveyed changes with each survey. Empty if the solver makes no other but that at its start.
	Surveyed string
	// Mab is the version of mab that it is.
	Mab string
	// Config is the Digest of its config, and OnDemand says that a build started it. Empty if the solver is not mab's.
	Config   string
	OnDemand bool
	// Machine is what it runs on. Zero if the solver is not mab's.
	Machine Machine
	// Running is how many builds it has under way. Zero if it keeps no history of them.
	Running int
}

// Machine is what a solver runs on, as its process sees it: nodes.Machine has the same fields, and tells their units.
type Machine struct {
	CPUs      int     `json:"cpus,omitempty"`
	Memory    int64   `json:"memory_bytes,omitempty"`
	Available int64   `json:"available_bytes,omitempty"`
	Disk      int64   `json:"disk_bytes,omitempty"`
	Free      int64   `json:"free_bytes,omitempty"`
	Kernel    string  `json:"kernel,omitempty"`
	Model     string  `json:"model,omitempty"`
	Load      float64 `json:"load,omitempty"`
}

// Info asks the solver what it can run.
func (c *Client) Info(ctx context.Context) (Info, error) {
	workers, err := c.bk.ListWorkers(ctx)
	if err != nil {
		return Info{}, fmt.Errorf("asking the solver for its platforms: %w", err)
	}
	if len(workers) == 0 {
		return Info{}, fmt.Errorf("asking the solver for its platforms: it has no worker")
	}
	labels := workers[0].Labels
	info := Info{Surveyed: labels[surveyedLabel], Mab: labels[versionLabel], Config: labels[configLabel], OnDemand: labels[onDemandLabel] != ""}
	for _, p := range workers[0].Platforms {
		info.Platforms = append(info.Platforms, platforms.FromOCI(p))
	}
	if text := workers[0].Labels[surveyLabel]; text != "" {
		if err := json.Unmarshal([]byte(text), &info.Survey); err != nil {
			return Info{}, fmt.Errorf("reading what the solver can run: %w", err)
		}
	}
	if text := workers[0].Labels[limitsLabel]; text != "" {
		if err := json.Unmarshal([]byte(text), &info.Limits); err != nil {
			return Info{}, fmt.Errorf("reading what limits the solver: %w", err)
		}
	}
	if text := workers[0].Labels[machineLabel]; text != "" {
		if err := json.Unmarshal([]byte(text), &info.Machine); err != nil {
			return Info{}, fmt.Errorf("reading what the solver runs on: %w", err)
		}
	}
	if info.Foreign = info.Mab == "" && labels[surveyLabel] == ""; info.Foreign {
		info.Survey = foreignSurvey(info.Platforms)
	}
	c.foreign.Store(info.Foreign)
	c.survey.Store(&info.Survey)
	if info.Running, err = c.running(ctx); err != nil {
		return Info{}, err
	}
	return info, nil
}

// Open reads a blob that the solver holds, such as a manifest of an image it built. The content is not verified. That the solver is gone is a
// [Failure]. The caller closes it.
func (c *Client) Open(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	at, err := proxy.NewContentStore(c.bk.ContentClient()).ReaderAt(ctx, desc)
	if err != nil {
		return nil, fmt.Errorf("reading %s from the solver: %w", desc.Digest, asLost(err))
	}
	return blobReader{content.NewReader(at), at}, nil
}

type blobReader struct {
	io.Reader
	io.Closer
}

// Read reads.
func (r blobReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = asLost(err)
	}
	return n, err
}

// asLost makes a failure of an error that says that the solver is gone.
func asLost(err error) error {
	if errdefs.IsUnavailable(err) || grpcerrors.Code(err) == codes.Unavailable {
		return &Failure{err: err, lost: true}
	}
	return err
}
