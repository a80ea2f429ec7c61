// SPDX-License-Identifier: Apache-2.0

package doctor_test

import (
	"context"
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/doctor"
)

func TestWorks(t *testing.T) {
	for _, test := range []struct {
		rule   string
		checks []doctor.Check
		want   bool
	}{
		{"the build decides", []doctor.Check{{Name: "git", Status: doctor.Missing}, {Name: "build", Status: doctor.OK}}, true},
		{"alone", []doctor.Check{{Name: "git", Status: doctor.OK}, {Name: "build", Status: doctor.Missing}}, false},
		{"one that gave no answer was not built", []doctor.Check{{Name: "build", Status: doctor.Limited}}, false},
		{"what was not built does not work", nil, false},
	} {
		t.Run(test.rule, func(t *testing.T) {
			if got := doctor.Works(test.checks); got != test.want {
				t.Errorf("got %t", got)
			}
		})
	}
}

func TestCheckKeepsItsKeys(t *testing.T) {
	raw, err := json.Marshal(doctor.Check{Name: "git", Status: doctor.OK, Minor: true})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(`{"name":"git","status":"ok","found":"","then":"","mend":""}`, string(raw)); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
}

func TestExamineParts(t *testing.T) {
	line := func(name string) []doctor.Check { return []doctor.Check{{Name: name, Status: doctor.OK}} }
	synctest.Test(t, func(t *testing.T) {
		free := make(chan struct{})
		began := time.Now()
		got := doctor.ExamineParts(t.Context(), []doctor.Part{
			doctor.NewPart("slow", time.Minute, func(context.Context) []doctor.Check { time.Sleep(30 * time.Second); return line("slow") }),
			doctor.NewPart("quick", time.Minute, func(context.Context) []doctor.Check { return line("quick") }),
			doctor.NewPart("polite", 5*time.Second, func(ctx context.Context) []doctor.Check { <-ctx.Done(); return line("polite") }),
			doctor.NewPart("stuck", 5*time.Second, func(context.Context) []doctor.Check { <-free; return line("stuck") }),
		})
		close(free)
		want := []doctor.Check{
			{Name: "slow", Status: doctor.OK}, {Name: "quick", Status: doctor.OK}, {Name: "polite", Status: doctor.OK},
			{Name: "stuck", Status: doctor.Limited, Found: "no answer within 5s"},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("want -, got +:\n%s", diff)
		}
		if took := time.Since(began); took != 30*time.Second {
			t.Errorf("all at once they took %v", took)
		}
	})
}
