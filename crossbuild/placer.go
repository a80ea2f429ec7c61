// SPDX-License-Identifier: Apache-2.0

package crossbuild

import (
	"slices"

	"github.com/opencontainers/go-digest"
)

// placer finds where each step of one graph is done.
type placer struct {
	list            []vertex
	home            string
	common, apart   string // the nodes of what is shared and what is private; empty where it has none
	shared, private map[digest.Digest]bool
	portion         []bool // whether a step is done for its portion's sake, not because it is at home
	follows         []bool // whether a step that runs nothing may be done where what it changes is
}

func (p *placer) places(g *Graph) []string {
	if len(p.list) == 0 {
		return nil
	}
	if p.apart == "" {
		p.private = nil
	}
	p.join()
	p.portion = make([]bool, len(p.list))
	p.findFollowers(g.result().from)
	at := make([]string, len(p.list))
	for i := range p.list {
		v := &p.list[i]
		if !v.programs {
			continue
		}
		at[i], p.portion[i] = p.home, true
		switch {
		case p.private[v.Identity]:
			at[i] = p.apart
		case p.shared[v.Identity] && p.common != "":
			at[i] = p.common
		default:
			p.portion[i] = false
			if to, ok := p.follow(i, at); ok {
				at[i], p.portion[i] = to, true
			}
		}
	}
	return at
}

// join has what is shared done with what is private where no node is to do it for all: of one graph's steps each is done once. If that
// would take steps apart that have a cache mount in common, all is done at home.
func (p *placer) join() {
	if p.common != "" || len(p.private) == 0 {
		return
	}
	needed := make([]bool, len(p.list))
	for i := len(p.list) - 1; i >= 0; i-- {
		needed[i] = needed[i] || p.private[p.list[i].Identity]
		for _, in := range p.list[i].inputs {
			needed[in.from] = needed[in.from] || needed[i]
		}
	}
	side := map[string]bool{}
	for i := range p.list {
		if p.list[i].Uses.Cache {
			for _, id := range caches(&p.list[i]) {
				if was, ok := side[id]; ok && was != needed[i] {
					p.private = nil
					return
				}
				side[id] = needed[i]
			}
		}
	}
	all := make(map[digest.Digest]bool, len(p.list))
	for i := range p.list {
		if needed[i] {
			all[p.list[i].Identity] = true
		}
	}
	p.private = all
}

// findFollowers finds the steps that run nothing and of whose results others only copy, or that lead to such.
func (p *placer) findFollowers(result int) {
	p.follows = make([]bool, len(p.list))
	for i := range p.list {
		p.follows[i] = p.list[i].Kind != KindExec && p.list[i].apart && i != result
	}
	for i := len(p.list) - 1; i >= 0; i-- {
		if p.follows[i] {
			continue
		}
		for _, t := range p.list[i].takes() {
			p.follows[t.from] = p.follows[t.from] && !t.whole
		}
	}
}

// follow tells where step i is done if not at home: where all is that it needs of programs' results, and something it needs more of than
// copies. So what others copy from it travels, not what it was made on.
func (p *placer) follow(i int, at []string) (string, bool) {
	if !p.follows[i] {
		return "", false
	}
	to, whole := "", false
	for _, t := range p.list[i].takes() {
		if !p.list[t.from].programs {
			continue
		}
		if !p.portion[t.from] || to != "" && at[t.from] != to {
			return "", false
		}
		to, whole = at[t.from], whole || t.whole
	}
	return to, whole && slices.Contains([]string{p.common, p.apart}, to)
}
