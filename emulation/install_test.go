// SPDX-License-Identifier: Apache-2.0

//go:build linux

package emulation_test

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	ggcrlayout "github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/mab-build/mab/emulation"
	"github.com/mab-build/mab/platforms"
)

// guest is an architecture that no machine here runs by itself.
const guest = "s390x"

func want(t *testing.T, names ...string) []emulation.Handler {
	t.Helper()
	var out []emulation.Handler
	for _, n := range names {
		out = append(out, handlerFor(t, n))
	}
	return out
}

// left lists what there is in a store, but for its lock.
func left(t *testing.T, s emulation.Store) []string {
	t.Helper()
	var out []string
	err := filepath.Walk(s.Dir, func(path string, info os.FileInfo, err error) error {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err == nil && path != s.Dir && info.Name() != "lock" {
			out = append(out, strings.TrimPrefix(path, s.Dir+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestRefusedImages(t *testing.T) {
	const path = "usr/bin/qemu-" + guest
	own, _ := emulation.Program(platforms.Host())
	foreign, _ := emulation.Program(platforms.MustParse(guest))
	typed := func(kind byte) []byte {
		return layer(t, member{Header: tar.Header{Name: path, Typeflag: kind, Linkname: "/bin/sh", Mode: 0o777}})
	}
	good := gzipped(t, layer(t, file(path, own)))
	broken := func(change func(l layout, d ocispec.Descriptor) ocispec.Descriptor) string {
		l := newLayout(t)
		d := l.blob(ocispec.MediaTypeImageLayerGzip, good)
		return l.end(l.manifest(change(l, d)))
	}
	other := func() string {
		l := newLayout(t)
		d := l.manifest(l.blob(ocispec.MediaTypeImageLayer, good))
		d.Platform = &ocispec.Platform{OS: "linux", Architecture: guest}
		unknown := d
		unknown.Platform = &ocispec.Platform{OS: "unknown", Architecture: "unknown"}
		return l.end(d, unknown)
	}
	nested := func() string {
		l := newLayout(t)
		d := l.manifest(l.blob(ocispec.MediaTypeImageLayer, good))
		for range 4 {
			d = l.index(d)
		}
		return l.end(d)
	}
	for _, test := range []struct{ rule, image, want string }{
		{"a path out of the image", image(t, layer(t, file("../"+path, own))), "outside of itself"},
		{"a path out of the image and in again", image(t, layer(t, file("usr/bin/../bin/qemu-"+guest, own))), "outside of itself"},
		{"a path out of the image, of something else", image(t, layer(t, file("etc/../../../root/.profile", own))), "outside of itself"},
		{"a symbolic link", image(t, typed(tar.TypeSymlink)), "is a symbolic link to \"/bin/sh\" and no regular file"},
		{"a hard link", image(t, typed(tar.TypeLink)), "is a link to \"/bin/sh\" and no regular file"},
		{"a device", image(t, typed(tar.TypeChar)), "is a device and no regular file"},
		{"a block device", image(t, typed(tar.TypeBlock)), "is a device and no regular file"},
		{"a pipe", image(t, typed(tar.TypeFifo)), "is a pipe and no regular file"},
		{"a directory", image(t, typed(tar.TypeDir)), "is a directory and no regular file"},
		{"a script", image(t, layer(t, file(path, []byte("#!/bin/sh\nexit 42\n"+strings.Repeat("#", 100))))), "not an ELF program"},
		{"an empty file", image(t, layer(t, file(path, nil))), "not an ELF program"},
		{"a program for another machine", image(t, layer(t, file(path, foreign))), "a program for another machine (EM_S390)"},
		{"a program that is no emulator", image(t, layer(t, file(path, own))), "asking"},
		{
			"a gigantic emulator", image(t, layer(t, member{Header: tar.Header{Name: path, Size: 1 << 40}})),
			"usr/bin/qemu-s390x has 1099511627776 bytes, an emulator has at most 83886080",
		},
		{"a bomb", image(t, gzipped(t, layer(t, file("usr/share/zeros", make([]byte, 3<<20))))), "unpacks to more than 2097152 bytes"},
		{
			"a bomb of many layers",
			image(t, zstandard(t, layer(t, file("a", make([]byte, 3<<19)))), zstandard(t, layer(t, file("b", make([]byte, 3<<19))))),
			"unpacks to more than 2097152 bytes",
		},
		{"a layer of other content", broken(func(l layout, d ocispec.Descriptor) ocispec.Descriptor {
			l.write("blobs/sha256/"+d.Digest.Encoded(), gzipped(t, layer(t, file(path, foreign))))
			return d
		}), "it is damaged: "},
		{"a layer that was cut off", broken(func(l layout, d ocispec.Descriptor) ocispec.Descriptor {
			l.write("blobs/sha256/"+d.Digest.Encoded(), good[:len(good)/2])
			return d
		}), "it is damaged: "},
		{"a layer longer than it says", broken(func(_ layout, d ocispec.Descriptor) ocispec.Descriptor {
			d.Size -= 20
			return d
		}), "it is damaged: "},
		{"a layer that is not there", broken(func(l layout, d ocispec.Descriptor) ocispec.Descriptor {
			if err := os.Remove(filepath.Join(l.dir, "blobs/sha256", d.Digest.Encoded())); err != nil {
				t.Fatal(err)
			}
			return d
		}), "no such file"},
		{"a layer whose digest is a path", broken(func(_ layout, d ocispec.Descriptor) ocispec.Descriptor {
			d.Digest = "sha256:../../../etc/passwd"
			return d
		}), "has a layer of digest"},
		{"a compressed layer that ends too early", image(t, good[:len(good)-12]), "unexpected EOF"},
		{"a layer that is no tar", image(t, []byte(strings.Repeat("no tar", 200))), "invalid tar header"},
		{"no layers", image(t), "has no layers"},
		{"an image for another machine", other(), "it is not for " + platforms.Host().String() + " machines but for: linux/s390x"},
		{"indexes without end", nested(), "more than 3 indexes"},
		{"an image without emulators", image(t, layer(t, file("usr/bin/ls", own))), "it lacks emulators: there are none in /usr/bin"},
		{"an emulator elsewhere", image(t, layer(t, file("opt/qemu-"+guest, own))), "it lacks emulators: there are none in /usr/bin"},
		{"BuildKit's own emulators", image(t, layer(t, file("usr/bin/buildkit-qemu-"+guest, own))), "there are none in /usr/bin"},
		{"an image without this emulator", image(t, layer(t, file("usr/bin/qemu-arm", own))), "it lacks emulators: qemu-s390x is not among arm"},
		{"a layout that is none", "oci-layout://" + t.TempDir(), "index.json"},
		{"a layout that is nowhere", "oci-layout:///nowhere", "no such file"},
		{"an archive that is none", "oci-archive:///dev/null", "index.json"},
		{"a tag that the layout lacks", image(t, good) + ":v1", `no image "v1"`},
		{"no reference", "UPPER/case", "reading the reference"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			store := emulation.Store{Dir: filepath.Join(t.TempDir(), "emulators")}
			done, err := store.Install(t.Context(), emulation.InstallConfig{Image: test.image, Handlers: want(t, guest), MaxUnpacked: 2 << 20})
			var bad *emulation.ImageError
			if !errors.As(err, &bad) || bad.Hint() == "" || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%+v, error %v, want %q", done, err, test.want)
			}
			if files := left(t, store); len(files) > 0 {
				t.Errorf("left behind: %q", files)
			}
		})
	}
}

func TestWhiteouts(t *testing.T) {
	emulator := contentOf(t, qemu(t, guest))
	const path = "usr/bin/qemu-" + guest
	lower := layer(t, file(path, emulator))
	link := member{Header: tar.Header{Name: "usr/bin", Typeflag: tar.TypeSymlink, Linkname: "/bin", Mode: 0o777}}
	for _, test := range []struct {
		rule   string
		layers [][]byte
		has    bool
	}{
		{"one layer", [][]byte{lower}, true},
		{"a layer of other files above", [][]byte{lower, layer(t, file("usr/bin/sh", nil), file("usr/.wh.lib", nil))}, true},
		{"removed", [][]byte{lower, layer(t, file("usr/bin/.wh.qemu-"+guest, nil))}, false},
		{"another removed", [][]byte{lower, layer(t, file("usr/bin/.wh.qemu-arm", nil))}, true},
		{"the directory removed", [][]byte{lower, layer(t, file(".wh.usr", nil))}, false},
		{"the directory made opaque", [][]byte{lower, layer(t, file("usr/bin/.wh..wh..opq", nil))}, false},
		{"the directory above made opaque", [][]byte{lower, layer(t, file("usr/.wh..wh..opq", nil))}, false},
		{"the root made opaque", [][]byte{lower, layer(t, file(".wh..wh..opq", nil))}, false},
		{"another directory made opaque", [][]byte{lower, layer(t, file("usr/lib/.wh..wh..opq", nil))}, true},
		{"a link for the directory", [][]byte{lower, layer(t, link)}, false},
		{"opaque, and there again before", [][]byte{lower, layer(t, file(path, emulator), file("usr/bin/.wh..wh..opq", nil))}, true},
		{"removed and there again", [][]byte{lower, layer(t, file("usr/bin/.wh.qemu-"+guest, nil)), lower}, true},
		{"replaced", [][]byte{layer(t, file(path, []byte("#!/bin/sh"))), lower}, true},
		{"named from the root", [][]byte{layer(t, file("./"+path, emulator))}, true},
		{"named as distributions do", [][]byte{layer(t, file(path+"-static", emulator))}, true},
	} {
		t.Run(test.rule, func(t *testing.T) {
			store := emulation.Store{Dir: t.TempDir()}
			_, err := store.Install(t.Context(), emulation.InstallConfig{Image: image(t, test.layers...), Handlers: want(t, guest)})
			if lacks := err != nil && strings.Contains(err.Error(), "it lacks emulators"); lacks == test.has || err != nil && !lacks {
				t.Error(err)
			}
		})
	}
}

// counting is a registry that counts the blobs it gives.
func counting(t *testing.T) (host string, blobs *int) {
	t.Helper()
	blobs = new(int)
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
			*blobs++
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://"), blobs
}

func push(t *testing.T, layout, to string) {
	t.Helper()
	index, err := ggcrlayout.ImageIndexFromPath(strings.TrimPrefix(layout, "oci-layout://"))
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(to)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(ref, index); err != nil {
		t.Fatal(err)
	}
}

func TestInstall(t *testing.T) {
	s390x, arm := contentOf(t, qemu(t, "s390x")), contentOf(t, qemu(t, "arm"))
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	both := layer(t, file("usr/bin/qemu-s390x", s390x), file("usr/bin/qemu-arm", arm))
	first := image(t, gzipped(t, both))
	host, blobs := counting(t)
	push(t, first, host+"/binfmt:1")
	for _, source := range []struct{ rule, image string }{
		{"from a layout", first},
		{"from an archive", archive(t, first)},
		{"from a registry", host + "/binfmt:1"},
		{"of a layer by zstd", image(t, zstandard(t, both))},
		{"of a plain layer", image(t, both)},
	} {
		t.Run(source.rule, func(t *testing.T) {
			store := emulation.Store{Dir: filepath.Join(t.TempDir(), "emulators")}
			done, err := store.Install(t.Context(), emulation.InstallConfig{Image: source.image, Except: want(t, "arm")})
			if err != nil {
				t.Fatal(err)
			}
			if len(done.Emulators) != 1 || done.Emulators[0].Handler.QEMU != "s390x" || done.Bytes == 0 || done.Emulators[0].Version == "" {
				t.Errorf("%+v", done)
			}
			list, err := store.List()
			if diff := cmp.Diff(done.Emulators, list); err != nil || diff != "" {
				t.Errorf("%v; done -, listed +:\n%s", err, diff)
			}
			found, _, err := emulation.Find(emulation.FindConfig{Store: store})
			i := slices.IndexFunc(found, func(e emulation.Emulator) bool { return e.Handler.QEMU == "s390x" })
			if err != nil || i < 0 || found[i].Path != list[0].Path || filepath.Dir(list[0].Path) == filepath.Dir(list[0].Link) {
				t.Errorf("%v; found %+v, installed %+v", err, found, list)
			}
			if got := contentOf(t, list[0].Link); string(got) != string(s390x) {
				t.Error("it is not the image's")
			}
		})
	}

	store := emulation.Store{Dir: t.TempDir()}
	install := func(t *testing.T, image string, names ...string) *emulation.Installation {
		t.Helper()
		done, err := store.Install(t.Context(), emulation.InstallConfig{Image: image, Handlers: want(t, names...)})
		if err != nil {
			t.Fatal(err)
		}
		return done
	}
	t.Run("what is there is not downloaded", func(t *testing.T) {
		install(t, host+"/binfmt:1", "s390x", "arm")
		before := *blobs
		if done := install(t, host+"/binfmt:1", "arm"); *blobs != before || done.Bytes != 0 || len(done.Emulators) != 1 {
			t.Errorf("%d blobs, %+v", *blobs-before, done)
		}
	})
	t.Run("what the image is known to lack is not looked for", func(t *testing.T) {
		before := *blobs
		_, err := store.Install(t.Context(), emulation.InstallConfig{Image: host + "/binfmt:1", Handlers: want(t, "riscv64")})
		if err == nil || !strings.Contains(err.Error(), "qemu-riscv64 is not among arm s390x") || *blobs != before {
			t.Errorf("%v, %d blobs", err, *blobs-before)
		}
	})
	t.Run("what was damaged on the disk is replaced", func(t *testing.T) {
		list, err := store.List()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(list[0].Path, s390x[:1000], 0o755); err != nil {
			t.Fatal(err)
		}
		if done := install(t, host+"/binfmt:1", list[0].Handler.Platforms[0].String()); done.Bytes == 0 {
			t.Errorf("%+v", done)
		}
		if got := contentOf(t, list[0].Path); string(got) != string(arm) {
			t.Errorf("%s has %d bytes", list[0].Path, len(got))
		}
	})
	t.Run("a refused image changes nothing", func(t *testing.T) {
		before := left(t, store)
		_, err := store.Install(t.Context(), emulation.InstallConfig{
			Image: image(t, layer(t, file("usr/bin/qemu-s390x", s390x), file("usr/bin/qemu-arm", s390x[:100]))),
		})
		if diff := cmp.Diff(before, left(t, store)); err == nil || diff != "" {
			t.Errorf("%v; before -, after +:\n%s", err, diff)
		}
	})
	t.Run("another image replaces, and what it replaces goes", func(t *testing.T) {
		second := install(t, image(t, layer(t, file("usr/bin/qemu-s390x", s390x))), "s390x")
		list, err := store.List()
		if err != nil || len(list) != 2 || list[0].Digest == second.Digest || list[1].Digest != second.Digest {
			t.Fatalf("%v, %+v", err, list)
		}
		files := left(t, store)
		if len(files) != 9 { // bin and two links; two images, each with its record and one emulator
			t.Errorf("%q", files)
		}
	})
	t.Run("removing", func(t *testing.T) {
		if removed, err := store.Remove(t.Context(), want(t, "s390x", "ppc64le")); err != nil || len(removed) != 1 {
			t.Errorf("%v, %+v", err, removed)
		}
		if list, err := store.List(); err != nil || len(list) != 1 || list[0].Handler.QEMU != "arm" {
			t.Errorf("%v, %+v", err, list)
		}
		if _, err := store.Remove(t.Context(), emulation.Handlers()); err != nil {
			t.Error(err)
		}
		if files := left(t, store); len(files) > 0 {
			t.Errorf("left behind: %q", files)
		}
	})
	t.Run("what an install that was killed left goes with the next", func(t *testing.T) {
		if err := os.MkdirAll(filepath.Join(store.Dir, "unpack-1", "x"), 0o700); err != nil {
			t.Fatal(err)
		}
		install(t, first, "arm")
		if files := left(t, store); slices.Contains(files, "unpack-1") {
			t.Errorf("%q", files)
		}
	})
	t.Run("interrupted", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := store.Install(ctx, emulation.InstallConfig{Image: host + "/binfmt:1", Handlers: want(t, "s390x")}); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// TestRegistriesElsewhereSpeakTLS: go-containerregistry speaks plain HTTP to private addresses, credentials and all.
func TestRegistriesElsewhereSpeakTLS(t *testing.T) {
	listener, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	asked := false
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	if err := server.Listener.Close(); err != nil {
		t.Fatal(err)
	}
	server.Listener = listener
	server.Start()
	defer server.Close()
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	for _, a := range addresses {
		network, ok := a.(*net.IPNet)
		if !ok || !network.IP.IsPrivate() || network.IP.To4() == nil {
			continue
		}
		host := net.JoinHostPort(network.IP.String(), port)
		_, err := emulation.Store{Dir: t.TempDir()}.Install(t.Context(), emulation.InstallConfig{Image: host + "/binfmt"})
		if err == nil || asked || !strings.Contains(err.Error(), "plain HTTP is allowed for registries of this machine only") {
			t.Errorf("%s: %v, asked %v", host, err, asked)
		}
	}
}

func TestLoopback(t *testing.T) {
	for host, loopback := range map[string]bool{
		"localhost": true, "localhost:5000": true, "a.localhost:1": true, "127.0.0.1:5000": true, "127.1.2.3": true, "[::1]:5000": true, "[::1]": true,
		"10.0.0.1:5000": false, "192.168.1.1": false, "localhost.example.com": false, "docker.io": false, "notlocalhost:5000": false,
	} {
		if got := emulation.IsLoopback(host); got != loopback {
			t.Errorf("%s: loopback %v", host, got)
		}
	}
}

func TestDefaultImage(t *testing.T) {
	_, rest, _ := strings.Cut(emulation.DefaultImage, ":qemu-v")
	version, digest, fixed := strings.Cut(rest, "@sha256:")
	version, _, _ = strings.Cut(version, "-")
	if !fixed || len(digest) != 64 {
		t.Errorf("%s is not fixed", emulation.DefaultImage)
	}
	for _, h := range emulation.Handlers() {
		for _, host := range []string{"amd64", "arm64"} {
			if trouble, ok := emulation.TroubleWith(version, h.Platforms[0], platforms.MustParse(host)); ok {
				t.Errorf("mab's own %s has a known fault: %s", version, trouble.What)
			}
		}
	}
}
