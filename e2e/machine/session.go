// SPDX-License-Identifier: Apache-2.0

//go:build linux

package machine

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"
)

// Output is what a command left.
type Output struct {
	Stdout, Stderr string
	// Code is its exit code, 128 and the signal's number if one ended it as a shell has it.
	Code int
}

// SSH runs a program in the machine as root and waits for its end. Arguments reach it as they are; for the shell's language run
// "sh", "-c", "…". The error says that it could not be run or not be waited for; an exit code other than 0 is none.
func (m *Machine) SSH(ctx context.Context, args ...string) (Output, error) {
	out, err := m.run(ctx, nil, args)
	if err != nil {
		return Output{}, fmt.Errorf("running %q in the machine: %w", args, err)
	}
	return out, nil
}

func (m *Machine) run(ctx context.Context, stdin io.Reader, args []string) (Output, error) {
	session, err := m.client.NewSession()
	if err != nil {
		return Output{}, m.explain(err)
	}
	defer session.Close()
	var stdout, stderr bytes.Buffer
	session.Stdin, session.Stdout, session.Stderr = stdin, &stdout, &stderr
	stop := context.AfterFunc(ctx, func() { _ = session.Close() })
	err = session.Run(quote(args))
	if !stop() {
		return Output{}, context.Cause(ctx)
	}
	out := Output{Stdout: stdout.String(), Stderr: stderr.String()}
	if exit := (*ssh.ExitError)(nil); errors.As(err, &exit) {
		out.Code = exit.ExitStatus()
		return out, nil
	}
	return out, m.explain(err)
}

// explain says of a broken connection that the machine is gone, if it is.
func (m *Machine) explain(err error) error {
	if err == nil {
		return nil
	}
	select {
	case <-m.qemu.ended:
		return fmt.Errorf("the machine is gone: %w; the console's end:\n%s", err, m.Console())
	default:
		return err
	}
}

// quote writes a command in the shell's language.
func quote(args []string) string {
	quoted := make([]string, len(args))
	for i, arg := range args {
		quoted[i] = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
	}
	return strings.Join(quoted, " ")
}

// Copy copies a file or a directory of this host into the machine, where it is called to, an absolute path, and owned by root.
// Directories above are made; a file that is there is replaced, and a directory added to. Symbolic links are followed.
func (m *Machine) Copy(ctx context.Context, from, to string) error {
	if err := m.copy(ctx, from, to); err != nil {
		return fmt.Errorf("copying %q to %q in the machine: %w", from, to, err)
	}
	return nil
}

func (m *Machine) copy(ctx context.Context, from, to string) error {
	reader, writer := io.Pipe()
	var group errgroup.Group
	group.Go(func() error {
		archive := tar.NewWriter(writer)
		err := add(archive, from, strings.TrimPrefix(to, "/"))
		if err == nil {
			err = archive.Close()
		}
		writer.CloseWithError(err)
		return err
	})
	out, err := m.run(ctx, reader, []string{"tar", "-x", "-f", "-", "-C", "/"})
	if err == nil && out.Code != 0 {
		err = fmt.Errorf("exit code %d: %s", out.Code, strings.TrimSpace(out.Stderr))
	}
	reader.CloseWithError(errors.New("the machine reads no more"))
	// If the reading failed too, the machine's own words say more than that it ended.
	return errors.Join(group.Wait(), err)
}

// Forward listens at the address inside of the machine, such as 127.0.0.1:5000, and connects each connection to the other address
// on this side, until Close.
func (m *Machine) Forward(inside, outside string) error {
	listener, err := m.client.Listen("tcp", inside)
	if err != nil {
		return fmt.Errorf("forwarding %s of the machine: %w", inside, err)
	}
	m.group.Go(func() error {
		for {
			conn, err := listener.Accept()
			if err != nil {
				// The connection to the machine has ended, and with it the listener.
				return nil //nolint:nilerr // that is how it ends
			}
			m.group.Go(func() error {
				m.join(conn, outside)
				return nil
			})
		}
	})
	return nil
}

// join copies between inside and a new connection until both have nothing more to say, or the machine is gone. Who dials sees
// what went wrong.
func (m *Machine) join(inside net.Conn, address string) {
	defer inside.Close()
	var dialer net.Dialer
	outside, err := dialer.DialContext(context.Background(), "tcp", address)
	if err != nil {
		return
	}
	defer outside.Close()
	said := make(chan struct{})
	var watch, group errgroup.Group
	watch.Go(func() error {
		select {
		case <-m.qemu.ended:
			return outside.Close()
		case <-said:
			return nil
		}
	})
	group.Go(func() error { return pour(outside, inside) })
	group.Go(func() error { return pour(inside, outside) })
	_ = group.Wait() // The ends of the connection have seen it.
	close(said)
	_ = watch.Wait() // It is closed either way.
}

// pour copies from one to the other and says there that this was all.
func pour(to, from net.Conn) error {
	_, err := io.Copy(to, from)
	if half, ok := to.(interface{ CloseWrite() error }); ok && err == nil {
		return half.CloseWrite()
	}
	return errors.Join(err, to.Close(), from.Close())
}
