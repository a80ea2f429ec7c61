// SPDX-License-Identifier: Apache-2.0

package solver_test

import (
	"errors"
	"io"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/client"
	"github.com/sirupsen/logrus"

	"github.com/mab-build/mab/solver"
)

func TestOptions(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/Dockerfile", []byte("FROM scratch\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("BUILDX_NO_DEFAULT_ATTESTATIONS", "1")
	t.Setenv("SOURCE_DATE_EPOCH", "")
	options := func(t *testing.T, r solver.Request, exports ...solver.Export) client.SolveOpt {
		t.Helper()
		opt, err := (&solver.Solve{Request: &r, Exports: exports}).Options()
		if err != nil {
			t.Fatal(err)
		}
		return opt
	}
	t.Run("attributes of flags and of sources", func(t *testing.T) {
		opt := options(t, solver.Request{Context: dir, Target: "a"})
		if diff := cmp.Diff(attrs{"target": "a", "filename": "Dockerfile"}, opt.FrontendAttrs); diff != "" {
			t.Errorf("want -, got +:\n%s", diff)
		}
	})
	t.Run("--network host allows itself, once", func(t *testing.T) {
		for allowed, want := range map[string][]string{
			"security.insecure": {"security.insecure", "network.host"},
			"network.host":      {"network.host"},
		} {
			opt := options(t, solver.Request{Context: dir, Network: "host", Allow: []string{allowed}})
			if diff := cmp.Diff(want, opt.AllowedEntitlements); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
		}
		if opt := options(t, solver.Request{Context: dir, Network: "none"}); len(opt.AllowedEntitlements) > 0 {
			t.Errorf("--network none allows %q", opt.AllowedEntitlements)
		}
	})
	t.Run("what is allowed here is none of the solver's business", func(t *testing.T) {
		opt := options(t, solver.Request{Context: dir, Allow: []string{solver.LocalDelete, "security.insecure"}})
		if diff := cmp.Diff([]string{"security.insecure"}, opt.AllowedEntitlements); diff != "" {
			t.Errorf("want -, got +:\n%s", diff)
		}
	})
	t.Run("exports", func(t *testing.T) {
		logrus.SetLevel(logrus.ErrorLevel) // of containerd's wish for fs-verity
		opt := options(t, solver.Request{Context: dir},
			solver.Export{Type: "oci", Attrs: attrs{"tar": "false"}, Blobs: dir + "/blobs"}, solver.Export{Type: "local", Dir: dir + "/out"},
			solver.Export{Type: "tar", Tar: func() (io.WriteCloser, error) { return nil, io.ErrClosedPipe }})
		if len(opt.Exports) != 3 || opt.Exports[0].OutputStore == nil || opt.Exports[1].OutputDir != dir+"/out" {
			t.Fatalf("got %+v", opt.Exports)
		}
		if _, err := opt.Exports[2].Output(nil); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("the tar is opened by another: %v", err)
		}
	})
	t.Run("one directory has one key, each build a name of its own", func(t *testing.T) {
		absolute := options(t, solver.Request{Context: dir})
		other := options(t, solver.Request{Context: t.TempDir(), File: dir + "/Dockerfile"})
		t.Chdir(dir)
		relative := options(t, solver.Request{})
		if absolute.SharedKey != relative.SharedKey || absolute.SharedKey == other.SharedKey {
			t.Errorf("keys %s, %s and %s", absolute.SharedKey, relative.SharedKey, other.SharedKey)
		}
		if absolute.Ref == relative.Ref {
			t.Errorf("two builds have the name %s", absolute.Ref)
		}
	})
	t.Run("credentials go along always, secrets when asked for", func(t *testing.T) {
		without := options(t, solver.Request{Context: dir})
		with := options(t, solver.Request{Context: dir, Secrets: []string{"id=token,env=HOME"}})
		if len(without.Session) != 1 || len(with.Session) != 2 {
			t.Errorf("%d and %d attachables", len(without.Session), len(with.Session))
		}
	})
	for want, request := range map[string]solver.Request{
		"--secret":    {Secrets: []string{"id=token,src=/nonexistent"}},
		"--ssh":       {SSH: []string{"default=/nonexistent"}},
		"--cache-to":  {CacheTo: []string{"type=inline,mode"}},
		"--build-arg": {BuildArgs: []string{"=1"}},
	} {
		t.Run("a wrong "+want, func(t *testing.T) {
			request.Context = dir
			_, err := (&solver.Solve{Request: &request}).Options()
			checkUsage(t, err, want)
		})
	}
}

// TestCaches holds docker's short form: what is not KEY=VALUE is a reference.
func TestCaches(t *testing.T) {
	type entries = []client.CacheOptionsEntry
	for _, test := range []struct {
		rule, entry string
		imports     entries
		exports     entries
	}{
		{"a registry", "type=registry,ref=r/c:1",
			entries{{Type: "registry", Attrs: attrs{"ref": "r/c:1"}}}, entries{{Type: "registry", Attrs: attrs{"ref": "r/c:1", "mode": "min"}}}},
		{"the type may come later", "ref=r/c:1,type=registry",
			entries{{Type: "registry", Attrs: attrs{"ref": "r/c:1"}}}, entries{{Type: "registry", Attrs: attrs{"ref": "r/c:1", "mode": "min"}}}},
		{"a bare reference is a registry's", "r/c:1",
			entries{{Type: "registry", Attrs: attrs{"ref": "r/c:1"}}}, entries{{Type: "registry", Attrs: attrs{"ref": "r/c:1", "mode": "min"}}}},
		{"a name that ends in type", "r/prototype:1",
			entries{{Type: "registry", Attrs: attrs{"ref": "r/prototype:1"}}}, entries{{Type: "registry", Attrs: attrs{"ref": "r/prototype:1", "mode": "min"}}}},
		{"several references in one", "a,b",
			entries{{Type: "registry", Attrs: attrs{"ref": "a"}}, {Type: "registry", Attrs: attrs{"ref": "b"}}},
			entries{{Type: "registry", Attrs: attrs{"ref": "a", "mode": "min"}}, {Type: "registry", Attrs: attrs{"ref": "b", "mode": "min"}}}},
		{"every step", "type=local,src=a,dest=b,mode=max",
			entries{{Type: "local", Attrs: attrs{"src": "a", "dest": "b", "mode": "max"}}}, entries{{Type: "local", Attrs: attrs{"src": "a", "dest": "b", "mode": "max"}}}},
		{"settings without a type", "ref=r/c:1", nil, nil},
		{"no value", "type=inline,mode", nil, nil},
	} {
		t.Run(test.rule, func(t *testing.T) {
			request := solver.Request{CacheFrom: []string{test.entry}, CacheTo: []string{test.entry}}
			imports, exports, err := request.Caches()
			if test.imports == nil {
				checkUsage(t, err, "--cache-from")
				_, _, err := (&solver.Request{CacheTo: []string{test.entry}}).Caches()
				checkUsage(t, err, "--cache-to")
				return
			}
			if diff := cmp.Diff(test.imports, imports); err != nil || diff != "" {
				t.Errorf("imports: error %v; want -, got +:\n%s", err, diff)
			}
			if diff := cmp.Diff(test.exports, exports); diff != "" {
				t.Errorf("exports: want -, got +:\n%s", diff)
			}
		})
	}
}
