// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e_test

// onlyForeign has a slow machine with another CPU run what no other runs natively, and nothing else.
func (l *farmLab) onlyForeign() {
	t := l.t
	dir := l.context(map[string]string{"Dockerfile": `FROM --platform=$BUILDPLATFORM ` + registry(t) + `/busybox AS shared
RUN ` + chance + ` && uname -m > /out/shared
FROM shared AS compile
ARG TARGETARCH
RUN echo $TARGETARCH > /out/for && uname -m > /out/private
FROM ` + registry(t) + `/busybox
COPY --from=compile /out /
RUN uname -m > /arch
`})
	for _, platforms := range []string{"linux/amd64,linux/arm64", "linux/arm64"} {
		// How slow the machine is taken to be depends on what else this one does: emulation here might win.
		ref := l.pushed(l.farmBuild(registry(t)+"/vm/foreign:1", platforms, dir, "--strategy=native,cross")...)
		sameID(t, ref, platforms)
		files := rootfsOf(t, imageOf(t, pull(t, ref), "linux/arm64"))
		for _, name := range []string{"shared", "private"} {
			if got := files.text(t, name); got != "x86_64" {
				t.Errorf("%s: the %s step ran on %s", platforms, name, got)
			}
		}
		if got := l.where()["linux/arm64"]; got != "vm native" {
			t.Errorf("%s: linux/arm64 was built by %s", platforms, got)
		}
	}
}
