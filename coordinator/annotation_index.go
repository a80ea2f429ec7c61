// SPDX-License-Identifier: Apache-2.0

package coordinator

import "github.com/mab-build/mab/manifestlist"

// ParseIndexAnnotations reads annotations as --annotation takes them, for an index whose images exist: those of a manifest are
// refused, since they would make another image of it.
func ParseIndexAnnotations(list []string) (manifestlist.MergeOptions, error) {
	notes, err := parseAnnotations(list)
	if err != nil {
		return manifestlist.MergeOptions{}, err
	}
	if len(notes.attrs) > 0 {
		return manifestlist.MergeOptions{}, usage{&manifestAnnotationError{}}
	}
	return notes.merge, nil
}

type manifestAnnotationError struct{}

func (*manifestAnnotationError) Error() string {
	return "understanding --annotation: annotations of a manifest are part of the image, which is built already"
}

// Hint names the levels that an index has.
func (*manifestAnnotationError) Hint() string {
	return "write index:NAME=VALUE, or manifest-descriptor:NAME=VALUE, or for one platform manifest-descriptor[linux/arm64]:NAME=VALUE"
}

// ParseAnnotationNames reads LEVEL:NAME of annotations that are to be removed from an index.
func ParseAnnotationNames(list []string) ([]manifestlist.Annotated, error) {
	var out []manifestlist.Annotated
	for _, entry := range list {
		notes, err := ParseIndexAnnotations([]string{entry + "="})
		if err != nil {
			return nil, err
		}
		for name := range notes.IndexAnnotations {
			out = append(out, manifestlist.Annotated{Name: name})
		}
		for p, names := range notes.ManifestAnnotations {
			for name := range names {
				out = append(out, manifestlist.Annotated{Manifests: true, Platform: p, Name: name})
			}
		}
	}
	return out, nil
}
