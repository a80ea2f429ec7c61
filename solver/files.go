// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"
)

// Files reads files of what definitions make. It does so while the Decide of its Solve runs; before and after that it has none. The zero value
// is ready to be put into a Solve.
type Files struct {
	mu sync.Mutex
	gw gateway.Client
}

// ErrNoFile is a file that is not there.
var ErrNoFile = errors.New("no such file")

var errNoFiles = errors.New("reading a file of an image: the solver cannot be asked now")

// open has files be read from gw until done is called.
func (f *Files) open(gw gateway.Client) (done func()) {
	set := func(gw gateway.Client) {
		if f != nil {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.gw = gw
		}
	}
	set(gw)
	return func() { set(nil) }
}

// Read has a definition be solved, and returns the first bytes of files of it, most at most of each. A file that is not there, or is none,
// fails with ErrNoFile.
func (f *Files) Read(ctx context.Context, def *pb.Definition, most int, names ...string) ([][]byte, error) {
	f.mu.Lock()
	gw := f.gw
	f.mu.Unlock()
	if gw == nil {
		return nil, errNoFiles
	}
	res, err := gw.Solve(ctx, gateway.SolveRequest{Definition: def})
	if err != nil {
		return nil, fmt.Errorf("looking into an image: %w", err)
	}
	ref, err := res.SingleRef()
	if err != nil || ref == nil {
		return nil, errors.Join(err, ErrNoFile)
	}
	out := make([][]byte, len(names))
	for i, name := range names {
		out[i], err = ref.ReadFile(ctx, gateway.ReadRequest{Filename: name, Range: &gateway.FileRange{Length: most}})
		if err != nil && isNoFile(err) {
			return nil, fmt.Errorf("reading %q: %w", name, ErrNoFile)
		}
		if err != nil {
			return nil, fmt.Errorf("reading %q of an image: %w", name, err)
		}
	}
	return out, nil
}

// isNoFile knows the words of os.PathError, all that is left of it on its way here.
func isNoFile(err error) bool {
	for _, words := range []string{"no such file or directory", "not a directory", "is a directory"} {
		if strings.Contains(err.Error(), words) {
			return true
		}
	}
	return false
}
