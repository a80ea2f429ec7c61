// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"bufio"
	"bytes"
	"io"
	"io/fs"
	"math"
	"path"
	"runtime"
	"strconv"
	"strings"

	"github.com/moby/buildkit/util/disk"
)

// machineReader tells what this process runs on. What cannot be read is left zero.
type machineReader struct {
	// files is the root of the file system, with /proc and /sys.
	files fs.FS
	// state is a directory of the file system whose size counts.
	state string
	// fixed is what does not change.
	fixed Machine
}

func newMachineReader(files fs.FS, state string) *machineReader {
	return &machineReader{files: files, state: state, fixed: fixedMachine(files)}
}

// fixedMachine reads what does not change while the machine runs.
func fixedMachine(files fs.FS) Machine {
	kernel, _ := fs.ReadFile(files, "proc/sys/kernel/osrelease") // Without /proc there is nothing to tell.
	out := Machine{Kernel: strings.TrimSpace(string(kernel))}
	if cpus, err := files.Open("proc/cpuinfo"); err == nil {
		out.Model = cpuModel(io.LimitReader(cpus, enoughCPUs))
		_ = cpus.Close() // Only read.
	}
	return out
}

// enoughCPUs is what is read of /proc/cpuinfo, in bytes: all kinds of core of an ARM, but not all of 256 alike, of which each costs the kernel time.
const enoughCPUs = 16 << 10

// read looks anew at what changes.
func (r *machineReader) read() Machine {
	out := r.fixed
	// Go's default heeds the affinity and the quota of the control group.
	out.CPUs = runtime.GOMAXPROCS(0)
	out.Memory, out.Available = meminfo(r.file("proc/meminfo"))
	for _, group := range memoryGroups(r.file("proc/self/cgroup")) {
		out.Memory, out.Available = group.within(r.file, out.Memory, out.Available)
	}
	if space, err := disk.GetDiskStat(r.state); err == nil {
		out.Disk, out.Free = space.Total, space.Available
	}
	out.Load = loadavg(r.file("proc/loadavg"))
	return out
}

// file returns nothing for what cannot be read.
func (r *machineReader) file(name string) []byte {
	content, err := fs.ReadFile(r.files, name)
	if err != nil {
		return nil
	}
	return content
}

// meminfo reads /proc/meminfo (proc_meminfo(5)): all memory and what programs could get of it, in bytes.
func meminfo(text []byte) (total, available int64) {
	for line := range bytes.Lines(text) {
		fields := strings.Fields(string(line))
		if len(fields) < 2 {
			continue
		}
		kib, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil {
			continue
		}
		switch fields[0] {
		case "MemTotal:":
			total = kib << 10
		case "MemAvailable:":
			available = kib << 10
		}
	}
	return total, available
}

// loadavg reads the first number of /proc/loadavg.
func loadavg(text []byte) float64 {
	first, _, _ := strings.Cut(string(text), " ")
	load, err := strconv.ParseFloat(first, 64)
	if err != nil || math.IsNaN(load) || math.IsInf(load, 0) {
		return 0
	}
	return load
}

// memoryGroup is a control group and the names of its files: those of cgroups(7)'s version 1 or 2.
type memoryGroup struct{ dir, limit, usage, cache string }

// memoryGroups reads /proc/self/cgroup: the process's group and all above it, each of which may have a limit of its own.
func memoryGroups(text []byte) []memoryGroup {
	var out []memoryGroup
	for line := range bytes.Lines(text) {
		parts := strings.SplitN(strings.TrimSpace(string(line)), ":", 3)
		if len(parts) < 3 {
			continue
		}
		var root string
		var group memoryGroup
		switch {
		case parts[0] == "0" && parts[1] == "":
			root, group = "sys/fs/cgroup", memoryGroup{limit: "memory.max", usage: "memory.current", cache: "inactive_file"}
		case parts[1] == "memory":
			root, group = "sys/fs/cgroup/memory", memoryGroup{limit: "memory.limit_in_bytes", usage: "memory.usage_in_bytes", cache: "total_inactive_file"}
		default:
			continue
		}
		// Of a container's group the path may begin above what is mounted; the walk upwards ends at what is.
		for at := path.Join("/", parts[2]); ; at = path.Dir(at) {
			group.dir = path.Join(root, at)
			out = append(out, group)
			if at == "/" {
				break
			}
		}
	}
	return out
}

// within returns the memory and what is available of it where the group may leave less.
func (g memoryGroup) within(read func(string) []byte, total, available int64) (int64, int64) {
	// "max", and no file at all, are no limit.
	limit, ok := number(read(path.Join(g.dir, g.limit)))
	if !ok || limit >= total {
		return total, available
	}
	usage, ok := number(read(path.Join(g.dir, g.usage)))
	if !ok {
		return limit, min(limit, available)
	}
	// The kernel takes the cache of files back before it refuses memory.
	for line := range bytes.Lines(read(path.Join(g.dir, "memory.stat"))) {
		if name, value, _ := strings.Cut(string(line), " "); name == g.cache {
			cache, _ := number([]byte(value))
			usage -= cache
		}
	}
	return limit, min(available, max(0, limit-usage))
}

func number(text []byte) (int64, bool) {
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	return n, err == nil
}

// cpuModel reads the name of the CPU out of /proc/cpuinfo, whose form each architecture of the kernel has for itself (its
// arch/*/kernel, show_cpuinfo). Several kinds of core are joined by " + ". Empty if it is not told.
func cpuModel(text io.Reader) string {
	var kinds []string
	add := func(kind string) {
		for _, k := range kinds {
			if k == kind {
				return
			}
		}
		if kind != "" {
			kinds = append(kinds, kind)
		}
	}
	named, implementer := "", ""
	scanner := bufio.NewScanner(text)
	for scanner.Scan() {
		key, value, _ := strings.Cut(scanner.Text(), ":")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		switch key {
		case "model name", "Model Name", "cpu model", "cpu", "uarch":
			if named == "" {
				named = value
			}
		case "CPU implementer":
			implementer = value
		case "CPU part":
			add(armCore(implementer, value))
		case "processor 0":
			if _, machine, ok := strings.Cut(value, "machine = "); ok {
				named = "IBM/S390 " + machine
			}
		}
	}
	// On arm the name is no more than "ARMv7 Processor rev 4 (v7l)".
	if len(kinds) > 0 {
		return strings.Join(kinds, " + ")
	}
	return named
}

func armCore(implementer, part string) string {
	for _, c := range armCores {
		if c.implementer == implementer && c.part == part {
			return c.name
		}
	}
	return "ARM implementer " + implementer + " part " + part
}

// armCores names implementers' parts: arch/arm64/include/asm/cputype.h and arch/arm/include/asm/cputype.h of Linux.
var armCores = []struct{ implementer, part, name string }{
	{"0x41", "0xb76", "ARM1176"},
	{"0x41", "0xc07", "Cortex-A7"},
	{"0x41", "0xc08", "Cortex-A8"},
	{"0x41", "0xc09", "Cortex-A9"},
	{"0x41", "0xc0f", "Cortex-A15"},
	{"0x41", "0xd03", "Cortex-A53"},
	{"0x41", "0xd05", "Cortex-A55"},
	{"0x41", "0xd07", "Cortex-A57"},
	{"0x41", "0xd08", "Cortex-A72"},
	{"0x41", "0xd09", "Cortex-A73"},
	{"0x41", "0xd0a", "Cortex-A75"},
	{"0x41", "0xd0b", "Cortex-A76"},
	{"0x41", "0xd0c", "Neoverse-N1"},
	{"0x41", "0xd40", "Neoverse-V1"},
	{"0x41", "0xd41", "Cortex-A78"},
	{"0x41", "0xd49", "Neoverse-N2"},
	{"0x41", "0xd4f", "Neoverse-V2"},
	{"0x46", "0x001", "A64FX"},
	{"0xc0", "0xac3", "Ampere-1"},
}
