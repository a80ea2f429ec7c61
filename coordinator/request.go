// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"slices"
	"time"

	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/manifestlist/contents"
	"github.com/mab-build/mab/platforms"
	"github.com/mab-build/mab/solver"
)

// Request is one build as its user asked for it. Flags bind to its fields.
type Request struct {
	solver.Request
	// Tags are the references that the result gets.
	Tags []string
	// Outputs are what is made of the result, beside the cache.
	Outputs []Output
	// Push sends the result to the registry under every tag: short for an output of type registry.
	Push bool
	// Load loads the result into an engine: short for an output of type docker without destination.
	Load bool
	// Annotations are [LEVEL:]NAME=VALUE, LEVEL being index, manifest, index-descriptor or manifest-descriptor.
	Annotations []string
	// Strategies are those that the user allows. Empty: all.
	Strategies crossbuild.Strategies
	// EmulationImage is where emulators that steps need and the node lacks are taken from, as emulation.InstallConfig has it.
	// Empty: from nowhere.
	EmulationImage string
	// EmulatedTimeout is how long a step may run under an emulator before it is stopped, and its platform planned anew without that emulator.
	// Zero: as long as it likes.
	EmulatedTimeout time.Duration
	// Build is BUILDPLATFORM for the whole build. Zero: that of the fastest node.
	Build platforms.Platform
	// NoSplit has each platform be built whole on its node, also what several have in common.
	NoSplit bool
	// Assist says which toolchains run natively in steps that are emulated.
	Assist crossbuild.Assists
	// CheckAssist has what is assisted be done without as well, and compared. Nothing is written if it differs.
	CheckAssist bool
	// KeepGoing finishes the other platforms when one has failed, and reports all failures. Nothing is written then.
	KeepGoing bool
	// Verify says what becomes of images that hold programs of other platforms, and VerifyExempt are globs of paths where they may be, as
	// contents.Config has them.
	Verify       Verification
	VerifyExempt []string
	// Metadata is what is to be known for Result.Metadata.
	Metadata MetadataOptions
	// InsecureRegistry allows plain HTTP and unknown certificates for the registry that is pushed to.
	InsecureRegistry bool
}

// Validate refuses what cannot be understood, before anything is started.
func (r *Request) Validate() error {
	if _, err := contents.New(contents.Config{Exempt: r.VerifyExempt}); err != nil {
		return &exemptError{err}
	}
	return r.Request.Validate()
}

// exemptError is a glob that cannot be understood.
type exemptError struct{ error }

// Unwrap gives the reason.
func (e *exemptError) Unwrap() error { return e.error }

// Hint shows the form.
func (*exemptError) Hint() string {
	return "globs are as in .dockerignore: /opt/tool, /opt/**/*.so; quote them for the shell"
}

// Usage marks the error as the user's, for the exit code.
func (*exemptError) Usage() bool { return true }

// UsesStdout reports whether an output goes to standard output, so that nothing else may.
func (r *Request) UsesStdout() bool {
	return slices.ContainsFunc(r.Outputs, func(o Output) bool { return o.Dest == "-" })
}
