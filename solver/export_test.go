// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"context"
	"os"

	"github.com/moby/buildkit/client"
)

// Attrs is attrs.
func (r *Request) Attrs(getenv func(string) (string, bool)) (map[string]string, error) {
	return r.attrs(getenv)
}

// ExtraHosts is extraHosts.
func ExtraHosts(list []string) (string, error) { return extraHosts(list) }

// Sources is sources, and what of it the tests look at.
func (r *Request) Sources() (*Sources, error) {
	s, err := r.sources()
	if err != nil {
		return nil, err
	}
	return &Sources{s}, nil
}

// Sources wraps sources.
type Sources struct{ inner *sources }

// Close is close.
func (s *Sources) Close() error { return s.inner.close() }

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

// Stores returns how many OCI layouts the solver may read.
func (s *Sources) Stores() int { return len(s.inner.stores) }

// Options is what a solve asks of BuildKit.
func (s *Solve) Options() (client.SolveOpt, error) {
	src, err := s.Request.sources()
	if err != nil {
		return client.SolveOpt{}, err
	}
	opt, err := s.options(src)
	if err != nil {
		return client.SolveOpt{}, err
	}
	return opt, src.close()
}

// Caches is caches.
func (r *Request) Caches() (imports, exports []client.CacheOptionsEntry, err error) {
	return r.caches()
}

// SteadyProvenance is steadyProvenance.
func SteadyProvenance(predicate []byte) ([]byte, error) { return steadyProvenance(predicate) }

// BaseWithoutPlatform is baseWithoutPlatform.
func BaseWithoutPlatform(text string) string { return baseWithoutPlatform(text) }

// Explain is explain.
func Explain(ctx context.Context, err error) error { return explain(ctx, err) }

// Args is args.
func (c AttachConfig) Args(state State) []string { return c.args(state) }

// NewStartError makes the error of a solver that did not come up.
func NewStartError(err error, log string) error { return &startError{err, log} }

// Follow is follow.
func (d *Display) Follow(ctx context.Context, status <-chan *client.SolveStatus) error {
	return d.follow(ctx, status)
}

// Note is note.
func (d *Display) Note(lines []string) { d.note(lines) }

// NewResult is result.
func NewResult(ref string, resp *client.SolveResponse) (*Result, error) { return result(ref, resp) }

// SurveyLabel is surveyLabel.
const SurveyLabel = surveyLabel

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
