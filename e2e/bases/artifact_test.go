// SPDX-License-Identifier: Apache-2.0

package bases_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/e2e/bases"
)

func TestKeep(t *testing.T) {
	needs(t, "apt-get", "dpkg-deb")
	cfg := bases.Config{CacheDir: t.TempDir()}
	made, fails := 0, errors.New("no")
	artifact := bases.Artifact{Name: "thing", Platform: "linux/arm64", Suite: "trixie", Recipe: "1"}
	keep := func(recipe string, result error) (string, error) {
		artifact.Recipe = recipe
		artifact.Make = func(_ context.Context, _ *bases.Packages, dir string) error {
			made++
			return errors.Join(os.WriteFile(filepath.Join(dir, "recipe"), []byte(recipe), 0o644), result)
		}
		return bases.Keep(t.Context(), cfg, artifact)
	}
	for _, test := range []struct {
		rule, recipe string
		result       error
		made         int
	}{
		{"what is not there is made", "1", nil, 1},
		{"what is there is not made again", "1", fails, 1},
		{"another recipe is another thing", "2", nil, 2},
		{"what fails is not there", "3", fails, 3},
		{"and is made anew", "3", nil, 4},
	} {
		t.Run(test.rule, func(t *testing.T) {
			before := made
			dir, err := keep(test.recipe, test.result)
			if made != test.made {
				t.Fatalf("made %d times, want %d", made, test.made)
			}
			if test.result != nil && made > before {
				if !errors.Is(err, fails) || dir != "" {
					t.Errorf("got %q, %v", dir, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			content, err := os.ReadFile(filepath.Join(dir, "recipe"))
			if err != nil || string(content) != test.recipe {
				t.Errorf("got %q, %v", content, err)
			}
		})
	}
	left, err := filepath.Glob(filepath.Join(cfg.CacheDir, "thing", "linux-arm64", "*"))
	if err != nil || len(left) != 3 {
		t.Errorf("in the cache: %q, %v", left, err)
	}
	artifact.Platform = "plan9/amd64"
	if _, err := keep("1", nil); err == nil || err.Error() != `making "thing": no Debian port for platform "plan9/amd64"` {
		t.Errorf("got %v", err)
	}
}

func TestExtract(t *testing.T) {
	tree := bases.Tree{}
	tree.AddFile("usr/bin/su", []byte("su"), 0o4755)
	tree.AddFile("etc/shadow", []byte("secret"), 0o600)
	tree.AddDirectory("tmp", 0o1777)
	tree.AddDirectory("usr", 0o755)
	dir := t.TempDir()
	if err := tree.Extract(dir); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, name := range []string{"usr", "usr/bin/su", "etc/shadow", "tmp"} {
		info, err := os.Lstat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		got[name] = info.Mode().String()
	}
	want := map[string]string{"usr": "drwxr-xr-x", "usr/bin/su": "urwxr-xr-x", "etc/shadow": "-rw-------", "tmp": "dtrwxrwxrwx"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if content, err := os.ReadFile(filepath.Join(dir, "usr/bin/su")); err != nil || string(content) != "su" {
		t.Errorf("got %q, %v", content, err)
	}
}
