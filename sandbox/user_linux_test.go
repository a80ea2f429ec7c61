// SPDX-License-Identifier: Apache-2.0

package sandbox_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/mab-build/mab/sandbox"
)

func TestSubordinateIDs(t *testing.T) {
	for _, test := range []struct{ rule, file, want, why string }{
		{"by name", "ann:100000:65536\nbob:200000:65536\n", "0 1001 1 1 200000 65536", ""},
		{"by number", "1001:300000:65536\n", "0 1001 1 1 300000 65536", ""},
		{"several ranges follow each other, the lowest first", "bob:900000:60000\nbob:200000:40000\n", "0 1001 1 1 200000 40000 40001 900000 60000", ""},
		{"by name and by number, the same", "bob:200000:65536\n1001:200000:65536\n", "0 1001 1 1 200000 65536", ""},
		{"an empty range is none", "bob:100000:0\n", "", "has no line for bob"},
		{"another user's are none", "ann:100000:65536\n", "", "has no line for bob"},
		{"too few for nobody", "bob:100000:1000\n", "", "gives bob 1000 ids, of which images use 65535"},
		{"exactly enough", "bob:100000:65535\n", "0 1001 1 1 100000 65535", ""},
	} {
		t.Run(test.rule, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "subuid")
			if err := os.WriteFile(path, []byte(test.file), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := sandbox.MapArgs(path, "bob", 1001)
			checkShortage(t, err, test.why)
			if diff := cmp.Diff(test.want, strings.Join(got, " ")); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
		})
	}
	t.Run("no file", func(t *testing.T) {
		_, err := sandbox.MapArgs(filepath.Join(t.TempDir(), "subuid"), "bob", 1001)
		checkShortage(t, err, "does not exist")
	})
}

func checkShortage(t *testing.T, err error, why string) {
	t.Helper()
	var short *sandbox.Shortage
	if errors.As(err, &short) != (why != "") {
		t.Fatalf("got error %v, want %q", err, why)
	}
	if short == nil {
		return
	}
	if !strings.HasSuffix(short.Why, why) {
		t.Errorf("got %q, want it to end in %q", short.Why, why)
	}
	if !strings.Contains(short.Mend, "usermod --add-subuids") || !strings.HasSuffix(short.Mend, " bob") {
		t.Errorf("mend: %q", short.Mend)
	}
}

func TestRefusedIsExplained(t *testing.T) {
	const program = "/opt/mab"
	for _, test := range []struct {
		rule       string
		err        error
		container  string
		switches   [3]string // max_user_namespaces, unprivileged_userns_clone, apparmor_restrict_unprivileged_userns
		says, mend string
	}{
		{"used up", unix.ENOSPC, "", [3]string{"12", "", ""}, "user.max_user_namespaces is 12", "sudo sysctl -w user.max_user_namespaces=15000"},
		{"off by the limit, whatever the kernel answers", unix.EPERM, "docker", [3]string{"0", "0", "1"}, "user.max_user_namespaces is 0", "sysctl -w user.max"},
		{"off on Debian and Arch", unix.EPERM, "", [3]string{"1000", "0", ""}, "to root alone (kernel.unprivileged_userns_clone is 0)", "sudo sysctl -w kernel.unprivileged_userns_clone=1"},
		{"on Ubuntu since 23.10", unix.EACCES, "", [3]string{"1000", "1", "1"}, "AppArmor", "profile mab /opt/mab flags=(unconfined)"},
		{"a container of Docker", unix.EPERM, "docker", [3]string{"1000", "", "1"}, "this container (docker)", "systempaths=unconfined"},
		{"a container of podman", unix.EPERM, "podman", [3]string{"1000", "", ""}, "this container (podman)", "--security-opt unmask=ALL"},
		{"a pod", unix.EPERM, "kubernetes", [3]string{"1000", "", ""}, "this container (kubernetes)", "procMount: Unmasked"},
		{"another container", unix.EPERM, "other", [3]string{"1000", "", ""}, "this container (other)", "/proc unmasked"},
		{"a kernel without", unix.EINVAL, "", [3]string{}, "CONFIG_USER_NS", "as root"},
		{"a kernel without id maps", sandbox.ErrNoMap, "", [3]string{}, "CONFIG_USER_NS", "as root"},
		{"none of these", unix.EPERM, "", [3]string{"1000", "1", "0"}, "the system refuses namespaces", "run mab as root"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			s := test.switches
			err := fmt.Errorf("cloning: %w", test.err)
			got := sandbox.Explain(err, sandbox.Scene(program, test.container, s[0], s[1], s[2]))
			if !errors.Is(got, test.err) || !strings.Contains(got.Error(), test.says) || !strings.Contains(got.Hint(), test.mend) {
				t.Errorf("got %q with hint %q, want %q and %q", got, got.Hint(), test.says, test.mend)
			}
		})
	}
}

func TestContainerIsKnownByItsMarks(t *testing.T) {
	for _, test := range []struct{ rule, env, file, want string }{
		{"none", "", "", ""},
		{"Docker", "", "/.dockerenv", "docker"},
		{"podman", "", "/run/.containerenv", "podman"},
		{"Kubernetes", "KUBERNETES_SERVICE_HOST", "/.dockerenv", "kubernetes"},
		{"others, by systemd's convention", "container", "", "other"},
	} {
		t.Run(test.rule, func(t *testing.T) {
			env := func(name string) string {
				if name == test.env {
					return "1"
				}
				return ""
			}
			got := sandbox.Container(env, func(path string) bool { return path == test.file })
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
