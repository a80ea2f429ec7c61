// SPDX-License-Identifier: Apache-2.0

package manifestlist_test

import (
	"encoding/json"
	"hash/crc32"
	"io"
	"log"
	"math/rand"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/mab-build/mab/manifestlist"
	"github.com/mab-build/mab/platforms"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// TestMain keeps the credentials of whoever runs the tests out of them.
func TestMain(m *testing.M) {
	home, err := os.MkdirTemp("", "manifestlist")
	if err != nil {
		panic(err)
	}
	for _, name := range []string{"HOME", "USERPROFILE", "DOCKER_CONFIG", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR"} {
		os.Setenv(name, home)
	}
	os.Unsetenv("REGISTRY_AUTH_FILE")
	code := m.Run()
	os.RemoveAll(home)
	os.Exit(code)
}

// stage is a blob directory as a node's solve fills it.
type stage struct {
	t   *testing.T
	dir manifestlist.BlobDir
}

func newStage(t *testing.T) stage {
	t.Helper()
	return stage{t, manifestlist.BlobDir(t.TempDir())}
}

func (s stage) put(mediaType string, raw []byte) ocispec.Descriptor {
	s.t.Helper()
	desc := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	path, err := s.dir.Path(desc.Digest)
	must(s.t, err)
	must(s.t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(s.t, os.WriteFile(path, raw, 0o644))
	return desc
}

func (s stage) putJSON(mediaType string, v any) ocispec.Descriptor {
	s.t.Helper()
	raw, err := json.MarshalIndent(v, "", "  ")
	must(s.t, err)
	return s.put(mediaType, raw)
}

// image stages an image of two layers, the same each time for a platform, in OCI types, or docker's.
func (s stage) image(platform string, docker bool) ocispec.Descriptor {
	s.t.Helper()
	p := platforms.MustParse(platform).OCI()
	manifestType, configType, layerType := types.OCIManifestSchema1, types.OCIConfigJSON, types.OCILayer
	if docker {
		manifestType, configType, layerType = types.DockerManifestSchema2, types.DockerConfigJSON, types.DockerLayer
	}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, manifestType), configType)
	config := &v1.ConfigFile{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant}
	config.Config = v1.Config{Entrypoint: []string{"/hello"}, Cmd: []string{platform}, User: "65534"}
	img, err := mutate.ConfigFile(img, config)
	must(s.t, err)
	source := rand.NewSource(int64(crc32.ChecksumIEEE([]byte(platform))))
	for range 2 {
		layer, err := random.Layer(2048, layerType, random.WithSource(source))
		must(s.t, err)
		img, err = mutate.Append(img, mutate.Addendum{Layer: layer, MediaType: layerType})
		must(s.t, err)
		rc, err := layer.Compressed()
		must(s.t, err)
		raw, err := io.ReadAll(rc)
		must(s.t, err)
		s.put(string(layerType), raw)
	}
	rawConfig, err := img.RawConfigFile()
	must(s.t, err)
	s.put(string(configType), rawConfig)
	raw, err := img.RawManifest()
	must(s.t, err)
	desc := s.put(string(manifestType), raw)
	desc.Platform = &p
	return desc
}

// attest stages a provenance attestation as BuildKit's exporter/containerimage/writer.go makes it.
func (s stage) attest(of ocispec.Descriptor) ocispec.Descriptor {
	s.t.Helper()
	const provenance = "https://slsa.dev/provenance/v1"
	layer := s.put("application/vnd.in-toto+json",
		[]byte(`{"_type":"https://in-toto.io/Statement/v0.1","predicateType":"`+provenance+`","subject":"`+of.Digest.String()+`"}`))
	layer.Annotations = map[string]string{"in-toto.io/predicate-type": provenance}
	unknown := ocispec.Platform{OS: "unknown", Architecture: "unknown"}
	config := s.putJSON(ocispec.MediaTypeImageConfig,
		ocispec.Image{Platform: unknown, RootFS: ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{layer.Digest}}})
	desc := s.putJSON(ocispec.MediaTypeImageManifest, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: config, Layers: []ocispec.Descriptor{layer},
	})
	desc.Platform = &unknown
	desc.Annotations = map[string]string{
		"vnd.docker.reference.type":   "attestation-manifest",
		"vnd.docker.reference.digest": of.Digest.String(),
	}
	return desc
}

// solve stages what one solve of BuildKit leaves: an index of the platforms' images, then of their attestations.
func (s stage) solve(attested bool, list ...string) ocispec.Descriptor {
	s.t.Helper()
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
	for _, platform := range list {
		index.Manifests = append(index.Manifests, s.image(platform, false))
	}
	for _, desc := range slices.Clone(index.Manifests) {
		if attested {
			index.Manifests = append(index.Manifests, s.attest(desc))
		}
	}
	return s.putJSON(ocispec.MediaTypeImageIndex, index)
}

func (s stage) read(desc ocispec.Descriptor) []byte {
	s.t.Helper()
	raw, err := manifestlist.ReadBlob(s.t.Context(), s.dir, desc)
	must(s.t, err)
	return raw
}

// merged stages a solve and returns the index mab makes of it.
func (s stage) merged(attested bool, list ...string) manifestlist.Index {
	s.t.Helper()
	images, err := manifestlist.ReadImages(s.t.Context(), s.dir, s.solve(attested, list...))
	must(s.t, err)
	idx, err := manifestlist.Merge(parse(list...), images, manifestlist.MergeOptions{})
	must(s.t, err)
	return idx
}

func parse(list ...string) []platforms.Platform {
	ps := make([]platforms.Platform, len(list))
	for i, s := range list {
		ps[i] = platforms.MustParse(s)
	}
	return ps
}

// testRegistry is a real registry in process whose answers a test can change.
type testRegistry struct {
	*httptest.Server
	host string

	mu       sync.Mutex
	requests []string
	// before may answer a request itself; it then returns true.
	before func(w http.ResponseWriter, r *http.Request) bool
}

func (r *testRegistry) handler() http.Handler {
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		r.requests = append(r.requests, req.Method+" "+req.URL.Path)
		before := r.before
		r.mu.Unlock()
		if before == nil || !before(w, req) {
			inner.ServeHTTP(w, req)
		}
	})
}

func newRegistry(t *testing.T) *testRegistry {
	t.Helper()
	r := &testRegistry{}
	r.Server = httptest.NewServer(r.handler())
	t.Cleanup(r.Close)
	r.host = strings.TrimPrefix(r.URL, "http://")
	return r
}

// seen returns the requests since the last call, and clears them.
func (r *testRegistry) seen() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	requests := r.requests
	r.requests = nil
	return requests
}

func (r *testRegistry) answer(before func(w http.ResponseWriter, r *http.Request) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.before = before
}

func (r *testRegistry) ref(t *testing.T, name string) manifestlist.Reference {
	t.Helper()
	ref, err := manifestlist.ParseReference(r.host + "/" + name)
	must(t, err)
	return ref
}

func newClient(t *testing.T, cfg manifestlist.Config) *manifestlist.Client {
	t.Helper()
	cfg.RetryWait = time.Millisecond
	c, err := manifestlist.New(cfg)
	must(t, err)
	t.Cleanup(c.Close)
	return c
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantError checks that err says what it should, and that its hint does.
func wantError(t *testing.T, err error, says, hints string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error; want one with %q", says)
	}
	if !strings.Contains(err.Error(), says) {
		t.Errorf("error %q does not hold %q", err, says)
	}
	if got := hintOf(err); !strings.Contains(got, hints) || (hints == "") != (got == "") {
		t.Errorf("hint %q of error %q; want %q", got, err, hints)
	}
}

// listing returns the names in a directory, hidden ones included.
func listing(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	names := []string{}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// skopeo runs skopeo, which reads what mab writes with other people's code. It is missing on some laptops, never in CI.
func skopeo(t *testing.T, args ...string) []byte {
	t.Helper()
	if _, err := exec.LookPath("skopeo"); err != nil {
		if os.Getenv("MAB_E2E") == "all" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	cmd := exec.CommandContext(t.Context(), "skopeo", append([]string{"--insecure-policy"}, args...)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("skopeo %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return out
}
