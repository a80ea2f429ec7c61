// SPDX-License-Identifier: Apache-2.0

package solver_test

import (
	"maps"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/solver"
)

func TestEntryID(t *testing.T) {
	for entry, want := range map[string]string{
		"id=token,src=file": "token", "type=file,id=token,env=X": "token", `"id=a,b",src=x`: "a,b", "default": "default", "deploy=/key,/other": "deploy",
	} {
		if got := solver.EntryID(entry); got != want {
			t.Errorf("the id of %q is %q, want %q", entry, got, want)
		}
	}
}

func TestContextName(t *testing.T) {
	for name, want := range map[string]string{
		"base": "base", "alpine": "alpine", "docker.io/library/alpine:latest": "alpine", "alpine:3": "alpine:3", "Not A Name": "Not A Name",
	} {
		if got := solver.ContextName(name); got != want {
			t.Errorf("%q is known as %q, want %q", name, got, want)
		}
	}
}

// TestLocals holds that directories are the same if they are in one place, however they are named.
func TestLocals(t *testing.T) {
	tree(t, "app/Dockerfile", "lib/file")
	one, err := (&solver.Request{Context: "app", NamedContexts: []string{"lib=lib"}}).Locals(nil)
	if err != nil {
		t.Fatal(err)
	}
	abs, err := filepath.Abs("lib")
	if err != nil {
		t.Fatal(err)
	}
	other, err := (&solver.Request{Context: "./app/../app", NamedContexts: []string{"lib=" + abs}}).Locals(nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(one, other); diff != "" {
		t.Errorf("one -, other +:\n%s", diff)
	}
	if diff := cmp.Diff([]string{"context", "lib"}, slices.Sorted(maps.Keys(one.Directories))); diff != "" {
		t.Errorf("names: want -, got +:\n%s", diff)
	}
}

// TestCompanions holds that a solve has what others' steps read of this machine, by the names that these have in its definitions, and may do what
// they may.
func TestCompanions(t *testing.T) {
	tree(t, "app/Dockerfile", "app/main", "base/Dockerfile", "base/file", "lib/file")
	s := solver.Solve{
		Request:  &solver.Request{Context: "app", Secrets: []string{"id=a,env=A"}},
		Renaming: crossbuild.Renaming{Locals: map[string]string{"context": "context@1"}},
		Companions: []solver.Companion{{
			Request: &solver.Request{
				Context: "base", NamedContexts: []string{"lib=lib"}, Secrets: []string{"id=a,env=A", "id=b,env=B"}, Network: "host", Allow: []string{"security.insecure"},
			},
			Renaming: crossbuild.Renaming{Locals: map[string]string{"context": "context@2"}},
		}},
	}
	opt, err := s.Options()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"context", "context@1", "context@2", "dockerfile", "lib"}, slices.Sorted(maps.Keys(opt.LocalMounts))); diff != "" {
		t.Errorf("directories: want -, got +:\n%s", diff)
	}
	if diff := cmp.Diff([]string{"security.insecure", "network.host"}, opt.AllowedEntitlements); diff != "" {
		t.Errorf("entitlements: want -, got +:\n%s", diff)
	}
	if diff := cmp.Diff([]string{"id=a,env=A", "id=b,env=B"}, s.Merged().Secrets); diff != "" {
		t.Errorf("secrets: want -, got +:\n%s", diff)
	}
	if diff := cmp.Diff([]string{"id=a,env=A"}, s.Request.Secrets); diff != "" || s.Request.Allow != nil {
		t.Errorf("the request was changed: %+v", s.Request)
	}
}
