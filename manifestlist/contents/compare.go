// SPDX-License-Identifier: Apache-2.0

package contents

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/mab-build/mab/manifestlist"
	"github.com/mab-build/mab/platforms"
)

// Difference is one thing in which two builds of an image differ.
type Difference struct {
	Platform platforms.Platform `json:"platform"`
	// Where is the part of the image: manifest, config, or layer N, counted from 1.
	Where string `json:"where"`
	// Path is that of a file in a layer, or of a field of the config. Empty: the part as a whole.
	Path string `json:"path,omitempty"`
	// What are the kinds of differences: content, type, mode, owner, time, link, attributes, order, compression, value, or that it is only
	// in the first or only in the second.
	What []string `json:"what"`
}

// String is the difference in a line.
func (d Difference) String() string {
	out := d.Platform.String() + ": " + d.Where
	if d.Path != "" {
		out += ": " + d.Path
	}
	return out + ": " + strings.Join(d.What, ", ")
}

const onlyFirst, onlySecond = "only in the first", "only in the second"

// Compare tells in what two images of one platform differ: the layers entry by entry, the config field by field. Nothing: they are the same. It
// reads layers only where their digests differ, as streams, and keeps of each entry its header and a hash.
func Compare(ctx context.Context, a, b manifestlist.Image, fromA, fromB manifestlist.Blobs) ([]Difference, error) {
	if a.Manifest.Digest == b.Manifest.Digest {
		return nil, nil
	}
	c := comparison{platform: a.Platform}
	var first, second ocispec.Manifest
	if err := errors.Join(readJSON(ctx, fromA, a.Manifest, &first), readJSON(ctx, fromB, b.Manifest, &second)); err != nil {
		return nil, fmt.Errorf("comparing %s: %w", a.Platform, err)
	}
	if err := c.layers(ctx, first.Layers, second.Layers, fromA, fromB); err != nil {
		return nil, fmt.Errorf("comparing %s: %w", a.Platform, err)
	}
	var config, other map[string]any
	if err := errors.Join(readJSON(ctx, fromA, first.Config, &config), readJSON(ctx, fromB, second.Config, &other)); err != nil {
		return nil, fmt.Errorf("comparing %s: %w", a.Platform, err)
	}
	// What layers differ in, they have told.
	delete(config, "rootfs")
	delete(other, "rootfs")
	c.values("config", "", config, other)
	if !maps.Equal(first.Annotations, second.Annotations) {
		c.add("manifest", "annotations", "value")
	}
	if len(c.found) == 0 {
		c.add("manifest", "", "content")
	}
	return c.found, nil
}

func readJSON(ctx context.Context, from manifestlist.Blobs, desc ocispec.Descriptor, into any) error {
	raw, err := manifestlist.ReadBlob(ctx, from, desc)
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, into)
}

// comparison collects differences.
type comparison struct {
	platform platforms.Platform
	found    []Difference
}

func (c *comparison) add(where, path string, what ...string) {
	c.found = append(c.found, Difference{Platform: c.platform, Where: where, Path: path, What: what})
}

func (c *comparison) layers(ctx context.Context, a, b []ocispec.Descriptor, fromA, fromB manifestlist.Blobs) error {
	for i := range max(len(a), len(b)) {
		where := fmt.Sprintf("layer %d", i+1)
		switch {
		case i >= len(b):
			c.add(where, "", onlyFirst)
			continue
		case i >= len(a):
			c.add(where, "", onlySecond)
			continue
		case a[i].Digest == b[i].Digest:
			continue
		}
		first, err := members(ctx, fromA, a[i])
		if err != nil {
			return err
		}
		second, err := members(ctx, fromB, b[i])
		if err != nil {
			return err
		}
		c.tars(where, first, second)
	}
	return nil
}

// member is an entry of a layer's tar.
type member struct {
	*tar.Header
	sum [sha256.Size]byte
}

func members(ctx context.Context, from manifestlist.Blobs, desc ocispec.Descriptor) (out []member, err error) {
	blob, err := manifestlist.OpenBlob(ctx, from, desc)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, blob.Close()) }()
	content, err := newStream(blob, nil)
	if err != nil {
		return nil, err
	}
	defer content.done()
	for in := tar.NewReader(content); ; {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		sum := sha256.New()
		if _, err := io.Copy(sum, in); err != nil {
			return nil, err
		}
		m := member{Header: header}
		sum.Sum(m.sum[:0])
		out = append(out, m)
	}
}

// tars compares entries by their names.
func (c *comparison) tars(where string, a, b []member) {
	before := len(c.found)
	at := map[string]int{}
	for i := range b {
		at[b[i].Name] = i
	}
	var common []string
	for _, m := range a {
		i, ok := at[m.Name]
		if !ok {
			c.add(where, "/"+m.Name, onlyFirst)
			continue
		}
		common = append(common, m.Name)
		if what := m.differences(b[i]); len(what) > 0 {
			c.add(where, "/"+m.Name, what...)
		}
	}
	there := map[string]bool{}
	for _, name := range common {
		there[name] = true
	}
	var theirs []string
	for _, m := range b {
		if !there[m.Name] {
			c.add(where, "/"+m.Name, onlySecond)
			continue
		}
		theirs = append(theirs, m.Name)
	}
	switch {
	case !slices.Equal(common, theirs):
		c.add(where, "", "order")
	case len(c.found) == before:
		c.add(where, "", "compression")
	}
}

func (m member) differences(other member) (what []string) {
	for _, of := range []struct {
		name    string
		differs bool
	}{
		{"type", m.Typeflag != other.Typeflag},
		{"content", m.sum != other.sum || m.Size != other.Size},
		{"mode", m.Mode != other.Mode},
		{"owner", m.Uid != other.Uid || m.Gid != other.Gid || m.Uname != other.Uname || m.Gname != other.Gname},
		{"time", !m.ModTime.Equal(other.ModTime)},
		{"link", m.Linkname != other.Linkname},
		{"attributes", !maps.Equal(Attributes(m.Header), Attributes(other.Header)) || m.Devmajor != other.Devmajor || m.Devminor != other.Devminor},
	} {
		if of.differs {
			what = append(what, of.name)
		}
	}
	return what
}

// Attributes are the extended attributes of a tar's entry by their records. Other records of the format tell of times and names once more.
func Attributes(h *tar.Header) map[string]string {
	out := maps.Clone(h.PAXRecords)
	maps.DeleteFunc(out, func(key, _ string) bool { return !strings.HasPrefix(key, "SCHILY.xattr.") })
	return out
}

// values compares fields.
func (c *comparison) values(where, path string, a, b any) {
	first, ok := a.(map[string]any)
	second, both := b.(map[string]any)
	if !ok || !both {
		if fmt.Sprint(a) != fmt.Sprint(b) {
			c.add(where, path, "value")
		}
		return
	}
	names := slices.Sorted(maps.Keys(first))
	for _, name := range slices.Sorted(maps.Keys(second)) {
		if _, ok := first[name]; !ok {
			names = append(names, name)
		}
	}
	for _, name := range names {
		c.values(where, strings.TrimPrefix(path+"."+name, "."), first[name], second[name])
	}
}
