// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"strings"

	"github.com/docker/cli/cli/config/configfile"
)

// proxyArgs are the build arguments by which docker buildx hands the proxies of docker's config.json to RUN: those of the engine at
// host, else the default ones, but none that the attributes have already, in whatever case.
// Source: https://docs.docker.com/engine/cli/proxy/
func proxyArgs(all map[string]configfile.ProxyConfig, host string, attrs map[string]string) map[string]string {
	proxy, ok := all[host]
	if !ok {
		proxy = all["default"]
	}
	given := map[string]bool{}
	for name := range attrs {
		given[strings.ToLower(name)] = true
	}
	out := map[string]string{}
	for _, p := range []struct{ name, value string }{
		{"HTTP_PROXY", proxy.HTTPProxy}, {"HTTPS_PROXY", proxy.HTTPSProxy}, {"NO_PROXY", proxy.NoProxy}, {"FTP_PROXY", proxy.FTPProxy},
	} {
		if name := "build-arg:" + p.name; p.value != "" && !given[strings.ToLower(name)] {
			out[name] = p.value
		}
	}
	return out
}
