// SPDX-License-Identifier: Apache-2.0

package sandbox_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mab-build/mab/sandbox"
)

// roleEnv makes the test binary play one of the roles below instead of testing: a sandbox starts its own program again.
const roleEnv = "MAB_TEST_ROLE"

func TestMain(m *testing.M) {
	role := os.Getenv(roleEnv)
	if role == "" {
		os.Exit(m.Run())
	}
	if err := roles[role](); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", role, err)
		os.Exit(1)
	}
}

var roles = map[string]func() error{
	"look": look, "tell": tell, "refuse": refuse, "echo": echo, "parent": parent, "family": family, "hold": hold,
}

// view is what a process sees of itself and its namespaces.
type view struct {
	Pid             int
	Inside, OwnUser bool
	Caps, IDs       string
	Namespaces      map[string]string
	Processes       []int
	Mounted         bool
}

func see(dir string) (view, error) {
	v := view{Pid: os.Getpid(), Inside: sandbox.Inside(), OwnUser: sandbox.OwnUser(), Namespaces: map[string]string{}}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return v, err
	}
	_, caps, _ := strings.Cut(string(status), "CapEff:\t")
	v.Caps, _, _ = strings.Cut(caps, "\n")
	ids, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return v, err
	}
	v.IDs = strings.Join(strings.Fields(string(ids)), " ")
	for _, name := range []string{"user", "pid", "mnt", "net"} {
		if v.Namespaces[name], err = os.Readlink("/proc/self/ns/" + name); err != nil {
			return v, err
		}
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return v, err
	}
	for _, entry := range entries {
		if pid, err := strconv.Atoi(entry.Name()); err == nil {
			v.Processes = append(v.Processes, pid)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	v.Mounted = strings.Contains(string(mounts), " "+dir+" tmpfs ")
	return v, err
}

// look mounts a tmpfs on its argument, tells what it sees, and ends with its standard input.
func look() error {
	if err := sandbox.Enter(); err != nil {
		return err
	}
	dir := os.Args[1]
	if err := unix.Mount("test", dir, "tmpfs", 0, ""); err != nil {
		return err
	}
	if err := os.WriteFile(dir+"/inside", nil, 0o600); err != nil {
		return err
	}
	v, err := see(dir)
	if err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(v); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// tell mounts a tmpfs on its argument and tells whether it is in a sandbox, and whether that has a user namespace.
func tell() error {
	if err := sandbox.Enter(); err != nil {
		return err
	}
	if err := unix.Mount("test", os.Args[1], "tmpfs", 0, ""); err != nil {
		return err
	}
	_, err := fmt.Printf("inside %t, own user %t\n", sandbox.Inside(), sandbox.OwnUser())
	return err
}

// refuse has the kernel refuse further user namespaces, and starts a sandbox then. The limit is one of its own user namespace.
// Its mounts are shared as a host's are, so that those of the sandbox would come back to it.
func refuse() error {
	if err := sandbox.Enter(); err != nil {
		return err
	}
	if err := os.WriteFile("/proc/sys/user/max_user_namespaces", []byte("0"), 0); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_SHARED|unix.MS_REC, ""); err != nil {
		return err
	}
	cmd, err := sandbox.Start(sandbox.Config{
		Args: os.Args[1:], Env: roleOf("tell"), Stdout: os.Stdout, Stderr: os.Stderr, Detach: true,
	})
	if err != nil {
		return err
	}
	if err := cmd.Wait(); err != nil {
		return err
	}
	v, err := see(os.Args[1])
	if v.Mounted {
		fmt.Println("its mount came out")
	}
	return err
}

// echo sends back what it is sent.
func echo() error {
	if err := sandbox.Enter(); err != nil {
		return err
	}
	_, err := io.Copy(os.Stdout, os.Stdin)
	return err
}

// parent starts an echo on its descriptors 3 and 4, tells its number, and waits to be killed. With an argument, it detaches.
func parent() error {
	runtime.LockOSThread()
	in, out := os.NewFile(3, "in"), os.NewFile(4, "out")
	cmd, err := sandbox.Start(sandbox.Config{
		Env: roleOf("echo"), Stdin: in, Stdout: out, Stderr: os.Stderr, Detach: len(os.Args) > 1,
	})
	if err != nil {
		return err
	}
	if err := errors.Join(in.Close(), out.Close()); err != nil {
		return err
	}
	fmt.Println(cmd.Process.Pid)
	return unix.Pause()
}

// family is process 1 with a child and a grandchild, all of which hold descriptor 3.
func family() error {
	if err := sandbox.Enter(); err != nil {
		return err
	}
	cmd := exec.Command("/proc/self/exe", "again")
	cmd.Env, cmd.ExtraFiles = roleOf("hold"), []*os.File{os.NewFile(3, "held")}
	return cmd.Run()
}

// hold writes a line to descriptor 3 and keeps it open until it is killed. With an argument, it has a child that does, too.
func hold() error {
	held := os.NewFile(3, "held")
	if len(os.Args) > 1 {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env, cmd.ExtraFiles = roleOf("hold"), []*os.File{held}
		if err := cmd.Start(); err != nil {
			return err
		}
	}
	if _, err := fmt.Fprintln(held, "here"); err != nil {
		return err
	}
	return unix.Pause()
}

func roleOf(role string) []string { return append(os.Environ(), roleEnv+"="+role) }
