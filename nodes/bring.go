// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"
	"golang.org/x/sync/errgroup"
)

// carrier runs command lines, which the login shell of a machine's user understands.
type carrier interface {
	// Run returns when the command has ended, and fails unless it ended well.
	Run(ctx context.Context, line string, stdin io.Reader, stdout, stderr io.Writer) error
}

// facts are what a machine says of itself that has no mab.
type facts struct {
	system, machine string
	gzip            bool
}

const noneMark = "none "

// parseFacts understands what scriptRun says; false for anything else.
func parseFacts(line string) (facts, bool) {
	rest, ok := strings.CutPrefix(line, noneMark)
	fields := strings.Fields(rest)
	if !ok || len(fields) < 3 {
		return facts{}, false
	}
	return facts{system: fields[0], machine: fields[1], gzip: fields[2] == "gzip"}, true
}

// choose returns the program for a machine. Its errors have a Hint.
func choose(programs []program, f facts) (program, error) {
	if f.system != "Linux" {
		return program{}, trouble{fmt.Errorf("bringing mab: the machine runs %s, and the solver runs on Linux only", f.system),
			"name a machine that runs Linux"}
	}
	arch, ok := archOf(f.machine)
	if !ok {
		return program{}, trouble{fmt.Errorf("bringing mab: its CPU is %s, for which there is no mab", f.machine),
			"run a buildkitd there and name that as the node: ssh+unix://HOST/run/buildkit/buildkitd.sock"}
	}
	for _, p := range programs {
		if p.arch == arch {
			return p, nil
		}
	}
	return program{}, trouble{fmt.Errorf("bringing mab: its CPU is %s, and mab-linux-%s is not here", f.machine, arch),
		fmt.Sprintf("put the release's mab-linux-%s beside the running mab, or name the directory that has it with MAB_DIST", arch)}
}

// bringWait is how long nothing of bringing may go on. What was sent last may be on its way for long, and be written to a slow disk then.
const bringWait = 3 * time.Minute

// bring sends a program to a machine, where it puts itself into its place.
func bring(ctx context.Context, to carrier, p program, packed bool) error {
	token := make([]byte, 8)
	_, _ = rand.Read(token)
	r, w := io.Pipe()
	stdout, stderr := &said{most: maxNoise}, &said{most: maxNoise}
	var refused error
	var sent string
	waiting, patience := withPatience(ctx, bringWait)
	defer patience.end()
	group, both := errgroup.WithContext(waiting)
	group.Go(func() error {
		refused = to.Run(both, bringLine(p, hex.EncodeToString(token), packed), r, stdout, stderr)
		// Who still writes must not wait for ever.
		_ = r.CloseWithError(errEnded)
		return nil
	})
	group.Go(func() (err error) {
		sent, err = send(func() error { patience.on(); return both.Err() }, w, p, packed)
		_ = w.CloseWithError(err)
		if errors.Is(err, errEnded) {
			return nil
		}
		return err
	})
	err := group.Wait()
	switch {
	case ctx.Err() == nil && waiting.Err() != nil:
		return trouble{fmt.Errorf("bringing mab: nothing of it went on for %s%s", bringWait, after(tidy(stderr.String(), stdout.String()))),
			"see whether its disk and its shell answer: ssh HOST df"}
	case err != nil:
		return err
	case sent != "" && sent != p.digest:
		digests{}.forget(p.path)
		return fmt.Errorf("bringing mab: %q was changed meanwhile", p.path)
	case refused != nil && ctx.Err() == nil:
		return explainBring(refused, stdout.String(), stderr.String(), p)
	}
	return refused
}

var errEnded = errors.New("the node's side has ended")

// send writes the program, packed or as it is, and returns the digest of what it read. It ends once check fails, which is called often.
func send(check func() error, w io.Writer, p program, packed bool) (string, error) {
	f, err := os.Open(p.path)
	if err != nil {
		return "", fmt.Errorf("bringing mab: %w", err)
	}
	defer func() { _ = f.Close() }()
	sum := sha256.New()
	from := io.TeeReader(&interruptible{check, f}, sum)
	if !packed {
		_, err = io.Copy(w, from)
	} else {
		err = pack(w, from)
	}
	if err != nil {
		return "", fmt.Errorf("bringing mab: %w", err)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// pack compresses. Of 38 MB this level makes 14.6 MB in 0.6 s; a faster one saves less time here than its bytes cost on most links.
func pack(w io.Writer, from io.Reader) error {
	const level = 6
	// gzip writes a few hundred bytes at a time, and each would be a packet of SSH: that costs sshd more than all else.
	buffered := bufio.NewWriterSize(w, 128<<10)
	z, err := gzip.NewWriterLevel(buffered, level)
	if err != nil {
		return err
	}
	if _, err := io.Copy(z, from); err != nil {
		return err
	}
	return errors.Join(z.Close(), buffered.Flush())
}
