// SPDX-License-Identifier: Apache-2.0

package emulation

import (
	"archive/tar"
	"bytes"
	"time"

	"github.com/mab-build/mab/platforms"
)

// Extract unpacks layers that are plain tars into dir, all emulators of them, and returns what the image has at the end.
func Extract(dir string, layers ...[]byte) (map[string]string, error) {
	x := &extraction{dir: dir, files: map[string]string{}, most: maxUnpacked, wanted: func(Handler) bool { return true }}
	for _, l := range layers {
		if err := x.entries(tar.NewReader(bytes.NewReader(l))); err != nil {
			return nil, err
		}
	}
	return x.files, nil
}

var (
	Link         = link
	ParseEntry   = parseEntry
	ParseVersion = parseVersion
	IsLoopback   = isLoopback
)

// What the programs of Work do, and their status when it goes wrong.
const (
	WorkRounds = workRounds
	WorkResult = workResult
	WorkFailed = workFailed
)

// Facts are what Survey bases its judgement on.
type Facts struct {
	Host     platforms.Platform
	Instance Instance
	Unseen   bool // the instance is not mounted
	Off      bool // it is switched off
	Entries  []Entry
	Missing  []string
	Found    []Emulator
	Refused  []Refusal
	Install  string
}

func (f Facts) Judge(p platforms.Platform, err error, took time.Duration) Support {
	m := machine{
		host: f.Host, instance: f.Instance, visible: !f.Unseen, enabled: !f.Off, entries: f.Entries, missing: map[string]bool{},
		found: f.Found, refused: f.Refused, manager: packageManager{install: f.Install},
	}
	for _, path := range f.Missing {
		m.missing[path] = true
	}
	return m.judge(p, outcome{err, took})
}

// JudgeVersion is Support.judgeVersion.
func JudgeVersion(s *Support, host platforms.Platform) { s.judgeVersion(host) }
