// SPDX-License-Identifier: Apache-2.0

package solver_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	controlapi "github.com/moby/buildkit/api/services/control"
	apitypes "github.com/moby/buildkit/api/types"
	"github.com/moby/buildkit/solver/pb"
	"google.golang.org/grpc"

	"github.com/mab-build/mab/emulation"
	"github.com/mab-build/mab/solver"
)

// busyDaemon has builds under way that never end.
type busyDaemon struct {
	daemon
	builds  int
	solving chan struct{}
}

func (d *busyDaemon) Solve(ctx context.Context, _ *controlapi.SolveRequest) (*controlapi.SolveResponse, error) {
	close(d.solving)
	<-ctx.Done()
	return nil, ctx.Err()
}

func (d *busyDaemon) Status(_ *controlapi.StatusRequest, s controlapi.Control_StatusServer) error {
	<-s.Context().Done()
	return nil
}

func (d *busyDaemon) ListenBuildHistory(r *controlapi.BuildHistoryRequest, s controlapi.Control_ListenBuildHistoryServer) error {
	if !r.ActiveOnly || !r.EarlyExit {
		return errors.New("the whole history was asked for")
	}
	for range d.builds {
		if err := s.Send(&controlapi.BuildHistoryEvent{Type: controlapi.BuildHistoryEventType_STARTED}); err != nil {
			return err
		}
	}
	return nil
}

// TestOver has a client go with its one connection.
func TestOver(t *testing.T) {
	tree(t, "Dockerfile")
	d := &busyDaemon{builds: 2, solving: make(chan struct{})}
	d.workers = []*apitypes.WorkerRecord{{Platforms: []*pb.Platform{{OS: "linux", Architecture: "amd64"}}}}
	path := serve(t, func(s *grpc.Server) { controlapi.RegisterControlServer(s, d) })
	var conns []net.Conn
	dialed := func(ctx context.Context) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
		conns = append(conns, conn)
		return conn, err
	}
	c, info, err := solver.Over(t.Context(), dialed)
	if err != nil {
		t.Fatal(err)
	}
	if info.Running != 2 || !info.Foreign {
		t.Errorf("got %+v", info)
	}
	build := func() (*solver.Failure, time.Duration) {
		failed := make(chan error)
		go func() {
			_, err := c.Build(t.Context(), solver.Solve{Request: &solver.Request{}})
			failed <- err
		}()
		select {
		case <-d.solving:
		case err := <-failed:
			t.Fatal(err)
		}
		if err := conns[0].Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
		began := time.Now()
		var failure *solver.Failure
		if err := <-failed; !errors.As(err, &failure) {
			t.Fatalf("got %v", err)
		}
		return failure, time.Since(began)
	}
	for _, rule := range []string{"a build under way is lost at once", "so is one that begins later"} {
		if failure, took := build(); !failure.Lost() || took > time.Second {
			t.Errorf("%s: got %v after %s", rule, failure, took)
		}
	}
	if _, err := c.Info(t.Context()); err == nil || len(conns) != 1 {
		t.Errorf("got %v over %d connections", err, len(conns))
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func TestOverFails(t *testing.T) {
	refused := errors.New("no key fits")
	if _, _, err := solver.Over(t.Context(), func(context.Context) (net.Conn, error) { return nil, refused }); !errors.Is(err, refused) {
		t.Errorf("got %v", err)
	}
	near, far := net.Pipe()
	if err := far.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := solver.Over(t.Context(), func(context.Context) (net.Conn, error) { return near, nil }); err == nil {
		t.Error("what ends at once is a solver")
	}
	t.Run("a silent one is waited for as long as the caller will, and let go of", func(t *testing.T) {
		near, far := net.Pipe()
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if _, _, err := solver.Over(ctx, func(context.Context) (net.Conn, error) { return near, nil }); err == nil {
			t.Error("got an answer")
		}
		buffer := make([]byte, 1<<16)
		for {
			if _, err := far.Read(buffer); err != nil {
				return
			}
		}
	})
}

// TestForeignSurvey has a buildkitd of somebody else's believed in what it lists.
func TestForeignSurvey(t *testing.T) {
	for _, test := range []struct {
		rule         string
		listed, want string
	}{
		{"32 bits of the same family are native", "linux/amd64,linux/amd64/v2,linux/386,linux/arm64,linux/arm/v7", "native native native emulated emulated"},
		{"on arm, too", "linux/arm64,linux/amd64,linux/386,linux/arm/v7,linux/arm/v6", "native emulated emulated native native"},
		{"another family is not", "linux/riscv64,linux/386,linux/arm/v7", "native emulated emulated"},
		{"nor another system", "windows/amd64,linux/amd64", "native emulated"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			var worker apitypes.WorkerRecord
			var want []emulation.Support
			for i, p := range list(t, strings.Split(test.listed, ",")...) {
				worker.Platforms = append(worker.Platforms, &pb.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant})
				want = append(want, emulation.Support{Platform: p, How: emulation.How(strings.Fields(test.want)[i])})
			}
			c := dial(t, func(s *grpc.Server) {
				controlapi.RegisterControlServer(s, &daemon{workers: []*apitypes.WorkerRecord{&worker}})
			})
			info, err := c.Info(t.Context())
			if diff := cmp.Diff(want, info.Survey); err != nil || diff != "" || !info.Foreign {
				t.Errorf("error %v; want -, got +:\n%s", err, diff)
			}
		})
	}
}
