// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"path"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/e2e/bases"
	vm "github.com/mab-build/mab/e2e/machine"
)

// guest is a machine with mab in it, to which the test's registry is localhost:PORT as it is here.
type guest struct {
	t testing.TB
	*vm.Machine
}

// boot starts a machine that ends with the test.
func boot(t *testing.T, image vm.Image, cfg vm.StartConfig) guest {
	t.Helper()
	m, err := vm.Start(t.Context(), image, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the console's end:\n%s", m.Console())
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	address := strings.Replace(registry(t), "localhost:", "127.0.0.1:", 1)
	if err := m.Forward(address, address); err != nil {
		t.Fatal(err)
	}
	return guest{t, m}
}

// on is the guest for a subtest.
func (g guest) on(t testing.TB) guest { return guest{t, g.Machine} }

// run runs a program in the guest.
func (g guest) run(args ...string) output {
	g.t.Helper()
	out, err := g.SSH(g.t.Context(), args...)
	if err != nil {
		g.t.Fatal(err)
	}
	return output{out.Stdout, out.Stderr, out.Code}
}

// must runs mab in the guest, fails the test unless it ends well, and returns standard output without the last newline.
func (g guest) must(args ...string) string {
	g.t.Helper()
	out := g.run(append([]string{"/usr/local/bin/mab"}, args...)...)
	if out.code != 0 {
		g.t.Fatalf("mab %s: exit code %d\n%s", strings.Join(args, " "), out.code, out.stderr)
	}
	return strings.TrimSuffix(out.stdout, "\n")
}

// refused runs mab in the guest and fails the test unless it ends with the code and a message that has the words.
func (g guest) refused(code int, words []string, args ...string) {
	g.t.Helper()
	out := g.run(append([]string{"/usr/local/bin/mab"}, args...)...)
	if out.code != code {
		g.t.Errorf("mab %s: exit code %d, want %d\n%s", strings.Join(args, " "), out.code, code, out.stderr)
	}
	for _, word := range words {
		if !strings.Contains(out.stderr, word) {
			g.t.Errorf("mab %s: no %q in:\n%s", strings.Join(args, " "), word, out.stderr)
		}
	}
}

// context copies files into the guest and returns their directory there.
func (g guest) context(files map[string]string) string {
	g.t.Helper()
	l := lab{t: g.t}
	to := "/root/" + path.Base(g.t.Name())
	if err := g.Copy(g.t.Context(), l.context(files), to); err != nil {
		g.t.Fatal(err)
	}
	return to
}

// arm is how a CPU of arm64 runs the 32-bit programs of linux/arm/v7.
type arm struct {
	cpu, how string
	// uname is what the kernel, or QEMU, says to such a program.
	uname string
}

// TestArm64: the program for arm64 builds natively, under emulation, and for linux/arm/v7 as the CPU has it: probed, not inferred.
func TestArm64(t *testing.T) {
	need(t, "qemu-system-aarch64", "apt-get", "dpkg-deb", "mke2fs")
	program := release(t, "arm64")
	image, err := vm.Build(t.Context(), bases.Config{})
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []arm{
		{"neoverse-n1", "native", "aarch64"},
		{"a64fx", "emulated", "armv7l"},
	} {
		t.Run(a.cpu, func(t *testing.T) {
			g := boot(t, image, vm.StartConfig{CPU: a.cpu, Files: []vm.File{{From: program, To: "/usr/local/bin/mab"}}})
			t.Run("emulation ls", func(t *testing.T) { arm64Survey(g.on(t), a.how) })
			t.Run("plan", func(t *testing.T) { arm64Plan(g.on(t), a.how) })
			t.Run("build", func(t *testing.T) { arm64Build(g.on(t), a) })
			t.Run("doctor", func(t *testing.T) { arm64Doctor(g.on(t), a.how) })
			if a.how == "emulated" {
				t.Run("plan without QEMU", func(t *testing.T) { arm64Bare(g.on(t)) })
			}
		})
	}
}

// arm64Every is a Dockerfile with a step that runs for each platform.
func arm64Every(t testing.TB) map[string]string {
	return map[string]string{"Dockerfile": "FROM " + registry(t) + "/busybox\nRUN uname -m > /machine\n"}
}

// surveyed are the ways in which a machine runs some platforms, from emulation ls --json.
func (g guest) surveyed(platforms ...string) map[string]string {
	g.t.Helper()
	got := map[string]string{}
	for _, s := range decode[[]struct{ Platform, How string }](g.t, g.must("emulation", "ls", "--json")) {
		for _, p := range platforms {
			if s.Platform == p {
				got[p] = s.How
			}
		}
	}
	return got
}

func arm64Survey(g guest, how string) {
	want := map[string]string{"linux/arm64": "native", "linux/amd64": "emulated", "linux/arm/v7": how, "linux/s390x": "none"}
	got := g.surveyed("linux/arm64", "linux/amd64", "linux/arm/v7", "linux/s390x")
	if diff := cmp.Diff(want, got); diff != "" {
		g.t.Errorf("(-want +got):\n%s", diff)
	}
}

func arm64Plan(g guest, how string) {
	dir := g.context(arm64Every(g.t))
	plan := decode[planned](g.t, g.must("plan", "--json", "--platform", "linux/arm64,linux/amd64,linux/arm/v7", dir))
	want := []string{"linux/arm64=native", "linux/amd64=emulated", "linux/arm/v7=" + how}
	if diff := cmp.Diff(want, plan.strategies()); diff != "" {
		g.t.Errorf("strategies (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{how + " linux/arm/v7"}, plan.steps("linux/arm/v7")); diff != "" {
		g.t.Errorf("RUN steps of linux/arm/v7 (-want +got):\n%s", diff)
	}
	native := []string{"plan", "--strategy", "native", "--platform", "linux/arm/v7", dir}
	if how == "native" {
		g.must(native...)
	} else {
		g.refused(3, []string{"mab: error: no node can build linux/arm/v7: "}, native...)
	}
}

func arm64Build(g guest, a arm) {
	ref := registry(g.t) + "/arm64/" + a.cpu + ":1"
	const platforms = "linux/arm64,linux/amd64,linux/arm/v7"
	pushed := g.must("build", "--platform", platforms, "-t", ref, "--push", g.context(arm64Every(g.t)))
	index := pull(g.t, pushed)
	if diff := cmp.Diff(platforms, platformsOf(g.t, index)); diff != "" {
		g.t.Errorf("platforms of the index (-want +got):\n%s", diff)
	}
	want := map[string]string{"linux/arm64": "aarch64", "linux/amd64": "x86_64", "linux/arm/v7": a.uname}
	got := map[string]string{}
	for platform := range want {
		image := imageOf(g.t, index, platform)
		if of := configOf(g.t, image).Platform().String(); of != platform {
			g.t.Errorf("the configuration of %s is for %s", platform, of)
		}
		got[platform] = rootfsOf(g.t, image).text(g.t, "machine")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		g.t.Errorf("what the RUN steps saw (-want +got):\n%s", diff)
	}
}

// arm64Doctor wants a machine where all is well, of which only what runs 32-bit programs differs from one CPU to the other.
func arm64Doctor(g guest, how string) {
	out := g.run("/usr/local/bin/mab", "doctor", "--json")
	all := findings{}
	for _, f := range decode[[]finding](g.t, out.stdout) {
		all[f.Name] = f
	}
	if out.code != 0 {
		g.t.Errorf("exit code %d\n%s", out.code, out.stdout)
	}
	found := map[string]string{"native": "native", "emulated": "QEMU "}
	for name, text := range map[string]string{
		"runc": "in this program", "namespaces": "every user id", "snapshotter": "overlayfs", "binfmt_misc": "private",
		"linux/arm64": "native", "linux/amd64": "QEMU ", "linux/arm/v7": found[how], "build": "RUN in ",
	} {
		all.wants(g.t, finding{Name: name, Status: "ok", Found: text})
	}
}

func arm64Bare(g guest) {
	g.must("serve", "--stop")
	if out := g.run("rm", "/usr/bin/qemu-arm"); out.code != 0 {
		g.t.Fatal(out.stderr)
	}
	g.refused(3, []string{"mab: error: no node can build linux/arm/v7: ", "no QEMU for linux/arm/v7"},
		"plan", "--platform", "linux/arm/v7", g.context(arm64Every(g.t)))
}
