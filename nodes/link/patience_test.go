// SPDX-License-Identifier: Apache-2.0

package link_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mab-build/mab/nodes/link"
)

func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, pause, resume, end := link.WithPatience(t.Context(), 10*time.Second)
		defer end()
		time.Sleep(6 * time.Second)
		pause()
		time.Sleep(time.Hour)
		resume()
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if ctx.Err() != nil {
			t.Errorf("what the user takes counts: %v", context.Cause(ctx))
		}
		time.Sleep(time.Second)
		synctest.Wait()
		var silent *link.SilentError
		if !errors.As(context.Cause(ctx), &silent) || silent.After != 10*time.Second {
			t.Errorf("after 10 s in all: %v", context.Cause(ctx))
		}
	})
}
