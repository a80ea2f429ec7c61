// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/mab-build/mab/manifestlist"
	"github.com/mab-build/mab/platforms"
)

// annotations are those of a request, by what writes them: the solver writes those of a manifest, the merge all others.
type annotations struct {
	attrs map[string]string
	merge manifestlist.MergeOptions
}

// parseAnnotations reads [LEVEL[PLATFORM],…:]NAME=VALUE as docker buildx build does; without a level, the manifest is meant.
// https://docs.docker.com/build/metadata/annotations/
func parseAnnotations(list []string) (annotations, error) {
	out := annotations{
		attrs: map[string]string{},
		merge: manifestlist.MergeOptions{
			IndexAnnotations:      map[string]string{},
			DescriptorAnnotations: map[string]string{},
			ManifestAnnotations:   map[platforms.Platform]map[string]string{},
		},
	}
	for _, entry := range list {
		name, value, ok := strings.Cut(entry, "=")
		levels := "manifest"
		// What looks like levels must be some: a slip would get into the name. docker buildx does so, too.
		if before, after, found := strings.Cut(name, ":"); found && levelForm.MatchString(before) {
			if !isLevel(before) {
				return annotations{}, &annotationError{entry}
			}
			levels, name = before, after
		}
		if !ok || name == "" {
			return annotations{}, &annotationError{entry}
		}
		for level := range strings.SplitSeq(levels, ",") {
			if err := out.add(level, name, value); err != nil {
				return annotations{}, usage{fmt.Errorf("understanding --annotation %q: %w", entry, err)}
			}
		}
	}
	return out, nil
}

// levelForm is how levels are written: words, each with a platform in brackets or without.
var levelForm = regexp.MustCompile(`^[a-z-]+(\[[^\]]*\])?(,[a-z-]+(\[[^\]]*\])?)*$`)

func isLevel(s string) bool {
	for level := range strings.SplitSeq(s, ",") {
		word, _, _ := strings.Cut(level, "[")
		switch word {
		case "index", "manifest", "index-descriptor", "manifest-descriptor":
		default:
			return false
		}
	}
	return true
}

func (a *annotations) add(level, name, value string) error {
	word, rest, limited := strings.Cut(level, "[")
	var p platforms.Platform
	if limited {
		var err error
		if p, err = platforms.Parse(strings.TrimSuffix(rest, "]")); err != nil {
			return err
		}
	}
	switch word {
	case "index":
		a.merge.IndexAnnotations[name] = value
	case "index-descriptor":
		a.merge.DescriptorAnnotations[name] = value
	case "manifest-descriptor":
		if a.merge.ManifestAnnotations[p] == nil {
			a.merge.ManifestAnnotations[p] = map[string]string{}
		}
		a.merge.ManifestAnnotations[p][name] = value
	default:
		key := "annotation-manifest"
		if limited {
			key += "[" + p.String() + "]"
		}
		a.attrs[key+"."+name] = value
	}
	return nil
}

type annotationError struct{ entry string }

func (e *annotationError) Error() string {
	return fmt.Sprintf("understanding --annotation %q", e.entry)
}

// Hint shows the form.
func (e *annotationError) Hint() string {
	return "write NAME=VALUE, or LEVEL:NAME=VALUE with LEVEL one of index, manifest, index-descriptor, manifest-descriptor"
}

// Usage marks the error as the user's, for the exit code.
func (e *annotationError) Usage() bool { return true }
