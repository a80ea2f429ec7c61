// SPDX-License-Identifier: Apache-2.0

package solver_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/mab-build/mab/solver"
)

// program writes so many random bytes into each of the files.
var program = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "mab-step-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	const text = `package main

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"strconv"
)

func main() {
	size, _ := strconv.Atoi(os.Args[1])
	for _, name := range os.Args[2:] {
		random := make([]byte, size)
		rand.Read(random)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			panic(err)
		}
		if err := os.WriteFile(name, random, 0o644); err != nil {
			panic(err)
		}
	}
}
`
	if err := os.WriteFile(filepath.Join(dir, "step.go"), []byte(text), 0o600); err != nil {
		return nil, err
	}
	cmd := exec.Command("go", "build", "-ldflags=-s -w", "-o", "step", "step.go")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-trimpath")
	if out, err := cmd.CombinedOutput(); err != nil {
		return out, err
	}
	return os.ReadFile(filepath.Join(dir, "step"))
})

// base is a file system that runs steps.
func rootfs(t testing.TB) llb.State {
	t.Helper()
	text, err := program()
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return llb.Scratch().File(llb.Mkfile("/step", 0o755, text))
}

// run is a step that writes random bytes into files.
func run(t testing.TB, on llb.State, size int, names ...string) llb.State {
	t.Helper()
	return on.Run(llb.Args(append([]string{"/step", strconv.Itoa(size)}, names...)), llb.Network(pb.NetMode_NONE)).Root()
}

// copied is a file system of these paths, where they were.
func copied(from llb.State, paths ...string) llb.State {
	out := llb.Scratch()
	for _, p := range paths {
		out = out.File(llb.Copy(from, p, p, &llb.CopyInfo{CreateDestPath: true}))
	}
	return out
}

// part is what was made, as a source.
func part(m *solver.Made) llb.State {
	return llb.OCILayout(m.Ref(), llb.OCIStore("", solver.ImportStore))
}

func makePart(t testing.TB, on *maker, m solver.Make) *solver.Made {
	t.Helper()
	m.Request = request(t)
	made, err := on.Make(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = made.Close() })
	return made
}

// moved is how far the progress of what a solver fetched went.
type moved struct{ bytes int64 }

func (m *moved) see(s *client.SolveStatus) {
	for _, v := range s.Statuses {
		if strings.HasPrefix(v.ID, "sha256:") && v.Total > 0 {
			m.bytes = max(m.bytes, v.Current)
		}
	}
}

func imageOf(t testing.TB, on *maker, st llb.State, imports *solver.Imports, see func(*client.SolveStatus)) []ocispec.Descriptor {
	t.Helper()
	def, err := marshal(t, st)(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out, err := on.Image(t.Context(), def, imports.Store(), see)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func nothing(*client.SolveStatus) {}

func TestImports(t *testing.T) {
	const size = 20 << 20
	m, c := serveMaker(t), serveMaker(t)
	step := run(t, rootfs(t), size, "/out/big", "/out/unused")
	for _, test := range []struct {
		rule string
		part llb.State
		use  func(llb.State) llb.State
		most int64
	}{
		{"what is copied is all that travels", copied(step, "/out/big"),
			func(st llb.State) llb.State { return llb.Scratch().File(llb.Copy(st, "/out/big", "/app")) }, size * 11 / 10},
		{"layers travel where others build on them", step,
			func(st llb.State) llb.State { return run(t, st, 0, "/app") }, size*22/10 + 2<<20},
	} {
		t.Run(test.rule, func(t *testing.T) {
			made := makePart(t, m, solver.Make{Definition: marshal(t, test.part)})
			want := imageOf(t, m, test.use(step), solver.NewImports(), nothing)
			imports := solver.NewImports()
			imports.Add(made)
			var progress moved
			got := imageOf(t, c, test.use(part(made)), imports, progress.see)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("the layers differ from those of one solver; want -, got +:\n%s", diff)
			}
			if got := imports.Bytes(); got < size || got > test.most || made.Size != got {
				t.Errorf("%d bytes moved of %d for %d", got, made.Size, size)
			}
			if progress.bytes < size {
				t.Errorf("the progress tells of %d bytes", progress.bytes)
			}
			if err := imports.Err(); err != nil {
				t.Error(err)
			}
			if err := made.Close(); err != nil {
				t.Error(err)
			}
			again := makePart(t, m, solver.Make{Definition: marshal(t, test.part)})
			// A first step has nothing that it could be looked up by: BuildKit calls it done.
			if again.Ref() != made.Ref() || again.Steps != made.Steps || again.Cached < again.Steps-1 {
				t.Errorf("it is another part if it is made again: %s, %s; %d of %d steps were in the cache", made.Ref(), again.Ref(), again.Cached, again.Steps)
			}
			imports = solver.NewImports()
			imports.Add(again)
			if imageOf(t, c, test.use(part(again)), imports, nothing); imports.Bytes() != 0 {
				t.Errorf("%d bytes moved again", imports.Bytes())
			}
		})
	}
}
