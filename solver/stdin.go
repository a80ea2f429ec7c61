// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// stdinName is the context or Dockerfile that comes from standard input.
const stdinName = "-"

// maxDockerfile bounds what is read into memory. Dockerfiles are some thousand bytes long.
const maxDockerfile = 8 << 20

// Input is what a request was given beside directories: a Dockerfile from standard input, or the context as an archive. Several
// solves may read it at once. Its owner closes it when the last is done.
type Input struct {
	dockerfile []byte
	archive    *archive
}

// Close gives up what was kept. Closing nil does nothing.
func (i *Input) Close() error {
	if i == nil {
		return nil
	}
	return i.archive.close()
}

// Receive reads Stdin, if the request wants it: for the context (an archive, else a Dockerfile without context) or for the
// Dockerfile; and it opens a context that is a tar file. A Dockerfile is kept in memory. An archive of standard input is kept in a
// file of os.TempDir without a name, where the system has such files, so that nothing of it stays, however the program ends. It
// ends with ctx, but a read that is under way is left behind. A request that wants nothing of this gives nil. The caller closes
// the input.
func (r *Request) Receive(ctx context.Context) (*Input, error) {
	if !r.receives() {
		return nil, nil
	}
	out := &Input{}
	if isFile(r.Context) {
		var err error
		if out.archive, err = openArchive(ctx, r.Context); err != nil {
			return nil, err
		}
		if r.File != stdinName {
			return out, nil
		}
	}
	if err := r.receive(ctx, out); err != nil {
		return nil, errors.Join(err, out.Close())
	}
	return out, nil
}

// receives reports whether there is something to be received.
func (r *Request) receives() bool {
	return r.Context == stdinName || r.File == stdinName || isFile(r.Context)
}

// receive reads standard input.
func (r *Request) receive(ctx context.Context, out *Input) error {
	if r.Stdin == nil {
		return &usageError{"-: there is no standard input", "pipe a Dockerfile or an archive into it"}
	}
	in := bufio.NewReaderSize(&patient{ctx: ctx, in: r.Stdin}, headSize)
	head, err := in.Peek(headSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("reading standard input: %w", err)
	}
	if err := r.expect(head); err != nil {
		return err
	}
	if r.Context == stdinName && format(head) != "" {
		out.archive, err = spool(in)
		return err
	}
	out.dockerfile, err = io.ReadAll(io.LimitReader(in, maxDockerfile+1))
	if err != nil {
		return fmt.Errorf("reading the Dockerfile from standard input: %w", err)
	}
	if len(out.dockerfile) > maxDockerfile {
		return &contextError{path: stdinName, what: "is too long for a Dockerfile", hint: archiveHint}
	}
	return nil
}

// expect finds by its beginning what standard input cannot be.
func (r *Request) expect(head []byte) error {
	kind := format(head)
	switch {
	case len(head) == 0 && r.File == stdinName:
		return &contextError{path: stdinName, what: "is empty", hint: "pipe a Dockerfile into it: mab build -f - . < Dockerfile"}
	case len(head) == 0:
		return &contextError{path: stdinName, what: "is empty", hint: "pipe an archive or a Dockerfile into it: tar -c . | mab build -"}
	case r.File == stdinName && kind != "":
		return &contextError{path: stdinName, what: fmt.Sprintf("is an archive (%s), no Dockerfile", kind),
			hint: "an archive is a context: mab build - < FILE"}
	case kind != "":
		return nil
	}
	if err := acceptable(stdinName, head); err != nil {
		return err
	}
	switch {
	case bytes.IndexByte(head, 0) >= 0:
		return &contextError{path: stdinName, what: "is neither a tar archive nor a Dockerfile", hint: archiveHint}
	case r.Context == stdinName && r.File != "":
		return &contextError{path: stdinName, what: "is a Dockerfile, and so is " + quote(r.File),
			hint: "pipe an archive of the context, or leave -f out, or give a directory: mab build -f - DIR"}
	}
	return nil
}

// isFile reports whether a context is a local file; a directory, or what is not there, is none.
func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// spool keeps an archive in a file, for the solver may want it several times, and memory is for others.
func spool(in io.Reader) (*archive, error) {
	file, err := os.CreateTemp("", "mab-context-*.tar")
	if err != nil {
		return nil, fmt.Errorf("keeping the context of standard input: %w", err)
	}
	a := &archive{file: file, temp: true}
	// Where an open file can lose its name, no way to end the program leaves it behind. Elsewhere close removes it.
	_ = os.Remove(file.Name())
	sum := sha256.New()
	if a.size, err = io.Copy(io.MultiWriter(file, sum), in); err != nil {
		return nil, errors.Join(spoolError(file.Name(), err), a.close())
	}
	a.sum = hex.EncodeToString(sum.Sum(nil))
	if err := a.check(stdinName); err != nil {
		return nil, errors.Join(err, a.close())
	}
	return a, nil
}

func spoolError(path string, err error) error {
	wrapped := fmt.Errorf("keeping the context of standard input in %q: %w", path, err)
	if errors.Is(err, syscall.ENOSPC) {
		return &hinted{wrapped, "make room there, or name a directory on another disk: TMPDIR=DIR mab build -"}
	}
	return wrapped
}

// hinted is an error together with the advice that mends it.
type hinted struct {
	error
	hint string
}

// Unwrap returns the error proper.
func (e *hinted) Unwrap() error { return e.error }

// Hint returns the advice.
func (e *hinted) Hint() string { return e.hint }

// patient reads what may never come, for as long as ctx lasts: a read from a terminal or a pipe cannot be interrupted, so it is
// left behind with its buffer.
type patient struct {
	ctx context.Context //nolint:containedctx // io.Reader has no place for it
	in  io.Reader
	buf []byte
}

func (r *patient) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	if len(r.buf) < len(p) {
		r.buf = make([]byte, len(p))
	}
	type outcome struct {
		n   int
		err error
	}
	done, buf := make(chan outcome, 1), r.buf[:len(p)]
	go func() {
		n, err := r.in.Read(buf)
		done <- outcome{n, err}
	}()
	select {
	case <-r.ctx.Done():
		return 0, r.ctx.Err()
	case o := <-done:
		return copy(p, buf[:o.n]), o.err
	}
}
