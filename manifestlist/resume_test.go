// SPDX-License-Identifier: Apache-2.0

package manifestlist_test

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/mab-build/mab/manifestlist"
)

// breaking serves one blob, and breaks connections off after some bytes of what is left, as often as breaks says.
type breaking struct {
	content        []byte
	after, breaks  int
	ignoresRange   bool
	mu             sync.Mutex
	ranges         []string
	refuseAfterCut bool
}

func (b *breaking) answer(w http.ResponseWriter, r *http.Request) bool {
	if !strings.Contains(r.URL.Path, "/blobs/") {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	asked := r.Header.Get("Range")
	b.ranges = append(b.ranges, asked)
	left := b.content
	switch {
	case asked != "" && b.refuseAfterCut:
		w.WriteHeader(http.StatusForbidden)
		return true
	case asked != "" && !b.ignoresRange:
		var from int
		_, _ = fmt.Sscanf(asked, "bytes=%d-", &from)
		left = left[from:]
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(b.content)-1, len(b.content)))
		w.Header().Set("Content-Length", fmt.Sprint(len(left)))
		w.WriteHeader(http.StatusPartialContent)
	default:
		w.Header().Set("Content-Length", fmt.Sprint(len(left)))
	}
	if len(b.ranges) > b.breaks {
		_, _ = w.Write(left)
		return true
	}
	_, _ = w.Write(left[:b.after])
	if err := http.NewResponseController(w).Flush(); err != nil {
		panic(err)
	}
	panic(http.ErrAbortHandler)
}

func TestLayersResume(t *testing.T) {
	content := make([]byte, 1<<20)
	_, err := rand.NewChaCha8([32]byte{1}).Read(content)
	must(t, err)
	for _, test := range []struct {
		rule   string
		with   *breaking
		ranges []string
		fails  bool
	}{
		{"each time from where it broke off", &breaking{after: 300_000, breaks: 2}, []string{"", "bytes=300000-1048575", "bytes=600000-1048575"}, false},
		{"also where the registry sends all of it again", &breaking{after: 300_000, breaks: 1, ignoresRange: true}, []string{"", "bytes=300000-1048575"}, false},
		{"not for ever at one place", &breaking{breaks: 1000}, []string{"", "bytes=0-1048575", "bytes=0-1048575", "bytes=0-1048575"}, true},
		{"not where the registry refuses", &breaking{after: 300_000, breaks: 1000, refuseAfterCut: true}, []string{"", "bytes=300000-1048575"}, true},
	} {
		t.Run(test.rule, func(t *testing.T) {
			r := newRegistry(t)
			test.with.content = content
			r.answer(test.with.answer)
			client, err := manifestlist.New(manifestlist.Config{RetryWait: time.Millisecond})
			must(t, err)
			defer client.Close()
			desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromBytes(content), Size: int64(len(content))}
			var told int64
			from := manifestlist.Watch(client.Repository(names(t, r.host+"/app")[0]), func(id string, done, total int64) {
				if id != "layer "+desc.Digest.Encoded()[:12] || total != desc.Size || done <= told {
					t.Errorf("%s: %d of %d after %d", id, done, total, told)
				}
				told = done
			})
			blob, err := manifestlist.OpenBlob(t.Context(), from, desc)
			must(t, err)
			n, err := io.Copy(io.Discard, blob)
			must(t, blob.Close())
			if (err != nil) != test.fails || !test.fails && (n != desc.Size || told != desc.Size) {
				t.Errorf("%d bytes of which %d were told, %v", n, told, err)
			}
			if errors.Is(err, io.EOF) {
				t.Errorf("it ends as if it were whole: %v", err)
			}
			if diff := cmp.Diff(test.ranges, test.with.ranges); diff != "" {
				t.Errorf("ranges (-want +got)\n%s", diff)
			}
		})
	}
}
