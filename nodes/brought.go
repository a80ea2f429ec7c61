// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// machine is another computer whose user's login shell runs commands.
type machine interface {
	carrier
	// Open starts a command, whose standard input and output the connection is.
	Open(ctx context.Context, line string) (net.Conn, error)
}

// brought is a machine that mab is brought to when it is not there.
type brought struct {
	machine
	name string
	cfg  Config
	// programs returns those that there are.
	programs func() ([]program, error)

	mu    sync.Mutex
	noted map[string]bool
	// used is set once its solver was connected to: what is gone then was removed, and is not brought again to be asked.
	used atomic.Bool
	// door is that of the last answer.
	door atomic.Value
}

func newBrought(m machine, name string, cfg Config) *brought {
	return &brought{machine: m, name: name, cfg: cfg, noted: map[string]bool{}, programs: sync.OnceValues(func() ([]program, error) {
		return findPrograms(context.Background(), cfg.Programs)
	})}
}

// note tells the user once what the node has to say, with each connection.
func (b *brought) note(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.noted[text] && b.cfg.Note != nil {
		b.cfg.Note(fmt.Sprintf("node %q: %s", b.name, text))
	}
	b.noted[text] = true
}

// startWait is how long the mab on a node may take to start the solver, once it has answered: that has a limit of its own for it.
const startWait = 90 * time.Second

// dial returns a connection to the node's solver, which is started if need be.
func (b *brought) dial(ctx context.Context) (net.Conn, error) {
	conn, err := b.connect(ctx)
	var absent *absentError
	if !errors.As(err, &absent) {
		return conn, err
	}
	if err := b.bring(ctx, absent.facts); err != nil {
		return nil, err
	}
	if conn, err = b.connect(ctx); errors.As(err, &absent) {
		return nil, trouble{errors.New("mab was brought there, and is gone again"), "see what removes files of the user's cache there, " +
			"or have sshd name another directory for it: SetEnv XDG_CACHE_HOME=DIR in its sshd_config"}
	}
	return conn, err
}

// bring sends the right program.
func (b *brought) bring(ctx context.Context, f facts) error {
	list, err := b.programs()
	if err != nil {
		return err
	}
	p, err := choose(list, f)
	if err != nil {
		return err
	}
	b.note(fmt.Sprintf("sending mab there (%d MB)", p.size>>20))
	return bring(ctx, b.machine, p, f.gzip)
}

// connect asks the node's mab for a connection to the solver. Where there is no mab, the error is an *absentError.
func (b *brought) connect(ctx context.Context) (_ net.Conn, err error) {
	list, err := b.programs()
	if err != nil {
		return nil, err
	}
	hello, err := json.Marshal(Hello{Protocol: Protocol, Mab: b.cfg.Version, Solver: b.cfg.Solver})
	if err != nil {
		return nil, err
	}
	opening, opened := context.WithTimeout(ctx, b.cfg.timeout())
	defer opened()
	conn, err := b.Open(opening, runLine(list, "connect"))
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = conn.Close()
		}
	}()
	l := &listener{r: bufio.NewReader(conn)}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	// One that ends at once reads nothing; it says why.
	_ = conn.SetDeadline(time.Now().Add(b.cfg.timeout()))
	_, _ = conn.Write(append(hello, '\n'))
	for first := true; ; first = false {
		answer, err := l.answer()
		if !first && errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() == nil {
			return nil, trouble{fmt.Errorf("the mab there did not get the solver to run within %s", startWait), "read why: mab nodes logs " + b.name}
		}
		if err != nil {
			return nil, b.explain(ctx, err, l.noise.String(), stderrOf(conn))
		}
		for _, n := range answer.Notes {
			b.note(plain(n))
		}
		if answer.Ready {
			b.used.Store(true)
			b.door.Store(answer.Door)
			return &joined{Conn: conn, r: l.r}, conn.SetDeadline(time.Time{})
		}
		if first {
			_ = conn.SetDeadline(time.Now().Add(startWait))
		}
	}
}

// absentError is a machine that has no mab.
type absentError struct{ facts facts }

func (e *absentError) Error() string { return "there is no mab" }

// unsaidError is why nothing was said.
type unsaidError struct{ err error }

func (e *unsaidError) Error() string { return e.err.Error() }
func (e *unsaidError) Unwrap() error { return e.err }

// answer returns what the node's mab says next, an *unsaidError if that is nothing. An answer that is an error is one.
func (l *listener) answer() (Answer, error) {
	line, err := l.next()
	if err != nil {
		return Answer{}, &unsaidError{err}
	}
	if f, ok := parseFacts(line); ok {
		return Answer{}, &absentError{f}
	}
	var a Answer
	if err := json.Unmarshal([]byte(line), &a); err != nil {
		return Answer{}, fmt.Errorf("understanding the mab there: %w", err)
	}
	switch {
	case a.Error != "":
		return a, trouble{errors.New(plain(a.Error)), plain(a.Hint)}
	case a.Protocol != Protocol:
		return a, trouble{fmt.Errorf("the mab there is %s and speaks protocol %d, this one %d", a.Mab, a.Protocol, Protocol),
			"let MAB_DIST name the programs of the release that this mab is of"}
	}
	return a, nil
}

// stderrOf is what a command wrote there, as far as its connection knows.
func stderrOf(conn net.Conn) string {
	if s, ok := conn.(interface{ Stderr() string }); ok {
		return s.Stderr()
	}
	return ""
}

// explain turns an *unsaidError into what it means.
func (b *brought) explain(ctx context.Context, err error, noise, wrote string) error {
	var unsaid *unsaidError
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case !errors.As(err, &unsaid):
		return err
	}
	return explainSilence(unsaid.err, noise, wrote, b.cfg.timeout())
}

// explainSilence says why a machine did not answer the question whether mab is there.
func explainSilence(err error, noise, wrote string, waited time.Duration) error {
	var timeout net.Error
	var lost interface{ Lost() bool }
	said := tidy(noise, wrote)
	switch {
	case errors.As(err, &lost):
		return err
	case errors.As(err, &timeout) && timeout.Timeout():
		return trouble{fmt.Errorf("its login shell did not answer within %s%s", waited, after(said)), "allow it more time: --connect-timeout 30s"}
	case errors.Is(err, errTooMuch):
		return trouble{fmt.Errorf("its login shell prints too much before it runs a command%s", after(said)), shellHint}
	}
	return trouble{fmt.Errorf("its login shell did not run sh%s", after(said)), shellHint}
}

const shellHint = "the user's login shell there must run commands, and authorized_keys force none (command=): ssh HOST uname should print Linux"

// joined is a connection of which more was read than was asked for.
type joined struct {
	net.Conn
	r *bufio.Reader
}

func (j *joined) Read(b []byte) (int, error) { return j.r.Read(b) }

// ask runs a command of mab agent to its end, and returns its answer.
func (b *brought) ask(ctx context.Context, args string) (Answer, error) {
	for first := true; ; first = false {
		answer, err := b.askOnce(ctx, args)
		var absent *absentError
		switch {
		case errors.As(err, &absent) && b.used.Load():
			return Answer{}, nil
		case errors.As(err, &absent) && first:
			if err := b.bring(ctx, absent.facts); err != nil {
				return Answer{}, err
			}
		default:
			return answer, err
		}
	}
}

// askOnce is ask, which fails with an *absentError where there is no mab. Once that answers it has the time that it needs.
func (b *brought) askOnce(ctx context.Context, args string) (Answer, error) {
	list, err := b.programs()
	if err != nil {
		return Answer{}, err
	}
	waiting, patience := withPatience(ctx, b.cfg.timeout())
	defer patience.end()
	stdout, stderr := &said{most: maxHello, answered: patience.forGood}, &said{most: maxNoise}
	err = b.Run(waiting, runLine(list, args), nil, stdout, stderr)
	var lost interface{ Lost() bool }
	if errors.As(err, &lost) {
		return Answer{}, err
	}
	l := &listener{r: bufio.NewReader(strings.NewReader(stdout.String()))}
	answer, failed := l.answer()
	if failed != nil {
		if waiting.Err() != nil {
			failed = &unsaidError{os.ErrDeadlineExceeded}
		}
		return Answer{}, b.explain(ctx, failed, l.noise.String(), stderr.String())
	}
	// The last one counts: the first says that the others may take a while.
	for {
		next, failed := l.answer()
		var unsaid *unsaidError
		if errors.As(failed, &unsaid) {
			return answer, err
		}
		if failed != nil {
			return Answer{}, failed
		}
		answer = next
	}
}

func (b *brought) log(ctx context.Context, lines int) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, startWait)
	defer cancel()
	a, err := b.ask(ctx, "logs --lines "+strconv.Itoa(lines))
	return a.Log, err
}

func (b *brought) purge(ctx context.Context, force bool) error {
	args := "purge"
	if force {
		args += " --force"
	}
	_, err := b.ask(ctx, args)
	return err
}
