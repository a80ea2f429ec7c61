// SPDX-License-Identifier: Apache-2.0

package contents

import (
	"debug/elf"
	"fmt"
	"slices"
	"strings"

	"github.com/moby/patternmatcher"

	"github.com/mab-build/mab/platforms"
)

// Rule is a reason for which programs of other platforms may be in an image. All that it asks for must hold.
type Rule struct {
	Name, Reason string
	// Paths are globs, of which one must match the file or a directory above it: * stands for anything in a name, ** for any
	// directories, @ for a directory that is named by a GNU triplet of the file's own architecture. None: the place does not
	// matter.
	Paths []string
	// Machines are those of which the file must be one. None: any.
	Machines []elf.Machine
	// OwnMachine: the file's machine is that of the platform, so that only its ABI is another.
	OwnMachine bool
	// Needs is a path that the image must have.
	Needs string
	// Collection: the name of the file, or of a directory above it, tells the file's architecture, and beside it is the same for
	// another platform.
	Collection bool
}

// rules are applied in this order; the first that fits is told.
//
// Sources: the lists of files of Debian's packages qemu-system-data, opensbi, u-boot-qemu, syslinux-common, grub-pc-bin,
// libc6-*-cross, libc6-x32 and golang-src; the machine numbers of the System V ABI as package elf has them; Go's, Rust's
// and Android's own directories; npm packages as esbuild, sharp, onnxruntime-node, 7zip-bin.
var rules = []Rule{
	{Name: "device", Reason: "is code for a graphics card, the kernel's BPF machine or a microcontroller, which no container runs",
		Machines: []elf.Machine{
			elf.EM_BPF, elf.EM_CUDA, elf.EM_AMDGPU, elf.EM_INTEL205, elf.EM_AVR, elf.EM_XTENSA, elf.EM_MSP430, elf.EM_QDSP6,
			elf.EM_TI_PRU, elf.EM_TI_C6000, elf.EM_68HC11, elf.EM_8051,
		}},
	{Name: "firmware", Reason: "is loaded into a device by its driver", Paths: []string{"lib/firmware", "usr/lib/firmware", "usr/local/lib/firmware"}},
	{Name: "boot", Reason: "starts a machine, before any kernel runs", Paths: []string{
		"boot", "usr/lib/grub/*/*.img", "usr/lib/syslinux", "usr/lib/SYSLINUX*", "usr/share/syslinux", "usr/lib/u-boot", "usr/share/u-boot*",
		"usr/lib/*/opensbi", "usr/share/opensbi", "usr/lib/arm-trusted-firmware", "usr/share/arm-trusted-firmware", "usr/share/openbios",
		"usr/share/slof", "usr/share/seabios", "usr/lib/ipxe", "usr/lib/xen*/boot", "usr/lib/memtest86+",
	}},
	{Name: "guest", Reason: "is a ROM or a library of a machine that QEMU emulates", Paths: []string{
		"**/share/qemu", "usr/gnemul", "usr/local/gnemul", "etc/qemu-binfmt",
	}},
	{Name: "testdata", Reason: "is input of the tests of Go, or of a Go module", Paths: []string{
		"**/go/src/**/testdata", "**/go-*/src/**/testdata", "**/go[0-9]*/src/**/testdata", "**/golang/src/**/testdata", "**/pkg/mod/**/testdata",
	}},
	{Name: "toolchain", Reason: "is a library that a cross compiler links with", Paths: []string{
		"usr/@", "usr/local/@", "**/gcc/@", "**/gcc-cross/@", "**/rustlib/@", "**/x-tools/**/@/lib*",
		"opt/*/@/lib*", "opt/*/@/usr/lib*", "opt/*/@/libc",
	}},
	{Name: "sysroot", Reason: "is in a root file system that a cross compiler works with", Paths: []string{"**/sysroot", "**/sysroots", "**/*-sysroot"}},
	{Name: "ndk", Reason: "is for devices that Android's NDK makes programs for", Paths: []string{"**/ndk/[0-9]*", "**/ndk-bundle", "**/android-ndk*"}},
	{Name: "multilib", Reason: "is a library of another ABI of the same machine, which its compiler links with",
		Paths:      []string{"lib32", "libx32", "libo32", "libn32", "usr/lib32", "usr/libx32", "usr/libo32", "usr/libn32"},
		OwnMachine: true},
	{Name: "multiarch", Reason: "is a library that dpkg has installed for an architecture which was added to it",
		Paths: []string{"lib/@", "usr/lib/@"}, Needs: "var/lib/dpkg/arch"},
	{Name: "collection", Reason: "is one of several for many platforms, and named for its own", Collection: true},
}

// Rules returns the rules by which files are exempted, in the order in which they are applied.
func Rules() []Rule { return slices.Clone(rules) }

// patterns matches globs. It is not safe for concurrent use.
type patterns struct {
	matcher *patternmatcher.PatternMatcher
}

func newPatterns(globs []string) (patterns, error) {
	relative := make([]string, 0, len(globs))
	for _, glob := range globs {
		glob = strings.TrimSpace(glob)
		switch except, isExcept := strings.CutPrefix(glob, "!"); {
		case isExcept:
			glob = "!" + strings.TrimLeft(except, "/")
		default:
			glob = strings.TrimLeft(glob, "/")
		}
		relative = append(relative, glob)
	}
	matcher, err := patternmatcher.New(relative)
	if err != nil {
		return patterns{}, err
	}
	// A pattern is compiled when it is first used: one that cannot be is to be told before anything is read.
	if _, err := matcher.MatchesOrParentMatches("a"); err != nil {
		return patterns{}, err
	}
	return patterns{matcher}, nil
}

func (p patterns) match(path string) bool {
	matched, err := p.matcher.MatchesOrParentMatches(path)
	return matched && err == nil
}

// exemptions are the rules of mab and of the user, ready to use, for one image.
type exemptions struct {
	machine elf.Machine // of the image's platform
	rules   []Rule
	globs   []patterns
}

// newExemptions takes the user's own rules, which come first.
func newExemptions(p platforms.Platform, own []Rule) (*exemptions, error) {
	row, _ := p.ELF()
	e := &exemptions{machine: row.Machine, rules: slices.Concat(own, rules)}
	for _, r := range e.rules {
		p, err := newPatterns(r.Paths)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", r.Name, err)
		}
		e.globs = append(e.globs, p)
	}
	return e, nil
}

// find returns the rule that exempts a file. path has no slash at its beginning.
func (e *exemptions) find(t *tree, path string, file platforms.ELF) (Rule, bool) {
	marked := markTriplets(path, file)
	for i, r := range e.rules {
		switch {
		case len(r.Machines) > 0 && !slices.Contains(r.Machines, file.Machine),
			len(r.Paths) > 0 && !e.globs[i].match(path) && !e.globs[i].match(marked),
			r.OwnMachine && file.Machine != e.machine,
			r.Needs != "" && t.find(r.Needs) == nil,
			r.Collection && !inCollection(t, path, file):
			continue
		}
		return r, true
	}
	return Rule{}, false
}
