// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/platforms"
	"github.com/mab-build/mab/solver"
)

// statusLength is how many bytes of dpkg's status are read, that of an image with a thousand packages many times over.
const statusLength = 8 << 20

// packed finds out which programs of an image's C compiler can be native ones of the same source. What the image holds is kept; the native
// packages are looked at in each build, as their step may be done anew when the mirror has others.
func (r *run) packed(ctx context.Context, files *solver.Files, recorded *recognitions, c *crossbuild.Candidate, native platforms.Platform) (aid crossbuild.Aid, why string, err error) {
	status, ok := recorded.get(c, c.Platform())
	if !ok && r.dry {
		r.remark(fmt.Sprintf("%s is taken to be to be had for %s: that is looked at when it is built", c, native))
		return c.Aid(native), "", nil
	}
	if !ok {
		if status, err = ownStatus(ctx, files, c); err != nil {
			return aid, "", err
		}
		recorded.set(c, c.Platform(), status)
	}
	tools := crossbuild.CToolsOf(status, c.Platform())
	if len(tools) == 0 {
		return aid, "it has no gcc that Debian or Ubuntu packed", nil
	}
	aid = c.CAid(native, tools)
	if r.dry {
		return aid, "", nil
	}
	def, err := aid.Packages()
	if err != nil {
		return aid, "", err
	}
	got, err := files.Read(ctx, def, statusLength, crossbuild.CPacked)
	if err != nil {
		return aid, "", err
	}
	useful, reasons := aid.Prove(string(got[0]))
	if !useful {
		return aid, strings.Join(reasons, "; "), nil
	}
	for _, reason := range reasons {
		r.remark(fmt.Sprintf("a part of %s is not assisted: %s", c, reason))
	}
	return aid, "", nil
}

// ownStatus is what an image has installed of a C compiler.
func ownStatus(ctx context.Context, files *solver.Files, c *crossbuild.Candidate) (string, error) {
	def, err := c.Own()
	if err != nil {
		return "", err
	}
	got, err := files.Read(ctx, def, statusLength, crossbuild.CStatus)
	if errors.Is(err, solver.ErrNoFile) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return crossbuild.CRecord(crossbuild.CToolsOf(string(got[0]), c.Platform())), nil
}
