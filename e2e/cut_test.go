// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// slowLink is a way to the lab's solver over a link: what a client says there goes through this process.
type slowLink struct {
	socket string
	// cut has nothing pass any more, in either direction, and nobody learn of it.
	cut atomic.Bool
}

// link makes one that passes so many bytes each second, and holds as many as buffer before those who send have to wait.
func (l *lab) link(rate, buffer int) *slowLink {
	l.t.Helper()
	out := &slowLink{socket: filepath.Join(l.t.TempDir(), "s")}
	listener, err := net.Listen("unix", out.socket)
	if err != nil {
		l.t.Fatal(err)
	}
	var group sync.WaitGroup
	var mu sync.Mutex
	conns := []io.Closer{listener}
	keep := func(c io.Closer) { mu.Lock(); defer mu.Unlock(); conns = append(conns, c) }
	group.Go(func() {
		for {
			in, err := listener.Accept()
			if err != nil {
				return
			}
			to, err := net.Dial("unix", filepath.Join(l.root, "solver.sock"))
			if err != nil {
				_ = in.Close()
				continue
			}
			keep(in)
			keep(to)
			group.Go(func() { out.pass(in, to, rate, buffer) })
			group.Go(func() { out.pass(to, in, rate, buffer) })
		}
	})
	l.t.Cleanup(func() {
		mu.Lock()
		for _, c := range conns {
			_ = c.Close()
		}
		mu.Unlock()
		group.Wait()
	})
	return out
}

// pass carries what from says to to, until either ends.
func (f *slowLink) pass(from, to net.Conn, rate, buffer int) {
	const piece = 16 << 10
	queue := make(chan []byte, max(1, buffer/piece))
	var group sync.WaitGroup
	defer group.Wait()
	group.Go(func() {
		defer to.Close()
		for b := range queue {
			if rate > 0 {
				time.Sleep(time.Duration(len(b)) * time.Second / time.Duration(rate))
			}
			if !f.cut.Load() {
				_, _ = to.Write(b)
			}
		}
	})
	defer close(queue)
	for {
		b := make([]byte, piece)
		n, err := from.Read(b)
		if err != nil {
			return
		}
		queue <- b[:n]
	}
}

// buildctl builds over the link.
func (f *slowLink) build(l *lab, dir string, args ...string) *running {
	l.t.Helper()
	there := *l
	there.program = []string{tool(l.t, "github.com/moby/buildkit/cmd/buildctl"), "--addr", "unix://" + f.socket}
	return there.start(append([]string{"build", "--progress", "plain", "--frontend", "dockerfile.v0", "--local", "context=" + dir, "--local", "dockerfile=" + dir},
		args...)...)
}

// A client that is cut off without a word is gone soon: its steps end, but not those that somebody else waits for as well.
func TestCutOff(t *testing.T) {
	const own = "sleep 86399"
	l := newWatchedLab(t)
	base := registry(t) + "/busybox"
	dir := l.context(map[string]string{"Dockerfile": fmt.Sprintf("FROM %s AS shared\nRUN %s\nFROM %s AS own\nRUN %s\n"+
		"FROM scratch\nCOPY --from=shared /etc /a\nCOPY --from=own /etc /b\n", base, forever, base, own)})
	near := l.start("build", "--target", "shared", dir)
	eventually(t, 20*time.Second, "the shared RUN is under way", func() bool { return len(l.containers(forever)) > 0 })
	shared := fmt.Sprint(l.containers(forever))
	link := l.link(0, 0)
	client := link.build(l, dir)
	eventually(t, 20*time.Second, "the other RUN is under way", func() bool { return len(l.containers(own)) > 0 })
	link.cut.Store(true)
	within(t, 15*time.Second, "the RUN of a client that was cut off goes on", func() string {
		if left := l.containers(own); len(left) > 0 {
			return fmt.Sprint(left)
		}
		return ""
	})
	if got := fmt.Sprint(l.containers(forever)); got != shared {
		t.Errorf("the shared RUN was %s, and is %s", shared, got)
	}
	client.cancel()
	client.wait()
	f := l.family()
	near.signal(syscall.SIGINT)
	wantInterrupted(t, near.within(interruptLimit))
	l.cancelled(f)
	l.noPanic()
}

// A client on a slow link, with much in between that waits to be sent, is not taken for one that is cut off; nor is one on this
// machine that was stopped for a while.
func TestSlowIsNotCutOff(t *testing.T) {
	const size, rate = 5 << 20, 350 << 10
	l := newLab(t)
	dir := l.context(map[string]string{"Dockerfile": "FROM " + registry(t) + "/busybox AS made\n" +
		fmt.Sprintf("RUN head -c %d /dev/urandom > /big\nFROM scratch\nCOPY --from=made /big /\n", size)})
	stopped := l.start("build", l.context(map[string]string{"Dockerfile": "FROM " + registry(t) + "/busybox\nRUN sleep 3; echo slept\n"}))
	eventually(t, 20*time.Second, "the RUN is under way", func() bool { return len(l.containers("sleep 3")) > 0 })
	stopped.signal(syscall.SIGSTOP)
	dest := filepath.Join(l.dir, "files")
	began := time.Now()
	out := l.link(rate, 2<<20).build(l, dir, "--output", "type=local,dest="+dest).wait()
	if out.code != 0 {
		t.Fatalf("exit code %d\n%s", out.code, out.stderr)
	}
	if info, err := os.Stat(filepath.Join(dest, "big")); err != nil || info.Size() != size {
		t.Errorf("got %v, %v", info, err)
	}
	if took := time.Since(began); took < 12*time.Second {
		t.Errorf("it took %v, so that this test shows nothing", took)
	}
	stopped.signal(syscall.SIGCONT)
	if out := stopped.within(10 * time.Second); out.code != 0 {
		t.Errorf("the one that was stopped: exit code %d\n%s", out.code, out.stderr)
	}
}
