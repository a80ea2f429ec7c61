// SPDX-License-Identifier: Apache-2.0

// Package flat is what package bake asks the program that reads bake files, and what that answers: JSON on standard input and output. Its one
// rule: it holds words, lists and faults, and nothing of the library that reads the files, so that mab has none of it.
package flat

import "io"

// Query says which targets of which files are wanted, and what is changed in them, in the words of docker buildx bake. Flags bind to its
// fields. The zero value is the group or target default of the files of the current directory.
type Query struct {
	// Files are read in this order; - is Stdin. Empty: those that BUILDX_BAKE_FILE names, else those of the default names that are there.
	Files []string `json:",omitempty"`
	// Stdin is read where a file is -.
	Stdin io.Reader `json:"-"`
	// Targets are targets, groups, and patterns of both. Empty: default.
	Targets []string `json:",omitempty"`
	// Sets are PATTERN.KEY[.NAME][+]=VALUE; later ones win.
	Sets []string `json:",omitempty"`
	// Vars are NAME=VALUE of variables, before the environment.
	Vars []string `json:",omitempty"`
	// Allow grants what files may not do by themselves: fs.read=DIR, fs.write=DIR, fs=DIR, ssh, network.host, security.insecure, device[=NAME],
	// and buildx.local.delete.
	Allow []string `json:",omitempty"`
	// Push and Load add an output to each target, as buildx has it.
	Push, Load bool `json:",omitempty"`
	// NoCache and Pull override what the files say. Nil: they say.
	NoCache, Pull *bool `json:",omitempty"`
	// Provenance and SBOM override the attestations of every target. Empty: the files say.
	Provenance, SBOM string `json:",omitempty"`
	// Call is what is done instead of building; only build, the default, is done here.
	Call string `json:",omitempty"`
}

// Question is all that the program is told beside its environment and current directory.
type Question struct {
	Query
	// Text is what is read where a file is -.
	Text []byte
	// Host is the platform of this machine.
	Host string
}

// Answer is what the program found.
type Answer struct {
	// Fault is why the files could not be read; then there is nothing else.
	Fault *Fault `json:",omitempty"`
	// Targets and Groups are sorted by name, together, but for those whose name begins with an underscore.
	Targets []Listed `json:",omitempty"`
	// Variables are sorted by name.
	Variables []Variable `json:",omitempty"`
	// Selection is of the targets that are wanted.
	Selection Selection
}

// Listed is a target or a group.
type Listed struct {
	Name string `json:"name"`
	// Description is the author's; that of a group ends with its members.
	Description string `json:"description,omitempty"`
	Group       bool   `json:"group,omitempty"`
}

// Variable is a variable of the files.
type Variable struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	Type        string `json:"type,omitempty"`
	// Value is what it has now. Nil: null.
	Value *string `json:"value,omitempty"`
}

// Selection is the targets that are wanted, with all that they inherit and all overrides.
type Selection struct {
	// Fault is why they could not be chosen; then there is nothing else.
	Fault *Fault `json:",omitempty"`
	// Targets are in the order of the command line, then of the files; what only others link to is last.
	Targets []Target `json:",omitempty"`
	// Print is what docker buildx bake --print prints, unless there is a PrintFault.
	Print      string
	PrintFault *Fault `json:",omitempty"`
	// Denied is that the targets want what was not granted.
	Denied *Fault `json:",omitempty"`
}

// Target is one target, in words that flags of mab build have.
type Target struct {
	Name string
	// Linked: it is there only because others link to it.
	Linked bool `json:",omitempty"`
	// Fault is what is wrong with it; then there is nothing else.
	Fault *Fault `json:",omitempty"`
	// Absent is that its context or Dockerfile is not there.
	Absent *Fault `json:",omitempty"`
	// Context is a directory, or what is fetched.
	Context string
	// File is the Dockerfile; - is Inline. Empty: that in the context.
	File   string `json:",omitempty"`
	Inline string `json:",omitempty"`
	// Links are the names of targets, by the names of the contexts that they are.
	Links map[string]string `json:",omitempty"`

	NamedContexts, BuildArgs, Labels, AddHosts []string `json:",omitempty"`
	Tags, Annotations, Platforms, Outputs      []string `json:",omitempty"`
	Ulimits, NoCacheFilter                     []string `json:",omitempty"`
	CacheFrom, CacheTo, Secrets, SSH, Attests  []string `json:",omitempty"`
	Target, Network, ShmSize                   string   `json:",omitempty"`
	// Allow is what it is entitled to by itself, removing files of outputs included.
	Allow []string `json:",omitempty"`

	NoCache, Pull bool `json:",omitempty"`
	// Resources: it has limits, which have no effect.
	Resources bool `json:",omitempty"`
}

// Fault is an error, and how it is mended.
type Fault struct {
	Text string
	// Hint may be empty.
	Hint string `json:",omitempty"`
	// Usage: it is of the author of the files or of the command line.
	Usage bool `json:",omitempty"`
}
