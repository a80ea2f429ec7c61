// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What a push asks for: the images of the platforms by digest, then the index by its tag.
const byDigest, byTag = "/manifests/sha256:", "/manifests/v1"

// registryFault is a way in which a registry fails a build, and what the user must be told. HOST stands for the registry's.
type registryFault struct {
	rule  string
	spoil func(b *badRegistry) spoiler
	says  string
	hints string
}

func refusing(method, text string, status int, code string) func(*badRegistry) spoiler {
	return func(*badRegistry) spoiler { return on(method, text, refuse(status, code)) }
}

func TestPushFaults(t *testing.T) {
	l := newWatchedLab(t)
	l.must("build", "--platform", two, l.pushContext())
	l.registryFaults(t, []registryFault{
		{"images refused, 401", refusing("PUT", byDigest, 401, "UNAUTHORIZED"), "unauthorized", "docker login HOST"},
		{"images refused, 403", refusing("PUT", byDigest, 403, "DENIED"), "denied", "HOST"},
		{"images refused, 500", refusing("PUT", byDigest, 500, "UNKNOWN"), "spoiled", ""},
		{"index refused, 401", refusing("PUT", byTag, 401, "UNAUTHORIZED"), "UNAUTHORIZED", "docker login HOST"},
		{"index refused, 403", refusing("PUT", byTag, 403, "DENIED"), "DENIED", `in "app"`},
		{"index refused, 500", refusing("PUT", byTag, 500, "UNKNOWN"), "UNKNOWN", "the fault is with HOST"},
		{"uploads refused, 401", refusing("POST", "/blobs/uploads/", 401, "UNAUTHORIZED"), "unauthorized", "docker login HOST"},
		{"uploads refused, 403", refusing("POST", "/blobs/uploads/", 403, "DENIED"), "denied", "HOST"},
		{"blobs refused", refusing("PUT", "/blobs/uploads/", 400, "DIGEST_INVALID"), "spoiled", ""},
		{"no room for blobs", refusing("PUT", "/blobs/uploads/", 507, "UNKNOWN"), "spoiled", ""},
		{"an early end in a blob", func(b *badRegistry) spoiler { return on("PUT", "/blobs/uploads/", b.cut) }, "EOF", ""},
		{"an early end in an image", func(b *badRegistry) spoiler { return on("PUT", byDigest, b.cut) }, "EOF", ""},
		{"an early end in the index", func(b *badRegistry) spoiler { return on("PUT", byTag, b.cut) }, "EOF", "ended the connection early"},
		{"a lie about the index's digest", func(b *badRegistry) spoiler { return on("PUT", byTag, b.lie) }, "instead of sha256:", "trust nothing"},
		{"no registry at all", func(b *badRegistry) spoiler { b.server.Close(); return nil }, "connection refused", "HOST"},
	}, func(b *badRegistry, _ string) []string {
		return []string{"--platform", two, "-t", b.host + "/app:v1", "--push", l.pushContext()}
	})
}

func TestPullFaults(t *testing.T) {
	l := newWatchedLab(t)
	l.must("build", l.scratch())
	l.registryFaults(t, []registryFault{
		{"no such image", func(*badRegistry) spoiler { return on("", "/manifests/", refuse(404, "MANIFEST_UNKNOWN")) }, "not found", ""},
		{"manifest refused, 401", func(*badRegistry) spoiler { return on("", "/manifests/", refuse(401, "UNAUTHORIZED")) }, "401 Unauthorized", "docker login HOST"},
		{"manifest refused, 403", func(*badRegistry) spoiler { return on("", "/manifests/", refuse(403, "DENIED")) }, "403 Forbidden", "HOST"},
		{"manifest refused, 500", func(*badRegistry) spoiler { return on("", "/manifests/", refuse(500, "UNKNOWN")) }, "500 Internal Server Error", ""},
		{"a lie about the manifest's digest", func(b *badRegistry) spoiler { return on("", "/manifests/latest", b.lie) }, "sha256:0000", ""},
		{"another manifest than asked for", func(b *badRegistry) spoiler { return on("GET", byDigest, b.corrupt) }, "sha256:", ""},
		{"other bytes in a layer", func(b *badRegistry) spoiler { return b.onLayer(b.corrupt) }, "sha256:", ""},
		{"an early end in a layer", func(b *badRegistry) spoiler { return b.onLayer(b.cut) }, "EOF", ""},
		{"no registry at all", func(b *badRegistry) spoiler { b.server.Close(); return nil }, "connection refused", "HOST"},
	}, func(b *badRegistry, base string) []string {
		dir := l.context(map[string]string{"Dockerfile": "FROM " + base + "\nCOPY f /\n", "f": "file"})
		return []string{"--platform", "linux/amd64", "-t", registry(t) + "/pulled:v1", "--push", dir}
	})
	if exists(t, registry(t)+"/pulled:v1") {
		t.Error("a tag was written")
	}
}

// registryFaults starts a build for each fault, all at once since some are tried again for seconds, and checks how each ends.
func (l *lab) registryFaults(t *testing.T, faults []registryFault, args func(b *badRegistry, base string) []string) {
	t.Helper()
	builds := make([]*running, len(faults))
	registries := make([]*badRegistry, len(faults))
	for i, fault := range faults {
		b := newBadRegistry(t)
		base := b.base(64 << 10)
		b.spoiled(fault.spoil(b))
		registries[i], builds[i] = b, l.start(append([]string{"build"}, args(b, base)...)...)
	}
	for i, fault := range faults {
		t.Run(fault.rule, func(t *testing.T) {
			out := builds[i].within(time.Minute)
			host := registries[i].host
			wantFailed(t, out, []string{fault.says}, strings.ReplaceAll(fault.hints, "HOST", host))
			if !strings.Contains(out.stderr, host+"/") {
				t.Errorf("no reference in\n%s", out.stderr)
			}
			// Where a registry keeps something else than it got, mab can only say so.
			if registries[i].has("app", "v1") && !strings.Contains(fault.rule, "a lie") {
				t.Error("the tag is there")
			}
		})
	}
	l.must("build", l.scratch())
	l.noPanic()
}

// wantFailed checks that a build ended with code 1, gave no result, and says what is wrong.
func wantFailed(t *testing.T, out output, says []string, hint string) {
	t.Helper()
	if out.code != 1 || out.stdout != "" {
		t.Errorf("exit code %d, stdout %q\n%s", out.code, out.stdout, out.stderr)
	}
	var failure, hints string
	for line := range strings.Lines(out.stderr) {
		if text, ok := strings.CutPrefix(line, "mab: error: "); ok {
			failure += text
		}
		if text, ok := strings.CutPrefix(line, "mab: hint: "); ok {
			hints += text
		}
	}
	for _, text := range says {
		if !strings.Contains(failure, text) {
			t.Errorf("the error does not name %q:\n%s", text, failure)
		}
	}
	if !strings.Contains(hints, hint) {
		t.Errorf("the hint does not name %q, but says %q; the error:\n%s", hint, hints, failure)
	}
}

// pushContext is a context whose image is quick to build and has a blob to push.
func (l *lab) pushContext() string {
	return l.context(map[string]string{"Dockerfile": "FROM scratch\nCOPY f /\n", "f": strings.Repeat("0123456789abcdef", 1<<12)})
}

func TestPushToTwoRepositories(t *testing.T) {
	l := newWatchedLab(t)
	push := func(a, b *badRegistry) output {
		return l.start("build", "--platform", two, "-t", a.host+"/app:v1", "-t", b.host+"/other:v1", "--push", l.pushContext()).within(time.Minute)
	}
	for _, test := range []struct {
		rule  string
		spoil spoiler
	}{
		{"one refuses blobs", on("POST", "/blobs/uploads/", refuse(403, "DENIED"))},
		{"one refuses images", on("PUT", byDigest, refuse(403, "DENIED"))},
		{"one refuses the index", func(w http.ResponseWriter, r *http.Request) bool {
			return strings.Contains(r.Header.Get("Content-Type"), "index") && on("PUT", "/manifests/", refuse(403, "DENIED"))(w, r)
		}},
	} {
		for _, order := range []string{"first", "last"} {
			t.Run(test.rule+", the "+order, func(t *testing.T) {
				a, b := newBadRegistry(t), newBadRegistry(t)
				bad, ref := b, b.host+"/other"
				if order == "first" {
					bad, ref = a, a.host+"/app"
				}
				bad.spoiled(test.spoil)
				wantFailed(t, push(a, b), []string{ref}, "")
				if a.has("app", "v1") || b.has("other", "v1") {
					t.Error("a tag is there")
				}
			})
		}
	}
	t.Run("one refuses the tag alone", func(t *testing.T) {
		a, b := newBadRegistry(t), newBadRegistry(t)
		b.spoiled(on("PUT", byTag, refuse(403, "DENIED")))
		// Nobody can take a tag back: what is written is said.
		wantFailed(t, push(a, b), []string{b.host + "/other:v1", "already written: " + a.host + "/app:v1"}, b.host)
		b.spoiled(nil)
		if out := push(a, b); out.code != 0 || !a.has("app", "v1") || !b.has("other", "v1") {
			t.Errorf("the next push: exit code %d\n%s", out.code, out.stderr)
		}
	})
}

func TestHangingRegistry(t *testing.T) {
	l := newWatchedLab(t)
	l.must("build", "--platform", two, l.pushContext())
	for _, test := range []struct {
		rule, method, path string
	}{
		{"at the look-up of the base image", "HEAD", "/manifests/latest"},
		{"at a blob of the base image", "GET", "/blobs/"},
		{"in a blob that is pushed", "PUT", "/blobs/uploads/"},
		{"at an image", "PUT", byDigest},
		{"at the index", "PUT", byTag},
	} {
		t.Run(test.rule, func(t *testing.T) {
			l := l.on(t)
			b := newBadRegistry(t)
			dir := l.context(map[string]string{"Dockerfile": "FROM " + b.base(64<<10) + "\nCOPY f /\n", "f": "file"})
			before := b.seen()
			b.spoiled(on(test.method, test.path, b.hang))
			build := l.start("build", "--platform", "linux/amd64", "-t", b.host+"/app:v1", "-o", "type=tar,dest=files.tar", "--iidfile", "id", "--push", dir)
			eventually(t, 20*time.Second, "the registry is asked", func() bool { return b.asked(before, test.method, test.path) })
			build.signal(syscall.SIGINT)
			wantInterrupted(t, build.within(interruptLimit))
			empty(t, l.dir)
			b.spoiled(nil)
			if b.has("app", "v1") {
				t.Error("the tag is there")
			}
			l.must("build", "--platform", "linux/amd64", "-t", b.host+"/app:v1", "--push", dir)
		})
	}
	l.noPanic()
}
