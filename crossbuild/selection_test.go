// SPDX-License-Identifier: Apache-2.0

package crossbuild_test

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/solver/pb"
	fscopy "github.com/tonistiigi/fsutil/copy"

	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/platforms"
)

// copying is a graph's step that copies from what a program made.
func copying(actions ...*pb.FileActionCopy) *pb.Op {
	op := &pb.FileOp{}
	for i, c := range actions {
		a := &pb.FileAction{Input: int64(i + 1), SecondaryInput: 1, Output: -1, Action: &pb.FileAction_Copy{Copy: c}}
		if i == 0 {
			a.Input = 0
		}
		op.Actions = append(op.Actions, a)
	}
	op.Actions[len(actions)-1].Output = 0
	return &pb.Op{Op: &pb.Op_File{File: op}}
}

// carried has two platforms copy from what a third node makes, and returns what travels of it: the actions that choose, and their paths.
// Without actions it is the whole.
func carried(t testing.TB, steps ...*pb.Op) (actions []*pb.FileAction, parts []crossbuild.Part) {
	t.Helper()
	var graphs []*crossbuild.Graph
	for _, p := range []platforms.Platform{arm64, s390x} {
		var d definition
		from := d.add(exec(amd64, "make"), d.add(image(amd64, "golang")))
		at := d.add(image(p, "alpine"))
		for _, op := range steps {
			op = op.CloneVT()
			at = d.add(op, at, from)
		}
		graphs = append(graphs, mustRead(t, p, d.end(at)))
	}
	cut, err := crossbuild.NewCut(graphs, crossbuild.Divide(graphs, amd64), crossbuild.Places{Home: []string{"b", "c"}, Shared: "a"})
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range cut.Parts {
		def, err := cut.Part(i, made(cut, p.Node))
		if err != nil {
			t.Fatal(err)
		}
		mustRead(t, amd64, def)
		if len(p.Paths) == 0 {
			continue
		}
		var op pb.Op
		if err := op.Unmarshal(def.Def[len(def.Def)-2]); err != nil {
			t.Fatal(err)
		}
		actions = op.GetFile().GetActions()
	}
	return actions, cut.Parts
}

// mounting gives a program the second input, too.
func mounting(op *pb.Op) *pb.Op {
	op.GetExec().Mounts = append(op.GetExec().Mounts, &pb.Mount{Dest: "/from", Input: 1, Output: -1, Readonly: true})
	return op
}

// dockerCopy is a COPY of the Dockerfile frontend.
func dockerCopy(src, dest string) *pb.FileActionCopy {
	return &pb.FileActionCopy{
		Src: src, Dest: dest, Mode: -1, Timestamp: -1, FollowSymlink: true, DirCopyContents: true, CreateDestPath: true,
		AllowWildcard: true, AllowEmptyWildcard: true,
	}
}

func change(c *pb.FileActionCopy, f func(*pb.FileActionCopy)) *pb.FileActionCopy { f(c); return c }

func TestSelection(t *testing.T) {
	byName := &pb.ChownOpt{User: &pb.UserOpt{User: &pb.UserOpt_ByName{ByName: &pb.NamedUserOpt{Name: "app", Input: 1}}}}
	one := func(src string) []*pb.Op { return []*pb.Op{copying(dockerCopy(src, "/x/"))} }
	for _, c := range []struct {
		rule  string
		steps []*pb.Op
		want  []string // the paths of each part
	}{
		{"a path", one("/app"), []string{"/app"}},
		{"a path is cleaned", one("app/../app/./bin/"), []string{"/app/bin"}},
		{"all", one("/"), []string{"all"}},
		{"all, by another name", one("/app/.."), []string{"all"}},
		{"all, by a wildcard", one("/*"), []string{"all"}},
		{"a wildcard at the end", one("/out/*.bin"), []string{"/out/*.bin"}},
		{"a wildcard in the middle", one("/out/*/bin"), []string{"all"}},
		{"a wildcard that is none", one(`/out/\*`), []string{`/out/\*`}},
		{"wildcards that are not meant", []*pb.Op{copying(change(dockerCopy("/out/*/bin", "/x"), func(c *pb.FileActionCopy) {
			c.AllowWildcard = false
		}))}, []string{"/out/*/bin"}},
		{"paths of --parents", []*pb.Op{copying(change(dockerCopy("/", "/x"), func(c *pb.FileActionCopy) {
			c.IncludePatterns, c.RequiredPaths = []string{"app/bin/*", "etc"}, []string{"/etc"}
		}))}, []string{"/app/bin/* /etc"}},
		{"paths of --parents into a copy of the root directory itself", []*pb.Op{copying(change(dockerCopy("/", "/x"), func(c *pb.FileActionCopy) {
			c.IncludePatterns, c.DirCopyContents = []string{"etc"}, false
		}))}, []string{"all"}},
		{"all but some", []*pb.Op{copying(change(dockerCopy("/", "/x"), func(c *pb.FileActionCopy) {
			c.ExcludePatterns = []string{"etc"}
		}))}, []string{"all"}},
		{"an owner who is looked up there", []*pb.Op{copying(change(dockerCopy("/app", "/x"), func(c *pb.FileActionCopy) {
			c.Owner = byName
		}))}, []string{"all"}},
		{"an archive behind a link that is not followed", []*pb.Op{copying(change(dockerCopy("/a.tar", "/x"), func(c *pb.FileActionCopy) {
			c.AttemptUnpackDockerCompatibility, c.FollowSymlink = true, false
		}))}, []string{"all"}},
		{"several paths of one step", []*pb.Op{copying(dockerCopy("/a", "/x/"), dockerCopy("/b", "/x/"))}, []string{"/a /b"}},
		{"one inside another, of one step", []*pb.Op{copying(dockerCopy("/a", "/x/"), dockerCopy("/a/b", "/y/"))}, []string{"all"}},
		{"one inside another, of two steps", slices.Concat(one("/a"), one("/a/b")), []string{"/a", "/a/b"}},
		{"the same of two steps", slices.Concat(one("/a"), one("/a")), []string{"/a"}},
		{"several of several steps", slices.Concat(one("/a"), one("/b/c"), one("/b/d")), []string{"/a /b/c /b/d"}},
		{"wildcards in one directory", []*pb.Op{copying(dockerCopy("/o/*.a", "/x/"), dockerCopy("/o/*.b", "/x/"))}, []string{"/o/*.a /o/*.b"}},
		{"wildcards in one directory, one with links", []*pb.Op{copying(dockerCopy("/o/*.a", "/x/"), change(dockerCopy("/o/*.b", "/x/"), func(c *pb.FileActionCopy) {
			c.FollowSymlink = false
		}))}, []string{"all"}},
		{"a wildcard and a path that does not match", []*pb.Op{copying(dockerCopy("/o/*.a", "/x/"), dockerCopy("/o/b", "/x/"))}, []string{"/o/*.a /o/b"}},
		{"a wildcard and a path that does", []*pb.Op{copying(dockerCopy("/o/*.a", "/x/"), dockerCopy("/o/b.a", "/x/"))}, []string{"all"}},
		{"a wildcard and the directory itself", []*pb.Op{copying(dockerCopy("/o/*.a", "/x/"), dockerCopy("/o", "/x/"))}, []string{"all"}},
		{"a path and a mount", append(one("/a"), mounting(exec(arm64, "x"))), []string{"all"}},
		{"a path and another step's base", append(one("/a"), copyFile(1, -1)), []string{"all"}},
	} {
		t.Run(c.rule, func(t *testing.T) {
			_, parts := carried(t, c.steps...)
			var got []string
			for _, p := range parts {
				if p.Paths == nil {
					got = append(got, "all")
				} else {
					got = append(got, strings.Join(p.Paths, " "))
				}
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("paths (-want +got):\n%s", d)
			}
		})
	}
}

// FuzzSelection copies from random trees with fsutil, as BuildKit does, once directly and once by way of what travels.
func FuzzSelection(f *testing.F) {
	for seed := range uint64(100) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // what is random is to be repeated
		from := t.TempDir()
		plant(t, r, from)
		var copies []*pb.FileActionCopy
		for range 1 + r.IntN(2) {
			copies = append(copies, randomCopy(r))
		}
		actions, _ := carried(t, copying(copies...))
		if actions == nil {
			return
		}
		wanted, thin, direct, through := copying(copies...).GetFile().GetActions(), t.TempDir(), t.TempDir(), t.TempDir()
		errDirect := perform(t, wanted, from, direct)
		if err := perform(t, actions, from, thin); err != nil {
			if errDirect == nil {
				t.Fatalf("what travels cannot be made: %v\n%v\n%s", err, copies, tree(t, from))
			}
			return
		}
		errThrough := perform(t, wanted, thin, through)
		if (errDirect == nil) != (errThrough == nil) {
			t.Fatalf("copies %v\n of\n%s\n fail with %v, and with %v where\n%s\n travelled", copies, tree(t, from), errDirect, errThrough, tree(t, thin))
		}
		if errDirect != nil {
			return // how far a copy that fails gets is nobody's concern
		}
		if d := cmp.Diff(tree(t, direct), tree(t, through)); d != "" {
			t.Fatalf("copies %v\n of\n%s\n carried\n%s\n (-direct +through):\n%s", copies, tree(t, from), tree(t, thin), d)
		}
	})
}

var names = []string{"a", "b", "c.x", "d.x"}

// plant makes a random tree of files, directories and links, with modes and hard links.
func plant(t testing.TB, r *rand.Rand, root string) {
	t.Helper()
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	var files []string
	var grow func(dir string, depth int)
	grow = func(dir string, depth int) {
		for _, n := range names {
			p := filepath.Join(dir, n)
			switch k := r.IntN(8); {
			case k < 3 && depth < 2:
				must(os.Mkdir(p, 0o700))
				grow(p, depth+1)
				must(os.Chmod(p, []fs.FileMode{0o755, 0o711, 0o1777}[r.IntN(3)]))
			case k < 5:
				must(os.WriteFile(p, []byte(p[len(root):]), 0o600))
				must(os.Chmod(p, []fs.FileMode{0o644, 0o755 | fs.ModeSetuid}[r.IntN(2)]))
				files = append(files, p)
			case k == 5:
				to := randomPath(r)
				if r.IntN(2) == 0 {
					to = strings.Repeat("../", r.IntN(3)) + to[1:]
				}
				must(os.Symlink(to, p))
			case k == 6 && len(files) > 0:
				must(os.Link(files[r.IntN(len(files))], p))
			}
		}
	}
	grow(root, 0)
}

func randomPath(r *rand.Rand) string {
	p := "/" + names[r.IntN(len(names))]
	for r.IntN(2) == 0 {
		p += "/" + names[r.IntN(len(names))]
	}
	return p
}

func randomCopy(r *rand.Rand) *pb.FileActionCopy {
	c := dockerCopy(randomPath(r), []string{"/", "/new", "/new/", "/old/sub/"}[r.IntN(4)])
	switch r.IntN(6) {
	case 0:
		c.Src = path.Join(path.Dir(c.Src), []string{"*", "*.x", "[ab]", "?"}[r.IntN(4)])
	case 1:
		c.Src = "/"
		c.IncludePatterns = []string{randomPath(r)[1:]}
		if r.IntN(2) == 0 {
			c.IncludePatterns[0] = "*/" + c.IncludePatterns[0]
		}
	}
	if r.IntN(4) == 0 {
		c.Src += "/"
	}
	if r.IntN(4) == 0 {
		c.ExcludePatterns = []string{[]string{"a", "*.x", "**/b", "b/*"}[r.IntN(4)]}
		if r.IntN(3) == 0 {
			c.ExcludePatterns = append(c.ExcludePatterns, "!b/c.x")
		}
	}
	if r.IntN(4) == 0 && c.Src != "/" {
		c.IncludePatterns = []string{[]string{"a", "*.x", "**/b", "b/*"}[r.IntN(4)]}
	}
	c.FollowSymlink = r.IntN(4) > 0
	c.DirCopyContents = r.IntN(4) > 0
	c.AllowWildcard = r.IntN(4) > 0
	c.AllowEmptyWildcard = r.IntN(4) > 0
	c.AlwaysReplaceExistingDestPaths = r.IntN(4) == 0
	return c
}

// perform does what BuildKit's solver/llbsolver/file/backend.go does.
func perform(t testing.TB, actions []*pb.FileAction, from, to string) error {
	t.Helper()
	for _, a := range actions {
		if m := a.GetMkdir(); m != nil {
			if err := os.MkdirAll(filepath.Join(to, m.Path), fs.FileMode(m.Mode)); err != nil {
				return err
			}
			continue
		}
		if err := performCopy(t, a.GetCopy(), from, to); err != nil {
			return err
		}
	}
	return nil
}

func performCopy(t testing.TB, c *pb.FileActionCopy, from, to string) error {
	src, sources := cleanPath(c.Src), []string{cleanPath(c.Src)}
	if c.AllowWildcard {
		var err error
		if sources, err = fscopy.ResolveWildcards(from, src, c.FollowSymlink); err != nil {
			return err
		}
		if len(sources) == 0 && !c.AllowEmptyWildcard {
			return fmt.Errorf("%s not found", src)
		}
	}
	for _, s := range sources {
		if err := fscopy.Copy(t.Context(), from, s, to, cleanPath(c.Dest), func(ci *fscopy.CopyInfo) {
			ci.IncludePatterns, ci.ExcludePatterns = c.IncludePatterns, c.ExcludePatterns
			ci.CopyDirContents, ci.FollowLinks = c.DirCopyContents, c.FollowSymlink
			ci.AlwaysReplaceExistingDestPaths = c.AlwaysReplaceExistingDestPaths
		}); err != nil {
			return err
		}
	}
	return nil
}

func cleanPath(s string) string {
	p := path.Join("/", s)
	if strings.HasSuffix(s, "/") && p != "/" {
		p += "/"
	}
	return p
}

// tree shows all that is below root: modes, what is in files and links, and which files are one.
func tree(t testing.TB, root string) string {
	t.Helper()
	var lines []string
	var seen []os.FileInfo
	err := filepath.WalkDir(root, func(p string, e fs.DirEntry, err error) error {
		if err != nil || p == root {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		what := ""
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			what, err = os.Readlink(p)
		case info.Mode().IsRegular():
			var raw []byte
			raw, err = os.ReadFile(p)
			what = string(raw)
			if at := slices.IndexFunc(seen, func(o os.FileInfo) bool { return os.SameFile(o, info) }); at >= 0 {
				what += fmt.Sprintf(" file %d", at)
			}
			seen = append(seen, info)
		}
		lines = append(lines, fmt.Sprintf("%s %s %q", info.Mode(), p[len(root):], what))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(lines, "\n")
}
