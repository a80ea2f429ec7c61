// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"archive/tar"
	"bytes"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	nothing "github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// standIn is an image with what mab looks for in Go's, and scripts in place of its programs: what is to be seen is which one runs.
type standIn struct {
	// version and compile are what it holds by platform; a platform that has no version is not in its index.
	version, compile map[string]string
	// guests are platforms beside the two of most tests.
	guests []string
}

// compiles is the compiler of a platform. Which one it was shows in what it says, and not in what it makes.
func compiles(platform string) string {
	return "#!/bin/sh\necho the compiler of " + platform + " runs\necho program > $1\n"
}

func newStandIn() *standIn {
	out := &standIn{version: map[string]string{}, compile: map[string]string{}}
	for _, p := range twoPlatforms() {
		out.version[p], out.compile[p] = "go1.99.0\ntime 2026-01-01T00:00:00Z\n", compiles(p)
	}
	return out
}

// push pushes it, and returns its reference.
func (s *standIn) push(t testing.TB, name string) string {
	t.Helper()
	base := pull(t, registry(t)+"/busybox:latest")
	var index v1.ImageIndex = nothing.Index
	for _, p := range slices.Concat(twoPlatforms(), s.guests) {
		if s.version[p] == "" {
			continue
		}
		arch, variant, _ := strings.Cut(strings.TrimPrefix(p, "linux/"), "/")
		root := "usr/local/go/"
		image := withFiles(t, imageOf(t, base, p),
			tarFile{tar.Header{Name: root + "VERSION"}, []byte(s.version[p])},
			tarFile{tar.Header{Name: root + "bin/go"}, []byte("#!/bin/sh\nexec /usr/local/go/pkg/tool/linux_" + arch + "/compile $1\n")},
			tarFile{tar.Header{Name: root + "pkg/tool/linux_" + arch + "/compile"}, []byte(s.compile[p])},
		)
		config, err := image.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		config.Config.Env = []string{"PATH=/usr/local/go/bin:/usr/bin:/bin"}
		if image, err = mutate.Config(image, config.Config); err != nil {
			t.Fatal(err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{
			Platform: &v1.Platform{OS: "linux", Architecture: arch, Variant: variant},
		}})
	}
	ref := registry(t) + "/assist/" + name + ":1"
	if err := remote.WriteIndex(reference(t, ref), index); err != nil {
		t.Fatal(err)
	}
	return ref
}

const standInFile = `FROM GOLANG AS build
RUN true
RUN go /program
FROM BASE
RUN uname -m > /machine
COPY --from=build /program /
`

// onImage is a context that is built on the image ref.
func (l *lab) onImage(ref, dockerfile string) string {
	return l.contextOn(map[string]string{"Dockerfile": strings.ReplaceAll(dockerfile, "GOLANG", ref)})
}

// ranIn are the platforms whose compilers ran in a build.
func (o output) ranIn() []string {
	var out []string
	for line := range strings.SplitSeq(o.stderr, "\n") {
		// The end of the log of a step that failed is shown once more, without a number.
		if _, rest, ok := strings.Cut(line, "the compiler of "); ok && strings.HasPrefix(line, "#") {
			out = append(out, strings.TrimSuffix(rest, " runs"))
		}
	}
	return out
}

// compiled fails the test unless a build ended well with these compilers, and said what it was to say.
func (l *lab) compiled(out output, by []string, words ...string) {
	l.t.Helper()
	if out.code != 0 {
		l.t.Fatalf("%+v", out)
	}
	if diff := cmp.Diff(by, out.ranIn()); diff != "" {
		l.t.Errorf("the compilers that ran (-want +got):\n%s\n%s", diff, out.stderr)
	}
	for _, word := range words {
		if !strings.Contains(out.stderr, word) {
			l.t.Errorf("it does not say %q:\n%s", word, out.stderr)
		}
	}
}

// assistedStep is what a metadata file tells of a step that was assisted.
type assistedStep struct {
	Step, Node, Toolchain, Native string
	Seconds                       float64
	Emulated                      float64 `json:"emulated_seconds"`
}

func TestAssist(t *testing.T) {
	l := newLab(t)
	host, foreign := hostPlatform(), foreignPlatform()
	good := newStandIn().push(t, "good")

	t.Run("a plan shows which steps are assisted, and pulls nothing to see it", func(t *testing.T) {
		l := l.on(t)
		out := l.mab("plan", "--json", "--platform", strings.Join(twoPlatforms(), ","), l.onImage(good, standInFile))
		plan := decode[planned](t, out.stdout)
		if diff := cmp.Diff([]string{"assisted " + foreign, "assisted " + foreign, "emulated " + foreign}, slices.Sorted(slices.Values(plan.steps(foreign)))); diff != "" {
			t.Errorf("steps (-want +got):\n%s", diff)
		}
		for _, a := range plan.Platforms {
			if want := map[string]string{host: "native", foreign: "assisted"}[a.Platform]; a.Strategy != want {
				t.Errorf("%s is %s", a.Platform, a.Strategy)
			}
		}
		if !strings.Contains(out.stderr, "is taken to be the same for "+host) {
			t.Errorf("it does not say that it did not look: %s", out.stderr)
		}
		empty(t, l.dir)
	})
	t.Run("the tools are native, and all else is as it was", func(t *testing.T) {
		l := l.on(t)
		dir := l.onImage(good, standInFile)
		digest := func(ran []string, more ...string) string {
			args := []string{"build", "--platform", strings.Join(twoPlatforms(), ","), "--provenance=false", "--build-arg", "SOURCE_DATE_EPOCH=1", "-o",
				"type=oci,rewrite-timestamp=true,dest=out.tar"}
			out := l.mab(append(append(args, more...), dir)...)
			got := out.ranIn()
			slices.Sort(got)
			slices.Sort(ran)
			if diff := cmp.Diff(ran, got); diff != "" || out.code != 0 {
				t.Fatalf("the compilers that ran (-want +got):\n%s\n%s", diff, out.stderr)
			}
			return strings.TrimSpace(out.stdout)
		}
		assisted := digest([]string{host, host})
		if again := digest(nil); again != assisted {
			t.Errorf("built again it is %s, was %s", again, assisted)
		}
		if plain := digest([]string{foreign}, "--assist", "off"); plain != assisted {
			t.Errorf("assisted it is %s, plain %s", assisted, plain)
		}
	})
	t.Run("what was found out of an image is known from then on", func(t *testing.T) {
		l := l.on(t)
		out := l.mab("plan", "--platform", foreign, l.onImage(good, standInFile))
		if out.code != 0 || out.stderr != "" || !strings.Contains(out.stdout, "with the tools of Go native") ||
			!strings.Contains(out.stdout, "RUN go /program (go of "+good+"@sha256:") {
			t.Errorf("%+v", out)
		}
	})
	t.Run("what was assisted is told, with its time and what it is without", func(t *testing.T) {
		l := l.on(t)
		dir := l.onImage(good, "FROM GOLANG\nRUN go /timed\n")
		build := func(more ...string) (output, []assistedStep) {
			out := l.mab(append(append([]string{"build", "--progress", "plain", "--platform", foreign, "--metadata-file", "metadata.json"}, more...), dir)...)
			if out.code != 0 {
				t.Fatalf("%+v", out)
			}
			list := decode[struct {
				Platforms []struct{ Assisted []assistedStep } `json:"mab.platforms"`
			}](t, read(t, filepath.Join(l.dir, "metadata.json"))).Platforms
			return out, list[0].Assisted
		}
		if plain, list := build("--assist", "off"); len(list) > 0 || strings.Contains(plain.stderr, "assisted by") {
			t.Errorf("nothing was assisted: %v\n%s", list, plain.stderr)
		}
		out, list := build()
		said(t, out, foreign+` on local: step "[2/2] RUN go /timed" took `, "s assisted by go; wholly emulated it took ", " times as long")
		if len(list) != 1 || list[0].Seconds <= 0 || list[0].Emulated <= 0 || list[0].Toolchain != "go" || list[0].Native != host || list[0].Step != "[2/2] RUN go /timed" {
			t.Errorf("the metadata has %+v", list)
		}
		out, list = build()
		if strings.Contains(out.stderr, "s assisted by") || !strings.Contains(out.stderr, "RUN go /timed (assisted by go)") || len(list) != 1 || list[0].Seconds != 0 {
			t.Errorf("in the cache it took no time: %v\n%s", list, out.stderr)
		}
	})
	t.Run("provenance names the image that the tools are of", func(t *testing.T) {
		l := l.on(t)
		ref := registry(t) + "/assist/attested:1"
		l.must("build", "--platform", foreign, "--provenance=mode=max", "-t", ref, "--push", l.onImage(good, standInFile))
		for _, text := range provenance(t, pull(t, ref)) {
			for _, p := range twoPlatforms() {
				if want := "assist/good@1?platform=" + strings.ReplaceAll(p, "/", "%2F"); !strings.Contains(text, want) {
					t.Errorf("there is no material %s in %s", want, text)
				}
			}
		}
	})
	t.Run("not where the user does not want it", func(t *testing.T) {
		l := l.on(t)
		for _, flag := range []string{"--assist=off", "--strategy=native,cross,emulated"} {
			l.compiled(l.mab("build", "--no-cache", "--platform", foreign, flag, l.onImage(good, standInFile)), []string{foreign}, ": emulated, ")
		}
		l.refused(2, []string{"mab: error: ", `"rustc"`, "--assist auto, off, go or cc"}, "build", "--assist=rustc", l.onImage(good, standInFile))
	})
	t.Run("a platform that is nowhere emulated wholly can be forbidden", func(t *testing.T) {
		l := l.on(t)
		l.compiled(l.mab("build", "--no-cache", "--platform", foreign, "--strategy=assisted", l.onImage(good, standInFile)), []string{host}, ": assisted, ")
	})
}

// TestAssistGuests has each platform that QEMU runs here be assisted: Go calls the directories of its tools by architectures, without variants.
func TestAssistGuests(t *testing.T) {
	l := newLab(t)
	host := hostPlatform()
	guests := []string{"linux/arm/v7", "linux/riscv64", "linux/s390x", "linux/ppc64le"}
	s := newStandIn()
	s.guests = guests
	for _, p := range guests {
		s.version[p], s.compile[p] = s.version[host], compiles(p)
	}
	dir := l.onImage(s.push(t, "guests"), "FROM GOLANG\nRUN go /program\n")
	for _, p := range guests {
		t.Run(p, func(t *testing.T) {
			l.on(t).compiled(l.on(t).mab("build", "--progress", "plain", "--platform", p, dir), []string{host}, p+" on local: assisted, ")
		})
	}
}

func TestAssistLeavesAlone(t *testing.T) {
	l := newLab(t)
	host, foreign := hostPlatform(), foreignPlatform()
	for _, test := range []struct {
		rule, says string
		change     func(*standIn)
	}{
		{"another version", "is not assisted: it has version", func(s *standIn) { s.version[host] = "go1.99.1\n" }},
		{"no image for the node's platform", "is not assisted: ", func(s *standIn) { s.version[host] = "" }},
	} {
		t.Run(test.rule, func(t *testing.T) {
			l := l.on(t)
			s := newStandIn()
			test.change(s)
			ref := s.push(t, "alone")
			l.compiled(l.mab("build", "--platform", foreign, l.onImage(ref, standInFile)), []string{foreign}, test.says, ": emulated, ")
			if out := l.mab("plan", "--platform", foreign, l.onImage(ref, standInFile)); !strings.Contains(out.stdout, " emulated ") && s.version[host] != "" {
				t.Errorf("the plan knows no better: %+v", out)
			}
		})
	}
}

func TestAssistFails(t *testing.T) {
	l := newLab(t)
	host, foreign := hostPlatform(), foreignPlatform()
	broken := newStandIn()
	broken.compile[host] = "#!/bin/sh\necho the compiler of " + host + " runs\nexit 3\n"
	t.Run("a step that fails so is run again plainly", func(t *testing.T) {
		l := l.on(t)
		ref := broken.push(t, "broken")
		out := l.mab("build", "--platform", foreign, "-o", "out", l.onImage(ref, standInFile))
		l.compiled(out, []string{host, foreign}, foreign+` on local is built again without assisting go, because step "`)
		if got := strings.TrimSpace(read(t, filepath.Join(l.dir, "out", "program"))); got != "program" {
			t.Errorf("the program is %q", got)
		}
	})
	t.Run("one that fails in any case fails the build", func(t *testing.T) {
		l := l.on(t)
		s := *broken
		s.compile = map[string]string{host: broken.compile[host], foreign: strings.ReplaceAll(broken.compile[host], host, foreign)}
		out := l.mab("build", "--platform", foreign, l.onImage(s.push(t, "hopeless"), standInFile))
		if out.code != 1 || !strings.Contains(out.stderr, "building "+foreign+" on local (emulated): step ") || strings.Count(out.stderr, "mab: error:") != 1 {
			t.Errorf("%+v", out)
		}
		if diff := cmp.Diff([]string{host, foreign}, out.ranIn()); diff != "" {
			t.Errorf("the compilers that ran (-want +got):\n%s", diff)
		}
	})
	t.Run("where plainly is forbidden, it fails", func(t *testing.T) {
		l := l.on(t)
		out := l.mab("build", "--no-cache", "--platform", foreign, "--strategy=assisted", l.onImage(broken.push(t, "broken"), standInFile))
		if out.code != 1 || !strings.Contains(out.stderr, "building "+foreign+" on local (assisted): step ") {
			t.Errorf("%+v", out)
		}
	})
}

func TestCheckAssist(t *testing.T) {
	l := newLab(t)
	host, foreign := hostPlatform(), foreignPlatform()
	t.Run("what makes the same is written", func(t *testing.T) {
		l := l.on(t)
		out := l.mab("build", "--platform", foreign, "--check-assist", "-o", "out", l.onImage(newStandIn().push(t, "checked"), standInFile))
		l.compiled(out, []string{host, foreign}, "2 assisted steps made the same plainly emulated")
		if got := strings.TrimSpace(read(t, filepath.Join(l.dir, "out", "program"))); got != "program" {
			t.Errorf("the program is %q", got)
		}
	})
	t.Run("what makes something else is not", func(t *testing.T) {
		l := l.on(t)
		s := newStandIn()
		s.compile[host] += "echo other >> $1\n"
		l.refused(5, []string{"mab: error: checking the result: step ", foreign + " makes other files assisted by go than without: /program", "mab: hint: ", "--assist off"},
			"build", "--platform", foreign, "--check-assist", "-o", "out", l.onImage(s.push(t, "other"), standInFile))
		empty(t, l.dir)
	})
}

// assistFile is the Dockerfile of a program of others, as its users write it. The cache of compiled packages is filled natively for both
// platforms, which is the same on every machine: all of Go's own packages take minutes under QEMU.
const assistFile = `FROM --platform=$BUILDPLATFORM GOLANG AS native
ENV GOCACHE=/cache GOTOOLCHAIN=local CGO_ENABLED=0 GOFLAGS="-buildvcs=false -trimpath"
ARG TARGETARCH
RUN GOARCH=$TARGETARCH go build STD
FROM native AS crossed
WORKDIR /src
COPY . .
RUN GOARCH=$TARGETARCH go build -o /crossed PACKAGE
FROM GOLANG AS own
ENV GOCACHE=/cache GOTOOLCHAIN=local CGO_ENABLED=0 GOFLAGS="-buildvcs=false -trimpath"
COPY --from=native /cache /cache
WORKDIR /src
COPY . .
RUN go build -o /own PACKAGE
FROM scratch
COPY --from=crossed /crossed /
COPY --from=own /own /
`

// assistStd is what the programs need of Go's own packages.
const assistStd = "bufio crypto/hmac crypto/sha1 embed encoding encoding/base32 encoding/binary encoding/json errors flag fmt io log math os path/filepath " +
	"reflect sort strconv strings text/tabwriter time unicode"

// TestAssistPrograms builds programs of others for a foreign platform, assisted, plainly emulated and cross compiled.
func TestAssistPrograms(t *testing.T) {
	l := newLab(t)
	addr := goRegistry(t)
	for _, test := range []struct{ module, pkg string }{
		{"github.com/cespare/xxhash/v2@v2.3.0", "./xxhsum"},
		{"rsc.io/2fa@v1.2.0", "."},
		{"github.com/BurntSushi/toml@v1.4.0", "./cmd/tomlv"},
	} {
		t.Run(test.module, func(t *testing.T) {
			l := l.on(t)
			dir := module(t, test.module)
			text := strings.NewReplacer("GOLANG", addr+"/golang", "STD", assistStd, "PACKAGE", test.pkg).Replace(assistFile)
			file := filepath.Join(l.context(map[string]string{"Dockerfile": text}), "Dockerfile")
			build := func(strategy string, more ...string) rootfs {
				args := append([]string{"build", "--platform", foreignPlatform(), "-f", file, "-o", "-"}, more...)
				out := l.mab(append(args, dir)...)
				if out.code != 0 || !strings.Contains(out.stderr, foreignPlatform()+" on local: "+strategy+", ") {
					t.Fatalf("%+v", out)
				}
				return readTar(t, strings.NewReader(out.stdout))
			}
			assisted, plain := build("assisted"), build("emulated", "--assist=off")
			program := assisted.program(t, "own")
			machineOf(t, foreignPlatform()).check(t, program)
			if !bytes.Equal(assisted["own"].content, plain["own"].content) {
				t.Error("assisted it is another program than plainly emulated")
			}
			if !bytes.Equal(assisted["own"].content, assisted["crossed"].content) {
				t.Error("assisted it is another program than cross compiled")
			}
		})
	}
}
