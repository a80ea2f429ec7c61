// SPDX-License-Identifier: Apache-2.0

package manifestlist_test

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/mab-build/mab/manifestlist"
)

// engine answers as Docker Engine 20.10 and later and podman 4 do, as far as loading goes:
// https://docs.docker.com/reference/api/engine/version/v1.41/ and https://docs.podman.io/en/latest/_static/api.html
type engine struct {
	podman, containerd bool
	// has are the layers of the images that it has.
	has [][]string
	// says is the answer to a load; lacks is one that comes when a file is missing in the archive.
	says  string
	lacks bool
	// refuses answers every load with an error status.
	refuses bool

	mu    sync.Mutex
	loads [][]string // the files of each archive
}

func (e *engine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/v1.41")
	if path == r.URL.Path && path != "/_ping" {
		http.Error(w, "no version of the API", http.StatusBadRequest)
		return
	}
	answer := func(v any) { _ = json.NewEncoder(w).Encode(v) }
	switch id, isImage := strings.CutPrefix(path, "/images/sha256:"); {
	case path == "/_ping":
		w.Header().Set("Api-Version", "1.41")
		if e.podman {
			w.Header().Set("Libpod-API-Version", "4.3.1")
		}
		_, _ = io.WriteString(w, "OK")
	case path == "/info":
		status := [][]string{{"Backing Filesystem", "extfs"}}
		if e.containerd {
			status = append(status, []string{"driver-type", "io.containerd.snapshotter.v1"})
		}
		answer(map[string]any{"OSType": "linux", "Architecture": "aarch64", "DriverStatus": status})
	case path == "/images/json":
		list := []map[string]string{}
		for i := range e.has {
			list = append(list, map[string]string{"Id": fmt.Sprintf("sha256:%d", i)})
		}
		answer(list)
	case path == "/images/load" && r.Method == http.MethodPost:
		e.load(w, r)
	case isImage:
		var i int
		_, _ = fmt.Sscanf(id, "%d/json", &i)
		answer(map[string]any{"RootFS": map[string]any{"Type": "layers", "Layers": e.has[i]}})
	default:
		http.Error(w, "there is no "+path, http.StatusNotFound)
	}
}

func (e *engine) load(w http.ResponseWriter, r *http.Request) {
	if e.refuses {
		w.WriteHeader(http.StatusInsufficientStorage)
		_, _ = io.WriteString(w, `{"message":"the disk is full"}`)
		return
	}
	var names []string
	for in := tar.NewReader(r.Body); ; {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		names = append(names, header.Name)
	}
	e.mu.Lock()
	e.loads = append(e.loads, names)
	first := len(e.loads) == 1
	e.mu.Unlock()
	if e.lacks && first {
		_, _ = io.WriteString(w, `{"errorDetail":{"message":"no such file"},"error":"no such file"}`)
		return
	}
	_, _ = io.WriteString(w, e.says)
}

// open starts the engine on a socket and connects to it.
func (e *engine) open(t *testing.T) *manifestlist.Engine {
	t.Helper()
	dir, err := os.MkdirTemp("", "mab-engine-") // a socket's path is short
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	socket := filepath.Join(dir, "sock")
	listener, err := net.Listen("unix", socket)
	must(t, err)
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: e}}
	server.Start()
	t.Cleanup(server.Close)
	out, err := manifestlist.OpenEngine(t.Context(), manifestlist.EngineConfig{Context: "unix://" + socket})
	must(t, err)
	t.Cleanup(out.Close)
	return out
}

// blobs are the files of an archive that hold blobs.
func blobs(names []string) []string {
	var out []string
	for _, name := range names {
		if hex, ok := strings.CutPrefix(name, "blobs/sha256/"); ok && hex != "" {
			out = append(out, hex)
		}
	}
	return out
}

// layersOf returns the digests of an image's layers, as they are packed and as they are unpacked.
func (s stage) layersOf(image manifestlist.Image) (packed, unpacked []string) {
	s.t.Helper()
	var m ocispec.Manifest
	must(s.t, json.Unmarshal(s.read(image.Manifest), &m))
	for _, l := range m.Layers {
		packed = append(packed, l.Digest.Encoded())
	}
	var config ocispec.Image
	must(s.t, json.Unmarshal(s.read(m.Config), &config))
	for _, d := range config.RootFS.DiffIDs {
		unpacked = append(unpacked, d.String())
	}
	return packed, unpacked
}

func TestLoad(t *testing.T) {
	s := newStage(t)
	index := s.merged(false, "linux/arm64")
	index.Images[0] = checked(t, s, index.Images[0])
	packed, unpacked := s.layersOf(index.Images[0])
	const other = "sha256:1111111111111111111111111111111111111111111111111111111111111111"
	for _, test := range []struct {
		rule string
		*engine
		want []int // how many layers of each archive that is sent
	}{
		{"docker gets everything if it has nothing", &engine{}, []int{2}},
		{"docker gets everything if it has something else", &engine{has: [][]string{{other}}}, []int{2}},
		{"docker gets the layers that it lacks", &engine{has: [][]string{{other}, {unpacked[0]}}}, []int{1}},
		{"docker gets no layer if it has all", &engine{has: [][]string{{unpacked[0], unpacked[1], other}}}, []int{0}},
		{"a layer upon another one is another layer", &engine{has: [][]string{{other, unpacked[0]}, {unpacked[1]}}}, []int{2}},
		{"what is gone by then is sent", &engine{has: [][]string{unpacked}, lacks: true}, []int{0, 2}},
		{"podman gets everything", &engine{podman: true, has: [][]string{unpacked}}, []int{2}},
		{"docker with containerd gets everything", &engine{containerd: true, has: [][]string{unpacked}}, []int{2}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			test.says = `{"status":"Loading layer","id":"abc","progressDetail":{"current":512,"total":1024}}` + "\n" + `{"stream":"Loaded image: x\n"}`
			var sent, total int64
			var parts []string
			id, err := test.open(t).Load(t.Context(), index, s.dir, manifestlist.LoadConfig{Progress: func(id string, done, all int64) {
				if !slices.Contains(parts, id) {
					parts = append(parts, id)
				}
				if id == "sending" {
					sent, total = done, all
				}
			}})
			must(t, err)
			want := index.Images[0].Config.Digest
			if test.containerd {
				want = index.Descriptor.Digest
			}
			if id != want {
				t.Errorf("ID %s, want %s", id, want)
			}
			var got []int
			for _, load := range test.loads {
				n := 0
				for _, l := range packed {
					if slices.Contains(blobs(load), l) {
						n++
					}
				}
				got = append(got, n)
				if slices.Contains(load, "manifest.json") == test.containerd {
					t.Errorf("the archive holds %q", load)
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("layers sent: want -, got +:\n%s", diff)
			}
			if diff := cmp.Diff([]string{"sending", "loading layer abc"}, parts); diff != "" || sent != total || total == 0 {
				t.Errorf("sent %d of %d; parts: want -, got +:\n%s", sent, total, diff)
			}
		})
	}
}

// checked fills in what Check finds out of an image.
func checked(t *testing.T, s stage, image manifestlist.Image) manifestlist.Image {
	t.Helper()
	images, err := manifestlist.Check(t.Context(), s.dir, parse(image.Platform.String()), []manifestlist.Image{image})
	must(t, err)
	return images[0]
}

func TestLoadSeveralPlatforms(t *testing.T) {
	s := newStage(t)
	index := s.merged(true, "linux/arm64", "linux/s390x")
	t.Run("docker with containerd gets the index", func(t *testing.T) {
		e := &engine{containerd: true}
		opened := e.open(t)
		if !opened.HoldsIndexes() || opened.Platform().String() != "linux/arm64" {
			t.Errorf("indexes: %t, platform %s", opened.HoldsIndexes(), opened.Platform())
		}
		id, err := opened.Load(t.Context(), index, s.dir, manifestlist.LoadConfig{})
		must(t, err)
		if id != index.Descriptor.Digest || len(e.loads) != 1 || !slices.Contains(blobs(e.loads[0]), id.Encoded()) {
			t.Errorf("ID %s, want %s and its blob in %q", id, index.Descriptor.Digest, e.loads)
		}
	})
	for rule, e := range map[string]*engine{"docker": {}, "podman": {podman: true}} {
		t.Run(rule+" gets none", func(t *testing.T) {
			opened := e.open(t)
			_, err := opened.Load(t.Context(), index, s.dir, manifestlist.LoadConfig{})
			wantError(t, err, "loading the image into "+rule+" at unix://", "--platform")
			if opened.HoldsIndexes() || len(e.loads) > 0 {
				t.Errorf("sent: %q", e.loads)
			}
		})
	}
}

func TestLoadErrors(t *testing.T) {
	s := newStage(t)
	index := s.merged(false, "linux/arm64")
	index.Images[0] = checked(t, s, index.Images[0])
	for _, test := range []struct {
		rule string
		*engine
		want string
	}{
		{"a status", &engine{refuses: true}, "507 Insufficient Storage: the disk is full"},
		{"an error in the answer", &engine{says: `{"errorDetail":{"code":1,"message":"no space left on device"},"error":"no space left on device"}`}, "no space left on device"},
		{"an error without detail", &engine{says: `{"error":"no"}`}, ": no"},
		{"no JSON", &engine{says: `<html>`}, "reading its answer"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			_, err := test.open(t).Load(t.Context(), index, s.dir, manifestlist.LoadConfig{})
			if err == nil || !strings.HasPrefix(err.Error(), "loading the image into docker at unix://") || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %s in it", err, test.want)
			}
		})
	}
	t.Run("a damaged blob never becomes an image", func(t *testing.T) {
		s := newStage(t)
		index := s.merged(false, "linux/arm64")
		index.Images[0] = checked(t, s, index.Images[0])
		packed, _ := s.layersOf(index.Images[0])
		path, err := s.dir.Path(digest.NewDigestFromEncoded(digest.SHA256, packed[0]))
		must(t, err)
		raw, err := os.ReadFile(path)
		must(t, err)
		raw[100] ^= 1
		must(t, os.WriteFile(path, raw, 0o644))
		e := &engine{}
		_, err = e.open(t).Load(t.Context(), index, s.dir, manifestlist.LoadConfig{})
		var wrong *manifestlist.DigestError
		if !errors.As(err, &wrong) || len(e.loads) > 0 {
			t.Errorf("got %v; a whole archive came %d times", err, len(e.loads))
		}
	})
}

func TestOpenEngine(t *testing.T) {
	config := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		path := filepath.Join(config, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o700))
		must(t, os.WriteFile(path, []byte(content), 0o600))
	}
	context := func(name, host string) string {
		t.Helper()
		sum := sha256.Sum256([]byte(name))
		id := hex.EncodeToString(sum[:])
		write("contexts/meta/"+id+"/meta.json", `{"Name":"`+name+`","Metadata":{},"Endpoints":{"docker":{"Host":"`+host+`","SkipTLSVerify":false}}}`)
		return "contexts/tls/" + id + "/docker/"
	}
	plain := httptest.NewServer(&engine{})
	defer plain.Close()
	secure := httptest.NewTLSServer(&engine{})
	defer secure.Close()
	certificate := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}))
	tcp := func(s *httptest.Server) string { return "tcp://" + s.Listener.Addr().String() }
	context("plain", tcp(plain))
	write(context("secure", tcp(secure))+"ca.pem", certificate)
	context("silent", "unix:///nosuch/silent.sock")
	write("certs/ca.pem", certificate)
	write("current/config.json", `{"currentContext":"silent"}`)
	must(t, os.Symlink(filepath.Join(config, "contexts"), filepath.Join(config, "current/contexts")))
	current := filepath.Join(config, "current")

	for _, test := range []struct {
		rule, context string
		env           map[string]string
		want          string // the host; or of the error
	}{
		{"an address", "http://" + plain.Listener.Addr().String(), nil, "docker at http://"},
		{"a context", "plain", nil, "docker at " + tcp(plain)},
		{"a context with TLS", "secure", nil, "docker at " + tcp(secure)},
		{"a context goes before DOCKER_HOST", "plain", map[string]string{"DOCKER_HOST": "unix:///nosuch"}, "docker at " + tcp(plain)},
		{"DOCKER_HOST", "", map[string]string{"DOCKER_HOST": tcp(plain)}, "docker at " + tcp(plain)},
		{"DOCKER_HOST with TLS", "", map[string]string{"DOCKER_HOST": tcp(secure), "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": filepath.Join(config, "certs")}, "docker at " + tcp(secure)},
		{"DOCKER_HOST with an unknown certificate", "", map[string]string{"DOCKER_HOST": tcp(secure), "DOCKER_TLS_VERIFY": "1"}, "certificate signed by unknown authority"},
		{"DOCKER_HOST with any certificate", "", map[string]string{"DOCKER_HOST": tcp(secure), "DOCKER_TLS": "1"}, "docker at " + tcp(secure)},
		{"DOCKER_HOST goes before DOCKER_CONTEXT", "", map[string]string{"DOCKER_HOST": tcp(plain), "DOCKER_CONTEXT": "silent"}, "docker at " + tcp(plain)},
		{"DOCKER_CONTEXT goes before the current one", "", map[string]string{"DOCKER_CONTEXT": "plain", "DOCKER_CONFIG": current}, "docker at " + tcp(plain)},
		{"the current context", "", map[string]string{"DOCKER_CONFIG": current}, "unix:///nosuch/silent.sock (docker context silent)"},
		{"the default context is DOCKER_HOST", "default", map[string]string{"DOCKER_HOST": tcp(plain), "DOCKER_CONFIG": current}, "docker at " + tcp(plain)},
		{"podman's variable", "", map[string]string{"CONTAINER_HOST": tcp(plain)}, "docker at " + tcp(plain)},
		{"a context that is not there", "none", nil, `there is no docker context "none" (context=none)`},
		{"an address that mab does not speak", "npipe:////./pipe/docker", nil, "mab cannot speak npipe://"},
		{"no engine", "", map[string]string{"DOCKER_HOST": "unix:///nosuch/sock"}, "unix:///nosuch/sock (DOCKER_HOST): dial unix"},
		{"not an engine", "", map[string]string{"DOCKER_HOST": strings.Replace(httptest404(t), "http", "tcp", 1)}, "404 Not Found"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			e, err := manifestlist.OpenEngine(t.Context(), manifestlist.EngineConfig{Context: test.context, Getenv: func(name string) string {
				if v, ok := test.env[name]; ok || name != "DOCKER_CONFIG" {
					return v
				}
				return config
			}})
			if err != nil {
				wantError(t, err, test.want, "docker")
				return
			}
			defer e.Close()
			if !strings.HasPrefix(e.String(), test.want) {
				t.Errorf("got %s, want %s", e, test.want)
			}
		})
	}
	t.Run("every address that was tried is named", func(t *testing.T) {
		dir := t.TempDir()
		_, err := manifestlist.OpenEngine(t.Context(), manifestlist.EngineConfig{Getenv: func(name string) string {
			return map[string]string{"DOCKER_CONFIG": dir, "XDG_RUNTIME_DIR": "/nosuch"}[name]
		}})
		if err == nil {
			t.Skip("an engine runs on this machine")
		}
		for _, want := range []string{"/var/run/docker.sock", "/nosuch/docker.sock", "/nosuch/podman/podman.sock", "/run/podman/podman.sock"} {
			wantError(t, err, want, "DOCKER_HOST")
		}
	})
}

// httptest404 is a server that is no engine.
func httptest404(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	return server.URL
}

func TestEngineHost(t *testing.T) {
	for want, env := range map[string]map[string]string{
		"unix:///var/run/docker.sock": {},
		"tcp://far:2375":              {"DOCKER_HOST": "tcp://far:2375"},
	} {
		got := manifestlist.EngineHost(manifestlist.EngineConfig{Getenv: func(name string) string { return env[name] }})
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
