// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"bytes"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	distribution "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// spoiler answers a request in the registry's place and says whether it did.
type spoiler func(w http.ResponseWriter, r *http.Request) bool

// badRegistry is a registry on a loopback port whose answers a test spoils.
type badRegistry struct {
	t *testing.T
	// host is its name and port in references.
	host   string
	good   http.Handler
	server *httptest.Server
	closed chan struct{}

	mu       sync.Mutex
	spoil    spoiler
	requests []string
}

// newBadRegistry starts a registry that is good until spoiled.
func newBadRegistry(t *testing.T) *badRegistry {
	t.Helper()
	quiet := log.New(io.Discard, "", 0)
	b := &badRegistry{t: t, good: distribution.New(distribution.Logger(quiet), distribution.WithReferrersSupport(true)), closed: make(chan struct{})}
	b.server = httptest.NewUnstartedServer(http.HandlerFunc(b.answer))
	b.server.Config.ErrorLog = quiet
	b.server.Start()
	b.host = strings.Replace(strings.TrimPrefix(b.server.URL, "http://"), "127.0.0.1", "localhost", 1)
	t.Cleanup(b.close)
	return b
}

// close ends answers that hang, and then the registry.
func (b *badRegistry) close() {
	close(b.closed)
	b.server.CloseClientConnections()
	b.server.Close()
}

func (b *badRegistry) answer(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	spoil := b.spoil
	b.requests = append(b.requests, r.Method+" "+r.URL.Path)
	b.mu.Unlock()
	switch {
	case spoil != nil && spoil(w, r):
	case r.Header.Get("Range") != "":
		// The registry's own handler knows no ranges with an open end.
		whole := httptest.NewRecorder()
		open := r.Clone(r.Context())
		open.Header.Del("Range")
		b.good.ServeHTTP(whole, open)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(whole.Body.Bytes()))
	default:
		b.good.ServeHTTP(w, r)
	}
}

// spoiled makes the registry bad. Nil makes it good again.
func (b *badRegistry) spoiled(s spoiler) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.spoil = s
}

// seen is the number of requests so far.
func (b *badRegistry) seen() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.requests)
}

// asked reports whether, after the first ones, a request with this method and a path that holds the text has come.
func (b *badRegistry) asked(after int, method, text string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.ContainsFunc(b.requests[after:], func(r string) bool {
		return strings.HasPrefix(r, method+" ") && strings.Contains(r, text)
	})
}

// has reports whether a tag is there, whatever the registry is spoiled with.
func (b *badRegistry) has(repository, tag string) bool {
	w := httptest.NewRecorder()
	b.good.ServeHTTP(w, httptest.NewRequest(http.MethodHead, "/v2/"+repository+"/manifests/"+tag, nil))
	return w.Code == http.StatusOK
}

// base pushes an image of random bytes for linux/amd64, which no solver has seen before, and returns its reference.
func (b *badRegistry) base(size int64) string {
	b.t.Helper()
	image, err := random.Image(size, 1)
	if err != nil {
		b.t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		b.t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", "amd64"
	if image, err = mutate.ConfigFile(image, config); err != nil {
		b.t.Fatal(err)
	}
	b.push("base:latest", image)
	return b.host + "/base:latest"
}

func (b *badRegistry) push(to string, image v1.Image) {
	b.t.Helper()
	ref, err := name.ParseReference(b.host+"/"+to, name.Insecure)
	if err == nil {
		err = remote.Write(ref, image)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// on spoils the requests with a method whose path holds a text. No method means GET and HEAD.
func on(method, text string, answer func(w http.ResponseWriter, r *http.Request)) spoiler {
	return func(w http.ResponseWriter, r *http.Request) bool {
		reads := method == "" && (r.Method == http.MethodGet || r.Method == http.MethodHead)
		if !reads && r.Method != method || !strings.Contains(r.URL.Path, text) {
			return false
		}
		answer(w, r)
		return true
	}
}

// onLayer spoils the downloads of layers, which are the only large blobs here.
func (b *badRegistry) onLayer(answer func(w http.ResponseWriter, r *http.Request)) spoiler {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/blobs/sha256:") {
			return false
		}
		head := httptest.NewRecorder()
		b.good.ServeHTTP(head, httptest.NewRequest(http.MethodHead, r.URL.Path, nil))
		if size, err := strconv.Atoi(head.Header().Get("Content-Length")); err != nil || size < 32<<10 {
			return false
		}
		answer(w, r)
		return true
	}
}

// refuse answers as registries do that do not want to.
func refuse(status int, code string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, `{"errors":[{"code":"`+code+`","message":"spoiled"}]}`)
	}
}

// altered sends the registry's answer after a change.
func (b *badRegistry) altered(w http.ResponseWriter, r *http.Request, change func(header http.Header, body []byte) []byte) {
	whole := httptest.NewRecorder()
	b.good.ServeHTTP(whole, r)
	body := change(whole.Header(), whole.Body.Bytes())
	maps.Copy(w.Header(), whole.Header())
	w.WriteHeader(whole.Code)
	_, _ = w.Write(body)
}

// lie answers well, but for the digest.
func (b *badRegistry) lie(w http.ResponseWriter, r *http.Request) {
	b.altered(w, r, func(header http.Header, body []byte) []byte {
		header.Set("Docker-Content-Digest", "sha256:"+strings.Repeat("0", 64))
		return body
	})
}

// corrupt sends as many bytes as there are, but one is another.
func (b *badRegistry) corrupt(w http.ResponseWriter, r *http.Request) {
	b.altered(w, r, func(_ http.Header, body []byte) []byte {
		if len(body) > 0 {
			body[len(body)/2] ^= 1
		}
		return body
	})
}

// cut reads or sends half and ends the connection.
func (b *badRegistry) cut(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		b.altered(w, r, func(_ http.Header, body []byte) []byte { return body[:len(body)/2] })
		_ = http.NewResponseController(w).Flush()
	} else {
		_, _ = io.CopyN(io.Discard, r.Body, max(1, r.ContentLength/2))
	}
	panic(http.ErrAbortHandler)
}

// stall sends half and then nothing until the registry is closed or the client gives up.
func (b *badRegistry) stall(w http.ResponseWriter, r *http.Request) {
	b.altered(w, r, func(_ http.Header, body []byte) []byte { return body[:len(body)/2] })
	_ = http.NewResponseController(w).Flush()
	b.hang(w, r)
}

// hang answers nothing until the registry is closed or the client gives up.
func (b *badRegistry) hang(_ http.ResponseWriter, r *http.Request) {
	select {
	case <-b.closed:
	case <-r.Context().Done():
	}
	panic(http.ErrAbortHandler)
}
