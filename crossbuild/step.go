// SPDX-License-Identifier: Apache-2.0

package crossbuild

import (
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/mab-build/mab/platforms"
)

// Kind is what a step does, as JSON prints it.
type Kind string

// The kinds of steps: those of BuildKit's solver/pb ops, and for its source op, those of its util/srctypes schemes.
const (
	KindImage       Kind = "image"       // an image from a registry: FROM, COPY --from=image
	KindOCILayout   Kind = "oci-layout"  // an image from an OCI layout of the client's
	KindBlob        Kind = "blob"        // one blob of either
	KindLocal       Kind = "local"       // a directory of the client's: the build context
	KindGit         Kind = "git"         // a git repository
	KindHTTP        Kind = "http"        // a file by HTTP or HTTPS
	KindSource      Kind = "source"      // a source of a scheme mab does not know
	KindExec        Kind = "exec"        // a program: RUN
	KindFile        Kind = "file"        // file changes made by the solver: COPY, ADD, WORKDIR, heredocs
	KindMerge       Kind = "merge"       // file systems on top of each other: COPY --link
	KindDiff        Kind = "diff"        // the difference of two file systems
	KindBuild       Kind = "build"       // a graph found in a file of another step, unknown until it is solved
	KindPassthrough Kind = "passthrough" // some of its inputs, unchanged
)

// Network is a RUN step's network mode; the zero value is BuildKit's default, a network of its own.
type Network string

// The network modes other than the default. A mode mab does not know is given as "unknown".
const (
	NetworkHost    Network = "host"
	NetworkNone    Network = "none"
	NetworkUnknown Network = "unknown"
)

// Security is a RUN step's security mode; the zero value is BuildKit's default, sandbox.
type Security string

// The security modes other than the default. A mode mab does not know is given as "unknown".
const (
	SecurityInsecure Security = "insecure"
	SecurityUnknown  Security = "unknown"
)

// Uses is what a step takes from outside the graph or is allowed beyond the default; the zero value is nothing.
type Uses struct {
	Secrets  bool     `json:"secrets,omitempty"`  // as files or environment variables
	SSH      bool     `json:"ssh,omitempty"`      // the client's agent, in a RUN step or to fetch a git source
	Cache    bool     `json:"cache,omitempty"`    // cache mounts, which live on one node
	Devices  bool     `json:"devices,omitempty"`  // CDI devices
	Network  Network  `json:"network,omitempty"`  // mode
	Security Security `json:"security,omitempty"` // mode
}

// Location is a range of lines in a file that a step comes from. Lines count from 1; 0 means not known.
type Location struct {
	File  string `json:"file"`
	Start int    `json:"start,omitempty"`
	End   int    `json:"end,omitempty"` // the last line, included
}

// String returns file:line, the first line of the range, or the file alone where no line is known.
func (l Location) String() string {
	if l.Start == 0 {
		return l.File
	}
	return fmt.Sprintf("%s:%d", l.File, l.Start)
}

// Step is one vertex of a build graph.
type Step struct {
	// Digest is BuildKit's: the SHA-256 of the marshalled op. Definitions, progress and history use it.
	Digest digest.Digest `json:"digest"`
	// Identity is equal for two steps of one request that do the same to the same inputs, in whichever conversion of the
	// frontend they arose. It differs from Digest where a local source is involved, to which each conversion gives another id
	// and the paths that its target copies.
	// It says nothing across requests, whose local directories may hold different files.
	Identity digest.Digest `json:"identity"`
	Kind     Kind          `json:"kind"`
	// Name is one line: what the Dockerfile says ("[build 2/3] RUN make"), else a description in BuildKit's manner.
	Name string `json:"name"`
	// Platform is that of the file system which the step makes or runs in. The zero value means any: a step that takes
	// files from nowhere platform-specific, such as a local directory or a copy onto scratch.
	Platform  platforms.Platform `json:"platform,omitzero"`
	Inputs    []digest.Digest    `json:"inputs,omitempty"`    // Digest of other steps, in the op's order, each earlier in the graph
	Locations []Location         `json:"locations,omitempty"` // in the definition's order
	Args      []string           `json:"args,omitempty"`      // what an exec step runs, argv[0] first
	Source    string             `json:"source,omitempty"`    // a source step's identifier, scheme included
	Uses      Uses               `json:"uses,omitzero"`
	NoCache   bool               `json:"nocache,omitempty"` // is run even if its result is cached
	Aids      []Aid              `json:"-"`                 // by which it may be assisted, one for each native platform
}

// Runs reports whether s runs programs of its platform. A build step counts: what its graph holds is not known before.
func (s *Step) Runs() bool { return s.Kind == KindExec || s.Kind == KindBuild }
