// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// userID is a user that the machine does not have. The tests' own account files name it "tester".
const userID = 64242

// userLab is a lab whose commands a plain user runs, in a mount namespace with account files of the test's own.
type userLab struct {
	*lab
	home string
}

// newUserLab gives the user the lines of /etc/subuid and /etc/subgid. The commands in before are run by root first, with the lab's
// directory as $1.
func newUserLab(t *testing.T, subordinate string, before ...string) *userLab {
	t.Helper()
	need(t, "unshare", "setpriv", "newuidmap")
	l := newLab(t)
	home := filepath.Join(l.root, "home")
	etc := filepath.Join(l.root, "etc")
	program := filepath.Join(l.root, "mab")
	for _, dir := range []string{home, etc} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	account := fmt.Sprintf("root:x:0:0::/root:/bin/sh\ntester:x:%d:%[1]d::%s:/bin/sh\n", userID, home)
	err := errors.Join(
		os.Chmod(l.root, 0o755), os.Chown(l.root, userID, userID), os.Chown(home, userID, userID),
		os.WriteFile(filepath.Join(etc, "passwd"), []byte(account), 0o644),
		os.WriteFile(filepath.Join(etc, "subid"), []byte(subordinate), 0o644),
	)
	if err != nil {
		t.Fatal(err)
	}
	copyFile(t, mabBinary, program)
	bind := `for pair in passwd:passwd subid:subuid subid:subgid; do mount --bind $1/etc/${pair%:*} /etc/${pair#*:}; done`
	script := strings.Join(slices.Concat([]string{"set -e", bind}, before, []string{
		"shift", fmt.Sprintf(`exec setpriv --reuid %d --regid %[1]d --clear-groups "$@"`, userID),
	}), "\n")
	l.program = []string{"unshare", "--mount", "sh", "-c", script, "sh", l.root, program}
	l.env = append(l.env, "HOME="+home, "USER=tester", "TMPDIR="+home)
	l.dir = home
	return &userLab{l, home}
}

// context is a context that the user may read.
func (l *userLab) context(files map[string]string) string {
	l.t.Helper()
	dir, err := os.MkdirTemp(l.home, "context-")
	if err != nil {
		l.t.Fatal(err)
	}
	err = os.Chmod(dir, 0o755)
	for name, content := range files {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644))
	}
	if err != nil {
		l.t.Fatal(err)
	}
	return dir
}

const enoughIDs = "tester:300000:65536\n"

func TestPlainUser(t *testing.T) {
	host := lookAround()
	l := newUserLab(t, enoughIDs)
	both := hostPlatform() + "," + foreignPlatform()
	app := registry(t) + "/user/app:1"
	ref := l.must("build", "--platform", both, "-t", app, "--push", l.context(map[string]string{"Dockerfile": `FROM ` + registry(t) + `/busybox
RUN uname -m > /machine && echo x > /theirs && chown 33:34 /theirs && cp /bin/busybox /setuid && chown 1000 /setuid && chmod 4755 /setuid
COPY --chown=65534:7 Dockerfile /copied
USER 1000:1000
RUN id -u > /tmp/id
`}))
	index := pull(t, ref)
	for _, p := range strings.Split(both, ",") {
		t.Run(p, func(t *testing.T) {
			files := rootfsOf(t, imageOf(t, index, p))
			want := map[string]string{"machine": "0:0", "theirs": "33:34", "setuid": "1000:0", "copied": "65534:7", "tmp/id": "1000:1000"}
			got := map[string]string{}
			for name := range want {
				files.text(t, name)
				got[name] = fmt.Sprintf("%d:%d", files[name].Uid, files[name].Gid)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("owners (-want +got):\n%s", diff)
			}
			if mode := files["setuid"].Mode; mode != 0o4755 {
				t.Errorf("a setuid file has mode %o", mode)
			}
			if diff := cmp.Diff(machineOf(t, p).uname, files.text(t, "machine")); diff != "" {
				t.Errorf("machine (-want +got):\n%s", diff)
			}
		})
	}
	t.Run("the solver is the user's", func(t *testing.T) {
		var stat unix.Stat_t
		if err := unix.Stat("/proc/"+strconv.Itoa(l.solver())+"/root", &stat); err != nil {
			t.Fatal(err)
		}
		status := read(t, "/proc/"+strconv.Itoa(l.solver())+"/status")
		if want := fmt.Sprintf("\nUid:\t%d\t%[1]d\t%[1]d\t%[1]d\n", userID); !strings.Contains(status, want) {
			t.Errorf("its ids are others:\n%s", status)
		}
	})
	t.Run("emulators are private", func(t *testing.T) {
		var list []struct{ Platform, How, Instance string }
		if err := json.Unmarshal([]byte(l.must("emulation", "ls", "--json")), &list); err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			if e.Platform == foreignPlatform() && (e.How != "emulated" || e.Instance != "private") {
				t.Errorf("got %+v", e)
			}
		}
		if diff := cmp.Diff(host.Handlers, lookAround().Handlers); diff != "" {
			t.Errorf("handlers of the host (-before +now):\n%s", diff)
		}
	})
	t.Run("a killed solver leaves nothing", func(t *testing.T) {
		l := l.on(t)
		build := l.start("build", "--platform", both, l.context(map[string]string{
			"Dockerfile": "FROM " + registry(t) + "/busybox\nRUN " + forever + "\n",
		}))
		eventually(t, 30*time.Second, "both platforms run", func() bool { return len(l.containers(forever)) >= 2 })
		f := l.family()
		kill(t, l.solver(), syscall.SIGKILL)
		wantLost(t, build.within(vanish))
		l.gone(f)
	})
	t.Run("nothing is limited", func(t *testing.T) {
		out := l.mab("build", l.context(map[string]string{"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"}))
		if out.code != 0 || strings.Contains(out.stderr, "limited") {
			t.Errorf("exit code %d:\n%s", out.code, out.stderr)
		}
	})
}

func TestPlainUserWithoutSubordinateIDs(t *testing.T) {
	l := newUserLab(t, "somebody:300000:65536\n")
	base := registry(t) + "/busybox"
	both := hostPlatform() + "," + foreignPlatform()
	t.Run("images of one owner", func(t *testing.T) {
		l := l.on(t)
		out := l.mab("build", "--platform", both, "-o", "out", l.context(map[string]string{
			"Dockerfile": "FROM " + base + "\nRUN uname -m > /machine\n",
		}))
		if out.code != 0 {
			t.Fatalf("exit code %d:\n%s", out.code, out.stderr)
		}
		for _, text := range []string{"one user id only", "/etc/subuid has no line for tester", "sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 tester"} {
			if !strings.Contains(out.stderr, text) {
				t.Errorf("%q is not said:\n%s", text, out.stderr)
			}
		}
		for _, p := range strings.Split(both, ",") {
			if got := read(t, filepath.Join(l.home, "out", strings.ReplaceAll(p, "/", "_"), "machine")); strings.TrimSpace(got) != machineOf(t, p).uname {
				t.Errorf("%s was built on %s", p, got)
			}
		}
	})
	t.Run("an image of several owners is refused with the mend", func(t *testing.T) {
		rich := newLab(t)
		image := registry(t) + "/user/owners:1"
		rich.must("build", "-t", image, "--push", rich.context(map[string]string{"Dockerfile": "FROM " + base + "\nCOPY --chown=7:42 Dockerfile /\n"}))
		l := l.on(t)
		out := l.mab("build", l.context(map[string]string{"Dockerfile": "FROM " + image + "\nRUN true\n"}))
		if out.code != 1 || !strings.Contains(out.stderr, "mab: hint: this user has too few subordinate ids for the image: sudo usermod") {
			t.Errorf("exit code %d:\n%s", out.code, out.stderr)
		}
	})
	t.Run("ids that come later are used, and nothing of before is mixed up", func(t *testing.T) {
		l := l.on(t)
		l.must("serve", "--stop")
		if err := os.WriteFile(filepath.Join(l.root, "etc/subid"), []byte(enoughIDs), 0o600); err != nil {
			t.Fatal(err)
		}
		out := l.mab("build", "--progress", "plain", l.context(map[string]string{"Dockerfile": "FROM " + base + "\nRUN uname -m > /machine\nRUN chown 9:9 /machine\n"}))
		if out.code != 0 || strings.Contains(out.stderr, "limited") {
			t.Errorf("exit code %d:\n%s", out.code, out.stderr)
		}
	})
}

// on is the lab for a subtest.
func (l *userLab) on(t *testing.T) *userLab {
	sub := l.lab.on(t)
	sub.dir = l.home
	return &userLab{sub, l.home}
}

func TestPlainUserWithoutOverlay(t *testing.T) {
	// The kernel takes no overlayfs as the upper directory of another, as in most containers.
	const over = `cd $1 && mkdir -p state o/l o/u o/w && chown 64242:64242 o/u && mount -t overlay overlay -o lowerdir=o/l,upperdir=o/u,workdir=o/w state && cd -`
	for _, test := range []struct{ rule, before, snapshotter, says string }{
		{"plain copies", "", "native", "every layer is a full copy"},
		{"fuse-overlayfs", `[ -e $1/fuse ] || { mknod $1/fuse c 10 229 && chmod 666 $1/fuse; }; mount --bind $1/fuse /dev/fuse`, "fuse-overlayfs", "so fuse-overlayfs does it"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			need(t, "fuse-overlayfs", "mount.fuse3")
			l := newUserLab(t, enoughIDs, over, test.before)
			l.env = append(l.env, "MAB_ROOT="+filepath.Join(l.root, "state"))
			if test.before == "" {
				l.env = append(l.env, "PATH=/usr/sbin:"+l.withoutFuse())
			}
			out := l.mab("build", "--platform", hostPlatform()+","+foreignPlatform(), "-o", "out", l.context(map[string]string{
				"Dockerfile": "FROM " + registry(t) + "/busybox\nRUN echo a > /a\nRUN cat /a && echo b >> /a && chown 9:9 /a && rm /bin/sh\n",
			}))
			if out.code != 0 || !strings.Contains(out.stderr, test.says) || !strings.Contains(out.stderr, "mend: put the state on another file system") {
				t.Fatalf("exit code %d:\n%s", out.code, out.stderr)
			}
			for _, p := range []string{hostPlatform(), foreignPlatform()} {
				dir := filepath.Join(l.home, "out", strings.ReplaceAll(p, "/", "_"))
				if diff := cmp.Diff("a\nb\n", read(t, dir+"/a")); diff != "" {
					t.Errorf("%s (-want +got):\n%s", p, diff)
				}
				if _, err := os.Lstat(dir + "/bin/sh"); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("%s: a removed file: %v", p, err)
				}
			}
			if found, _ := filepath.Glob(filepath.Join(l.root, "o/u/runc-"+test.snapshotter+"-*")); len(found) != 1 {
				t.Errorf("layers are in %q", found)
			}
		})
	}
}

// withoutFuse is a directory with links to what the solver needs but for fuse-overlayfs.
func (l *userLab) withoutFuse() string {
	l.t.Helper()
	dir := filepath.Join(l.root, "path")
	all, err := filepath.Glob("/usr/bin/*")
	err = errors.Join(err, os.Mkdir(dir, 0o755))
	for _, path := range all {
		if filepath.Base(path) != "fuse-overlayfs" {
			err = errors.Join(err, os.Symlink(path, filepath.Join(dir, filepath.Base(path))))
		}
	}
	if err != nil {
		l.t.Fatal(err)
	}
	return dir
}

func TestUserNamespacesSwitchedOff(t *testing.T) {
	// The limit is one of the user namespace that it is set in, which must not be the machine's.
	l := newUserLab(t, enoughIDs, `[ "$(cat /proc/self/uid_map | wc -l)" = 2 ] && echo 0 > /proc/sys/user/max_user_namespaces`)
	ids := []syscall.SysProcIDMap{{Size: 1}, {ContainerID: 1, HostID: 1, Size: 100000}}
	l.attr = syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids, GidMappingsEnableSetgroups: true,
	}
	out := l.mab("build", l.context(map[string]string{"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"}))
	want := `mab: error: starting the solver: starting in namespaces: the system allows no more user namespaces (user.max_user_namespaces is 0): `
	if out.code != 1 || !strings.HasPrefix(out.stderr, want) || !strings.HasSuffix(out.stderr, "\nmab: hint: sudo sysctl -w user.max_user_namespaces=15000\n") {
		t.Errorf("exit code %d:\n%s", out.code, out.stderr)
	}
}

func TestNoNewPrivileges(t *testing.T) {
	l := newUserLab(t, enoughIDs)
	script := &l.program[4]
	*script = strings.Replace(*script, "setpriv ", "setpriv --no-new-privs ", 1)
	out := l.mab("build", l.context(map[string]string{"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"}))
	if out.code != 0 || !strings.Contains(out.stderr, "one user id only") || !strings.Contains(out.stderr, "(no_new_privs)") {
		t.Errorf("exit code %d:\n%s", out.code, out.stderr)
	}
}

func TestPlainUserAndOthers(t *testing.T) {
	l := newUserLab(t, enoughIDs)
	dir := l.context(map[string]string{"Dockerfile": "FROM " + registry(t) + "/busybox\nRUN --mount=type=secret,id=s echo made > /made && chown 9:9 /made\n"})
	t.Run("a build needs no home", func(t *testing.T) {
		l := l.on(t)
		l.env = slices.DeleteFunc(slices.Clone(l.env), func(v string) bool { return strings.HasPrefix(v, "HOME=") })
		l.must("build", dir)
	})
	t.Run("what is pruned is gone from the disk", func(t *testing.T) {
		l := l.on(t)
		l.must("build", dir)
		l.must("cache", "prune", "--all", "--force")
		eventually(t, 10*time.Second, "the layers are gone", func() bool {
			left, _ := filepath.Glob(filepath.Join(l.root, "runc-*/snapshots/snapshots/*"))
			return len(left) == 0
		})
	})
	t.Run("root is kept out", func(t *testing.T) {
		l := l.on(t)
		root := l.lab.on(t)
		root.program = []string{mabBinary}
		out := root.mab("build", dir)
		if out.code != 1 || !strings.Contains(out.stderr, fmt.Sprintf("user %d listens on ", userID)) {
			t.Errorf("exit code %d:\n%s", out.code, out.stderr)
		}
		l.must("serve", "--stop")
		out = root.mab("build", dir)
		if out.code != 1 || !strings.Contains(out.stderr, "belongs to another user") || !strings.Contains(out.stderr, "mab: hint: run mab as the user whom") {
			t.Errorf("exit code %d:\n%s", out.code, out.stderr)
		}
		l.must("build", dir)
	})
	t.Run("a solver that hangs is named, and can be ended", func(t *testing.T) {
		l := l.on(t)
		l.must("build", dir)
		pid := l.solver()
		kill(t, pid, syscall.SIGSTOP)
		out := l.mab("build", dir)
		if out.code != 1 || !strings.Contains(out.stderr, fmt.Sprintf("process %d listens on ", pid)) || !strings.Contains(out.stderr, "mab: hint: it is stopped or hangs") {
			t.Errorf("exit code %d:\n%s", out.code, out.stderr)
		}
		l.must("serve", "--stop")
		l.must("build", dir)
	})
	t.Run("a crash of the machine, and other ids after it", func(t *testing.T) {
		l := l.on(t)
		l.must("serve", "--stop")
		if err := os.WriteFile(filepath.Join(l.root, "unsettled"), []byte("another boot\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		err := errors.Join(os.Chown(filepath.Join(l.root, "unsettled"), userID, userID), os.WriteFile(filepath.Join(l.root, "etc/subid"), nil, 0o600))
		if err != nil {
			t.Fatal(err)
		}
		l.must("build", l.context(map[string]string{"Dockerfile": "FROM " + registry(t) + "/busybox\nRUN echo made > /made\n"}))
	})
}
