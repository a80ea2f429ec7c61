// SPDX-License-Identifier: Apache-2.0

package manifestlist_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mab-build/mab/manifestlist"
)

// selfSigned makes a certificate of this machine that is its own CA, and returns the files.
func selfSigned(t *testing.T) manifestlist.KeyPair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	raw, err := x509.MarshalECPrivateKey(key)
	must(t, err)
	dir := t.TempDir()
	out := manifestlist.KeyPair{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
	must(t, os.WriteFile(out.Cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o600))
	must(t, os.WriteFile(out.Key, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: raw}), 0o600))
	return out
}

func TestRegistries(t *testing.T) {
	server, client := selfSigned(t), selfSigned(t)
	pair, err := tls.LoadX509KeyPair(server.Cert, server.Key)
	must(t, err)
	clients := x509.NewCertPool()
	text, err := os.ReadFile(client.Cert)
	must(t, err)
	clients.AppendCertsFromPEM(text)

	r := &testRegistry{}
	r.Server = httptest.NewUnstartedServer(r.handler())
	r.Config.ErrorLog = log.New(io.Discard, "", 0)
	r.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients}
	r.StartTLS()
	t.Cleanup(r.Close)
	r.host = strings.Replace(strings.TrimPrefix(r.URL, "https://"), "127.0.0.1", "localhost", 1)
	s := newStage(t)
	idx := s.merged(false, "linux/amd64", "linux/arm64")
	no := false
	for _, test := range []struct {
		rule  string
		entry manifestlist.Registry
		all   bool // --insecure-registry
		err   string
	}{
		{"its CA and a certificate for it", manifestlist.Registry{CAs: []string{server.Cert}, KeyPairs: []manifestlist.KeyPair{client}}, false, ""},
		{"any certificate of it, and one for it", manifestlist.Registry{Insecure: true, KeyPairs: []manifestlist.KeyPair{client}}, false, ""},
		{"any certificate of it by flag, and one for it", manifestlist.Registry{KeyPairs: []manifestlist.KeyPair{client}}, true, ""},
		{"another CA", manifestlist.Registry{CAs: []string{client.Cert}, KeyPairs: []manifestlist.KeyPair{client}}, false, "certificate"},
		{"no certificate for it", manifestlist.Registry{CAs: []string{server.Cert}}, false, "certificate required"},
		{"another certificate for it", manifestlist.Registry{CAs: []string{server.Cert}, KeyPairs: []manifestlist.KeyPair{server}}, false, "certificate"},
		{"nothing of it is known", manifestlist.Registry{HTTP: &no}, false, "certificate"},
		{"an entry of another", manifestlist.Registry{Host: "localhost:1", Insecure: true, KeyPairs: []manifestlist.KeyPair{client}}, false, "400"},
		{"a file that is nowhere", manifestlist.Registry{CAs: []string{"/nowhere"}}, false, `reading the CA "/nowhere" of ` + r.host},
	} {
		t.Run(test.rule, func(t *testing.T) {
			if test.entry.Host == "" {
				test.entry.Host = r.host
			}
			c := newClient(t, manifestlist.Config{Registries: manifestlist.Registries{test.entry}, Insecure: test.all})
			_, err := c.Push(t.Context(), idx, []manifestlist.Reference{r.ref(t, "app:v1")}, s.dir)
			if test.err == "" {
				must(t, err)
			} else if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("got %v, want %q", err, test.err)
			}
		})
	}
}

func TestPlainRegistry(t *testing.T) {
	yes, no := true, false
	for _, test := range []struct {
		entry manifestlist.Registry
		want  bool
	}{
		{manifestlist.Registry{Host: "localhost:5000"}, true},
		{manifestlist.Registry{Host: "localhost:5000", HTTP: &no}, false},
		{manifestlist.Registry{Host: "localhost:5000", CAs: []string{"ca.pem"}}, false},
		{manifestlist.Registry{Host: "localhost:5000", KeyPairs: []manifestlist.KeyPair{{}}}, false},
		{manifestlist.Registry{Host: "localhost:5000", HTTP: &yes, CAs: []string{"ca.pem"}}, true},
		{manifestlist.Registry{Host: "a.example"}, false},
		{manifestlist.Registry{Host: "a.example", HTTP: &yes}, true},
		{manifestlist.Registry{Host: "a.example", Insecure: true}, false},
	} {
		if got := test.entry.Plain(); got != test.want {
			t.Errorf("%+v: got %t", test.entry, got)
		}
	}
	t.Run("plain HTTP goes to who is said to speak it", func(t *testing.T) {
		r := newRegistry(t)
		s := newStage(t)
		idx := s.merged(false, "linux/amd64")
		const host = "registry.example.com"
		push := func(l manifestlist.Registries) error {
			c := manifestlist.DialAlways(newClient(t, manifestlist.Config{Registries: l}), r.host)
			_, err := c.Push(t.Context(), idx, names(t, host+"/app:v1"), s.dir)
			return err
		}
		wantError(t, push(nil), "HTTP", "--insecure-registry")
		must(t, push(manifestlist.Registries{{Host: host, HTTP: &yes}}))
	})
}

func TestMirrors(t *testing.T) {
	r := newRegistry(t)
	_, idx := pushed(t, r, "cache/hub/library/app")
	refs := []manifestlist.Reference{r.ref(t, "cache/hub/library/app:v1")}
	_, err := newClient(t, manifestlist.Config{}).Push(t.Context(), idx, refs, nil)
	must(t, err)
	for _, test := range []struct {
		rule    string
		mirrors []string
	}{
		{"a path goes before the repository", []string{r.host + "/cache/hub"}},
		{"a scheme is passed over", []string{"https://" + r.host + "/cache/hub/"}},
		{"the first that has it", []string{"localhost:1", r.host + "/cache", r.host + "/cache/hub"}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			c := newClient(t, manifestlist.Config{Registries: manifestlist.Registries{{Host: "docker.io", Mirrors: test.mirrors}}})
			got, err := c.Inspect(t.Context(), "app:v1")
			must(t, err)
			if got.Digest != idx.Descriptor.Digest || got.Reference != "docker.io/library/app:v1" {
				t.Errorf("got %s %s", got.Reference, got.Digest)
			}
		})
	}
	t.Run("nothing is pushed to them", func(t *testing.T) {
		r.seen()
		c := newClient(t, manifestlist.Config{Registries: manifestlist.Registries{{Host: "localhost:1", Mirrors: []string{r.host}}}})
		if _, err := c.Push(t.Context(), idx, names(t, "localhost:1/app:v1"), nil); err == nil {
			t.Error("it went somewhere")
		}
		if seen := r.seen(); len(seen) > 0 {
			t.Errorf("the mirror got %q", seen)
		}
	})
}

func TestRegistryIsPlainData(t *testing.T) {
	yes := true
	want := manifestlist.Registries{{
		Host: "a.example", Mirrors: []string{"b.example/c"}, HTTP: &yes, Insecure: true, CAs: []string{"/ca"}, KeyPairs: []manifestlist.KeyPair{{Cert: "/c", Key: "/k"}},
	}}
	raw, err := json.Marshal(want)
	must(t, err)
	const form = `[{"host":"a.example","mirrors":["b.example/c"],"http":true,"insecure":true,"ca":["/ca"],"keypair":[{"cert":"/c","key":"/k"}]}]`
	if diff := cmp.Diff(form, string(raw)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var got manifestlist.Registries
	must(t, json.Unmarshal(raw, &got))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
