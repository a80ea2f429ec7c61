// SPDX-License-Identifier: Apache-2.0

package contents

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
)

// tree is a file system made of layers.
type tree struct {
	root  *node
	layer int // the one that is applied
}

// node is a directory if it has children (an empty map is one, too), a symlink if it has a link, else a file.
type node struct {
	children map[string]*node
	link     string
	file     *file
	layer    int // that wrote it last
}

// file is what hard links share.
type file struct {
	program    *program
	executable bool
	layer      int
	special    bool // a device or a pipe
}

func newTree() *tree { return &tree{root: newDirectory(0), layer: -1} }

func newDirectory(layer int) *node { return &node{children: map[string]*node{}, layer: layer} }

// apply puts a layer on those applied before. What a hard link names must be there.
func (t *tree) apply(l *layer) error {
	t.layer++
	for _, e := range l.entries {
		if err := t.add(e); err != nil {
			return err
		}
	}
	return nil
}

func (t *tree) add(e entry) error {
	if e.kind == whiteout || e.kind == opaque {
		t.remove(e)
		return nil
	}
	if e.path == "" {
		return nil
	}
	made := &node{layer: t.layer}
	switch e.kind {
	case directory:
		made.children = map[string]*node{}
	case symlink:
		made.link = e.link
	case hardLink:
		target := t.findLink(e.link)
		if target == nil || target.children != nil {
			return fmt.Errorf("%q is a hard link to %q, which is no file of this layer or those below", e.path, e.link)
		}
		made.link, made.file = target.link, target.file
	default:
		made.file = &file{program: e.program, executable: e.executable, layer: t.layer, special: e.kind == other}
	}
	dir, base := split(e.path)
	parent := t.makeDirectory(dir)
	if old := parent.children[base]; old != nil && old.children != nil && made.children != nil {
		old.layer = t.layer
		return nil
	}
	parent.children[base] = made
	return nil
}

// remove takes away what a whiteout is for. What its own layer has put there stays, wherever the whiteout stands in it.
func (t *tree) remove(e entry) {
	if e.path == "" {
		t.prune(t.root)
		return
	}
	dir, base := split(e.path)
	parent := t.find(dir)
	if parent == nil || parent.children[base] == nil {
		return
	}
	if left := t.prune(parent.children[base]); !left && e.kind == whiteout {
		delete(parent.children, base)
	}
}

// prune takes away what lower layers have put into n, and reports whether anything of this layer is left of it.
func (t *tree) prune(n *node) bool {
	left := n.layer == t.layer
	for name, child := range n.children {
		if t.prune(child) {
			left = true
		} else {
			delete(n.children, name)
		}
	}
	return left
}

func split(path string) (dir, base string) {
	slash := strings.LastIndexByte(path, '/')
	return path[:max(slash, 0)], path[slash+1:]
}

// mostLinks is how many symlinks are followed, as in Linux.
const mostLinks = 40

// find returns what path is in the end, all symlinks followed inside the root; nil if there is nothing.
func (t *tree) find(path string) *node { return t.walk(path, false) }

// findLink returns what path itself is, be it a symlink.
func (t *tree) findLink(path string) *node {
	dir, base := split(path)
	if parent := t.find(dir); parent != nil {
		return parent.children[base]
	}
	return nil
}

// makeDirectory returns the directory that path leads to, made as extractors do where there is none.
func (t *tree) makeDirectory(path string) *node { return t.walk(path, true) }

// walk follows path from the root. A symlink's target is walked in its place; .. of the root is the root.
func (t *tree) walk(path string, create bool) *node {
	trail := []*node{t.root}
	links := 0
	for rest := path; rest != ""; {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		at := trail[len(trail)-1]
		switch name {
		case "", ".":
			continue
		case "..":
			trail = trail[:max(1, len(trail)-1)]
			continue
		}
		next := at.children[name]
		switch {
		case next != nil && next.link != "" && links < mostLinks:
			links++
			if strings.HasPrefix(next.link, "/") {
				trail = trail[:1]
			}
			rest = next.link + "/" + rest
			continue
		case create && (next == nil || next.children == nil):
			next = newDirectory(t.layer)
			at.children[name] = next
		case next == nil || (next.children == nil && (next.link != "" || strings.Trim(rest, "/.") != "")):
			return nil
		}
		trail = append(trail, next)
	}
	return trail[len(trail)-1]
}

// files yields the regular files by path, in order. Names of one file come as one: that which is first.
func (t *tree) files() iter.Seq2[string, *file] {
	return func(yield func(string, *file) bool) {
		seen := map[*file]bool{}
		var visit func(path string, n *node) bool
		visit = func(path string, n *node) bool {
			if n.file != nil && !n.file.special && !seen[n.file] {
				seen[n.file] = true
				return yield(path, n.file)
			}
			for _, name := range slices.Sorted(maps.Keys(n.children)) {
				if !visit(path+"/"+name, n.children[name]) {
					return false
				}
			}
			return true
		}
		visit("", t.root)
	}
}
