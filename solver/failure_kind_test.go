// SPDX-License-Identifier: Apache-2.0

package solver_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/client"
	gateway "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/grpcerrors"
	"github.com/opencontainers/go-digest"

	"github.com/mab-build/mab/emulation"
	"github.com/mab-build/mab/platforms"
	"github.com/mab-build/mab/solver"
)

// kinds writes down of which kinds a failure is.
func kinds(f *solver.Failure) string {
	var out []string
	for _, k := range []struct {
		name string
		is   bool
	}{
		{"lost", f.Lost()}, {"full", f.DiskFull()}, {"says full", f.SaysDiskFull()}, {"crashed", f.EmulatorCrashed()},
		{"push", f.PushUnreachable()}, {"source", f.SourceUnreachable()},
	} {
		if k.is {
			out = append(out, k.name)
		}
	}
	return strings.Join(out, ", ")
}

// TestFailureKinds has what BuildKit v0.33.1 says, with registries, disks and programs that fail in these ways.
func TestFailureKinds(t *testing.T) {
	const head = `failed to do request: Head "https://r.example/v2/app/manifests/1": `
	const push, pull = "failed to push r.example/app: ", "r.example/app:1: failed to resolve source metadata for r.example/app:1: "
	for _, test := range []struct{ rule, text, want string }{
		{"nobody listens", head + "dial tcp 127.0.0.1:1: connect: connection refused", "both"},
		{"a name that is not known", head + "dial tcp: lookup r.example on 10.0.0.1:53: no such host", "both"},
		{"a route that is not there", head + "dial tcp 10.0.0.9:443: connect: no route to host", "both"},
		{"packets that are dropped", head + "dial tcp 10.0.0.9:443: i/o timeout", "both"},
		{"a proxy that is not there", head + "proxyconnect tcp: dial tcp 10.0.0.9:3128: connect: connection refused", "both"},
		{"a certificate of nobody's", head + "tls: failed to verify certificate: x509: certificate signed by unknown authority", "both"},
		{"a certificate of another", head + "tls: failed to verify certificate: x509: certificate is valid for 127.0.0.1, ::1, not 10.101.210.1", "both"},
		{"a certificate that is missing here", head + "remote error: tls: certificate required", "both"},
		{"plain HTTP", head + "http: server gave HTTP response to HTTPS client", "both"},
		{"a firewall that cuts off", head + "EOF", "both"},
		{"a connection that is reset", head + "read tcp 10.0.0.2:3312->10.0.0.9:443: read: connection reset by peer", "both"},
		{"access denied", "unexpected status from HEAD request to http://r.example/v2/app/blobs/sha256:4d6d: 403 Forbidden", ""},
		{"other credentials", "push access denied, repository does not exist or may require authorization: authorization failed", ""},
		{"a server with troubles", "unexpected status from PUT request to https://r.example/v2/app/manifests/1: 500 Internal Server Error", ""},
	} {
		t.Run(test.rule, func(t *testing.T) {
			wants := map[string]string{push: "", pull: ""}
			if test.want == "both" {
				wants = map[string]string{push: "push", pull: "source"}
			}
			for prefix, want := range wants {
				if got := kinds(solver.Witnessed{}.Failure(errors.New(prefix + test.text))); got != want {
					t.Errorf("%s is %q, want %q", prefix+test.text, got, want)
				}
			}
		})
	}
	for _, test := range []struct{ rule, text, want string }{
		{"a token that this machine did not get",
			`failed to fetch anonymous token: Get "http://127.0.0.1:1/token?service=x": dial tcp 127.0.0.1:1: connect: connection refused`, ""},
		{"a cache that cannot be written",
			`error writing layer blob: failed to do request: Head "http://127.0.0.1:1/v2/c/blobs/sha256:4f4f": dial tcp 127.0.0.1:1: connect: connection refused`, ""},
		{"a layer of a base image that is pushed along",
			push + `failed to copy: httpReadSeeker: failed open: failed to do request: Get "https://b.example/v2/b/blobs/sha256:4f": dial tcp: i/o timeout`, "source"},
		{"a URL", `failed to load cache key: Get "http://127.0.0.1:1/x": dial tcp 127.0.0.1:1: connect: connection refused`, "source"},
		{"a repository", "failed to load cache key: error fetching default branch for repository http://127.0.0.1:1/x.git: git stderr:\nfatal: unable to access " +
			"'http://127.0.0.1:1/x.git/': Failed to connect to 127.0.0.1 port 1 after 0 ms: Couldn't connect to server\n: exit status 128", "source"},
		{"a base image that is not there", pull + "r.example/app:1: not found", ""},
		{"a disk that is full at a COPY",
			"ResourceExhausted: write /var/lib/mab/runc-overlayfs/snapshots/snapshots/17/fs/big: no space left on device", "full, says full"},
		{"a disk that is full at the start", "ResourceExhausted: failed to read dockerfile: failed to add snapshot 4m65 to lease: " +
			"write /var/lib/mab/runc-overlayfs/containerdmeta.db: no space left on device", "full, says full"},
		{"a quota", "write /home/u/.local/state/mab/runc-overlayfs/content/ingest/d0/data: disk quota exceeded", "full, says full"},
		{"a directory here", "failed to copy: failed to send write: rpc error: code = Unknown desc = write /here/blobs/ingest/d0/data: no space left on device", ""},
	} {
		t.Run(test.rule, func(t *testing.T) {
			seen := solver.Witnessed{Exports: []solver.Export{{Type: "oci", Blobs: "/here/blobs"}}}
			if got := kinds(seen.Failure(errors.New(test.text))); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// ran is the error of a program that ended, as the solver sends it.
func ran(step digest.Digest, code int) error {
	err := fmt.Errorf("process %q did not complete successfully: %w", "/bin/sh -c no space left on device; dial tcp: EOF", &gateway.ExitError{ExitCode: uint32(code)})
	return grpcerrors.FromGRPC(grpcerrors.ToGRPC(context.Background(), errdefs.WrapVertex(err, step)))
}

func TestFailureOfAProgram(t *testing.T) {
	op := pb.Op{Platform: &pb.Platform{OS: "linux", Architecture: "s390x"}, Op: &pb.Op_Exec{Exec: &pb.ExecOp{}}}
	raw, err := op.MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	step, s390x := digest.FromBytes(raw), platforms.MustParse("linux/s390x")
	targets := []solver.Target{{Definition: &pb.Definition{Def: [][]byte{{1}, raw}}}}
	support := func(how ...emulation.How) (out []emulation.Support) {
		for _, h := range how {
			out = append(out, emulation.Support{Platform: s390x, How: h})
		}
		return out
	}
	qemu := support(emulation.Emulated, emulation.None)
	type found struct {
		Kinds        string
		Code, Signal int
		Platform     platforms.Platform
	}
	const uncaught = "0.4 qemu: uncaught target signal 11 (Segmentation fault) - core dumped\n"
	for _, test := range []struct {
		rule   string
		code   int
		survey []emulation.Support
		// wrote are the parts that the step's output came in.
		wrote []string
		want  found
	}{
		{"its end is the user's, whatever its command says", 1, qemu, nil, found{"", 1, 0, s390x}},
		{"what it writes of a disk is told", 1, qemu, []string{"dd: No space left on device\n"}, found{"says full", 1, 0, s390x}},
		{"what runc writes is the solver's", 1, qemu, []string{"runc run failed: unable to start container process: write: no space left on device\n"},
			found{"full, says full", 1, 0, s390x}},
		{"an emulated one that ended by SIGSEGV", 139, qemu, nil, found{"crashed", 139, 11, s390x}},
		{"by SIGILL", 132, qemu, nil, found{"crashed", 132, 4, s390x}},
		{"by SIGABRT", 134, qemu, nil, found{"crashed", 134, 6, s390x}},
		{"by SIGBUS", 135, qemu, nil, found{"crashed", 135, 7, s390x}},
		{"by SIGKILL it was somebody else", 137, qemu, nil, found{"", 137, 9, s390x}},
		{"a native one crashes by itself", 139, support(emulation.Emulated, emulation.Native), nil, found{"", 139, 11, s390x}},
		{"so does one of which nothing is known", 139, nil, nil, found{"", 139, 11, s390x}},
		{"QEMU's own word is enough", 2, nil, []string{uncaught}, found{"crashed", 2, 0, s390x}},
		{"in two parts, too", 2, nil, []string{uncaught[:20], uncaught[20:]}, found{"crashed", 2, 0, s390x}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			seen := solver.Witnessed{Survey: test.survey, Targets: targets}
			for _, part := range test.wrote {
				seen.Status = append(seen.Status, &client.SolveStatus{Logs: []*client.VertexLog{{Vertex: step, Data: []byte(part)}}})
			}
			f := seen.Failure(ran(step, test.code))
			got := found{Kinds: kinds(f), Platform: f.Platform}
			got.Code, _ = f.ExitCode()
			got.Signal, _ = f.Signal()
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
		})
	}
	t.Run("another step's output is not its", func(t *testing.T) {
		other := &client.SolveStatus{Logs: []*client.VertexLog{{Vertex: digest.FromString("other"), Data: []byte(uncaught)}}}
		if f := (solver.Witnessed{Status: []*client.SolveStatus{other}}).Failure(ran(step, 1)); f.EmulatorCrashed() || f.Platform != (platforms.Platform{}) {
			t.Errorf("got %q for %q", kinds(f), f.Platform)
		}
	})
	t.Run("what never ran has no code", func(t *testing.T) {
		_, ok := solver.Witnessed{}.Failure(&gateway.ExitError{ExitCode: gateway.UnknownExitStatus, Err: errors.New("no space left on device")}).ExitCode()
		if ok {
			t.Error("it has one")
		}
	})
}

// fullDisk is a file on a disk that is full.
type fullDisk struct{ write, close error }

func (f fullDisk) Write(p []byte) (int, error) { return len(p), f.write }
func (f fullDisk) Close() error                { return f.close }

// TestDiskFullHere has a disk of this machine not be taken for the solver's.
func TestDiskFullHere(t *testing.T) {
	for rule, file := range map[string]fullDisk{
		"found while writing": {write: &errno{syscall.ENOSPC}}, "found at the end": {close: &errno{syscall.EDQUOT}}, "": {write: errors.New("broken")},
	} {
		w, here, err := solver.TarOf(solver.Export{Type: "tar", Tar: func() (io.WriteCloser, error) { return file, nil }})
		if err != nil {
			t.Fatal(err)
		}
		_, wrote := w.Write([]byte("x"))
		closed := w.Close()
		if !errors.Is(wrote, file.write) || !errors.Is(closed, file.close) || here() != (rule != "") {
			t.Errorf("%q: %v, %v, here: %v", rule, wrote, closed, here())
		}
	}
	refused := errors.New("refused")
	if _, _, err := solver.TarOf(solver.Export{Type: "tar", Tar: func() (io.WriteCloser, error) { return nil, refused }}); !errors.Is(err, refused) {
		t.Errorf("got %v", err)
	}
}

type errno struct{ error }

func (e *errno) Unwrap() error { return e.error }
