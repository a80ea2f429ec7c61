// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	buildx "github.com/docker/buildx/bake"
	"github.com/docker/buildx/util/buildflags"
	"github.com/docker/buildx/util/urlutil"

	"github.com/mab-build/mab/bake/flat"
)

// defaultTarget is the group or target that is built if none is named.
const defaultTarget = "default"

// The environment of buildx bake: https://docs.docker.com/build/building/variables/#build-tool-configuration-variables
const (
	filesVariable     = "BUILDX_BAKE_FILE"
	separatorVariable = "BUILDX_BAKE_PATH_SEPARATOR"
	relativeVariable  = "BUILDX_BAKE_FILE_RELATIVE_PATHS"
)

// here is buildx's prefix of a path in the current directory, where paths may be those of a remote definition.
const here = "cwd://"

// query is what is asked.
type query struct{ flat.Question }

// overrides are those of Sets, and the short forms after them, in buildx's order. Push and Load are not among them: buildx's library applies
// overrides of different keys in no order, so that --push together with --set '*.output=…' would push at times only.
func (q *query) overrides() []string {
	out := slices.Clone(q.Sets)
	if q.NoCache != nil {
		out = append(out, fmt.Sprintf("*.no-cache=%t", *q.NoCache))
	}
	if q.Pull != nil {
		out = append(out, fmt.Sprintf("*.pull=%t", *q.Pull))
	}
	for _, kind := range []struct{ name, value string }{{"sbom", q.SBOM}, {"provenance", q.Provenance}} {
		if kind.value != "" {
			out = append(out, "*.attest="+buildflags.CanonicalizeAttest(kind.name, kind.value))
		}
	}
	return out
}

// variables reads Vars.
func (q *query) variables() (map[string]string, error) {
	out := map[string]string{}
	for _, entry := range q.Vars {
		name, value, ok := strings.Cut(entry, "=")
		if !ok || name == "" {
			return nil, fault("write NAME=VALUE", "understanding --var %q", entry)
		}
		out[name] = value
	}
	return out, nil
}

// check finds what mab does not do.
func (q *query) check() error {
	if len(q.Targets) > 0 && urlutil.IsRemoteURL(q.Targets[0]) {
		repository, _, _ := strings.Cut(q.Targets[0], "#")
		return fault("get it first: git clone "+repository+" DIR && cd DIR && mab bake",
			"reading the definition %q: mab reads files of this machine only", q.Targets[0])
	}
	if err := callable(q.Call); err != nil {
		return err
	}
	return nil
}

func callable(call string) error {
	f, err := buildflags.ParseCallFunc(call)
	switch {
	case err != nil:
		return fault("the only method is build", "understanding --call %q: %w", call, err)
	case f != nil && f.Name != "build":
		return fault("docker buildx bake --call="+call+" does it; --call=build builds", "calling %q: mab only builds", call)
	}
	return nil
}

// names are the files to read; given is false if they are those of the default names.
func (q *query) names() (out []string, given bool, err error) {
	out = q.Files
	if list, ok := os.LookupEnv(filesVariable); ok && len(out) == 0 {
		separator := os.Getenv(separatorVariable)
		if separator == "" {
			separator = string(os.PathListSeparator)
		}
		for name := range strings.SplitSeq(list, separator) {
			if name = strings.TrimSpace(name); name != "" {
				out = append(out, name)
			}
		}
	}
	given = len(out) > 0
	names := make([]string, len(out))
	for i, name := range out {
		names[i] = strings.TrimPrefix(name, here)
		if urlutil.IsRemoteURL(name) {
			if _, err := os.Stat(name); err != nil {
				return nil, given, fault("get it first, for example: curl -fsSL "+name+" | mab bake -f -",
					"reading the definition %q: mab reads files of this machine only", name)
			}
		}
	}
	return names, given, nil
}

// read reads the files.
func (q *query) read() ([]buildx.File, error) {
	names, given, err := q.names()
	if err != nil {
		return nil, err
	}
	files, err := buildx.ReadLocalFiles(names, bytes.NewReader(q.Text), nil)
	var missing *fs.PathError
	switch {
	case errors.As(err, &missing):
		return nil, fault("a path after -f is relative to the current directory", "reading the definition: %w", err)
	case err != nil:
		return nil, fmt.Errorf("reading the definition: %w", err)
	case len(files) == 0 && !given:
		dir, _ := filepath.Abs(".")
		return nil, fault("name one with -f FILE, or write docker-bake.hcl: https://docs.docker.com/build/bake/",
			"reading the definition: there is no docker-bake.hcl, docker-bake.json or compose file in %q", dir)
	}
	return files, nil
}

// options are what the environment says of paths.
func options() (buildx.ParseOpt, error) {
	text := strings.TrimSpace(os.Getenv(relativeVariable))
	if text == "" {
		return buildx.ParseOpt{}, nil
	}
	on, err := strconv.ParseBool(text)
	if err != nil {
		return buildx.ParseOpt{}, fault("write true or false", "understanding %s=%q", relativeVariable, text)
	}
	return buildx.ParseOpt{FileRelativePaths: on}, nil
}

// builtin are the variables that every definition has.
func (q *query) builtin() map[string]string {
	return map[string]string{"BAKE_CMD_CONTEXT": here, "BAKE_LOCAL_PLATFORM": q.Host}
}
