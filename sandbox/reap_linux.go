// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"bytes"
	"context"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Reap collects orphans until ctx ends: process 1 inherits every process whose parent died, and nobody else waits for it.
// A child of this program is collected by who started it; Reap only takes a zombie that two rounds, a period apart, have seen.
func Reap(ctx context.Context, period time.Duration) {
	tick := time.NewTicker(period)
	defer tick.Stop()
	seen := map[int]bool{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			seen = reapRound(seen)
		}
	}
}

func reapRound(before map[int]bool) map[int]bool {
	now := map[int]bool{}
	for _, pid := range children() {
		if !zombie(pid) {
			continue
		}
		if !before[pid] {
			now[pid] = true
			continue
		}
		_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil)
	}
	return now
}

func children() []int {
	tasks, _ := os.ReadDir("/proc/self/task")
	var out []int
	for _, task := range tasks {
		text, _ := os.ReadFile("/proc/self/task/" + task.Name() + "/children")
		for _, field := range strings.Fields(string(text)) {
			if pid, err := strconv.Atoi(field); err == nil {
				out = append(out, pid)
			}
		}
	}
	return out
}

// zombie reads the state that follows the command's name in /proc/PID/stat; the name itself may hold anything, so the last
// parenthesis counts (proc_pid_stat(5)).
func zombie(pid int) bool {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	_, state, ok := bytes.Cut(text[bytes.LastIndexByte(text, ')')+1:], []byte(" "))
	return ok && len(state) > 0 && state[0] == 'Z'
}
