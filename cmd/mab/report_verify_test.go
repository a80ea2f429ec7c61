// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	mab "github.com/mab-build/mab/cmd/mab"
	"github.com/mab-build/mab/coordinator"
	"github.com/mab-build/mab/manifestlist/contents"
	"github.com/mab-build/mab/platforms"
)

// list is as go-multierror's.
type list []error

func (l list) Error() string          { return fmt.Sprint([]error(l)) }
func (l list) WrappedErrors() []error { return l }

// TestReportRefused: the table of each image that was refused is shown, however the failures are joined.
func TestReportRefused(t *testing.T) {
	refused := func(platform, path string) error {
		return &coordinator.ContentsError{Report: contents.Join([]contents.ImageReport{{
			Platform: platforms.MustParse(platform), Findings: []contents.Finding{{Path: path, Found: "linux/amd64", Expected: platform}}, MoreFindings: 3,
		}}, nil)}
	}
	a, b := refused("arm64", "/a"), refused("s390x", "/b\x1b[31m")
	for _, test := range []struct {
		rule string
		err  error
		want []string
	}{
		{"one", fmt.Errorf("building: %w", a), []string{"/a"}},
		{"joined", errors.Join(a, fmt.Errorf("also: %w", b)), []string{"/a", "/b"}},
		{"of a build that went on", list{a, b}, []string{"/a", "/b"}},
		{"none", errors.New("/a /b"), nil},
	} {
		t.Run(test.rule, func(t *testing.T) {
			var out strings.Builder
			mab.Report(&out, test.err)
			if got := strings.Count(out.String(), "WRITTEN BY"); got != len(test.want) {
				t.Errorf("%d tables:\n%s", got, &out)
			}
			for _, path := range test.want {
				if !strings.Contains(out.String(), "  "+path) {
					t.Errorf("no row for %s:\n%s", path, &out)
				}
			}
			if strings.Contains(out.String(), "\x1b") || len(test.want) > 0 && !strings.Contains(out.String(), "(and 3 more)") {
				t.Errorf("got %q", &out)
			}
		})
	}
}
