// SPDX-License-Identifier: Apache-2.0

package solver_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/solver"
)

// TestHandle has a mab of format 2 meet states of all kinds.
func TestHandle(t *testing.T) {
	for _, test := range []struct {
		rule string
		// version is the file's text; "-" for no file.
		version string
		holds   string
		want    string
		hint    string
	}{
		{"no directory", "-", "", "use", ""},
		{"its own", "format 2\nmab 1.2\n", "cache.db", "use", ""},
		{"its format, by another version", "format 2\nmab 1.3\n", "cache.db", "use", ""},
		{"more lines than it knows", "format 2\nmab 1.3\nhost a\n", "cache.db", "use", ""},
		{"an older format", "format 1\nmab 1.1\n", "cache.db", "set aside", ""},
		{"what was there before the file", "-", "runc-overlayfs/", "set aside", ""},
		{"databases alone", "-", "history.db", "set aside", ""},
		{"a newer format", "format 3\nmab 1.9\n", "cache.db", `the state in "ROOT" was written by mab 1.9 (format 3); this is mab 1.2 (format 2)`, "use the newer mab, or "},
		{"a newer format in an empty directory", "format 3\nmab 1.9\n", "", `the state in "ROOT" was written by mab 1.9 (format 3); this is mab 1.2 (format 2)`, "--root DIR"},
		{"a newer format of nobody", "format 30\n", "", `the state in "ROOT" was written by mab of an unknown version (format 30); this is mab 1.2 (format 2)`, "--root DIR"},
		{"an empty file", "", "cache.db", `reading who wrote the solver's state: "ROOT/version" is damaged: it does not begin with a line such as: format 1`, "rm ROOT/version"},
		{"a torn file", "format 2", "", `reading who wrote the solver's state: "ROOT/version" is damaged: it does not begin with a line such as: format 1`, "rm ROOT/version"},
		{"no number", "format two\n", "", `reading who wrote the solver's state: "ROOT/version" is damaged: it does not begin with a line such as: format 1`, "rm ROOT/version"},
		{"a number below all", "format -1\n", "", `reading who wrote the solver's state: "ROOT/version" is damaged: it does not begin with a line such as: format 1`, "rm ROOT/version"},
		{"zeros", "\x00\x00\x00\x00\n", "", `reading who wrote the solver's state: "ROOT/version" is damaged: it does not begin with a line such as: format 1`, "rm ROOT/version"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			root := filepath.Join(t.TempDir(), "root")
			fill(t, root, test.version, test.holds)
			before := tell(t, root)
			got, err := solver.Handle(solver.State{Root: root}, 2, "1.2")
			if err != nil {
				got = strings.ReplaceAll(err.Error(), root, "ROOT")
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
			var hinted interface{ Hint() string }
			if test.hint != "" && (!errors.As(err, &hinted) || !strings.Contains(strings.ReplaceAll(hinted.Hint(), root, "ROOT"), test.hint)) {
				t.Errorf("no hint such as %q in %v", test.hint, err)
			}
			if diff := cmp.Diff(before, tell(t, root)); diff != "" {
				t.Errorf("looking changed something: before -, after +:\n%s", diff)
			}
		})
	}
}

// fill makes a root with a version file, unless its text is "-", and one more file, or directory if it ends with a slash.
func fill(t *testing.T, root, version, holds string) {
	t.Helper()
	var err error
	if version != "-" || holds != "" {
		err = os.MkdirAll(root, 0o700)
	}
	if version != "-" {
		err = errors.Join(err, os.WriteFile(filepath.Join(root, "version"), []byte(version), 0o600))
	}
	if dir, ok := strings.CutSuffix(holds, "/"); ok {
		err = errors.Join(err, os.MkdirAll(filepath.Join(root, dir), 0o700))
	} else if holds != "" {
		err = errors.Join(err, os.WriteFile(filepath.Join(root, holds), []byte("x"), 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// tell lists what is below a directory: the text of each file, "" for directories.
func tell(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name := strings.TrimPrefix(path, dir+"/")
		out[name] = ""
		if entry.Type().IsRegular() {
			content, err := os.ReadFile(path)
			out[name] = string(content)
			return err
		}
		return nil
	})
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return out
}
