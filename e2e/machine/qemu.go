// SPDX-License-Identifier: Apache-2.0

//go:build linux

package machine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sync/errgroup"
)

// qemu is a running QEMU.
type qemu struct {
	cmd     *exec.Cmd
	console *console
	// ended is closed when the process is gone, and exit is how it ended.
	ended chan struct{}
	exit  error
	group errgroup.Group
}

// commandLine is the kernel's. From nokaslr on it saves a third of the time of booting and building, for nothing that a test sees.
const commandLine = "rootwait rw init=/etc/boot console=ttyAMA0 quiet panic=-1 " +
	"nokaslr mitigations=off init_on_alloc=0 rcupdate.rcu_expedited=1"

// arguments are those of QEMU. Its descriptors: 0 and 1 are its monitor, 2 is the console and its own messages, 3 the seed.
func arguments(image Image, cfg StartConfig) []string {
	return []string{
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-M", "virt,gic-version=3", "-cpu", cfg.CPU, "-smp", strconv.Itoa(cfg.CPUs), "-m", strconv.Itoa(cfg.Memory),
		"-accel", "tcg,thread=multi,tb-size=512",
		"-kernel", image.Kernel, "-append", fmt.Sprintf("root=PARTUUID=%08x-01 %s", diskSignature, commandLine),
		// What the machine writes goes to a file that QEMU makes and unlinks.
		"-drive", "if=none,id=root,format=raw,cache=unsafe,snapshot=on,file=" + strings.ReplaceAll(image.Root, ",", ",,"),
		"-device", "nvme,drive=root,serial=root",
		"-drive", "if=none,id=seed,format=raw,readonly=on,file=/dev/fd/3", "-device", "nvme,drive=seed,serial=seed",
		"-netdev", "user,id=net,hostfwd=tcp:127.0.0.1:0-:22",
		"-device", "virtio-net-pci,netdev=net,romfile=",
		"-chardev", "stdio,id=monitor,signal=off", "-mon", "chardev=monitor,mode=control",
		"-chardev", "file,id=console,path=/dev/stderr", "-serial", "chardev:console",
	}
}

// startQEMU starts QEMU and returns it with the port of this machine that leads to its sshd. The caller kills it.
func startQEMU(ctx context.Context, args []string, seed *os.File) (*qemu, int, error) {
	//nolint:noctx // it outlives ctx
	q := &qemu{cmd: exec.Command("qemu-system-aarch64", args...), console: newConsole("Server listening on"), ended: make(chan struct{})}
	q.cmd.ExtraFiles = []*os.File{seed}
	q.cmd.Stderr = q.console
	q.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdin, err := q.cmd.StdinPipe()
	if err != nil {
		return nil, 0, err
	}
	stdout, err := q.cmd.StdoutPipe()
	if err != nil {
		return nil, 0, err
	}
	started := make(chan error, 1)
	q.group.Go(func() error {
		// The signal comes when the thread that started the process ends, not when the program does (prctl(2)).
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := q.cmd.Start()
		started <- err
		if err == nil {
			q.exit = q.cmd.Wait()
		}
		close(q.ended)
		return nil
	})
	if err := <-started; err != nil {
		return nil, 0, err
	}
	// A QEMU that does not answer is killed, which ends the reading.
	stop := context.AfterFunc(ctx, q.kill)
	port, err := forwardedPort(stdin, stdout)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		q.kill()
		_ = q.group.Wait() // Its function returns no error.
		return nil, 0, fmt.Errorf("asking QEMU for its port: %w: %s", err, q.console)
	}
	return q, port, nil
}

// kill ends QEMU at once; wait for ended.
func (q *qemu) kill() { _ = q.cmd.Process.Kill() } // It fails only if the process has ended.

// close kills QEMU and returns when it is gone.
func (q *qemu) close() {
	q.kill()
	_ = q.group.Wait() // Its function returns no error.
}

// forwardedPort asks QEMU's monitor for the port that it forwards, in the protocol of
// https://www.qemu.org/docs/master/interop/qmp-spec.html.
func forwardedPort(stdin io.Writer, stdout io.Reader) (int, error) {
	const question = `{"execute": "qmp_capabilities"}
{"execute": "human-monitor-command", "arguments": {"command-line": "info usernet"}}
`
	if _, err := io.WriteString(stdin, question); err != nil {
		return 0, err
	}
	for decoder := json.NewDecoder(stdout); ; {
		var answer struct {
			Return any
			Error  *struct{ Desc string }
		}
		if err := decoder.Decode(&answer); err != nil {
			return 0, err
		}
		if answer.Error != nil {
			return 0, errors.New(answer.Error.Desc)
		}
		if text, ok := answer.Return.(string); ok {
			return portIn(text)
		}
	}
}

// portIn reads the answer to "info usernet": a table in which a forwarded port is
// "TCP[HOST_FORWARD]  12  127.0.0.1 38073  10.0.2.15  22  0  0".
func portIn(table string) (int, error) {
	for line := range strings.Lines(table) {
		if fields := strings.Fields(line); len(fields) > 3 && fields[0] == "TCP[HOST_FORWARD]" {
			return strconv.Atoi(fields[3])
		}
	}
	return 0, fmt.Errorf("no forwarded port in %q", table)
}
