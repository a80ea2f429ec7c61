// SPDX-License-Identifier: Apache-2.0

package solver_test

import (
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/solver"
)

func files(content map[string]string) fstest.MapFS {
	out := fstest.MapFS{}
	for name, text := range content {
		out[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return out
}

func TestMemory(t *testing.T) {
	const meminfo = "MemTotal:        8000000 kB\nMemFree:          100000 kB\nMemAvailable:    5000000 kB\nHugePages_Total:       0\n"
	const mib = 1 << 20
	type memory struct{ Memory, Available int64 }
	all := memory{8000000 << 10, 5000000 << 10}
	for _, test := range []struct {
		rule  string
		files map[string]string
		want  memory
	}{
		{"without a control group it is the machine's", nil, all},
		{"a group without a limit changes nothing", map[string]string{
			"proc/self/cgroup": "0::/user.slice\n", "sys/fs/cgroup/user.slice/memory.max": "max\n", "sys/fs/cgroup/user.slice/memory.current": "1000\n",
		}, all},
		{"what version 1 has for no limit is none", map[string]string{
			"proc/self/cgroup": "9:cpu,cpuacct:/a\n4:memory:/a\n", "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "9223372036854771712\n",
			"sys/fs/cgroup/memory/a/memory.usage_in_bytes": "1000\n",
		}, all},
		{"a limit below the machine's memory is all there is", map[string]string{
			"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "1048576000\n", "sys/fs/cgroup/a/memory.current": "209715200\n",
		}, memory{1000 * mib, 800 * mib}},
		{"cache counts as available", map[string]string{
			"proc/self/cgroup": "4:memory:/a\n", "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "1048576000\n",
			"sys/fs/cgroup/memory/a/memory.usage_in_bytes": "1048576000\n", "sys/fs/cgroup/memory/a/memory.stat": "cache 1\ninactive_file 1\ntotal_inactive_file 104857600\n",
		}, memory{1000 * mib, 100 * mib}},
		{"the smallest limit of all groups above counts", map[string]string{
			"proc/self/cgroup": "0::/a/b/c\n", "sys/fs/cgroup/a/memory.max": "524288000\n", "sys/fs/cgroup/a/memory.current": "0\n",
			"sys/fs/cgroup/a/b/memory.max": "1048576000\n", "sys/fs/cgroup/a/b/memory.current": "1048575999\n",
		}, memory{500 * mib, 1}},
		{"a container sees its group as the root", map[string]string{
			"proc/self/cgroup": "0::/docker/0123\n", "sys/fs/cgroup/memory.max": "1048576000\n", "sys/fs/cgroup/memory.current": "0\n",
		}, memory{1000 * mib, 1000 * mib}},
		{"a group over its limit has nothing left", map[string]string{
			"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "1048576\n", "sys/fs/cgroup/memory.current": "2097152\n",
		}, memory{mib, 0}},
		{"an unreadable usage is none", map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "1048576\n"}, memory{mib, mib}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			root := files(test.files)
			root["proc/meminfo"] = &fstest.MapFile{Data: []byte(meminfo)}
			got := solver.ReadMachine(root, t.TempDir())
			if diff := cmp.Diff(test.want, memory{got.Memory, got.Available}); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
		})
	}
}

func TestCPUModel(t *testing.T) {
	for _, test := range []struct{ rule, cpuinfo, want string }{
		{"x86", "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel\t\t: 1\nmodel name\t: AMD EPYC 7R13 Processor\n\nprocessor\t: 1\nmodel name\t: AMD EPYC 7R13 Processor\n", "AMD EPYC 7R13 Processor"},
		{"arm64", "processor\t: 0\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x3\nCPU part\t: 0xd0c\nCPU revision\t: 1\n", "Neoverse-N1"},
		{"arm64 with two kinds of core", "CPU implementer\t: 0x41\nCPU part\t: 0xd05\n\nCPU implementer\t: 0x41\nCPU part\t: 0xd05\n\nCPU implementer\t: 0x41\nCPU part\t: 0xd0b\n", "Cortex-A55 + Cortex-A76"},
		{"arm of an unknown maker", "CPU implementer\t: 0x61\nCPU part\t: 0x022\n", "ARM implementer 0x61 part 0x022"},
		{"arm, whose model name says less", "model name\t: ARMv7 Processor rev 4 (v7l)\nCPU implementer\t: 0x41\nCPU part\t: 0xd03\n\nHardware\t: BCM2835\nModel\t\t: Raspberry Pi 3 Model B\n", "Cortex-A53"},
		{"ppc64le", "processor\t: 0\ncpu\t\t: POWER9, altivec supported\nclock\t\t: 2900.000000MHz\n", "POWER9, altivec supported"},
		{"s390x", "vendor_id       : IBM/S390\n# processors    : 1\nprocessor 0: version = FF,  identification = 0133E8,  machine = 8561\n\ncpu number      : 0\n", "IBM/S390 8561"},
		{"riscv64", "processor\t: 0\nhart\t\t: 1\nisa\t\t: rv64imafdc\nuarch\t\t: sifive,u74-mc\n", "sifive,u74-mc"},
		{"loong64", "system type\t\t: generic-loongson-machine\n\nModel Name\t\t: Loongson-3A5000-HV\n", "Loongson-3A5000-HV"},
		{"mips64le", "system type\t\t: MIPS Malta\ncpu model\t\t: MIPS GENERIC QEMU V0.0\n", "MIPS GENERIC QEMU V0.0"},
		{"a kernel that tells nothing", "processor\t: 0\nhart\t\t: 0\nisa\t\t: rv64imafdc\n", ""},
		{"no file", "", ""},
	} {
		t.Run(test.rule, func(t *testing.T) {
			got := solver.ReadMachine(files(map[string]string{"proc/cpuinfo": test.cpuinfo}), t.TempDir())
			if diff := cmp.Diff(test.want, got.Model); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
		})
	}
}

func TestMachineOfFiles(t *testing.T) {
	for _, test := range []struct {
		rule, load string
		want       float64
	}{
		{"the first number is that of the last minute", "1.25 0.50 0.10 2/345 6789\n", 1.25},
		{"what is no number is nothing", "nan 0.50\n", 0},
	} {
		t.Run(test.rule, func(t *testing.T) {
			got := solver.ReadMachine(files(map[string]string{"proc/loadavg": test.load, "proc/sys/kernel/osrelease": "6.1.0-28-arm64\n"}), "/nowhere")
			want := solver.Machine{CPUs: runtime.GOMAXPROCS(0), Kernel: "6.1.0-28-arm64", Load: test.want}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
		})
	}
}

func TestThisMachine(t *testing.T) {
	got := solver.ReadMachine(os.DirFS("/"), t.TempDir())
	if got.CPUs < 1 || got.CPUs > runtime.NumCPU() {
		t.Errorf("%d CPUs of %d", got.CPUs, runtime.NumCPU())
	}
	if got.Available <= 0 || got.Available > got.Memory || got.Free <= 0 || got.Free > got.Disk || !strings.Contains(got.Kernel, ".") {
		t.Errorf("%+v", got)
	}
}

func BenchmarkMachine(b *testing.B) {
	dir := b.TempDir()
	for b.Loop() {
		solver.ReadMachine(os.DirFS("/"), dir)
	}
}
