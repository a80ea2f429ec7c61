// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"strings"

	"github.com/sirupsen/logrus"
)

// warnings shows what BuildKit's client logs as mab's own warnings.
type warnings struct{ logrus.Formatter }

// Format leaves out what no user can act on: containerd tries fs-verity on every content store, which few file systems have, and
// BuildKit misses a trace of each build, which nobody asked for.
func (w warnings) Format(entry *logrus.Entry) ([]byte, error) {
	if strings.Contains(entry.Message, "fsverity") || strings.Contains(entry.Message, "no trace recorder found") {
		return nil, nil
	}
	if w.Formatter != nil {
		return w.Formatter.Format(entry)
	}
	return []byte("mab: warning: " + entry.Message + "\n"), nil
}

// logTo sends BuildKit's log to w: of a build the warnings, of the solver everything.
func logTo(w io.Writer, whole bool) {
	logrus.SetOutput(w)
	if whole {
		logrus.SetFormatter(warnings{&logrus.TextFormatter{FullTimestamp: true, DisableColors: true}})
		return
	}
	logrus.SetLevel(logrus.WarnLevel)
	logrus.SetFormatter(warnings{})
}
