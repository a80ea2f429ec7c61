// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gofrs/flock"
)

// claimsWait is how long a build waits for another one to make its plan, which takes milliseconds; then it goes on without.
const claimsWait = 2 * time.Second

// Claims tell the builds of this machine from each other which nodes they have taken, so that those which start at once do not all
// choose the same. In its directory each build has two files: ID.json with what it took, and ID.lock, on which it keeps a lock that
// ends with its process; what nobody holds the lock of does not count. Where the directory cannot be used, each build is as if alone.
// It is safe for several goroutines.
type Claims struct {
	dir  string
	mu   sync.Mutex
	held *flock.Flock // nil before the first claim and after Close
}

// OpenClaims returns the claims in dir, which is made when it is needed. The caller closes them.
func OpenClaims(dir string) *Claims { return &Claims{dir: dir} }

// With calls plan with how much the other builds have taken of each node, and takes what it returns in place of what was taken before.
// No other build does the same at that time. The keys are the caller's; builds understand each other if they use the same. The error
// is plan's: nothing that goes wrong with the directory keeps a build from being planned.
func (c *Claims) With(ctx context.Context, plan func(claimed map[string]int) (mine map[string]int, err error)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	unlock := c.lock(ctx)
	defer unlock()
	mine, err := plan(c.others())
	if err != nil {
		return err
	}
	c.write(mine)
	return nil
}

// Change takes mine in place of what was taken before, such as when one platform of several is done.
func (c *Claims) Change(mine map[string]int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	unlock := c.lock(context.Background())
	defer unlock()
	c.write(mine)
}

// Close gives back all that was taken.
func (c *Claims) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held == nil {
		return
	}
	unlock := c.lock(context.Background())
	defer unlock()
	_ = c.held.Close()
	c.remove(c.id())
	c.held = nil
}

func (c *Claims) id() string { return strings.TrimSuffix(filepath.Base(c.held.Path()), ".lock") }

func (c *Claims) remove(id string) {
	_ = os.Remove(filepath.Join(c.dir, id+".json"))
	_ = os.Remove(filepath.Join(c.dir, id+".lock"))
}

// lock keeps other builds from planning until it is called back, or does nothing if they do not let it in time.
func (c *Claims) lock(ctx context.Context) (unlock func()) {
	ctx, cancel := context.WithTimeout(ctx, claimsWait)
	defer cancel()
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return func() {}
	}
	lock := flock.New(filepath.Join(c.dir, "lock"))
	if _, err := lock.TryLockContext(ctx, 2*time.Millisecond); err != nil {
		return func() {}
	}
	return func() { _ = lock.Close() }
}

// others adds up what is claimed by builds that live, and removes what the others left.
func (c *Claims) others() map[string]int {
	paths, _ := filepath.Glob(filepath.Join(c.dir, "*.lock"))
	sum := map[string]int{}
	for _, path := range paths {
		if c.held != nil && path == c.held.Path() {
			continue
		}
		id := strings.TrimSuffix(filepath.Base(path), ".lock")
		// Without O_CREATE: its build may be removing it at this moment.
		lock := flock.New(path, flock.SetFlag(os.O_RDWR))
		if free, err := lock.TryLock(); err != nil {
			continue
		} else if free {
			_ = lock.Close()
			c.remove(id)
			continue
		}
		raw, err := os.ReadFile(filepath.Join(c.dir, id+".json"))
		var theirs map[string]int
		if err != nil || json.Unmarshal(raw, &theirs) != nil {
			continue
		}
		for node, n := range theirs {
			sum[node] += max(n, 0)
		}
	}
	return sum
}

func (c *Claims) write(mine map[string]int) {
	if c.held == nil {
		file, err := os.CreateTemp(c.dir, strconv.Itoa(os.Getpid())+"-*.lock")
		if err != nil {
			return
		}
		_ = file.Close()
		held := flock.New(file.Name())
		if got, err := held.TryLock(); !got || err != nil {
			_ = os.Remove(file.Name())
			return
		}
		c.held = held
	}
	raw, err := json.Marshal(mine)
	if err != nil {
		return
	}
	_ = os.WriteFile(filepath.Join(c.dir, c.id()+".json"), raw, 0o600)
}
