// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"time"

	"github.com/docker/cli/cli/config/configfile"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/filesync"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"

	"github.com/mab-build/mab/emulation"
)

// Attrs is attrs.
func (r *Request) Attrs(getenv func(string) (string, bool)) (map[string]string, error) {
	return r.attrs(getenv)
}

// ExtraHosts is extraHosts.
func ExtraHosts(list []string) (string, error) { return extraHosts(list) }

// Sources is sources, and what of it the tests look at.
func (r *Request) Sources() (*Sources, error) {
	if _, err := r.sources(nil); err != nil {
		return nil, err
	}
	in, err := r.Receive(context.Background())
	if err != nil {
		return nil, err
	}
	s, err := r.sources(in)
	if err != nil {
		return nil, errors.Join(err, in.Close())
	}
	return &Sources{in, s}, nil
}

// Sources wraps sources.
type Sources struct {
	input *Input
	inner *sources
}

// Close closes the input.
func (s *Sources) Close() error { return s.input.Close() }

// Attrs are those for the frontend.
func (s *Sources) Attrs() map[string]string { return s.inner.attrs }

// Files returns the names in each directory that the solver may read.
func (s *Sources) Files() (map[string][]string, error) {
	out := map[string][]string{}
	for name, view := range s.inner.dirs {
		err := view.Walk(context.Background(), "", func(path string, _ os.DirEntry, err error) error {
			out[name] = append(out[name], path)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Uploads are what the solver may pull from the session.
func (s *Sources) Uploads() session.Attachable { return s.inner.uploads }

// ProxyArgs is proxyArgs.
func ProxyArgs(all map[string]configfile.ProxyConfig, host string, given map[string]string) map[string]string {
	return proxyArgs(all, host, given)
}

// OverSSH is overSSH.
func OverSSH(context string) bool { return overSSH(context) }

// Stores returns how many OCI layouts the solver may read.
func (s *Sources) Stores() int { return len(s.inner.stores) }

// Options is what a solve asks of BuildKit.
func (s *Solve) Options() (client.SolveOpt, error) {
	src, err := s.sources()
	if err != nil {
		return client.SolveOpt{}, err
	}
	return s.options(src)
}

// Caches is caches.
func (r *Request) Caches() (imports, exports []client.CacheOptionsEntry, err error) {
	return r.caches()
}

// MetadataProvenance is metadataProvenance.
func MetadataProvenance(raw []byte, id string, detailed bool) (json.RawMessage, error) {
	return metadataProvenance(raw, id, detailed)
}

// AccountsKey is accountsKey.
const AccountsKey = accountsKey

// SteadyProvenance is steadyProvenance, of a platform of which nobody tells.
func SteadyProvenance(predicate []byte) ([]byte, error) {
	return steadyProvenance(predicate, "linux/amd64", nil)
}

// BaseWithoutPlatform is baseWithoutPlatform.
func BaseWithoutPlatform(text string) string { return baseWithoutPlatform(text) }

// Explain is explain.
func Explain(ctx context.Context, err error) error { return explain(ctx, err) }

// Args is args.
func (c AttachConfig) Args(state State) []string { return c.args(state) }

// NewStartError makes the error of a solver that did not come up.
func NewStartError(err error, log string) error { return &startError{err, log} }

// Follow is follow.
func (d *Display) Follow(status <-chan *client.SolveStatus) error {
	return d.follow(status, func(*client.SolveStatus) {})
}

// NewResult is result.
func NewResult(ref string, resp *client.SolveResponse) (*Result, error) { return result(ref, resp) }

// SurveyLabel is surveyLabel, MachineLabel machineLabel.
const (
	SurveyLabel  = surveyLabel
	MachineLabel = machineLabel
)

// Handle tells what a mab of this format and version would do with a state: use, or set aside.
func Handle(s State, format int, version string) (string, error) {
	self := stamp{format, version}
	found, err := s.stamp(self)
	if err != nil {
		return "", err
	}
	what, err := handle(found, self, s.Root)
	if err != nil {
		return "", err
	}
	return map[handling]string{useState: "use", setAside: "set aside"}[what], nil
}

// Witnessed is what was seen of a build that failed.
type Witnessed struct {
	Survey  []emulation.Support
	Targets []Target
	Exports []Export
	Status  []*client.SolveStatus
}

// Failure explains the failure of such a build.
func (s Witnessed) Failure(err error) *Failure {
	solve := Solve{Exports: s.Exports, evidence: &evidence{targets: s.Targets}}
	for _, status := range s.Status {
		solve.evidence.see(status)
	}
	var c Client
	c.survey.Store(&s.Survey)
	var out *Failure
	if !errors.As(c.explain(context.Background(), err, &solve), &out) {
		return nil
	}
	return out
}

// TarOf is what BuildKit writes a tar export to, and tells whether it found no room.
func TarOf(e Export) (io.WriteCloser, func() bool, error) {
	seen := &evidence{}
	entry, err := e.entry(seen)
	if err != nil {
		return nil, nil, err
	}
	w, err := entry.Output(nil)
	return w, func() bool { return seen.here }, err
}

// See is see.
func (s *Solve) See(status *client.SolveStatus) { s.see(status) }

// SetForeign has the client take its solver for one that is not mab's.
func (c *Client) SetForeign(is bool) { c.foreign.Store(is) }

// Origin is what a step of def was made from, which was made from graph.
func Origin(def, graph *pb.Definition, step digest.Digest) digest.Digest {
	o := origins{}
	o.add(def, graph)
	return o.of(step)
}

// Merged is merged.
func (s *Solve) Merged() *Request { return s.merged() }

// StepTimes are those that statuses of a solve tell of.
func StepTimes(list ...*client.SolveStatus) map[digest.Digest]time.Duration {
	var t tally
	for _, s := range list {
		t.see(s)
	}
	return t.times(&evidence{})
}

// Gather gathers what is sent to a stream.
func Gather(to filesync.FileSync_DiffCopyServer) filesync.FileSync_DiffCopyServer {
	return &gatherer{FileSync_DiffCopyServer: to}
}
