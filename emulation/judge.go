// SPDX-License-Identifier: Apache-2.0

package emulation

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/mab-build/mab/platforms"
)

// machine is what Survey learned about this machine as a whole.
type machine struct {
	host     platforms.Platform
	instance Instance
	visible  bool // the instance could be read
	enabled  bool // and takes part in executing programs
	entries  []Entry
	missing  map[string]bool // interpreters of entries that are no files here
	found    []Emulator
	refused  []Refusal
	manager  packageManager
}

// outcome is that of one probe.
type outcome struct {
	err  error
	took time.Duration
}

type packageManager struct{ program, install string }

// packageManagers are how distributions install static emulators: package names of Debian and Ubuntu, Fedora, Alpine (one package per
// emulator, %s), Arch, openSUSE.
var packageManagers = []packageManager{
	{"apt-get", "apt-get install qemu-user-static"},
	{"dnf", "dnf install qemu-user-static"},
	{"apk", "apk add qemu-%s"},
	{"pacman", "pacman -S qemu-user-static"},
	{"zypper", "zypper install qemu-linux-user"},
}

// kin are the architectures whose programs a CPU of another name may run by itself. It is asked only where the handlers cannot be seen.
var kin = map[string]string{"amd64": "386", "arm64": "arm"}

// judge explains the outcome of one probe. It does no I/O.
func (m machine) judge(p platforms.Platform, o outcome) Support {
	s := Support{Platform: p, How: None, Probe: "ok", ProbeMS: math.Round(o.took.Seconds()*1e5) / 100}
	if o.err != nil {
		s.Probe = reason(o.err)
	}
	entry, active := m.entryFor(p)
	if entry != nil {
		s.Instance, s.Handler, s.Interpreter, s.Flags = m.owner(), entry.Name, entry.Interpreter, entry.Flags
	}
	switch {
	case o.err == nil && active:
		m.judgeHandler(&s, *entry)
	case o.err == nil && (m.visible || p.Architecture == m.host.Architecture || p.Architecture == kin[m.host.Architecture]):
		s = Support{Platform: p, How: Native, Probe: s.Probe, ProbeMS: s.ProbeMS}
	case o.err == nil:
		s.How, s.Instance = Emulated, "host"
		s.Problem = fmt.Sprintf("the host's handler cannot be seen, so its flags are unknown: no binfmt_misc on %s", m.instance.Dir)
		s.Mend = "as root: mount -t binfmt_misc binfmt_misc " + m.instance.Dir
	default:
		s.Problem, s.Mend = m.explain(p, entry, active, s.Probe)
	}
	return s
}

// entryFor returns the entry that the kernel gives p's programs to and true, or one that would get them if it were enabled and false.
func (m machine) entryFor(p platforms.Platform) (*Entry, bool) {
	program, ok := Program(p)
	if !ok {
		return nil, false
	}
	var idle *Entry
	for i, e := range m.entries {
		if !e.Matches(program) {
			continue
		}
		if e.Enabled && m.enabled {
			return &m.entries[i], true
		}
		idle = &m.entries[i]
	}
	return idle, false
}

func (m machine) owner() string {
	if m.instance.Private {
		return "private"
	}
	return "host"
}

// judgeHandler says whether a handler that works here works in containers too.
func (m machine) judgeHandler(s *Support, e Entry) {
	s.How = Emulated
	switch {
	case !strings.Contains(e.Flags, "F"):
		s.How = None
		s.Problem = fmt.Sprintf("handler %s lacks flag F: %s would be looked up inside the container", e.Name, e.Interpreter)
		s.Mend = m.reregister(e, s.Platform, "F")
	case !strings.Contains(e.Flags, "P"):
		s.Problem = fmt.Sprintf("handler %s lacks flag P: programs are not told the name they were called by", e.Name)
		s.Mend = m.reregister(e, s.Platform, "P")
	}
}

// reregister mends a handler of the host's, to which mab's own come before. Those in a private instance have all flags.
func (m machine) reregister(e Entry, p platforms.Platform, flag string) string {
	if strings.HasPrefix(e.Name, ownPrefix) || m.instance.Private {
		return fmt.Sprintf("as root: remove it (echo -1 > %s/%s) and register it again with flag %s", m.instance.Dir, e.Name, flag)
	}
	return installCommand("host", p) + ", whose handler comes before this one"
}

// judgeVersion says what is known of this version of QEMU. What is wrong with the handler itself comes first.
func (s *Support) judgeVersion(host platforms.Platform) {
	if s.How != Emulated || s.Problem != "" {
		return
	}
	if t, ok := TroubleWith(s.Version, s.Platform, host); ok {
		s.Problem, s.Mend = fmt.Sprintf("QEMU %s: %s (%s)", s.Version, t.What, t.Sources[0]), installCommand(s.Instance, s.Platform)
	}
}

// explain says why a platform does not run, nearest cause first.
func (m machine) explain(p platforms.Platform, entry *Entry, active bool, probe string) (problem, mend string) {
	qemu, install := "", ""
	if h, ok := HandlerFor(p); ok {
		qemu, install = h.QEMU, m.install(h)
	}
	switch {
	case active && m.missing[entry.Interpreter] && !strings.Contains(entry.Flags, "F"):
		return fmt.Sprintf("handler %s points to %s, which is missing", entry.Name, entry.Interpreter), install
	case active:
		return fmt.Sprintf("%s did not run a program of %s: %s", entry.Interpreter, p, probe), "try another version of QEMU: " + installCommand(m.owner(), p)
	case entry != nil && !m.enabled:
		return "binfmt_misc is switched off", fmt.Sprintf("as root: echo 1 > %s/status", m.instance.Dir)
	case entry != nil:
		return fmt.Sprintf("handler %s is disabled", entry.Name), fmt.Sprintf("as root: echo 1 > %s/%s", m.instance.Dir, entry.Name)
	case p.Architecture == m.host.Architecture:
		return fmt.Sprintf("this CPU does not run %s: %s", p, probe), "build it on a node whose CPU does"
	}
	if i := slices.IndexFunc(m.found, func(e Emulator) bool { return e.Handler.QEMU == qemu }); i >= 0 {
		return m.unregistered(m.found[i])
	}
	if i := slices.IndexFunc(m.refused, func(r Refusal) bool { return r.Handler.QEMU == qemu }); i >= 0 {
		return fmt.Sprintf("%s cannot serve: %s", m.refused[i].Path, m.refused[i].Reason), install
	}
	return fmt.Sprintf("no QEMU for %s found", p), install
}

func (m machine) unregistered(e Emulator) (problem, mend string) {
	if m.instance.Private {
		return fmt.Sprintf("%s is there but not registered", e.Path), "start the solver again"
	}
	return fmt.Sprintf("%s is there, but the host has no handler for it", e.Path),
		installCommand("host", e.Handler.Platforms[0]) + ", or systemctl restart systemd-binfmt; Linux 6.7 or newer needs neither"
}

// install gives the ways to an emulator: out of an image, by mab or by a build that says so, or from the distribution.
func (m machine) install(h Handler) string {
	out := installCommand(m.owner(), h.Platforms[0])
	if m.instance.Private {
		out += ", or for one build: --emulation-image default"
	}
	if m.manager.install != "" {
		out += ", or: " + strings.ReplaceAll(m.manager.install, "%s", h.QEMU)
	}
	return out
}

// installCommand is how mab gets an emulator of its own for programs of p, which comes before others in this instance.
func installCommand(instance string, p platforms.Platform) string {
	if instance == "private" {
		return "mab emulation install " + p.Architecture
	}
	return "as root: mab emulation install --host " + p.Architecture
}

// reason is a probe's error without what every one begins with.
func reason(err error) string {
	_, text, ok := strings.Cut(err.Error(), ": ")
	if !ok {
		return err.Error()
	}
	return text
}
