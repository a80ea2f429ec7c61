// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"bufio"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// crashedPeriod is how often steps are looked at while builds are under way.
const crashedPeriod = 2 * time.Second

// endCrashed kills, until ctx ends, the steps whose first process has crashed under QEMU and cannot die. QEMU takes a program's crash for its
// own: it blocks all other signals, sends itself that one and waits for it (die_with_signal in linux-user/signal.c). But the kernel keeps
// from the first process of a PID namespace what it sends itself and has no handler for (pid_namespaces(7)), and a step's is one.
func endCrashed(ctx context.Context, builds func() int64, log *slog.Logger) {
	tick := time.NewTicker(crashedPeriod)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if builds() == 0 {
			continue
		}
		for _, pid := range crashed() {
			log.Warn("a program crashed under QEMU and cannot die by itself, killing it", "pid", pid)
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	}
}

// crashed are such processes, by any of their threads.
func crashed() (out []int) {
	all, _ := filepath.Glob("/proc/[0-9]*/status")
	for _, path := range all {
		dir := filepath.Dir(path)
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || !firstOfStep(readStatus(path)) {
			continue
		}
		threads, _ := filepath.Glob(dir + "/task/*/status")
		for _, thread := range threads {
			if waitsForDeath(readStatus(thread)) {
				out = append(out, pid)
				break
			}
		}
	}
	return out
}

func readStatus(path string) map[string]string {
	text, _ := os.ReadFile(path)
	return parseStatus(string(text))
}

// parseStatus reads proc_pid_status(5).
func parseStatus(text string) map[string]string {
	out := map[string]string{}
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		if name, value, ok := strings.Cut(lines.Text(), ":"); ok {
			out[name] = strings.TrimSpace(value)
		}
	}
	return out
}

// firstOfStep reports whether a process is the first of a PID namespace below this one.
func firstOfStep(status map[string]string) bool {
	ids := strings.Fields(status["NSpid"])
	return len(ids) > 1 && ids[len(ids)-1] == "1"
}

// waitsForDeath reports whether a thread takes no signal but one by which programs crash, and has nothing that handles it.
func waitsForDeath(status map[string]string) bool {
	blocked, err := strconv.ParseUint(status["SigBlk"], 16, 64)
	if err != nil {
		return false
	}
	caught, err := strconv.ParseUint(status["SigCgt"], 16, 64)
	if err != nil {
		return false
	}
	ignored, err := strconv.ParseUint(status["SigIgn"], 16, 64)
	if err != nil {
		return false
	}
	// Nobody can block the first two, and the C libraries keep the others, up to three, for themselves.
	open := ^blocked &^ (signalBit(unix.SIGKILL) | signalBit(unix.SIGSTOP) | signalBit(32) | signalBit(33) | signalBit(34))
	for _, s := range []unix.Signal{unix.SIGILL, unix.SIGTRAP, unix.SIGABRT, unix.SIGBUS, unix.SIGFPE, unix.SIGSEGV, unix.SIGSYS} {
		if open == signalBit(s) {
			return caught&open == 0 && ignored&open == 0
		}
	}
	return false
}

func signalBit(s unix.Signal) uint64 { return 1 << (uint(s) - 1) }
