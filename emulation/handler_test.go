// SPDX-License-Identifier: Apache-2.0

package emulation_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mab-build/mab/emulation"
	"github.com/mab-build/mab/platforms"
)

func entry(h emulation.Handler) emulation.Entry {
	return emulation.Entry{Name: h.Name, Enabled: true, Magic: h.Magic, Mask: h.Mask}
}

func TestEachPlatformHasOneHandler(t *testing.T) {
	for _, p := range platforms.Known() {
		t.Run(p.Slug(), func(t *testing.T) {
			h, ok := emulation.HandlerFor(p)
			if !ok {
				t.Fatal("no handler")
			}
			image, _ := emulation.Program(p)
			for name, change := range map[string]func([]byte){
				"as linked":            func([]byte) {},
				"position-independent": func(b []byte) { b[16], b[17] = max(b[16], b[16]*3/2), max(b[17], b[17]*3/2) }, // e_type 2 becomes 3
				"GNU's ABI":            func(b []byte) { b[7] = 3 },
			} {
				changed := append([]byte{}, image...)
				change(changed)
				var takers []string
				for _, other := range emulation.Handlers() {
					if entry(other).Matches(changed) {
						takers = append(takers, other.Name)
					}
				}
				if diff := cmp.Diff([]string{h.Name}, takers); diff != "" {
					t.Errorf("%s: %s", name, diff)
				}
			}
		})
	}
	if h, ok := emulation.HandlerFor(platforms.MustParse("arm64/v9")); !ok || h.QEMU != "aarch64" {
		t.Errorf("arm64/v9: %v", h.QEMU)
	}
	if h, ok := emulation.HandlerFor(platforms.MustParse("windows/arm64")); ok {
		t.Errorf("windows/arm64: %v", h.QEMU)
	}
}

func TestHandlersLeaveOthersFilesAlone(t *testing.T) {
	for name, head := range map[string][]byte{
		"script": []byte("#!/bin/sh\nexit 0\n# long enough for every magic"),
		"empty":  nil,
		"short":  []byte("\x7fELF\x02\x01\x01"),
		"sparc":  []byte("\x7fELF\x01\x02\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x02"),
		"x32":    []byte("\x7fELF\x01\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x3e\x00"),
		"object": []byte("\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\xb7\x00"),
	} {
		for _, h := range emulation.Handlers() {
			if entry(h).Matches(head) {
				t.Errorf("%s takes the file %q", h.Name, name)
			}
		}
	}
}

// The distribution makes /usr/lib/binfmt.d from QEMU's own script.
func TestHandlersAgreeWithTheDistribution(t *testing.T) {
	compared := 0
	for _, h := range emulation.Handlers() {
		text, err := os.ReadFile(filepath.Join("/usr/lib/binfmt.d", h.Name+".conf"))
		if err != nil {
			continue // Distributions leave out the host's own.
		}
		fields := strings.Split(strings.TrimSpace(string(text)), ":")
		for i, want := range map[int][]byte{4: h.Magic, 5: h.Mask} {
			got, err := strconv.Unquote(`"` + fields[i] + `"`)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, []byte(got)); diff != "" {
				t.Errorf("%s: %s", h.Name, diff)
			}
		}
		compared++
	}
	if compared == 0 {
		missing(t, "no handlers in /usr/lib/binfmt.d")
	}
}
