// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/distribution/reference"
	"github.com/moby/buildkit/client"

	"github.com/mab-build/mab/platforms"
)

// whole are all platforms of the build that this solve is a part of.
func (s *Solve) whole() []platforms.Platform {
	if s.Whole != nil {
		return s.Whole
	}
	return s.Request.Platforms
}

// annotated is the name of an annotation for one platform: https://github.com/moby/buildkit/blob/v0.33.1/exporter/containerimage/exptypes/annotations.go
var annotated = regexp.MustCompile(`^annotation[a-z-]*\[([^]]+)\]\.`)

// partAttrs are an export's for some of the platforms: files lie where those of all platforms would, and annotations are not asked
// for on what is not there.
func (s *Solve) partAttrs(e Export) map[string]string {
	out := maps.Clone(e.Attrs)
	maps.DeleteFunc(out, func(name, _ string) bool {
		found := annotated.FindStringSubmatch(name)
		if found == nil {
			return false
		}
		p, err := platforms.Parse(found[1])
		return err == nil && slices.Contains(s.whole(), p) && !slices.Contains(s.Request.Platforms, p)
	})
	const split = "platform-split"
	if _, given := out[split]; !given && len(s.whole()) > 1 && (e.Type == client.ExporterLocal || e.Type == client.ExporterTar) {
		if out == nil {
			out = map[string]string{}
		}
		out[split] = strconv.FormatBool(true)
	}
	if len(e.Names) > 0 && !s.client.foreign.Load() {
		out[namesAttr] = strings.Join(e.Names, ",")
	}
	return out
}

// splitCaches has those of all platforms and parts be read, which several nodes may have written, and each platform's cache be written to a place
// of its own where several nodes write now. Whoever builds a platform writes it, so that no node overwrites what another wrote.
func (s *Solve) splitCaches(imports, exports []client.CacheOptionsEntry) (from, to []client.CacheOptionsEntry, err error) {
	for _, e := range imports {
		from = append(from, splitImport(e, s.whole())...)
	}
	if !s.SplitCaches || len(s.Request.Platforms) == 0 {
		return from, exports, nil
	}
	for _, e := range exports {
		list, err := splitExport(e, slugs(s.Request.Platforms))
		if err != nil {
			return nil, nil, err
		}
		to = append(to, list...)
	}
	return from, to, nil
}

func slugs(list []platforms.Platform) []string {
	var out []string
	for _, p := range list {
		out = append(out, p.Slug())
	}
	return out
}

// sharedParts and privateParts are how many parts have caches, of those for several platforms and of those for each one: whoever reads
// cannot know how many there are, and has to look for each.
const sharedParts, privateParts = 3, 1

// PartName names the part at place n, counted from 0, of those that are for p alone, or for several platforms if p is zero. Empty: so many have
// no cache.
func PartName(p platforms.Platform, n int) string {
	name, most := "shared", sharedParts
	if p != (platforms.Platform{}) {
		name, most = "private-"+p.Slug(), privateParts
	}
	switch {
	case n >= most:
		return ""
	case n > 0:
		name += "-" + strconv.Itoa(n+1)
	}
	return name
}

// cacheNames are those that a build for these platforms may have written caches under.
func cacheNames(list []platforms.Platform) []string {
	out := slugs(list)
	if len(list) > 1 {
		for n := range sharedParts {
			out = append(out, PartName(platforms.Platform{}, n))
		}
	}
	for _, p := range list {
		for n := range privateParts {
			out = append(out, PartName(p, n))
		}
	}
	return out
}

// partCaches are what a part of this name writes where the build writes exports.
func partCaches(exports []client.CacheOptionsEntry, name string) ([]client.CacheOptionsEntry, error) {
	var out []client.CacheOptionsEntry
	for _, e := range exports {
		if name == "" || isInline(e) {
			continue
		}
		list, err := splitExport(e, []string{name})
		if err != nil {
			return nil, err
		}
		out = append(out, list...)
	}
	return out, nil
}

// splitExport is a cache's entries under each of the names. What is inside the image is so already.
func splitExport(e client.CacheOptionsEntry, names []string) ([]client.CacheOptionsEntry, error) {
	if isInline(e) {
		return []client.CacheOptionsEntry{e}, nil
	}
	var out []client.CacheOptionsEntry
	for _, name := range names {
		if e.Type == localCache {
			out = append(out, withAttr(e, "dest", filepath.Join(e.Attrs["dest"], name)))
			continue
		}
		ref, err := besideRef(e.Attrs["ref"], name)
		if err != nil {
			return nil, &usageError{"--cache-to: " + err.Error(), "write type=registry,ref=NAME:TAG; each platform gets a tag of its own that begins with it"}
		}
		out = append(out, withAttr(e, "ref", ref))
	}
	return out, nil
}

// splitImport is what may have been written under a cache's name, itself included, by builds for these platforms.
func splitImport(e client.CacheOptionsEntry, list []platforms.Platform) []client.CacheOptionsEntry {
	switch e.Type {
	case "registry":
		out := []client.CacheOptionsEntry{e}
		for _, name := range cacheNames(list) {
			// There is nothing more to be read at a digest.
			if ref, err := besideRef(e.Attrs["ref"], name); err == nil {
				out = append(out, withAttr(e, "ref", ref))
			}
		}
		return out
	case localCache:
		var out []client.CacheOptionsEntry
		dirs := []string{e.Attrs["src"]}
		for _, name := range cacheNames(list) {
			dirs = append(dirs, filepath.Join(e.Attrs["src"], name))
		}
		for _, dir := range dirs {
			if _, err := os.Stat(filepath.Join(dir, "index.json")); err == nil {
				out = append(out, withAttr(e, "src", dir))
			}
		}
		if out != nil {
			return out
		}
	}
	return []client.CacheOptionsEntry{e}
}

// soften has a cache that was not written yet be told of, but not as an error: of those that are read for several platforms, it is seldom that
// all are there. The words are BuildKit's.
func soften(status *client.SolveStatus) {
	for _, v := range status.Vertexes {
		if v.Completed == nil || !strings.HasPrefix(v.Name, "importing cache manifest from ") || !strings.HasSuffix(v.Error, ": not found") {
			continue
		}
		v.Error = ""
		status.Logs = append(status.Logs, &client.VertexLog{Vertex: v.Digest, Data: []byte("not there yet\n"), Timestamp: *v.Completed})
	}
}

func withAttr(e client.CacheOptionsEntry, name, value string) client.CacheOptionsEntry {
	e.Attrs = maps.Clone(e.Attrs)
	e.Attrs[name] = value
	return e
}

// besideRef is a reference beside ref: NAME:TAG-linux-arm64.
func besideRef(ref, name string) (string, error) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return "", fmt.Errorf("%q: %w", ref, err)
	}
	if _, ok := named.(reference.Digested); ok {
		return "", fmt.Errorf("%q is a digest", ref)
	}
	tagged, ok := reference.TagNameOnly(named).(reference.Tagged)
	if !ok {
		return "", fmt.Errorf("%q has no tag", ref)
	}
	out, err := reference.WithTag(reference.TrimNamed(named), tagged.Tag()+"-"+name)
	if err != nil {
		return "", fmt.Errorf("%q: %w", tagged.Tag()+"-"+name, err)
	}
	return reference.FamiliarString(out), nil
}
