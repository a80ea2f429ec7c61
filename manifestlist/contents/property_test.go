// SPDX-License-Identifier: Apache-2.0

package contents_test

import (
	"archive/tar"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/mab-build/mab/manifestlist/contents"
)

// model is a file system as a list of paths: of files a number, the same for hard links of one; of directories 0.
type model map[string]int

func (m model) removeBelow(path string) {
	for other := range m {
		if strings.HasPrefix(other, path+"/") {
			delete(m, other)
		}
	}
}

func (m model) makeParents(path string) {
	for i, r := range path {
		if r != '/' {
			continue
		}
		if n, ok := m[path[:i]]; !ok || n != 0 {
			m[path[:i]] = 0
		}
	}
}

// files are the first names of all files, in order of the tree.
func (m model) files() []string {
	first := map[int]string{}
	key := func(path string) string { return strings.ReplaceAll(path, "/", "\x00") }
	for path, n := range m {
		if old, ok := first[n]; n != 0 && (!ok || key(path) < key(old)) {
			first[n] = path
		}
	}
	var out []string
	for _, path := range slices.SortedFunc(maps.Values(first), func(a, b string) int { return strings.Compare(key(a), key(b)) }) {
		out = append(out, "/"+path)
	}
	return out
}

// TestLayersAgainstModel applies random layers of files, directories, hard links, whiteouts and opaque directories.
func TestLayersAgainstModel(t *testing.T) {
	content := program{}.bytes(t)
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 7)) //nolint:gosec // the same layers every time
		path := func() string {
			names := make([]string, 1+random.IntN(3))
			for i := range names {
				names[i] = string("abc"[random.IntN(3)])
			}
			return strings.Join(names, "/")
		}
		m := model{}
		files := 0
		var layers [][]member
		for range 1 + random.IntN(5) {
			var members []member
			// Whiteouts come first in the model, since they are for lower layers only. In the tar they may come last.
			var removed []member
			for range random.IntN(3) {
				p := path()
				dir, base := filepath.Split(p)
				if random.IntN(3) == 0 {
					removed = append(removed, member{name: p + "/.wh..wh..opq"})
				} else {
					removed = append(removed, member{name: dir + ".wh." + base})
					delete(m, p)
				}
				m.removeBelow(p)
			}
			for range random.IntN(6) {
				p := path()
				switch random.IntN(4) {
				case 0:
					m.makeParents(p)
					if n, ok := m[p]; !ok || n != 0 {
						m[p] = 0
					}
					members = append(members, member{name: p + "/", typeflag: tar.TypeDir})
				case 1:
					// Links to what a file in between has replaced are no valid layers.
					var targets []string
					for _, other := range slices.Sorted(maps.Keys(m)) {
						if m[other] != 0 && !strings.HasPrefix(p, other+"/") && !strings.HasPrefix(other, p+"/") && other != p {
							targets = append(targets, other)
						}
					}
					if len(targets) == 0 {
						continue
					}
					target := targets[random.IntN(len(targets))]
					n := m[target]
					m.makeParents(p)
					m.removeBelow(p)
					m[p] = n
					members = append(members, member{name: p, link: target, typeflag: tar.TypeLink})
				default:
					files++
					m.makeParents(p)
					m.removeBelow(p)
					m[p] = files
					members = append(members, member{name: p, content: content})
				}
			}
			if random.IntN(2) == 0 {
				members, removed = removed, members
			}
			layers = append(layers, slices.Concat(removed, members))
		}
		if diff := cmp.Diff(m.files(), paths(report(t, "arm64", nil, layers...))); diff != "" {
			t.Fatalf("seed %d: %s\n%v", seed, diff, names(layers))
		}
	}
}

func names(layers [][]member) string {
	var out strings.Builder
	for i, members := range layers {
		fmt.Fprintf(&out, "layer %d:", i+1)
		for _, m := range members {
			fmt.Fprintf(&out, " %s>%s", m.name, m.link)
		}
		out.WriteByte('\n')
	}
	return out.String()
}

// TestDamage damages one blob of a layout after the other in random ways: none is accepted.
func TestDamage(t *testing.T) {
	l := newLayout(t)
	file := func(name, platform string) member {
		return member{name: name, content: program{platform: platform}.bytes(t)}
	}
	arm64 := l.image("arm64", nil, []member{file("a", "arm64")}, []member{file("b", "arm64")}, []member{file("c", "arm64")})
	amd64 := l.image("amd64", nil, []member{file("a", "amd64")}, []member{file("b", "amd64")})
	attestation := l.putJSON(ocispec.MediaTypeImageManifest, ocispec.Manifest{
		MediaType: ocispec.MediaTypeImageManifest, Config: l.put(ocispec.MediaTypeImageConfig, []byte(`{"os":"unknown"}`)),
		Layers: []ocispec.Descriptor{l.put("application/vnd.in-toto+json", []byte(`{"_type":"a"}`))},
	})
	attestation.Annotations = map[string]string{"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": arm64.Digest.String()}
	root := l.index(arm64, amd64, attestation)
	accepted := func() bool {
		r, err := l.check(root, contents.Config{})
		return err == nil && r.Err(false) == nil
	}
	if !accepted() {
		t.Fatal("it is refused undamaged")
	}
	var blobs []string
	must(t, filepath.WalkDir(string(l.dir), func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			blobs = append(blobs, path)
		}
		return err
	}))
	if len(blobs) != 13 {
		t.Fatalf("%d blobs", len(blobs))
	}
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same damage every time
	for i, path := range blobs {
		whole, err := os.ReadFile(path)
		must(t, err)
		other, err := os.ReadFile(blobs[(i+1)%len(blobs)])
		must(t, err)
		for range 30 {
			flipped := slices.Clone(whole)
			flipped[random.IntN(len(whole))] ^= 1 << random.IntN(8)
			swapped := slices.Clone(whole)
			a, b := random.IntN(len(whole)), random.IntN(len(whole))
			swapped[a], swapped[b] = swapped[b], swapped[a]
			for how, raw := range map[string][]byte{
				"flipped": flipped, "swapped": swapped, "truncated": whole[:random.IntN(len(whole))], "longer": append(slices.Clone(whole), 0), "another": other,
			} {
				if string(raw) == string(whole) {
					continue
				}
				must(t, os.WriteFile(path, raw, 0o644))
				if accepted() {
					t.Errorf("%s: a %s blob is accepted", path, how)
				}
			}
		}
		must(t, os.Remove(path))
		if accepted() {
			t.Errorf("%s: a missing blob is accepted", path)
		}
		must(t, os.WriteFile(path, whole, 0o644))
	}
	if !accepted() {
		t.Error("it is refused when all is mended")
	}
}

// randomLayout puts an index of random images, of which layers may be the same.
func randomLayout(l layout, random *rand.Rand) ocispec.Descriptor {
	l.t.Helper()
	names := []string{"arm64", "amd64", "s390x", "riscv64", "arm/v7"}
	var all [][]member
	var images []ocispec.Descriptor
	for _, platform := range names[:1+random.IntN(len(names))] {
		var layers [][]member
		for range random.IntN(4) {
			if len(all) > 0 && random.IntN(3) == 0 {
				layers = append(layers, all[random.IntN(len(all))])
				continue
			}
			var members []member
			for i := range random.IntN(5) {
				content := make([]byte, random.IntN(3000))
				for j := range content {
					content[j] = byte(random.IntN(4))
				}
				members = append(members, member{name: fmt.Sprintf("dir%d/file%d", random.IntN(3), i), content: content})
			}
			all, layers = append(all, members), append(layers, members)
		}
		images = append(images, l.image(platform, nil, layers...))
	}
	return l.index(images...)
}

// TestRandomDamage damages random layouts in one place, or swaps two blobs: none is accepted.
func TestRandomDamage(t *testing.T) {
	for seed := range uint64(60) {
		random := rand.New(rand.NewPCG(seed, 11)) //nolint:gosec // the same damage every time
		l := newLayout(t)
		root := randomLayout(l, random)
		accepted := func() bool {
			r, err := l.check(root, contents.Config{})
			return err == nil && r.Err(true) == nil
		}
		if !accepted() {
			t.Fatalf("seed %d: it is refused undamaged", seed)
		}
		var blobs []string
		must(t, filepath.WalkDir(string(l.dir), func(path string, entry fs.DirEntry, err error) error {
			if err == nil && !entry.IsDir() {
				blobs = append(blobs, path)
			}
			return err
		}))
		for range 8 {
			a, b := blobs[random.IntN(len(blobs))], blobs[random.IntN(len(blobs))]
			wholeA, err := os.ReadFile(a)
			must(t, err)
			wholeB, err := os.ReadFile(b)
			must(t, err)
			how := []string{"flipped", "truncated", "missing", "swapped"}[random.IntN(4)]
			switch how {
			case "flipped":
				raw := slices.Clone(wholeA)
				raw[random.IntN(len(raw))] ^= 1 << random.IntN(8)
				must(t, os.WriteFile(a, raw, 0o644))
			case "truncated":
				must(t, os.WriteFile(a, wholeA[:random.IntN(len(wholeA))], 0o644))
			case "missing":
				must(t, os.Remove(a))
			case "swapped":
				if a == b {
					continue
				}
				must(t, os.WriteFile(a, wholeB, 0o644))
				must(t, os.WriteFile(b, wholeA, 0o644))
			}
			if accepted() {
				t.Errorf("seed %d: %s is %s, with %s, and accepted", seed, a, how, b)
			}
			must(t, os.WriteFile(a, wholeA, 0o644))
			must(t, os.WriteFile(b, wholeB, 0o644))
		}
		if !accepted() {
			t.Errorf("seed %d: it is refused when all is mended", seed)
		}
	}
}
