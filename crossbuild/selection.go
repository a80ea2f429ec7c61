// SPDX-License-Identifier: Apache-2.0

package crossbuild

import (
	"encoding/json"
	"path"
	"slices"
	"strings"

	"github.com/moby/buildkit/solver/pb"
)

// selection is what a copy takes of a file system, in a form that another copy can take to the same paths of an empty one so that the
// first finds there just what it would have found: BuildKit's solver/llbsolver/file/backend.go and fsutil's copy.
type selection struct {
	Path     string   `json:"path"` // clean and absolute
	Wildcard bool     `json:"wildcard,omitempty"`
	Follow   bool     `json:"follow,omitempty"`
	Include  []string `json:"include,omitempty"`
	Exclude  []string `json:"exclude,omitempty"`
}

// selectionOf returns false where it is not sure that a selection does.
func selectionOf(c *pb.FileActionCopy) (selection, bool) {
	s := selection{
		Path: path.Join("/", c.GetSrc()), Follow: c.GetFollowSymlink(),
		Include: c.GetIncludePatterns(), Exclude: c.GetExcludePatterns(),
	}
	// An archive is looked for behind symbolic links even if they are not followed.
	if c.GetAttemptUnpackDockerCompatibility() && !s.Follow {
		return s, false
	}
	if c.GetAllowWildcard() && hasWildcard(s.Path) {
		s.Wildcard = true
		// What matches further down is copied without the directories on its way; and /* is all.
		dir, name := path.Split(s.Path)
		return s, !hasWildcard(dir) && (dir != "/" || strings.Trim(name, "*") != "")
	}
	// The root directory's own mode, owner and attributes travel in no layer.
	return s, s.Path != "/" || c.GetDirCopyContents() && len(s.Include) > 0
}

// hasWildcard is fsutil's containsWildcards.
func hasWildcard(p string) bool {
	for i := 0; i < len(p); i++ {
		switch p[i] {
		case '\\':
			i++
		case '*', '?', '[':
			return true
		}
	}
	return false
}

// dir is the directory that matches are copied into.
func (s *selection) dir() string {
	if s.Wildcard {
		return path.Dir(s.Path)
	}
	return s.Path
}

func (s *selection) equal(o *selection) bool {
	return s.Path == o.Path && s.Wildcard == o.Wildcard && s.alike(o)
}

// alike is whether the same file is copied the same way by both.
func (s *selection) alike(o *selection) bool {
	return s.Follow == o.Follow && slices.Equal(s.Include, o.Include) && slices.Equal(s.Exclude, o.Exclude)
}

// apart is whether one file system can hold both selections without either finding more or other things in it.
func (s *selection) apart(o *selection) bool {
	switch {
	case s.equal(o):
		return true
	case s.Wildcard && o.Wildcard && s.dir() == o.dir():
		return s.alike(o)
	case s.dir() == o.dir():
		return false
	case within(o.dir(), s.dir()):
		return s.spares(o.dir())
	case within(s.dir(), o.dir()):
		return o.spares(s.dir())
	}
	return true
}

// spares is whether a path below the directory of s is none of what it selects.
func (s *selection) spares(p string) bool {
	if !s.Wildcard {
		return false
	}
	rest := strings.TrimPrefix(strings.TrimPrefix(p, s.dir()), "/")
	name, _, _ := strings.Cut(rest, "/")
	match, err := path.Match(path.Base(s.Path), name)
	return err == nil && !match
}

// within is whether p lies below dir.
func within(p, dir string) bool { return strings.HasPrefix(p, strings.TrimSuffix(dir, "/")+"/") }

// paths tell what is selected as the author of the copy would say it.
func (s *selection) paths() []string {
	if len(s.Include) == 0 {
		return []string{s.Path}
	}
	var list []string
	for _, p := range s.Include {
		list = append(list, path.Join(s.Path, p))
	}
	return list
}

// actions copy s to the same paths. A directory that is named comes with its own mode and owner, since it is not there before;
// one that matches are copied into is made first, since a copy that finds nothing makes nothing, and looking for matches
// in a directory that is not there fails.
func (s *selection) actions() []*pb.FileAction {
	c := &pb.FileActionCopy{
		Src: s.Path, Dest: s.dir(), Mode: -1, Timestamp: -1, CreateDestPath: true,
		FollowSymlink: s.Follow, IncludePatterns: s.Include, ExcludePatterns: s.Exclude,
		DirCopyContents: s.Path == "/",
	}
	list := []*pb.FileAction{{Action: &pb.FileAction_Copy{Copy: c}}}
	if !s.Wildcard {
		return list
	}
	c.AllowWildcard, c.AllowEmptyWildcard = true, true
	if s.dir() == "/" {
		return list
	}
	c.Dest += "/"
	dir := &pb.FileActionMkDir{Path: s.dir(), Mode: 0o755, MakeParents: true, Timestamp: -1}
	return append([]*pb.FileAction{{Action: &pb.FileAction_Mkdir{Mkdir: dir}}}, list...)
}

// bundle is a set of selections that one file system holds, in the order of the copies.
type bundle []selection

// add returns false, and leaves b as it is, where they cannot go together.
func (b *bundle) add(more ...selection) bool {
	all := slices.Clone(*b)
	for _, s := range more {
		known := false
		for i := range all {
			if !all[i].apart(&s) {
				return false
			}
			known = known || all[i].equal(&s)
		}
		if !known {
			all = append(all, s)
		}
	}
	*b = all
	return true
}

func (b bundle) holds(more bundle) bool {
	for _, s := range more {
		if !slices.ContainsFunc(b, func(o selection) bool { return s.equal(&o) }) {
			return false
		}
	}
	return true
}

func (b bundle) paths() []string {
	var list []string
	for i := range b {
		for _, p := range b[i].paths() {
			if !slices.Contains(list, p) {
				list = append(list, p)
			}
		}
	}
	return list
}

// key is equal for bundles of the same selections.
func (b bundle) key() string {
	var list []string
	for _, s := range b {
		raw, _ := json.Marshal(s) //nolint:errchkjson // strings and booleans are always written
		list = append(list, string(raw))
	}
	slices.Sort(list)
	return strings.Join(list, "\n")
}

// take is what a step needs of a result of another one: all of it, or just what it copies.
type take struct {
	edge
	at    []int // the inputs that are this result
	whole bool
	want  bundle
}

// takes tells what v needs of each of its inputs, each result once.
func (v *vertex) takes() []take {
	var list []take
	place := make([]int, len(v.inputs)) // in list, of each input
	for i, in := range v.inputs {
		at := slices.IndexFunc(list, func(t take) bool { return t.edge == in })
		if at < 0 {
			at = len(list)
			list = append(list, take{edge: in, whole: v.Kind != KindFile})
		}
		place[i] = at
		list[at].at = append(list[at].at, i)
	}
	if v.Kind != KindFile {
		return list
	}
	use := func(input int64, want func(*take) bool) {
		if input >= 0 && input < int64(len(place)) {
			t := &list[place[input]]
			t.whole = t.whole || !want(t)
		}
	}
	whole := func(*take) bool { return false }
	for _, a := range v.op.GetFile().GetActions() {
		use(a.GetInput(), whole)
		for _, in := range owners(a) {
			use(in, whole)
		}
		use(a.GetSecondaryInput(), func(t *take) bool {
			s, ok := selectionOf(a.GetCopy())
			return a.GetCopy() != nil && ok && t.want.add(s)
		})
	}
	for i := range list {
		list[i].whole = list[i].whole || len(list[i].want) == 0
	}
	return list
}

// owners are the inputs in which an action looks up users and groups by their names.
func owners(a *pb.FileAction) []int64 {
	var list []int64
	for _, o := range []*pb.ChownOpt{a.GetCopy().GetOwner(), a.GetMkdir().GetOwner(), a.GetMkfile().GetOwner(), a.GetSymlink().GetOwner()} {
		for _, u := range []*pb.UserOpt{o.GetUser(), o.GetGroup()} {
			if n := u.GetByName(); n != nil {
				list = append(list, n.GetInput())
			}
		}
	}
	return list
}
