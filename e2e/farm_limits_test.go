// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mab-build/mab/e2e/farm"
)

// TestFarmAbsent: nodes that do not answer are done without, in their time.
func TestFarmAbsent(t *testing.T) {
	l := newFarmLab(t, hosts("one", "two")...)
	one := l.Host("one")
	port, err := one.Silent()
	sound(t, err)
	silent := fmt.Sprintf("ssh://root@%s:%d", one.Addr(), port)
	nobody := "ssh://root@" + one.Addr()[:strings.LastIndex(one.Addr(), ".")] + ".250"
	refused := fmt.Sprintf("ssh://root@%s:1", one.Addr())
	const limit = "--connect-timeout=2s"
	t.Run("others are used", func(t *testing.T) {
		l := l.on(t)
		l.must(append([]string{"build", l.archContext("warm", "")}, l.node("two")...)...)
		began := time.Now()
		args := append(l.farmBuild(registry(t)+"/absent/app:1", "linux/amd64", limit, l.archContext("others", "")),
			l.node("silent="+silent, "nobody="+nobody, "refused="+refused, "two")...)
		out := l.mab(args...)
		if out.code != 0 {
			t.Fatalf("exit code %d\n%s", out.code, out.stderr)
		}
		if took := time.Since(began); took > 7*time.Second {
			t.Errorf("it took %v", took)
		}
		correct(t, strings.TrimSpace(out.stdout), "linux/amd64")
		for _, name := range []string{"silent", "nobody", "refused"} {
			if got := regexp.MustCompile(`(?m)^.*\b`+name+`\b.*$`).FindAllString(out.stderr, -1); len(got) != 1 {
				t.Errorf("%s is spoken of in %d lines: %q", name, len(got), got)
			}
		}
	})
	t.Run("they are told of where the others cannot build it", func(t *testing.T) {
		l := l.on(t)
		args := []string{"build", limit, "--platform", "linux/s390x", "--strategy", "native", l.archContext("unbuildable", "")}
		out := l.mab(append(args, l.node("refused="+refused, "two")...)...)
		if out.code != 3 || out.stdout != "" {
			t.Errorf("exit code %d, stdout %q", out.code, out.stdout)
		}
		said(t, out, "mab: note: not used: ", "refused", "mab: error: no node can build linux/s390x")
	})
	for name, url := range map[string]string{"silent": silent, "nobody": nobody, "refused": refused} {
		t.Run("nothing but "+name, func(t *testing.T) {
			l := l.on(t)
			out := l.start(append([]string{"build", limit, l.archContext(name, "")}, l.node(name+"="+url)...)...).within(6 * time.Second)
			if out.code != 4 || out.stdout != "" {
				t.Errorf("exit code %d, stdout %q", out.code, out.stdout)
			}
			said(t, out, "mab: error: ", name, "mab: hint: ")
		})
	}
	t.Run("nodes ls answers about the others", func(t *testing.T) {
		l := l.on(t)
		for name, url := range map[string]string{"silent": silent, "nobody": nobody, "two": l.Host("two").URL("root")} {
			sound(t, appendNode(l, name, url))
		}
		began := time.Now()
		out := l.mab("nodes", "ls", "--json", limit)
		if took := time.Since(began); took > 6*time.Second {
			t.Errorf("it took %v", took)
		}
		for _, name := range []string{"silent", "nobody", "two", "linux/amd64"} {
			if !strings.Contains(out.stdout, name) {
				t.Errorf("no %s in %s", name, out.stdout)
			}
		}
	})
}

// appendNode saves a node without looking at it.
func appendNode(l *farmLab, name, url string) error {
	file, err := os.OpenFile(filepath.Join(l.root, "nodes.toml"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = fmt.Fprintf(file, "[[node]]\nname = %q\nurl = %q\n", name, url)
	return err
}

// TestFarmUsersFault: what is the user's to mend is not tried again elsewhere.
func TestFarmUsersFault(t *testing.T) {
	l := newFarmLab(t, hosts("one", "two")...)
	from := "FROM " + registry(t) + "/busybox\n"
	t.Run("a failing RUN runs once", func(t *testing.T) {
		l := l.on(t)
		out := l.mab(append([]string{"build", "--progress", "plain", l.context(map[string]string{
			"Dockerfile": from + "RUN echo counted; exit 7\n",
		})}, l.node("one", "two", "local")...)...)
		if out.code != 1 {
			t.Errorf("exit code %d", out.code)
		}
		if got := regexp.MustCompile(`(?m)^#\d+ [\d.]+ counted$`).FindAllString(out.stderr, -1); len(got) != 1 {
			t.Errorf("it ran %d times:\n%s", len(got), out.stderr)
		}
		said(t, out, "exit code: 7")
	})
	t.Run("what crashes under an emulator is tried under another, and then is the user's", func(t *testing.T) {
		l := l.on(t)
		out := l.mab(append([]string{"build", "--progress", "plain", "--platform", "linux/s390x", l.context(map[string]string{
			"Dockerfile": from + "RUN kill -SEGV $$\n",
		})}, l.node("one", "two")...)...)
		if out.code != 1 {
			t.Errorf("exit code %d", out.code)
		}
		said(t, out, "is planned anew, because the emulator crashed in step", "mab: error: building linux/s390x on ", "(emulated): step ")
		if n := strings.Count(out.stderr, "is planned anew"); n != 1 {
			t.Errorf("it was planned anew %d times:\n%s", n, out.stderr)
		}
	})
	failing := map[string]string{"Dockerfile": from + `RUN case $(uname -m) in aarch64) exit 8;; s390x) exit 9;; esac; sleep 2; uname -m > /arch` + "\n"}
	const three = "linux/arm64,linux/amd64,linux/s390x"
	t.Run("--keep-going reports every failure", func(t *testing.T) {
		l := l.on(t)
		ref := registry(t) + "/fault/app:1"
		out := l.mab(append(l.farmBuild(ref, three, "--progress", "plain", "--keep-going", l.context(failing)), l.node("one", "two")...)...)
		if out.code != 1 || out.stdout != "" {
			t.Errorf("exit code %d, stdout %q", out.code, out.stdout)
		}
		at := strings.Index(out.stderr, "mab: error: ")
		if at < 0 {
			t.Fatal(out.stderr)
		}
		for _, word := range []string{"linux/arm64", "exit code: 8", "linux/s390x", "exit code: 9"} {
			if !strings.Contains(out.stderr[at:], word) {
				t.Errorf("no %q in the error:\n%s", word, out.stderr)
			}
		}
		if !regexp.MustCompile(`(?m)^#\d+ DONE [2-9]`).MatchString(out.stderr) {
			t.Errorf("linux/amd64 was not finished:\n%s", out.stderr)
		}
		if exists(t, ref) {
			t.Errorf("%s was written", ref)
		}
	})
	t.Run("hosts are quiet", func(t *testing.T) {
		quiet(t, l.Host("one"))
		quiet(t, l.Host("two"))
	})
}

// TestFarmSlow: slow and long ways are waited for.
func TestFarmSlow(t *testing.T) {
	l := newFarmLab(t, hosts("one")...)
	one := l.Host("one")
	t.Run("20 Mbit/s", func(t *testing.T) {
		l := l.on(t)
		sound(t, one.Shape(t.Context(), 20))
		defer func() { sound(t, one.Shape(t.Context(), 0)) }()
		args := l.farmBuild(registry(t)+"/slow/app:1", "linux/amd64", l.archContext("slow", "head -c 2000000 /dev/urandom > /noise"))
		correct(t, l.pushed(append(args, l.node("one")...)...), "linux/amd64")
	})
	t.Run("100 ms there and back", func(t *testing.T) {
		l := l.on(t)
		port, err := one.Delayed(50 * time.Millisecond)
		sound(t, err)
		sound(t, os.WriteFile(l.KnownHosts(), []byte(one.HostKey(22)+one.HostKey(port)), 0o600))
		args := l.farmBuild(registry(t)+"/slow/far:1", "linux/amd64", l.archContext("far", ""))
		correct(t, l.pushed(append(args, "--node", fmt.Sprintf("far=ssh://root@%s:%d", one.Addr(), port))...), "linux/amd64")
	})
}

// anotherCPU is a script that has uname -m tell a lie.
func anotherCPU(name string) string {
	return "printf '#!/bin/sh\\n[ \"$1\" = -m ] && echo " + name + " || echo Linux\\n' > /run/uname; chmod 755 /run/uname; mount --bind /run/uname /usr/bin/uname"
}

// TestFarmBring: where mab cannot be brought to, or not all of it works, the message names the node and what is wrong.
func TestFarmBring(t *testing.T) {
	l := newFarmLab(t, farm.HostConfig{Name: "one", Disk: 512})
	one := l.Host("one")
	run := func(t *testing.T, line string) {
		t.Helper()
		_, err := one.Run(t.Context(), "sh", "-ec", line)
		sound(t, err)
	}
	build := func(l *farmLab) output {
		return l.mab(append([]string{"build", l.archContext("bring", "")}, l.node("one")...)...)
	}
	for _, test := range []struct {
		rule, do, undo string
		env            []string
		words          []string
	}{
		{
			"no program for its architecture", anotherCPU("aarch64"), "umount /usr/bin/uname", []string{"MAB_DIST=" + t.TempDir()}, []string{"one", "arm64", "MAB_DIST"},
		},
		{
			"an architecture that is none", anotherCPU("toaster"), "umount /usr/bin/uname", nil, []string{"one", "toaster"},
		},
		{
			"no place where programs may run", "for d in /root /tmp /var/tmp; do mount -o remount,bind,noexec $d; done",
			"for d in /root /tmp /var/tmp; do mount -o remount,bind,exec $d; done", nil, []string{"one", "noexec"},
		},
		{
			"no place that can be written", "for d in /root /tmp /var/tmp; do mount -o remount,bind,ro $d; done",
			"for d in /root /tmp /var/tmp; do mount -o remount,bind,rw $d; done", nil, []string{"one", "cannot be"},
		},
	} {
		t.Run(test.rule, func(t *testing.T) {
			run(t, test.do)
			defer run(t, test.undo)
			out := build(l.on(t).setting(test.env...))
			if out.code != 4 || out.stdout != "" {
				t.Errorf("exit code %d, stdout %q", out.code, out.stdout)
			}
			said(t, out, append(test.words, "mab: error: ", "mab: hint: ")...)
		})
	}
	t.Run("no room", func(t *testing.T) {
		sound(t, one.FillDisk(1<<20))
		defer func() { sound(t, one.FreeDisk()) }()
		out := build(l.on(t))
		if out.code != 4 {
			t.Errorf("exit code %d", out.code)
		}
		said(t, out, "one", "without room", "mab: hint: ")
	})
	t.Run("the first place that does is taken", func(t *testing.T) {
		run(t, "mount -o remount,bind,ro /root; mount -o remount,bind,noexec /var/tmp")
		defer run(t, "mount -o remount,bind,rw /root; mount -o remount,bind,exec /var/tmp")
		if out := build(l.on(t)); out.code != 0 {
			t.Errorf("exit code %d\n%s", out.code, out.stderr)
		}
	})
	t.Run("a link that is cut while mab is brought", func(t *testing.T) {
		run(t, "rm -rf /root/.cache /tmp/mab-* /var/tmp/mab-*")
		l := l.on(t)
		sound(t, one.Shape(t.Context(), 20))
		defer func() { sound(t, one.Shape(t.Context(), 0)) }()
		before, _ := one.Traffic()
		build := l.start(append(l.farmBuild(registry(t)+"/bring/cut:1", "linux/amd64", l.archContext("cut", "")), l.node("one", "local")...)...)
		eventually(t, 20*time.Second, "a part has come", func() bool { now, _ := one.Traffic(); return now > before+1<<20 })
		sound(t, one.Cut(t.Context()))
		out := build.within(routed)
		if out.code != 0 {
			t.Fatalf("exit code %d\n%s", out.code, out.stderr)
		}
		correct(t, strings.TrimSpace(out.stdout), "linux/amd64")
		said(t, out, "not used: node \"one\"")
		sound(t, one.Mend(t.Context()))
		within(t, 60*time.Second, "left on the host", func() string {
			left := slices.DeleteFunc(one.Leftovers(), func(line string) bool { return isSolver(line) || isConnection(line) })
			files, err := one.Files()
			sound(t, err)
			var parts []string
			for _, f := range files {
				if strings.Contains(f, ".new-") {
					parts = append(parts, f)
				}
			}
			return strings.Join(append(parts, left...), "\n")
		})
	})
	t.Run("a registry that the node does not reach", func(t *testing.T) {
		l := l.on(t)
		warm := l.pushed(append(l.farmBuild(registry(t)+"/bring/warm:1", "linux/amd64", l.archContext("through", "")), l.node("one")...)...)
		correct(t, warm, "linux/amd64")
		sound(t, one.StopForwarding(registry(t)))
		ref := registry(t) + "/bring/through:1"
		dir := l.context(map[string]string{"Dockerfile": "FROM scratch\nCOPY arch /arch\n", "arch": "x86_64\n"})
		out := l.mab(append(l.farmBuild(ref, "linux/amd64", dir), l.node("one")...)...)
		if out.code != 0 {
			t.Fatalf("exit code %d\n%s", out.code, out.stderr)
		}
		correct(t, strings.TrimSpace(out.stdout), "linux/amd64")
		if got := l.where()["linux/amd64"]; !strings.HasPrefix(got, "one ") {
			t.Errorf("it was built by %s", got)
		}
	})
}
