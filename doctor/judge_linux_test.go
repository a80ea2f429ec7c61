// SPDX-License-Identifier: Apache-2.0

package doctor_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/doctor"
	"github.com/mab-build/mab/emulation"
	"github.com/mab-build/mab/platforms"
	"github.com/mab-build/mab/runc"
	"github.com/mab-build/mab/sandbox"
	"github.com/mab-build/mab/solver"
)

func TestJudgeKernel(t *testing.T) {
	const mend = "use Linux 6.7 or newer"
	private := "emulators are used only if they are registered on the host, as private ones need Linux 6.7"
	overlay := "every layer is a full copy or fuse-overlayfs's, as overlayfs in a user namespace needs Linux 5.11"
	stop := "mab serve --stop does not work, as it needs Linux 5.3"
	for _, test := range []struct {
		release string
		want    doctor.Check
	}{
		{"6.18.44-cloud-amd64", doctor.Check{Status: ok}},
		{"6.7.0", doctor.Check{Status: ok}},
		{"6.7-rc1", doctor.Check{Status: ok}},
		{"10.0", doctor.Check{Status: ok}},
		{"6.6.99", doctor.Check{Status: limited, Then: private, Mend: mend}},
		{"5.10.0-9-amd64", doctor.Check{Status: limited, Then: private + "; " + overlay, Mend: mend}},
		{"4.19", doctor.Check{Status: limited, Then: private + "; " + overlay + "; " + stop, Mend: mend}},
		{"unknown", doctor.Check{Status: ok}},
	} {
		t.Run(test.release, func(t *testing.T) {
			test.want.Name, test.want.Found = "kernel", "Linux "+test.release
			compare(t, test.want, doctor.JudgeKernel(test.release))
		})
	}
}

func TestJudgeCgroups(t *testing.T) {
	const v1, v2 = "cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n", "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n"
	for mounts, want := range map[string]string{v1: "v1", v2: "v2", v1 + v2: "v1 and v2", "proc /proc proc rw 0 0\n": "none", "": "none"} {
		compare(t, doctor.Check{
			Name: "cgroups", Status: ok, Found: want + "; mab needs and makes none, so memory and CPU of steps are not limited",
		}, doctor.JudgeCgroups(mounts))
	}
}

func TestJudgeMemory(t *testing.T) {
	const mend = "end other programs, or build on a machine with more"
	for _, test := range []struct {
		rule, text string
		want       doctor.Check
	}{
		{"enough", "MemTotal:  4194304 kB\nMemFree: 1 kB\nMemAvailable: 1048576 kB\n", doctor.Check{Status: ok, Found: "1GiB available of 4GiB"}},
		{"little", "MemTotal:  4194304 kB\nMemAvailable: 1048575 kB\n", doctor.Check{
			Status: limited, Found: "1024MiB available of 4GiB", Then: "the kernel may kill compilers in steps (exit code 137)", Mend: mend}},
		{"hardly any", "MemTotal:  4194304 kB\nMemAvailable: 102400 kB\n", doctor.Check{Status: missing, Found: "100MiB available of 4GiB", Mend: mend}},
		{"unknown", "", doctor.Check{Status: ok, Found: "unknown, as there is no /proc/meminfo"}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			test.want.Name = "memory"
			compare(t, test.want, doctor.JudgeMemory(test.text))
		})
	}
}

func TestJudgeDisk(t *testing.T) {
	const mend = "make room there, or put the state on a larger disk: --root DIR, or export MAB_ROOT=DIR"
	const then = "the cache is kept small, and large builds fail for want of room"
	for _, test := range []struct {
		rule                         string
		free, total, files, allFiles uint64
		want                         doctor.Check
	}{
		{"room", 10e9, 100e9, 100_000, 9e6, doctor.Check{Status: ok, Found: "10GB free of 100GB at /state"}},
		{"a file system that counts no inodes", 10e9, 100e9, 0, 0, doctor.Check{Status: ok, Found: "10GB free of 100GB at /state"}},
		{"little", 10e9 - 1e8, 100e9, 5e6, 9e6, doctor.Check{Status: limited, Found: "9.9GB free of 100GB at /state", Then: then, Mend: mend}},
		{"none", 9e8, 100e9, 5e6, 9e6, doctor.Check{Status: missing, Found: "900MB free of 100GB at /state", Mend: mend}},
		{"few inodes", 50e9, 100e9, 99_999, 9e6, doctor.Check{Status: limited, Found: "50GB free of 100GB at /state, 99999 inodes free", Then: then, Mend: mend}},
		{"no inodes", 50e9, 100e9, 0, 9e6, doctor.Check{Status: missing, Found: "50GB free of 100GB at /state, 0 inodes free", Mend: mend}},
		{"unknown", 0, 0, 0, 0, doctor.Check{Status: limited, Found: "unknown at /state", Then: "nobody knows whether a build fits", Mend: mend}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			test.want.Name = "disk"
			compare(t, test.want, doctor.JudgeDisk(doctor.NewPlace(doctor.Room(test.free, test.total, test.files, test.allFiles))))
		})
	}
}

func TestJudgeState(t *testing.T) {
	const elsewhere = "choose another directory: --root DIR, or export MAB_ROOT=DIR"
	for _, test := range []struct {
		rule   string
		change func(*doctor.Place)
		want   doctor.Check
	}{
		{"one's own", nil, doctor.Check{Status: ok, Found: "/state"}},
		{"to be made", doctor.Gone("/"), doctor.Check{Status: ok, Found: "/state, not there yet"}},
		{"another user's", doctor.Unwritable(7), doctor.Check{Status: missing, Found: "/state belongs to user 8, and this is user 7: denied", Mend: elsewhere}},
		{"root owns all, and still cannot", doctor.Unwritable(0), doctor.Check{Status: missing, Found: "/state: denied", Mend: elsewhere}},
		{"noexec", doctor.Noexec, doctor.Check{
			Status: limited, Found: "/state, on a file system that is mounted noexec", Mend: elsewhere,
			Then: "a runc that mab carries cannot be used, nor can steps where layers are copies"}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			test.want.Name = "state"
			compare(t, test.want, doctor.JudgeState(doctor.NewPlace(test.change)))
		})
	}
}

func TestLookAtPlace(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		rule, root, dir string
		there, wrong    bool
	}{
		{"there", dir, dir, true, false},
		{"not there yet", filepath.Join(dir, "a/b"), dir, false, false},
		{"below a file", filepath.Join(file, "a"), filepath.Join(file, "a"), false, true},
	} {
		t.Run(test.rule, func(t *testing.T) {
			got, there, temp, err := doctor.LookAtPlace(solver.State{Root: test.root}).Directories()
			if got != test.dir || there != test.there || (err != nil) != test.wrong {
				t.Errorf("got %q, %t, %v", got, there, err)
			}
			if !test.wrong && (filepath.Dir(temp) != dir || os.Remove(temp) != nil) {
				t.Errorf("its temporary directory is %q", temp)
			}
		})
	}
}

func TestJudgeRunc(t *testing.T) {
	for _, test := range []struct {
		rule  string
		found runc.Runc
		err   error
		want  doctor.Check
	}{
		{"in PATH", runc.Runc{Path: "/bin/runc", Version: "1.1.5", Seccomp: "2.5.4"}, nil, doctor.Check{Status: ok, Found: "runc 1.1.5, seccomp 2.5.4, /bin/runc"}},
		{"another program", runc.Runc{Path: "/bin/runc", Version: "crun 1.15", Seccomp: "yes"}, nil, doctor.Check{Status: ok, Found: "crun 1.15, seccomp yes, /bin/runc"}},
		{"carried", runc.Runc{Path: "/state/.temp/runc", Version: "1.5.2", Seccomp: "2.6.0", Carried: true}, nil,
			doctor.Check{Status: ok, Found: "runc 1.5.2, seccomp 2.6.0, in this program"}},
		{"none", runc.Runc{}, hinted{"none in PATH", "install it"}, doctor.Check{Status: missing, Found: "none in PATH", Mend: "install it"}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			test.want.Name = "runc"
			compare(t, test.want, doctor.JudgeRunc(test.found, test.err))
		})
	}
}

func TestJudgeSolver(t *testing.T) {
	silent := errors.New("silent")
	for _, test := range []struct {
		rule string
		seen solver.Seen
		err  error
		want doctor.Check
	}{
		{"none", solver.Seen{}, nil, doctor.Check{Status: ok, Found: "none runs; a build starts one"}},
		{"one", solver.Seen{PID: 9, Version: "v0.33.1", Locked: true}, nil, doctor.Check{Status: ok, Found: "process 9, BuildKit v0.33.1, on /run/solver.sock"}},
		{"one that hangs", solver.Seen{PID: 9}, silent, doctor.Check{
			Status: limited, Found: "process 9 listens on /run/solver.sock, but does not answer: silent", Then: "builds wait for it", Mend: "kill -9 9 (its cache stays)"}},
		{"a socket that is closed to this user", solver.Seen{}, silent, doctor.Check{
			Status: limited, Found: "silent", Then: "builds cannot reach a solver", Mend: "see who owns it: ls -l /run/solver.sock"}},
		{"one elsewhere", solver.Seen{Locked: true}, nil, doctor.Check{
			Status: limited, Found: "one is using /state, but listens elsewhere than on /run/solver.sock",
			Then: "builds with these directories fail", Mend: "use the --runtime that it was started with, or another --root"}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			test.want.Name = "solver"
			compare(t, test.want, doctor.JudgeSolver(test.seen, test.err, solver.State{Root: "/state", Runtime: "/run"}))
		})
	}
}

func TestJudgeBuild(t *testing.T) {
	for _, test := range []struct {
		rule           string
		started, built time.Duration
		err            error
		want           doctor.Check
	}{
		{"with a solver that ran", 0, 420 * time.Millisecond, nil, doctor.Check{Status: ok, Found: "FROM scratch, COPY and RUN in 0.4 s"}},
		{"with one of its own", time.Second, 2 * time.Second, nil, doctor.Check{Status: ok, Found: "FROM scratch, COPY and RUN in 2.0 s, after the solver's start in 1.0 s"}},
		{"an error", 0, 0, hinted{"no runc", "install it"}, doctor.Check{Status: missing, Found: "no runc", Mend: "install it"}},
		{"too slow", 0, 0, context.DeadlineExceeded, doctor.Check{
			Status: missing, Found: "FROM scratch, COPY and RUN were not done within 1m30s: context deadline exceeded",
			Mend: "mend what is missing or limited above; if nothing is, see the solver's log: /state/solver.log"}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			test.want.Name = "build"
			compare(t, test.want, doctor.JudgeBuild(test.started, test.built, test.err))
		})
	}
}

func TestJudgeInside(t *testing.T) {
	const all = "user, PID and mount namespaces"
	const copies = "put the state on another file system"
	fine := map[string]doctor.Check{
		"namespaces":  {Name: "namespaces", Status: ok, Found: all + " with every user id"},
		"snapshotter": {Name: "snapshotter", Status: ok, Found: "overlayfs in /state"},
		"binfmt_misc": {Name: "binfmt_misc", Status: ok, Found: "private: the host's handlers are neither used nor changed"},
	}
	for _, test := range []struct {
		rule string
		in   doctor.InsideFacts
		// want replaces some of fine.
		want []doctor.Check
	}{
		{"root", doctor.InsideIn(sandbox.Identity, 1<<32-1, nil), nil},
		{"a user with subordinate ids", doctor.InsideIn(sandbox.Ranges, 65537, nil), []doctor.Check{
			{Name: "namespaces", Status: ok, Found: all + " with 65537 user ids"}}},
		{"a user without", doctor.InsideIn(sandbox.Single, 1, func(in *doctor.InsideFacts) { in.Short = &sandbox.Shortage{Why: "no line", Mend: "usermod"} }), []doctor.Check{
			{Name: "namespaces", Status: limited, Found: all + " with one user id: no line", Mend: "usermod",
				Then: "images with files of several owners, and steps that change owners or users, fail"}}},
		{"no user namespace", doctor.InsideIn(sandbox.Plain, 0, nil), []doctor.Check{
			{Name: "namespaces", Status: limited, Found: "PID and mount namespaces, but no user namespace",
				Then: "emulators are used only if they are registered on the host",
				Mend: "allow user namespaces: sudo sysctl -w user.max_user_namespaces=15000 (the kernel needs CONFIG_USER_NS)"},
			{Name: "binfmt_misc", Status: limited, Found: "the host's, as there is no user namespace",
				Then: "the host's handlers are used, and whoever changes them changes builds",
				Mend: "allow user namespaces: sudo sysctl -w user.max_user_namespaces=15000 (the kernel needs CONFIG_USER_NS)"}}},
		{"no private binfmt_misc", doctor.InsideIn(sandbox.Identity, 1, doctor.SharedInstance), []doctor.Check{
			{Name: "binfmt_misc", Status: limited, Found: "no private one", Mend: "modprobe",
				Then: "the host's handlers are used, and whoever changes them changes builds"}}},
		{"copies", doctor.InsideIn(sandbox.Identity, 1, func(in *doctor.InsideFacts) {
			in.Layers, in.Limit = "native", solver.Limit{Problem: "/state/.temp takes no overlayfs (EINVAL), so every layer is a full copy", Mend: copies}
		}), []doctor.Check{{Name: "snapshotter", Status: limited, Found: "native: /state takes no overlayfs (EINVAL)", Then: "every layer is a full copy", Mend: copies}}},
		{"no file systems at all", doctor.InsideIn(sandbox.Identity, 1, doctor.LayersFailure), []doctor.Check{{Name: "snapshotter", Status: missing, Found: "read-only"}}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			want := map[string]doctor.Check{}
			for name, c := range fine {
				want[name] = c
			}
			for _, c := range test.want {
				want[c.Name] = c
			}
			var got []doctor.Check
			if got = doctor.JudgeInside(test.in, doctor.NewPlace(nil)); len(got) != 3 {
				t.Fatalf("got %+v", got)
			}
			for i, name := range []string{"namespaces", "snapshotter", "binfmt_misc"} {
				compare(t, want[name], got[i])
			}
		})
	}
	t.Run("no namespaces", func(t *testing.T) {
		got := doctor.JudgeInside(doctor.InsideRefused("forbidden", "allow it"), doctor.NewPlace(nil))
		compare(t, doctor.Check{Name: "namespaces", Status: missing, Found: "forbidden", Mend: "allow it"}, got[0])
		var names []string
		for _, c := range got[1:] {
			names = append(names, c.Name)
			compare(t, doctor.Check{Name: c.Name, Status: missing, Found: "not tried, for want of namespaces", Mend: "mend the namespaces first"}, c)
		}
		want := []string{"snapshotter", "binfmt_misc", "linux/amd64", "linux/arm64", "linux/arm/v7", "linux/riscv64", "linux/ppc64le", "linux/s390x"}
		if diff := cmp.Diff(want, names); diff != "" {
			t.Errorf("want -, got +:\n%s", diff)
		}
	})
}

func TestJudgePlatforms(t *testing.T) {
	support := func(name string, s emulation.Support) emulation.Support {
		s.Platform = platforms.MustParse(name)
		return s
	}
	qemu := emulation.Support{How: emulation.Emulated, Version: "7.2.0", Instance: "private"}
	for _, test := range []struct {
		rule    string
		support emulation.Support
		want    doctor.Check
	}{
		{"native", support("linux/amd64", emulation.Support{How: emulation.Native}), doctor.Check{Name: "linux/amd64", Status: ok, Found: "native"}},
		{"emulated", support("linux/s390x", qemu), doctor.Check{Name: "linux/s390x", Status: ok, Found: "QEMU 7.2.0, private"}},
		{"by a handler with a fault", support("linux/arm64", emulation.Support{How: emulation.Emulated, Instance: "host", Problem: "lacks P", Mend: "again"}),
			doctor.Check{Name: "linux/arm64", Status: limited, Found: "QEMU, host", Then: "lacks P", Mend: "again"}},
		{"not at all", support("linux/arm64", emulation.Support{How: emulation.None, Problem: "no QEMU", Mend: "install it"}),
			doctor.Check{Name: "linux/arm64", Status: missing, Found: "no QEMU", Mend: "install it"}},
		{"what few ask for", support("linux/loong64", qemu), doctor.Check{Name: "linux/loong64", Status: ok, Found: "QEMU 7.2.0, private", Minor: true}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			got := doctor.JudgeInside(doctor.InsideIn(sandbox.Identity, 1, func(in *doctor.InsideFacts) {
				in.Survey = []emulation.Support{test.support}
			}), doctor.NewPlace(nil))
			compare(t, test.want, got[len(got)-1])
		})
	}
}

func TestCountIDs(t *testing.T) {
	for text, want := range map[string]int64{
		"         0       1000          1\n         1     100000      65536\n": 65537,
		"         0          0 4294967295\n":                                   4294967295,
		"":                                                                     0,
	} {
		if got := doctor.CountIDs(text); got != want {
			t.Errorf("%q: got %d, want %d", text, got, want)
		}
	}
}
