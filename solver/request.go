// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"io"
	"os"

	"github.com/mab-build/mab/platforms"
)

// Request is one build as its user asked for it, in the words of `docker buildx build`. Flags bind to its fields. The zero value
// builds the Dockerfile of the current directory for the platform of the solver, and keeps only the cache.
type Request struct {
	// Context is a directory, a tar file, the URL of a git repository or of a tar archive, or - for Stdin. Empty: the current
	// directory.
	Context string
	// File is the Dockerfile: a path, an http(s) URL, or - for Stdin. Empty: Dockerfile in the context.
	File string
	// Stdin is read by Receive where Context or File is -.
	Stdin io.Reader
	// Target is the stage to build. Empty: the last.
	Target string
	// Platforms are built in this order. Empty: the solver's own.
	Platforms []platforms.Platform
	// BuildArgs and Labels are NAME=VALUE; a build argument without = takes its value from the environment.
	BuildArgs, Labels []string
	// NamedContexts are NAME=PATH|URL|docker-image://REF|oci-layout://DIR[:TAG][@DIGEST].
	NamedContexts []string
	// Secrets and SSH are in docker's form: id=NAME[,src=FILE|env=VAR] and default|ID[=SOCKET|KEY[,KEY]].
	Secrets, SSH []string
	// NoCache ignores the cache of every step; NoCacheFilter that of the named stages.
	NoCache       bool
	NoCacheFilter []string
	// Pull resolves base images anew even if the solver has them.
	Pull bool
	// CacheFrom and CacheTo are type=registry|local|inline,…; a bare reference means type=registry.
	CacheFrom, CacheTo []string
	// Provenance and SBOM are the values of the flags of that name: true, false, mode=min|max,…  Empty provenance: mode=min.
	Provenance, SBOM string
	// Attests are further attestations: type=provenance|sbom,…
	Attests []string
	// Network is the network of RUN: default, none or host.
	Network string
	// AddHosts are NAME:IP[,IP]; the IP host-gateway is the machine that the step runs on.
	AddHosts []string
	// ShmSize is the size of /dev/shm in docker's form (64m); Ulimits are TYPE=SOFT[:HARD].
	ShmSize string
	Ulimits []string
	// CgroupParent is the control group that RUN steps are put below.
	CgroupParent string
	// Allow grants entitlements: network.host, security.insecure, device[=NAME], and LocalDelete.
	Allow []string
}

// LocalDelete is buildx's entitlement to remove files of this machine: it is no business of the solver's.
const LocalDelete = "buildx.local.delete"

// Validate looks for what is wrong with the request itself, before anything is started. It reads no standard input: of what comes
// from there, Receive finds the faults.
func (r *Request) Validate() error {
	if _, err := r.attrs(os.LookupEnv); err != nil {
		return err
	}
	if _, _, err := r.caches(); err != nil {
		return err
	}
	if _, err := r.attachables(); err != nil {
		return err
	}
	_, err := r.sources(nil)
	return err
}
