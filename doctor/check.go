// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"errors"
)

// Status says how well something works.
type Status string

// The values of Status.
const (
	// OK works, or is not there and nobody misses it.
	OK Status = "ok"
	// Limited works less well than it might: Then says what follows.
	Limited Status = "limited"
	// Missing does not work; what needs it fails.
	Missing Status = "missing"
)

// Check is one line of an examination. Its JSON form is that of `mab doctor --json`: every key is always there.
type Check struct {
	// Name is the same on every machine: the subject, or "registry HOST".
	Name   string `json:"name"`
	Status Status `json:"status"`
	// Found is what there is, or the error.
	Found string `json:"found"`
	// Then is what follows from it for builds; "" where nothing does or Found says it.
	Then string `json:"then"`
	// Mend is a command or a sentence; "" if nothing is to be mended, or nobody knows how.
	Mend string `json:"mend"`
	// Minor tells that few will ask.
	Minor bool `json:"-"`
}

// buildName is the check that decides.
const buildName = "build"

// Works reports whether a build for this machine's own platform was built.
func Works(checks []Check) bool {
	for _, c := range checks {
		if c.Name == buildName {
			return c.Status == OK
		}
	}
	return false
}

// failed is the line of what did not work, with the mend that the error knows.
func failed(name string, err error) Check {
	return Check{Name: name, Status: Missing, Found: err.Error(), Mend: hintOf(err)}
}

func hintOf(err error) string {
	var mendable interface{ Hint() string }
	if errors.As(err, &mendable) {
		return mendable.Hint()
	}
	return ""
}
