// SPDX-License-Identifier: Apache-2.0

package solver_test

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	"github.com/google/go-cmp/cmp"
	controlapi "github.com/moby/buildkit/api/services/control"
	apitypes "github.com/moby/buildkit/api/types"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/solver/pb"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	_ "google.golang.org/grpc/encoding/proto" // as in the daemon
	"google.golang.org/grpc/status"

	"github.com/mab-build/mab/emulation"
	"github.com/mab-build/mab/solver"
)

// daemon answers as a BuildKit daemon with these workers.
type daemon struct {
	controlapi.UnimplementedControlServer
	workers []*apitypes.WorkerRecord
}

func (d *daemon) ListWorkers(context.Context, *controlapi.ListWorkersRequest) (*controlapi.ListWorkersResponse, error) {
	return &controlapi.ListWorkersResponse{Record: d.workers}, nil
}

// serve has what register says answer on a socket until the test ends.
func serve(t *testing.T, register func(*grpc.Server)) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "s")
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	register(server)
	done := make(chan error)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return path
}

// dial serves and connects.
func dial(t *testing.T, register func(*grpc.Server)) *solver.Client {
	t.Helper()
	c, err := solver.Dial(t.Context(), "unix://"+serve(t, register))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func TestInfo(t *testing.T) {
	record := func(label string) *apitypes.WorkerRecord {
		return &apitypes.WorkerRecord{
			Platforms: []*pb.Platform{{OS: "linux", Architecture: "amd64"}, {OS: "linux", Architecture: "arm64", Variant: "v8"}},
			Labels:    attrs{solver.SurveyLabel: label},
		}
	}
	both := list(t, "linux/amd64", "linux/arm64")
	foreign := solver.Info{Platforms: both, Foreign: true, Survey: []emulation.Support{
		{Platform: both[0], How: emulation.Native}, {Platform: both[1], How: emulation.Emulated},
	}}
	for _, test := range []struct {
		rule    string
		workers []*apitypes.WorkerRecord
		want    solver.Info
		err     string
	}{
		{"mab's own tells how each platform runs", []*apitypes.WorkerRecord{record(`[{"platform":"linux/amd64","how":"native"}]`)},
			solver.Info{Platforms: both, Survey: []emulation.Support{{Platform: both[0], How: emulation.Native}}}, ""},
		{"mab's own tells what it runs on", []*apitypes.WorkerRecord{{Labels: attrs{solver.MachineLabel: `{"cpus":4,"memory_bytes":5,"load":0.5}`}}},
			solver.Info{Foreign: true, Machine: solver.Machine{CPUs: 4, Memory: 5, Load: 0.5}}, ""},
		{"a machine that is not ours", []*apitypes.WorkerRecord{{Labels: attrs{solver.MachineLabel: "["}}}, solver.Info{}, "reading what the solver runs on: "},
		{"another does not", []*apitypes.WorkerRecord{record("")}, foreign, ""},
		{"the first worker counts", []*apitypes.WorkerRecord{record(""), {}}, foreign, ""},
		{"a label that is not ours", []*apitypes.WorkerRecord{record("{")}, solver.Info{}, "reading what the solver can run: "},
		{"no worker", nil, solver.Info{}, "asking the solver for its platforms: it has no worker"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			c := dial(t, func(s *grpc.Server) { controlapi.RegisterControlServer(s, &daemon{workers: test.workers}) })
			got, err := c.Info(t.Context())
			if test.err != "" {
				if err == nil || !strings.HasPrefix(err.Error(), test.err) {
					t.Fatalf("got %v", err)
				}
				return
			}
			if diff := cmp.Diff(test.want, got); err != nil || diff != "" {
				t.Errorf("error %v; want -, got +:\n%s", err, diff)
			}
		})
	}
	t.Run("what is no solver", func(t *testing.T) {
		c := dial(t, func(*grpc.Server) {})
		if _, err := c.Info(t.Context()); err == nil || !strings.HasPrefix(err.Error(), "asking the solver for its platforms: ") {
			t.Errorf("got %v", err)
		}
		_, err := c.Open(t.Context(), ocispec.Descriptor{Digest: "sha256:e3b0"})
		if err == nil || !strings.HasPrefix(err.Error(), "reading sha256:e3b0 from the solver: ") {
			t.Errorf("got %v", err)
		}
	})
}

// dying gives the beginning of each blob, and then goes away.
type dying struct {
	contentapi.UnimplementedContentServer
	infoFails bool
}

func (d dying) Info(context.Context, *contentapi.InfoRequest) (*contentapi.InfoResponse, error) {
	if d.infoFails {
		return nil, status.Error(codes.Unavailable, "error reading from server: EOF")
	}
	return &contentapi.InfoResponse{Info: &contentapi.Info{Digest: "sha256:e3b0", Size: 10}}, nil
}

func (dying) Read(_ *contentapi.ReadContentRequest, to contentapi.Content_ReadServer) error {
	if err := to.Send(&contentapi.ReadContentResponse{Data: []byte("begi")}); err != nil {
		return err
	}
	return status.Error(codes.Unavailable, "error reading from server: EOF")
}

// TestOpenLost has a solver that goes away while a blob is read be known for it.
func TestOpenLost(t *testing.T) {
	for _, infoFails := range []bool{true, false} {
		c := dial(t, func(s *grpc.Server) { contentapi.RegisterContentServer(s, dying{infoFails: infoFails}) })
		rc, err := c.Open(t.Context(), ocispec.Descriptor{Digest: "sha256:e3b0"})
		if err == nil {
			_, err = io.ReadAll(rc)
			if err := rc.Close(); err != nil {
				t.Error(err)
			}
		}
		var failure *solver.Failure
		if !errors.As(err, &failure) || !failure.Lost() {
			t.Errorf("info fails %v: got %v", infoFails, err)
		}
	}
}

// TestBuildFails has whatever goes wrong on the way to the solver be a Failure, and nothing kept.
func TestBuildFails(t *testing.T) {
	tree(t, "Dockerfile")
	c := dial(t, func(s *grpc.Server) { controlapi.RegisterControlServer(s, &daemon{}) })
	_, err := c.Build(t.Context(), solver.Solve{Request: &solver.Request{}})
	var failure *solver.Failure
	if !errors.As(err, &failure) || failure.Lost() {
		t.Errorf("got %v", err)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Build(over, solver.Solve{Request: &solver.Request{}}); !errors.Is(err, context.Canceled) {
		t.Errorf("when interrupted: %v", err)
	}
	_, err = c.Build(t.Context(), solver.Solve{Request: &solver.Request{Network: "x"}})
	checkUsage(t, err, "--network")
}

func TestResult(t *testing.T) {
	const descriptor = `{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"sha256:e3b0","size":7}`
	for _, test := range []struct {
		rule, answer string
		want         *solver.Result
	}{
		{"an image", base64.StdEncoding.EncodeToString([]byte(descriptor)),
			&solver.Result{Ref: "r", Index: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageIndex, Digest: "sha256:e3b0", Size: 7}}},
		{"no image", "", &solver.Result{Ref: "r"}},
		{"no base64", "{}", nil},
		{"no descriptor", base64.StdEncoding.EncodeToString([]byte("[]")), nil},
	} {
		t.Run(test.rule, func(t *testing.T) {
			got, err := solver.NewResult("r", &client.SolveResponse{ExporterResponse: attrs{"containerimage.descriptor": test.answer}})
			if test.want == nil {
				if err == nil {
					t.Error("it is taken")
				}
				return
			}
			if diff := cmp.Diff(test.want, got); err != nil || diff != "" {
				t.Errorf("error %v; want -, got +:\n%s", err, diff)
			}
		})
	}
}
