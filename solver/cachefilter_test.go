// SPDX-License-Identifier: Apache-2.0

package solver_test

import (
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/pkg/filters"
	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/solver"
)

func TestCacheFilter(t *testing.T) {
	for _, test := range []struct {
		rule   string
		values []string
		unused time.Duration
		want   string
	}{
		{"nothing means everything", nil, 0, ""},
		{"a time is no selector", []string{"until=24h"}, 24 * time.Hour, ""},
		{"its older name", []string{"unused-for=90m"}, 90 * time.Minute, ""},
		{"all must fit", []string{"type=regular", "until=1h", "shared"}, time.Hour, `type=="regular",shared`},
		{"an id may be a part", []string{"id=abc"}, 0, `id~="abc"`},
		{"an id that is not", []string{"id!=abc"}, 0, `id!="abc"`},
		{"a regular expression", []string{`description~=^\[.*COPY`}, 0, `description~="^\\[.*COPY"`},
		{"a value with separators", []string{`description=a "b", c=d`}, 0, `description=="a \"b\", c=d"`},
		{"a value that is quoted for buildx", []string{`description="a, b"`}, 0, `description=="a, b"`},
		{"not a type", []string{"type!=exec.cachemount"}, 0, `type!="exec.cachemount"`},
		{"types by a regular expression", []string{"type~=^source"}, 0, `type~="^source"`},
		{"keys in any case", []string{"Parents = abc"}, 0, `parents=="abc"`},
		{"a property", []string{"inuse"}, 0, "inuse"},
		{"a property that is true", []string{"mutable=true"}, 0, "mutable"},
		{"a property that is false", []string{"mutable=false", "private=0"}, 0, "immutable,shared"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			var f solver.CacheFilter
			for _, v := range test.values {
				if err := f.Add(v); err != nil {
					t.Fatal(err)
				}
			}
			got := strings.Join(f.Selectors, ",")
			if diff := cmp.Diff(test.want, got); diff != "" || f.Unused != test.unused {
				t.Errorf("unused %s; want -, got +:\n%s", f.Unused, diff)
			}
			if _, err := filters.Parse(got); err != nil {
				t.Errorf("BuildKit would refuse it: %v", err)
			}
		})
	}
}

func TestCacheFilterErrors(t *testing.T) {
	for _, test := range []struct{ rule, values, want string }{
		{"an unknown key", "parent=a", `there is no key "parent"`},
		{"an empty one", "", `there is no key ""`},
		{"an unknown type", "type=layer", `there is no type "layer"`},
		{"no value", "id=", "it has no value"},
		{"no operator", "type", "it has no value"},
		{"no time", "until=yesterday", "it takes a time, such as 24h"},
		{"a negative time", "until=-1h", "it takes a time, such as 24h"},
		{"a time that is not", "until!=1h", "it takes a time, such as 24h"},
		{"two times", "until=1h unused-for=1h", "a time is there already"},
		{"twice the same", "type=regular type!=internal", "the key is there already"},
		{"no regular expression", "description~=[", "error parsing regexp"},
		{"an id is one too", "id=(", "error parsing regexp"},
		{"a property with a value", "shared=some", "it takes no value"},
		{"a property without a contrary", "inuse=false", "it takes no value"},
		{"not a property", "shared!=true", "it takes no value"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			var f solver.CacheFilter
			values := strings.Split(test.values, " ")
			last := len(values) - 1
			for _, v := range values[:last] {
				if err := f.Add(v); err != nil {
					t.Fatal(err)
				}
			}
			before := len(f.Selectors)
			err := f.Add(values[last])
			checkUsage(t, err, "--filter "+`"`+values[last]+`"`)
			if err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v", err)
			}
			if len(f.Selectors) != before {
				t.Errorf("it is taken all the same: %q", f.Selectors)
			}
		})
	}
}
