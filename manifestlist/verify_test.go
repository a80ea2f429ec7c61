// SPDX-License-Identifier: Apache-2.0

package manifestlist_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/mab-build/mab/manifestlist"
	"github.com/mab-build/mab/manifestlist/contents"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// TestCheckInRegistry checks the contents of what a registry has, and of one that has not everything, or cuts the connection.
func TestCheckInRegistry(t *testing.T) {
	s, r := newStage(t), newRegistry(t)
	idx := s.merged(true, "linux/amd64", "linux/arm64")
	client := newClient(t, manifestlist.Config{})
	ref := r.ref(t, "app:v1")
	_, err := client.Push(t.Context(), idx, []manifestlist.Reference{ref}, s.dir)
	must(t, err)
	check := func() (*contents.Report, error) {
		found, err := client.Find(t.Context(), ref.String())
		must(t, err)
		checker, err := contents.New(contents.Config{})
		must(t, err)
		return checker.Check(t.Context(), found.Blobs, found.Root, found.Raw)
	}
	var m ocispec.Manifest
	must(t, json.Unmarshal(s.read(idx.Images[1].Manifest), &m))
	layer := m.Layers[0].Digest.String()
	t.Run("whole", func(t *testing.T) {
		report, err := check()
		must(t, err)
		if err := report.Err(true); err != nil || len(report.Images) != 2 || report.Images[1].Files != 2 {
			t.Errorf("got %v, %+v", err, report)
		}
	})
	t.Run("a missing layer is a finding", func(t *testing.T) {
		r.answer(func(w http.ResponseWriter, req *http.Request) bool {
			if strings.HasSuffix(req.URL.Path, layer) {
				http.Error(w, `{"errors":[{"code":"BLOB_UNKNOWN"}]}`, http.StatusNotFound)
				return true
			}
			return false
		})
		defer r.answer(nil)
		report, err := check()
		must(t, err)
		if len(report.Images[0].Findings) != 0 || len(report.Images[1].Findings) != 1 || report.Images[1].Findings[0].Layer != 1 {
			t.Errorf("got %+v", report)
		}
	})
	t.Run("other bytes are a finding", func(t *testing.T) {
		r.answer(func(w http.ResponseWriter, req *http.Request) bool {
			if strings.HasSuffix(req.URL.Path, layer) {
				_, _ = w.Write([]byte("others"))
				return true
			}
			return false
		})
		defer r.answer(nil)
		report, err := check()
		must(t, err)
		if report.Err(false) == nil {
			t.Errorf("got %+v", report)
		}
	})
	t.Run("a registry that fails is an error", func(t *testing.T) {
		r.answer(func(w http.ResponseWriter, req *http.Request) bool {
			if strings.HasSuffix(req.URL.Path, layer) {
				w.WriteHeader(http.StatusForbidden)
				return true
			}
			return false
		})
		defer r.answer(nil)
		_, err := check()
		wantError(t, err, layer, "credentials")
	})
}
