// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"
)

const (
	// historyCap is how many records are kept; the oldest go first.
	historyCap = 2000
	// historyRuns is how many of them are kept of one platform of one build on one node by one strategy. What older ones add to an
	// average is less than any noise.
	historyRuns = 4
	historyWait = 5 * time.Second
)

// HistoryFile is the histories of all builds of a user on this machine: a line of JSON for each record, the oldest first. Lines that
// cannot be read are passed over, and gone after the next Add. It is safe for several goroutines and processes.
type HistoryFile struct{ path string }

// line is a line of the file.
type line struct {
	Key string `json:"key"`
	Record
}

// OpenHistory returns the file in dir, which is made if it does not exist. The error is that it cannot be written to.
func OpenHistory(dir string) (*HistoryFile, error) {
	h := &HistoryFile{path: filepath.Join(dir, "history.jsonl")}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("opening the history of builds: %w", err)
	}
	lock, err := h.lock()
	if err != nil {
		return nil, fmt.Errorf("opening the history of builds: %w", err)
	}
	return h, lock.Close()
}

func (h *HistoryFile) lock() (*flock.Flock, error) {
	ctx, cancel := context.WithTimeout(context.Background(), historyWait)
	defer cancel()
	lock := flock.New(h.path + ".lock")
	if _, err := lock.TryLockContext(ctx, 5*time.Millisecond); err != nil {
		return nil, fmt.Errorf("locking %q: %w", lock.Path(), err)
	}
	return lock, nil
}

// Read returns the history of what has this key, as BuildKey gives it. What was never built has an empty one.
func (h *HistoryFile) Read(key string) (History, error) {
	lines, err := h.read(key)
	if err != nil {
		return History{}, fmt.Errorf("reading the history of builds: %w", err)
	}
	out := History{}
	for _, l := range lines {
		if l.Key == key {
			out.Records = append(out.Records, l.Record)
		}
	}
	return out, nil
}

// read parses the lines that have text in them.
func (h *HistoryFile) read(text string) ([]line, error) {
	raw, err := os.ReadFile(h.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []line
	for part := range bytes.Lines(raw) {
		var l line
		if bytes.Contains(part, []byte(text)) && json.Unmarshal(part, &l) == nil {
			out = append(out, l)
		}
	}
	return out, nil
}

// Add adds records to the history of what has this key. They are there all or none of them.
func (h *HistoryFile) Add(key string, list []Record) error {
	if err := h.add(key, list); err != nil {
		return fmt.Errorf("writing the history of builds: %w", err)
	}
	return nil
}

func (h *HistoryFile) add(key string, list []Record) error {
	lock, err := h.lock()
	if err != nil {
		return err
	}
	lines, err := h.read("")
	if err != nil {
		return errors.Join(err, lock.Close())
	}
	for _, r := range list {
		lines = append(lines, line{key, r})
	}
	return errors.Join(h.write(thin(lines)), lock.Close())
}

// thin drops what is too much, the oldest first. Of records that measure nothing the newest counts.
func thin(lines []line) []line {
	type group struct {
		key, url           string
		platform, strategy string
		portion            PortionKind
		measures           bool
	}
	kept := map[group]int{}
	keep := make([]bool, len(lines))
	total := 0
	for i := len(lines) - 1; i >= 0 && total < historyCap; i-- {
		l := lines[i]
		g := group{l.Key, l.URL, l.Platform.String(), l.Strategy.String(), l.Portion, l.measures()}
		most := 1
		if g.measures {
			most = historyRuns
		}
		if kept[g] < most {
			kept[g]++
			keep[i] = true
			total++
		}
	}
	out := lines[:0]
	for i, l := range lines {
		if keep[i] {
			out = append(out, l)
		}
	}
	return out
}

func (h *HistoryFile) write(lines []line) error {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	for _, l := range lines {
		if err := enc.Encode(l); err != nil {
			return err
		}
	}
	next := h.path + ".new"
	if err := os.WriteFile(next, text.Bytes(), 0o600); err != nil {
		return err
	}
	return os.Rename(next, h.path)
}
