// SPDX-License-Identifier: Apache-2.0

package solver_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/manifestlist"
	"github.com/mab-build/mab/solver"
)

func TestPortableConfig(t *testing.T) {
	ca := authority(t)
	yes, no := true, false
	config := solver.Config{Registries: manifestlist.Registries{
		{Host: "a.example", Mirrors: []string{"m.example/path", "n.example:5000"}, CAs: []string{ca}, HTTP: &no, KeyPairs: []manifestlist.KeyPair{{Cert: "c", Key: "k"}}},
		{Host: "b.example:5000", HTTP: &yes, Insecure: true},
	}}
	portable, err := config.Portable()
	if err != nil {
		t.Fatal(err)
	}
	if len(portable.Notes) != 1 || !strings.Contains(portable.Notes[0], "key pair for a.example stays") {
		t.Errorf("notes: %q", portable.Notes)
	}
	state := solver.State{Root: filepath.Join(t.TempDir(), "new", "state")}
	file, err := portable.Keep(state)
	if err != nil {
		t.Fatal(err)
	}
	got, err := solver.ReadConfig(file)
	if err != nil {
		t.Fatal(err)
	}
	want := config.Registries
	want[0].KeyPairs = nil
	if len(got.Registries) != 2 || len(got.Registries[0].CAs) != 1 {
		t.Fatalf("got %+v", got.Registries)
	}
	if there, here := read(t, got.Registries[0].CAs[0]), read(t, ca); there != here {
		t.Errorf("the CA there is %q", there)
	}
	want[0].CAs = got.Registries[0].CAs
	if diff := cmp.Diff(want, got.Registries); diff != "" {
		t.Errorf("registries (-want +got):\n%s", diff)
	}
	if info, err := os.Stat(filepath.Dir(file)); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("its directory: %v, %v", info.Mode(), err)
	}

	old := time.Now().Add(-99 * time.Hour)
	if err := os.Chtimes(filepath.Dir(file), old, old); err != nil {
		t.Fatal(err)
	}
	portable.Files, portable.Toml = nil, "debug = true\n"
	other, err := portable.Keep(state)
	if err != nil || other == file {
		t.Fatalf("another config is at %q, %v", other, err)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("a config that nobody used for days is still there")
	}
	again, err := portable.Keep(state)
	if err != nil || again != other {
		t.Errorf("the same config is at %q and %q, %v", other, again, err)
	}
}

func TestPortableConfigOfNothing(t *testing.T) {
	got, err := solver.Config{LogLevel: "debug", Listen: solver.Listening{Addresses: []string{"tcp://127.0.0.1:1"}}}.Portable()
	if diff := cmp.Diff(solver.Portable{}, got); err != nil || diff != "" {
		t.Errorf("error %v; want -, got +:\n%s", err, diff)
	}
	if _, err := (solver.Config{Registries: manifestlist.Registries{{Host: "a", CAs: []string{"/nowhere"}}}}).Portable(); err == nil {
		t.Error("a CA that is nowhere is no error")
	}
	for _, name := range []string{"../ca.pem", "/etc/x", "buildkitd.toml", ".."} {
		portable := solver.Portable{Toml: "x", Files: map[string][]byte{name: nil}}
		if _, err := portable.Keep(solver.State{Root: t.TempDir()}); err == nil {
			t.Errorf("a file named %q is no error", name)
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// authority writes the certificate of a CA, and returns its file.
func authority(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
