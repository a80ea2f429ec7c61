// SPDX-License-Identifier: Apache-2.0

package solver_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	controlapi "github.com/moby/buildkit/api/services/control"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/mab-build/mab/solver"
)

// hoard answers as a BuildKit daemon that keeps these records, and notes what it was asked.
type hoard struct {
	controlapi.UnimplementedControlServer
	records []*controlapi.UsageRecord
	asked   []any
	// fails ends a removal after its records.
	fails error
}

func (h *hoard) DiskUsage(_ context.Context, r *controlapi.DiskUsageRequest) (*controlapi.DiskUsageResponse, error) {
	h.asked = append(h.asked, r)
	return &controlapi.DiskUsageResponse{Record: h.records}, nil
}

func (h *hoard) Prune(r *controlapi.PruneRequest, to grpc.ServerStreamingServer[controlapi.UsageRecord]) error {
	h.asked = append(h.asked, r)
	for _, record := range h.records {
		if err := to.Send(record); err != nil {
			return err
		}
	}
	return h.fails
}

func (h *hoard) dial(t *testing.T) *solver.Client {
	t.Helper()
	return dial(t, func(s *grpc.Server) { controlapi.RegisterControlServer(s, h) })
}

func filter(t *testing.T, values ...string) solver.CacheFilter {
	t.Helper()
	var f solver.CacheFilter
	for _, v := range values {
		if err := f.Add(v); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

func TestCache(t *testing.T) {
	made := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	used := made.Add(time.Hour)
	h := &hoard{records: []*controlapi.UsageRecord{
		{ID: "b", Size: 1, InUse: true, CreatedAt: timestamppb.New(made)},
		{ID: "a", Size: 1, Mutable: true, CreatedAt: timestamppb.New(made)},
		{ID: "c", Size: 2, Shared: true, Parents: []string{"a", "b"}, Description: "d", RecordType: "regular", UsageCount: 3,
			CreatedAt: timestamppb.New(made), LastUsedAt: timestamppb.New(used)},
	}}
	got, err := h.dial(t).Cache(t.Context(), filter(t, "until=24h", "type=regular", "shared"))
	want := []solver.CacheRecord{
		{ID: "c", Type: "regular", Description: "d", Parents: []string{"a", "b"}, Size: 2, Reclaimable: true, Shared: true,
			CreatedAt: made, LastUsedAt: &used, UsageCount: 3},
		{ID: "a", Parents: []string{}, Size: 1, Reclaimable: true, Mutable: true, CreatedAt: made},
		{ID: "b", Parents: []string{}, Size: 1, CreatedAt: made},
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("error %v; want -, got +:\n%s", err, diff)
	}
	asked := []any{&controlapi.DiskUsageRequest{Filter: []string{`type=="regular",shared`}, AgeLimit: int64(24 * time.Hour)}}
	if diff := cmp.Diff(asked, h.asked, protocmp.Transform()); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
}

func TestPrune(t *testing.T) {
	records := []*controlapi.UsageRecord{{ID: "a"}, {ID: "b"}}
	for _, test := range []struct {
		rule    string
		pruning solver.Pruning
		kept    []*controlapi.UsageRecord
		asked   []any
		removed []string
	}{
		{"everything", solver.Pruning{}, records, []any{&controlapi.PruneRequest{}}, []string{"a", "b"}},
		{"really everything", solver.Pruning{All: true}, records, []any{&controlapi.PruneRequest{All: true}}, []string{"a", "b"}},
		{"limits", solver.Pruning{MaxUsedSpace: 1, MinFreeSpace: 2, ReservedSpace: 3}, records,
			[]any{&controlapi.PruneRequest{MaxUsedSpace: 1, MinFreeSpace: 2, ReservedSpace: 3}}, []string{"a", "b"}},
		{"what fits", solver.Pruning{Filter: filter(t, "until=1h", "id=a", "type=internal")}, records,
			[]any{&controlapi.PruneRequest{Filter: []string{`id~="a",type=="internal"`}, KeepDuration: int64(time.Hour)}}, []string{"a", "b"}},
		{"parents are looked up", solver.Pruning{Filter: filter(t, "parents~=p")}, records,
			[]any{&controlapi.DiskUsageRequest{Filter: []string{`parents~="p"`}}, &controlapi.PruneRequest{Filter: []string{"id==a", "id==b"}}}, []string{"a", "b"}},
		{"no filter at all would remove everything", solver.Pruning{Filter: filter(t, "parents=p")}, nil,
			[]any{&controlapi.DiskUsageRequest{Filter: []string{`parents=="p"`}}}, nil},
	} {
		t.Run(test.rule, func(t *testing.T) {
			h := &hoard{records: test.kept}
			var removed []string
			err := h.dial(t).Prune(t.Context(), test.pruning, func(r solver.CacheRecord) { removed = append(removed, r.ID) })
			if diff := cmp.Diff(test.asked, h.asked, protocmp.Transform(), cmpopts.EquateEmpty()); err != nil || diff != "" {
				t.Errorf("error %v; want -, got +:\n%s", err, diff)
			}
			if diff := cmp.Diff(test.removed, removed); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
		})
	}
}

func TestPruneFails(t *testing.T) {
	h := &hoard{records: []*controlapi.UsageRecord{{ID: "a"}}, fails: status.Error(codes.Internal, "the disk is on fire")}
	c := h.dial(t)
	var removed []string
	tell := func(r solver.CacheRecord) { removed = append(removed, r.ID) }
	err := c.Prune(t.Context(), solver.Pruning{}, tell)
	if err == nil || !strings.HasPrefix(err.Error(), "removing from the cache: ") || !strings.Contains(err.Error(), "the disk is on fire") || !slices.Equal(removed, []string{"a"}) {
		t.Errorf("error %v after %q", err, removed)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Prune(over, solver.Pruning{}, tell); !errors.Is(err, context.Canceled) {
		t.Errorf("when interrupted: %v", err)
	}
	if _, err := c.Cache(over, solver.CacheFilter{}); !errors.Is(err, context.Canceled) {
		t.Errorf("when interrupted: %v", err)
	}
}
