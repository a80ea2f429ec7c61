// SPDX-License-Identifier: Apache-2.0

package coordinator_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/coordinator"
	"github.com/mab-build/mab/platforms"
	"github.com/mab-build/mab/solver"
)

// engineAt serves what OpenEngine asks of an engine of linux/s390x, and returns its address.
func engineAt(t *testing.T, containerd bool) string {
	t.Helper()
	status := `[]`
	if containerd {
		status = `[["driver-type","io.containerd.snapshotter.v1"]]`
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/info") {
			_, _ = io.WriteString(w, `{"OSType":"linux","Architecture":"s390x","DriverStatus":`+status+`}`)
		}
	}))
	t.Cleanup(server.Close)
	return strings.Replace(server.URL, "http://", "tcp://", 1)
}

func TestLoadDelivery(t *testing.T) {
	t.Setenv("DOCKER_HOST", engineAt(t, false))
	t.Setenv("TMPDIR", t.TempDir())
	output := func(t *testing.T, s string) coordinator.Output {
		t.Helper()
		o, err := coordinator.ParseOutput(s)
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	one := []platforms.Platform{platforms.MustParse("linux/arm64")}
	two := append(one, platforms.MustParse("linux/amd64"))
	for _, test := range []struct {
		rule    string
		request coordinator.Request
		want    []platforms.Platform
		attrs   attrs // of the export
	}{
		{"an engine alone gets an image of its own platform", coordinator.Request{Load: true}, []platforms.Platform{platforms.MustParse("linux/s390x")}, attrs{"tar": "false"}},
		{"or of the one that was asked for", coordinator.Request{Load: true, Request: solver.Request{Platforms: one}}, one, attrs{"tar": "false"}},
		{"beside other outputs it does not choose", coordinator.Request{Load: true, Push: true, Tags: []string{"a.b/c"}}, nil, attrs{"tar": "false", "name": "a.b/c:latest"}},
		{"--load is the output without destination", coordinator.Request{Load: true, Outputs: []coordinator.Output{output(t, "type=docker,compression=zstd")},
			Request: solver.Request{Platforms: one}}, one, attrs{"tar": "false", "compression": "zstd"}},
		{"the name of the engine's context is none of the image's settings", coordinator.Request{Outputs: []coordinator.Output{output(t, "type=docker,context="+engineAt(t, true))},
			Request: solver.Request{Platforms: two}}, two, attrs{"tar": "false"}},
		{"a load takes the settings of the layout beside it", coordinator.Request{Load: true, Outputs: []coordinator.Output{output(t, "type=oci,dest=-,compression=zstd")},
			Request: solver.Request{Platforms: one}}, one, attrs{"tar": "false", "compression": "zstd"}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			d, err := coordinator.NewDelivery(&test.request, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := d.Close(); err != nil {
					t.Error(err)
				}
			}()
			if diff := cmp.Diff(test.want, test.request.Platforms); diff != "" {
				t.Errorf("platforms: want -, got +:\n%s", diff)
			}
			if len(d.Exports) != 1 || d.Exports[0].Type != "oci" {
				t.Fatalf("exports %+v", d.Exports)
			}
			if diff := cmp.Diff(test.attrs, d.Exports[0].Attrs); diff != "" {
				t.Errorf("export: want -, got +:\n%s", diff)
			}
		})
	}
	t.Run("several platforms are refused before the build", func(t *testing.T) {
		_, err := coordinator.NewDelivery(&coordinator.Request{Load: true, Request: solver.Request{Platforms: two}}, nil)
		if err == nil || !strings.Contains(err.Error(), "holds one platform of an image, not 2") || !isUsage(err) || !strings.Contains(hint(err), "type=oci") {
			t.Errorf("got %v, hint %q", err, hint(err))
		}
	})
	t.Run("so is an engine that does not answer", func(t *testing.T) {
		t.Setenv("DOCKER_HOST", "unix:///nosuch/engine.sock")
		_, err := coordinator.NewDelivery(&coordinator.Request{Load: true}, nil)
		if err == nil || !strings.Contains(err.Error(), "unix:///nosuch/engine.sock (DOCKER_HOST)") || !strings.Contains(hint(err), "DOCKER_HOST") {
			t.Errorf("got %v, hint %q", err, hint(err))
		}
	})
}

func TestResultOfLoad(t *testing.T) {
	const loaded = "sha256:2222222222222222222222222222222222222222222222222222222222222222"
	r := coordinator.Result{Loaded: loaded}
	r.Descriptor.Digest = "sha256:1111111111111111111111111111111111111111111111111111111111111111"
	if r.String() != loaded || r.ID() != loaded {
		t.Errorf("got %s and %s, want what docker run takes: %s", r.String(), r.ID(), loaded)
	}
}
