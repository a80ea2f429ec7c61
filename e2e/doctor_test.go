// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// finding is a line of mab doctor.
type finding struct{ Name, Status, Found, Then, Mend string }

// findings are those of mab doctor --json, by name.
type findings map[string]finding

// doctor runs mab doctor --json, which ends with a code.
func (l *lab) doctor(code int, args ...string) findings {
	l.t.Helper()
	out := l.mab(append([]string{"doctor", "--json"}, args...)...)
	if out.code != code {
		l.t.Fatalf("exit code %d, want %d\n%s%s", out.code, code, out.stdout, out.stderr)
	}
	all := findings{}
	for _, f := range decode[[]finding](l.t, out.stdout) {
		if f.Status == "limited" && f.Then == "" || f.Status == "missing" && f.Mend == "" {
			l.t.Errorf("it says not enough: %+v", f)
		}
		all[f.Name] = f
	}
	if left, _ := filepath.Glob(filepath.Join(l.root, "*/.mab-doctor-*")); len(left) > 0 {
		l.t.Errorf("files are left: %q", left)
	}
	if left, _ := filepath.Glob(filepath.Join(l.root, ".mab-doctor-*")); len(left) > 0 {
		l.t.Errorf("files are left: %q", left)
	}
	return all
}

// wants checks a line. Found and Then hold the text, and Mend is the mend; "" is not looked at.
func (all findings) wants(t testing.TB, want finding) {
	t.Helper()
	got, ok := all[want.Name]
	if !ok {
		t.Errorf("%s is not there", want.Name)
		return
	}
	if got.Status != want.Status || !strings.Contains(got.Found, want.Found) || !strings.Contains(got.Then, want.Then) ||
		want.Mend != "" && got.Mend != want.Mend {
		t.Errorf("want %+v\n got %+v", want, got)
	}
}

// alone is a lab without the tester's credentials, agents and engines.
func (l *lab) alone() *lab {
	return l.setting("DOCKER_CONFIG="+filepath.Join(l.root, "no-config"), "SSH_AUTH_SOCK=", "DOCKER_HOST=", "XDG_RUNTIME_DIR=")
}

func TestDoctor(t *testing.T) {
	watched := newWatchedLab(t)
	l := watched.alone()
	beginning := []string{"kernel", "cgroups", "memory", "disk", "state", "runc", "namespaces", "snapshotter", "binfmt_misc", "linux/amd64"}
	ending := []string{"solver", "clock", "registry " + registry(t), "ssh agent", "git", "engine", "build"}
	t.Run("everything is there", func(t *testing.T) {
		all := l.on(t).doctor(0, registry(t))
		for _, name := range []string{"kernel", "cgroups", "state", "runc", "namespaces", "snapshotter", "clock", "ssh agent"} {
			all.wants(t, finding{Name: name, Status: "ok"})
		}
		all.wants(t, finding{Name: "build", Status: "ok", Found: "FROM scratch, COPY and RUN in "})
		all.wants(t, finding{Name: "registry " + registry(t), Status: "ok", Found: "reached, anonymous, plain HTTP"})
		all.wants(t, finding{Name: "solver", Status: "ok", Found: "none runs"})
		for _, m := range machines {
			found := "QEMU "
			if m.native() {
				found = "native"
			}
			all.wants(t, finding{Name: m.platform, Status: "ok", Found: found})
		}
		if _, ok := all["linux/mips64"]; !ok {
			t.Error("JSON has not all platforms")
		}
	})
	t.Run("the solver that runs", func(t *testing.T) {
		all := l.on(t).doctor(0)
		all.wants(t, finding{Name: "solver", Status: "ok", Found: fmt.Sprintf("process %d, BuildKit ", l.solver())})
		all.wants(t, finding{Name: "build", Status: "ok"})
	})
	t.Run("the keys stay, and the order", func(t *testing.T) {
		var names []string
		for _, line := range decode[[]map[string]string](t, l.must("doctor", "--json", registry(t))) {
			for _, key := range []string{"name", "status", "found", "then", "mend"} {
				if _, ok := line[key]; !ok || len(line) != 5 {
					t.Fatalf("keys are %v", line)
				}
			}
			names = append(names, line["name"])
		}
		if diff := cmp.Diff(beginning, names[:len(beginning)]); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(ending, names[len(names)-len(ending):]); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	t.Run("as text", func(t *testing.T) {
		out := l.mab("doctor", "localhost:1")
		if out.code != 0 || out.stderr != "" {
			t.Errorf("exit code %d:\n%s", out.code, out.stderr)
		}
		for _, line := range []string{"\nbuild                 ok       FROM scratch, COPY and RUN in ", "\nregistry localhost:1  missing  reaching ", "\n                               mend: nothing listens at localhost:1"} {
			if !strings.Contains(out.stdout, line) {
				t.Errorf("no %q in:\n%s", line, out.stdout)
			}
		}
		if strings.Contains(out.stdout, "linux/mips64") {
			t.Errorf("it has what few ask for:\n%s", out.stdout)
		}
	})
	t.Run("a solver of the same state elsewhere", func(t *testing.T) {
		elsewhere := t.TempDir()
		all := l.on(t).doctor(1, "--root", l.root, "--runtime", elsewhere)
		all.wants(t, finding{Name: "solver", Status: "limited", Found: "one is using " + l.root + ", but listens elsewhere", Then: "fail"})
		all.wants(t, finding{Name: "build", Status: "missing", Found: "another solver is using"})
	})
}

func TestDoctorRegistries(t *testing.T) {
	watched := newWatchedLab(t)
	l := watched.alone()
	guarded := newBadRegistry(t)
	guarded.spoiled(basicAuth)
	name := "registry " + guarded.host
	for _, test := range []struct {
		rule, config string
		want         finding
	}{
		{"right credentials", login(t, guarded.host, user, password), finding{Name: name, Status: "ok", Found: "logged in as " + user}},
		{"wrong ones", login(t, guarded.host, user, "wrong"), finding{
			Name: name, Status: "limited", Found: `refuses the credentials of "builder"`, Then: "fail", Mend: "docker login " + guarded.host}},
		{"a credential helper that is missing", helperless(t, guarded.host), finding{Name: name, Status: "limited", Found: "docker-credential-e2emissing"}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			all := l.on(t).setting("DOCKER_CONFIG=" + test.config).doctor(0)
			all.wants(t, test.want)
			if strings.Contains(fmt.Sprint(all), "wrong") || strings.Contains(fmt.Sprint(all), password) {
				t.Errorf("it gives the password away: %v", all[name])
			}
		})
	}
	t.Run("none of them answers", func(t *testing.T) {
		silent := newBadRegistry(t)
		silent.spoiled(func(w http.ResponseWriter, r *http.Request) bool { silent.hang(w, r); return true })
		began := time.Now()
		all := l.on(t).doctor(0, silent.host, "localhost:1", "registry.invalid")
		all.wants(t, finding{Name: "registry " + silent.host, Status: "missing", Found: "no answer within 5s"})
		all.wants(t, finding{Name: "registry localhost:1", Status: "missing", Found: "connection refused"})
		all.wants(t, finding{Name: "registry registry.invalid", Status: "missing"})
		if took := time.Since(began); took > 9*time.Second {
			t.Errorf("it took %v", took)
		}
	})
	t.Run("an interrupt ends it at once", func(t *testing.T) {
		silent := newBadRegistry(t)
		asked := make(chan struct{}, 10)
		silent.spoiled(func(w http.ResponseWriter, r *http.Request) bool { asked <- struct{}{}; silent.hang(w, r); return true })
		run := l.start("doctor", silent.host)
		<-asked
		if err := run.cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		wantInterrupted(t, run.wait())
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("it took %v", took)
		}
	})
	t.Run("a clock that is off", func(t *testing.T) {
		late := newBadRegistry(t)
		late.spoiled(func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Date", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat))
			return true
		})
		l.on(t).doctor(0, late.host).wants(t, finding{Name: "clock", Status: "limited", Found: "behind " + late.host, Then: "certificates"})
	})
}

// helperless makes a directory with a Docker configuration that names a credential helper which is not there.
func helperless(t *testing.T, host string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "config.json"), fmt.Appendf(nil, `{"credHelpers":{%q:"e2emissing"}}`, host), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestDoctorAgent(t *testing.T) {
	need(t, "ssh-agent", "ssh-keygen", "ssh-add")
	l := newLab(t).alone()
	dead := filepath.Join(l.root, "dead")
	socket, err := net.ListenUnix("unix", &net.UnixAddr{Name: dead, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	socket.SetUnlinkOnClose(false)
	if err := socket.Close(); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		socket string
		want   finding
	}{
		{dead, finding{Name: "ssh agent", Status: "limited", Found: "connection refused", Then: "have no keys", Mend: `eval "$(ssh-agent)" && ssh-add`}},
		{startAgent(t, "a key"), finding{Name: "ssh agent", Status: "ok", Found: "1 key at "}},
	} {
		l.setting("SSH_AUTH_SOCK="+test.socket).doctor(0).wants(t, test.want)
	}
}

func TestDoctorWithoutPrograms(t *testing.T) {
	need(t, "unshare", "mount")
	t.Run("runc and git", func(t *testing.T) {
		l := newWatchedLab(t).alone()
		l.program = slices.Concat([]string{"unshare", "--mount", "sh", "-ec",
			`empty=$1; shift; for dir in /usr/local/sbin /usr/sbin /sbin; do mount --bind "$empty" $dir; done; PATH=$empty exec "$@"`,
			"sh", t.TempDir()}, l.program)
		all := l.doctor(1)
		const mend = "install runc 1.1 or later (Debian: apt-get install runc), or use a released mab, which carries one"
		all.wants(t, finding{Name: "runc", Status: "missing", Found: "none in PATH", Mend: mend})
		all.wants(t, finding{Name: "build", Status: "missing", Found: "none in PATH", Mend: mend})
		all.wants(t, finding{Name: "git", Status: "limited", Then: "git repository"})
		out := l.mab("doctor")
		if want := "mab: error: a build does not work on this machine\nmab: hint: mend what is missing above, from the top\n"; out.code != 1 || out.stderr != want {
			t.Errorf("exit code %d:\n%s", out.code, out.stderr)
		}
	})
	t.Run("one emulator", func(t *testing.T) {
		l := newWatchedLab(t).alone()
		l.program = slices.Concat([]string{"unshare", "--mount", "sh", "-ec",
			`mount --bind /dev/null "$(command -v qemu-s390x-static)"; exec "$@"`, "sh"}, l.program)
		all := l.doctor(0)
		all.wants(t, finding{Name: "linux/s390x", Status: "missing", Found: "qemu-s390x-static cannot serve", Mend: "mab emulation install s390x, or for one build: --emulation-image default, or: apt-get install qemu-user-static"})
		all.wants(t, finding{Name: "linux/ppc64le", Status: "ok", Found: "QEMU "})
	})
}

func TestDoctorPlainUser(t *testing.T) {
	host := lookAround()
	for _, test := range []struct {
		rule, subordinate string
		want              finding
	}{
		{"with subordinate ids", enoughIDs, finding{Name: "namespaces", Status: "ok", Found: "with 65537 user ids"}},
		{"without", "somebody:300000:65536\n", finding{
			Name: "namespaces", Status: "limited", Found: "/etc/subuid has no line for tester", Then: "files of several owners",
			Mend: "sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 tester"}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			l := newUserLab(t, test.subordinate).alone()
			all := l.doctor(0)
			all.wants(t, test.want)
			all.wants(t, finding{Name: foreignPlatform(), Status: "ok", Found: "QEMU "})
			all.wants(t, finding{Name: "snapshotter", Status: "ok", Found: "overlayfs"})
			all.wants(t, finding{Name: "build", Status: "ok"})
			l.must("serve", "--stop")
			within(t, vanish, "processes, mounts, handlers or control groups are left", func() string {
				return strings.Join(l.traces(), "\n") + cmp.Diff(host, lookAround())
			})
		})
	}
	t.Run("a state that belongs to somebody else", func(t *testing.T) {
		l := newUserLab(t, enoughIDs)
		if err := os.Mkdir(filepath.Join(l.root, "state"), 0o700); err != nil {
			t.Fatal(err)
		}
		all := l.alone().setting("MAB_ROOT=" + filepath.Join(l.root, "state")).doctor(1)
		all.wants(t, finding{Name: "state", Status: "missing", Found: fmt.Sprintf("belongs to user 0, and this is user %d", userID)})
		all.wants(t, finding{Name: "namespaces", Status: "ok"})
		all.wants(t, finding{Name: "build", Status: "missing", Found: "permission denied"})
	})
	t.Run("without overlayfs", func(t *testing.T) {
		l := newUserLab(t, enoughIDs,
			`cd $1 && mkdir -p state o/l o/u o/w && chown 64242:64242 o/u && mount -t overlay overlay -o lowerdir=o/l,upperdir=o/u,workdir=o/w state && cd - > /dev/null`)
		l.env = append(l.env, "PATH=/usr/sbin:"+l.withoutFuse(), "MAB_ROOT="+filepath.Join(l.root, "state"))
		all := l.alone().doctor(0)
		all.wants(t, finding{Name: "snapshotter", Status: "limited", Found: "native: " + filepath.Join(l.root, "state") + " takes no overlayfs", Then: "every layer is a full copy"})
		all.wants(t, finding{Name: "build", Status: "ok"})
	})
	t.Run("without user namespaces", func(t *testing.T) {
		l := newUserLab(t, enoughIDs, `[ "$(cat /proc/self/uid_map | wc -l)" = 2 ] && echo 0 > /proc/sys/user/max_user_namespaces`)
		ids := []syscall.SysProcIDMap{{Size: 1}, {ContainerID: 1, HostID: 1, Size: 100000}}
		l.attr = syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids, GidMappingsEnableSetgroups: true}
		all := l.alone().doctor(1)
		const mend = "sudo sysctl -w user.max_user_namespaces=15000"
		for _, name := range []string{"namespaces", "build"} {
			all.wants(t, finding{Name: name, Status: "missing", Found: "user.max_user_namespaces is 0", Mend: mend})
		}
		all.wants(t, finding{Name: foreignPlatform(), Status: "missing", Found: "for want of namespaces"})
	})
}
