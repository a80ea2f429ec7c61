// SPDX-License-Identifier: Apache-2.0

package manifestlist

import (
	"encoding/json"
	"maps"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// containerdName is the annotation by which containerd and docker learn an image's full name from a layout.
const containerdName = "io.containerd.image.name"

// layoutFile is the content of oci-layout: https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md
var layoutFile = []byte(`{"imageLayoutVersion":"` + ocispec.ImageLayoutVersion + `"}`)

// named returns what index.json says of the result: one descriptor per name, as containerd's exporter writes them. Without
// names there is one, with the annotations in unnamed.
func named(desc ocispec.Descriptor, names []Reference, unnamed map[string]string) []ocispec.Descriptor {
	if len(names) == 0 {
		return []ocispec.Descriptor{annotate(desc, unnamed)}
	}
	entries := make([]ocispec.Descriptor, len(names))
	for i, ref := range names {
		entries[i] = annotate(desc, map[string]string{
			containerdName:            ref.String(),
			ocispec.AnnotationRefName: ref.Tag,
		})
	}
	return entries
}

func annotate(desc ocispec.Descriptor, with map[string]string) ocispec.Descriptor {
	desc = cloneDescriptor(desc)
	if desc.Annotations == nil && len(with) > 0 {
		desc.Annotations = map[string]string{}
	}
	maps.Copy(desc.Annotations, with)
	return desc
}

// replaceEntries adds entries to those of a layout's index.json, each in place of the one of its name.
func replaceEntries(old, entries []ocispec.Descriptor) []ocispec.Descriptor {
	type name struct{ ref, full string }
	nameOf := func(d ocispec.Descriptor) name {
		return name{d.Annotations[ocispec.AnnotationRefName], d.Annotations[containerdName]}
	}
	replaced := map[name]bool{}
	for _, d := range entries {
		replaced[nameOf(d)] = true
	}
	var all []ocispec.Descriptor
	for _, d := range old {
		if !replaced[nameOf(d)] {
			all = append(all, d)
		}
	}
	return append(all, entries...)
}

func layoutIndex(base ocispec.Index, entries []ocispec.Descriptor) ([]byte, error) {
	base.Versioned = specs.Versioned{SchemaVersion: 2}
	base.MediaType = ocispec.MediaTypeImageIndex
	base.Manifests = entries
	return json.Marshal(base)
}
