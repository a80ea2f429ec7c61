// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

import (
	"strings"
	"testing"
	"time"
)

func TestFailingRun(t *testing.T) {
	l := newWatchedLab(t)
	outputs := []string{"-o", "type=oci,dest=image.tar", "-o", "type=oci,tar=false,dest=layout", "-o", "type=docker,dest=docker.tar", "-o", "type=local,dest=files",
		"-o", "type=tar,dest=files.tar", "--iidfile", "id", "--metadata-file", "metadata.json"}
	for _, test := range []struct {
		rule, platforms, run string
		says                 []string
	}{
		{"natively", "linux/amd64", "RUN echo one && exit 7", []string{"exit code: 7", "echo one && exit 7"}},
		{"under QEMU", "linux/riscv64", "RUN echo two && exit 8", []string{"exit code: 8", "echo two && exit 8"}},
		{"by a signal", "linux/amd64", "RUN sh -c 'sleep 9 & kill -9 $!; wait $!'", []string{"kill -9", "exit code: 137"}},
		{"no such program", "linux/amd64", `RUN ["/no/such/program"]`, []string{"/no/such/program"}},
		{"on one platform of six", six, "ARG TARGETARCH\nRUN echo for $TARGETARCH; test $TARGETARCH != s390x", []string{"linux/s390x", "exit code: 1"}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			l := l.on(t)
			ref := registry(t) + "/failing:latest"
			dir := l.context(map[string]string{"Dockerfile": "FROM " + registry(t) + "/busybox\n" + test.run + "\nRUN echo not reached\n"})
			args := []string{"build", "--platform", test.platforms, "-t", ref, "--push"}
			if test.platforms != six {
				args = append(args, outputs...)
			}
			out := l.start(append(args, dir)...).within(time.Minute)
			wantFailed(t, out, test.says, "")
			run := test.run[strings.LastIndex(test.run, "RUN"):]
			if !strings.Contains(out.stderr, " | >>> "+run+"\n") {
				t.Errorf("the Dockerfile's line is not shown in\n%s", out.stderr)
			}
			empty(t, l.dir)
			if exists(t, ref) {
				t.Error("the tag is there")
			}
			within(t, vanish, "containers' states are left", l.stale)
		})
	}
	l.noPanic()
}

// What was there before a build that fails stays as it was.
func TestFailingRunKeepsOldOutputs(t *testing.T) {
	l := newWatchedLab(t).on(t)
	ref := registry(t) + "/kept:latest"
	args := []string{"build", "-t", ref, "--push", "-o", "type=tar,dest=files.tar", "--iidfile", "id", "--metadata-file", "metadata.json"}
	digest := l.must(append(args, l.pushContext())...)
	before := map[string]string{}
	for _, name := range tree(t, l.dir) {
		before[name] = string(readFile(t, l.dir+"/"+name))
	}
	if len(before) != 3 {
		t.Fatalf("files: %v", tree(t, l.dir))
	}
	wantFailed(t, l.mab(append(args, l.context(map[string]string{"Dockerfile": "FROM " + registry(t) + "/busybox\nRUN false\n"}))...), []string{"exit code: 1"}, "")
	for name, content := range before {
		if string(readFile(t, l.dir+"/"+name)) != content {
			t.Errorf("%s has changed", name)
		}
	}
	if got := l.must("index", "inspect", "--raw", ref); !strings.Contains(digest, "@sha256:") || got == "" {
		t.Errorf("%s: %s", digest, got)
	}
	empty(t, l.dir, "files.tar", "id", "metadata.json")
}

// TestCrashedRun has a RUN end whose only program crashes under QEMU, which then waits for a signal that never comes.
func TestCrashedRun(t *testing.T) {
	l := newWatchedLab(t)
	out := l.start("build", "--platform", "linux/s390x", l.context(map[string]string{
		"Dockerfile": "FROM " + registry(t) + "/busybox\nRUN kill -SEGV $$\n",
	})).within(20 * time.Second)
	wantFailed(t, out, []string{"exit code: 137"}, "")
	if !strings.Contains(out.stderr, "qemu: uncaught target signal 11") {
		t.Errorf("QEMU does not say so\n%s", out.stderr)
	}
	l.noPanic()
}
