// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Protocol is the version of what a coordinator and the mab on a node say to each other. Both must speak the same.
const Protocol = 1

// Hello is the first line that a coordinator writes to mab agent connect, as JSON. What the solver is told follows, as it is.
type Hello struct {
	Protocol int          `json:"protocol"`
	Mab      string       `json:"mab,omitempty"`
	Solver   SolverConfig `json:"solver,omitzero"`
}

// Answer is a line that the mab on a node writes, as JSON behind Mark. After one that is Ready, what the solver says follows, as it is.
type Answer struct {
	Protocol int    `json:"protocol"`
	Mab      string `json:"mab,omitempty"`
	Ready    bool   `json:"ready,omitempty"`
	// Door is the path of a socket there that leads to this solver and to no other; empty where there is none.
	Door string `json:"door,omitempty"`
	// Notes are what the user should know.
	Notes []string `json:"notes,omitempty"`
	// Error is why it ends; Hint mends it.
	Error string `json:"error,omitempty"`
	Hint  string `json:"hint,omitempty"`
	// Log is the end of the solver's log.
	Log string `json:"log,omitempty"`
}

// Mark begins each line on a node's standard output that is meant for the coordinator: a login shell may print whatever it likes before.
const Mark = "mab-agent "

// Write writes the answer as a line of its own.
func (a Answer) Write(w io.Writer) error {
	a.Protocol = Protocol
	text, err := json.Marshal(a)
	if err == nil {
		_, err = fmt.Fprintf(w, "\n%s%s\n", Mark, text)
	}
	return err
}

// ReadHello reads a coordinator's first line.
func ReadHello(r *bufio.Reader) (Hello, error) {
	line, err := readLine(r, maxHello)
	if err != nil {
		return Hello{}, fmt.Errorf("reading what the coordinator says: %w", err)
	}
	var h Hello
	if err := json.Unmarshal(line, &h); err != nil {
		return Hello{}, fmt.Errorf("understanding the coordinator: %w", err)
	}
	if h.Protocol != Protocol {
		return h, fmt.Errorf("understanding the coordinator: it is mab %s and speaks protocol %d, this one %d", h.Mab, h.Protocol, Protocol)
	}
	return h, nil
}

const (
	maxHello = 8 << 20  // certificates of many registries
	maxNoise = 64 << 10 // what a login shell may print
)

var errTooMuch = errors.New("it says more than it may")

func readLine(r *bufio.Reader, most int) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case err == nil:
			return line, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return line, err
		case len(line) > most:
			return line, errTooMuch
		}
	}
}

// listener reads marked lines, and keeps the noise before them.
type listener struct {
	r     *bufio.Reader
	noise strings.Builder
}

// next returns the next marked line without its mark.
func (l *listener) next() (string, error) {
	for l.noise.Len() < maxNoise {
		line, err := readLine(l.r, maxHello)
		if text, ok := strings.CutPrefix(string(line), Mark); ok && err == nil {
			return strings.TrimSpace(text), nil
		}
		if text := strings.TrimSpace(string(line)); text != "" {
			l.noise.WriteString(text + "\n")
		}
		if err != nil {
			return "", err
		}
	}
	return "", errTooMuch
}
