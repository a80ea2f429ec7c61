// SPDX-License-Identifier: Apache-2.0

package bases_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/e2e/bases"
)

func TestMirror(t *testing.T) {
	plain := "Types: deb\nURIs: http://mirror.example.org/debian\nSuites: trixie\nComponents: main\n"
	for _, test := range []struct {
		rule    string
		file    string
		content string
		want    string
	}{
		{"a one-line source", "sources.list", "deb http://mirror.example.org/debian bookworm main contrib\n", plain},
		{
			"options of a one-line source that say how it is trusted", "sources.list",
			"deb [ arch=amd64 signed-by=/k.gpg ] http://mirror.example.org/debian bookworm main # comment\n", plain + "Signed-By: /k.gpg\n",
		},
		{
			"another archive that uses Debian's suite comes second", "sources.list",
			"deb http://packages.example.org/php bookworm main\ndeb http://mirror.example.org/debian bookworm main\n", plain,
		},
		{
			"sources of code, of updates and of other components do not count", "sources.list",
			"deb-src http://a/debian bookworm main\ndeb http://b/debian bookworm-updates main\ndeb http://c/debian bookworm contrib\n" +
				"#deb http://d/debian bookworm main\ndeb http://mirror.example.org/debian bookworm main\n", plain,
		},
		{
			"a deb822 source with a comment and several suites", "x.sources",
			"Types: deb\n# http://snapshot.example.org\nURIs: http://mirror.example.org/debian\nSuites: bookworm bookworm-updates\n" +
				"Components: main contrib\nSigned-By: /k.gpg\n", plain + "Signed-By: /k.gpg\n",
		},
		{
			"a deb822 source with its key inside", "x.sources",
			"Types: deb deb-src\nURIs: http://mirror.example.org/debian\nSuites: bookworm\nComponents: main\nSigned-By:\n -----BEGIN\n .\n x\n",
			plain + "Signed-By:\n -----BEGIN\n .\n x\n",
		},
		{
			"a disabled deb822 source does not count", "x.sources",
			"Enabled: no\nTypes: deb\nURIs: http://a/debian\nSuites: bookworm\nComponents: main\n\n" +
				"Types: deb\nURIs: http://mirror.example.org/debian\nSuites: bookworm\nComponents: main\n", plain,
		},
	} {
		t.Run(test.rule, func(t *testing.T) {
			got, err := bases.Stanzas(test.file, test.content, "bookworm", "trixie")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestNoMirror(t *testing.T) {
	_, err := bases.Stanzas("sources.list", "deb http://archive.example.org/ubuntu jammy main\n", "bookworm", "trixie")
	want := `finding a Debian mirror: apt's sources have no main component of suite "bookworm"`
	if err == nil || err.Error() != want {
		t.Fatalf("got %v, want %s", err, want)
	}
	if hint, ok := err.(interface{ Hint() string }); !ok || hint.Hint() == "" {
		t.Error("the error has no hint")
	}
}
