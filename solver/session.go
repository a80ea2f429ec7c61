// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/docker/cli/cli/config"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/cmd/buildctl/build"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/auth/authprovider"
	"github.com/moby/buildkit/session/sshforward/sshprovider"
	"github.com/moby/buildkit/util/gitutil"
)

// attachables is what the solver may ask this machine for while it builds: credentials, secrets and ssh agents. They stay
// here and travel only inside the session, to the step that asks.
func (r *Request) attachables() ([]session.Attachable, error) {
	out := []session.Attachable{authprovider.NewDockerAuthProvider(authprovider.DockerAuthProviderConfig{
		AuthConfigProvider: authprovider.LoadAuthConfig(config.LoadDefaultConfigFile(io.Discard)),
	})}
	if len(r.Secrets) > 0 {
		secrets, err := build.ParseSecret(r.Secrets)
		if err != nil {
			return nil, &usageError{"--secret: " + err.Error(), "write id=NAME[,src=FILE] or id=NAME,env=VARIABLE, and make sure that the file exists"}
		}
		out = append(out, secrets)
	}
	keys := r.SSH
	if len(keys) == 0 && overSSH(r.Context) {
		keys = []string{defaultAgent} // as docker buildx does
	}
	if len(keys) > 0 {
		agents, err := build.ParseSSH(keys)
		if err != nil {
			return nil, &usageError{"--ssh: " + err.Error(), "write default, or ID=SOCKET, or ID=KEYFILE[,KEYFILE]"}
		}
		provider, err := sshprovider.NewSSHAgentProvider(agents)
		if err != nil {
			return nil, &usageError{"--ssh: " + err.Error(), "start an agent (eval $(ssh-agent); ssh-add), or name a key: --ssh default=$HOME/.ssh/id_ed25519"}
		}
		out = append(out, provider)
	}
	return out, nil
}

// defaultAgent is the id of the agent that a step gets which names none.
const defaultAgent = "default"

// overSSH reports whether a context is a git repository that is fetched by ssh.
func overSSH(context string) bool {
	url, err := gitutil.ParseURL(context)
	return err == nil && url.Scheme == gitutil.SSHProtocol
}

// caches parses --cache-from and --cache-to.
func (r *Request) caches() (imports, exports []client.CacheOptionsEntry, err error) {
	from, err := longCaches(r.CacheFrom)
	if err == nil {
		imports, err = build.ParseImportCache(from)
	}
	if err != nil {
		return nil, nil, &usageError{"--cache-from: " + err.Error(), "write type=registry,ref=REF or type=local,src=DIR"}
	}
	to, err := longCaches(r.CacheTo)
	if err == nil {
		exports, err = build.ParseExportCache(to)
	}
	if err != nil {
		return nil, nil, &usageError{"--cache-to: " + err.Error(), "write type=inline, type=registry,ref=REF or type=local,dest=DIR; add mode=max to keep every step"}
	}
	if err := checkCaches(imports, "--cache-from", func(kind string) string { return cacheTypes[kind].from }); err != nil {
		return nil, nil, err
	}
	if err := checkCaches(exports, "--cache-to", func(kind string) string { return cacheTypes[kind].to }); err != nil {
		return nil, nil, err
	}
	// The older form of --cache-to type=inline: https://docs.docker.com/build/cache/backends/inline/
	if slices.Contains(r.BuildArgs, "BUILDKIT_INLINE_CACHE=1") && !slices.ContainsFunc(exports, isInline) {
		exports = append(exports, client.CacheOptionsEntry{Type: inlineCache, Attrs: map[string]string{}})
	}
	return imports, exports, nil
}

// cacheTypes are the kinds of caches that the solver knows, with the setting that each needs to be read and written.
var cacheTypes = map[string]struct{ from, to string }{
	"registry":  {"ref", "ref"},
	localCache:  {"src", "dest"},
	inlineCache: {"ref", ""},
}

// checkCaches finds what BuildKit would only refuse in the middle of a build.
func checkCaches(list []client.CacheOptionsEntry, flag string, needs func(kind string) string) error {
	for _, e := range list {
		if _, ok := cacheTypes[e.Type]; !ok {
			return &usageError{fmt.Sprintf("%s: there is no type %q", flag, e.Type), "choose type=registry, type=local or type=inline"}
		}
		if name := needs(e.Type); name != "" && e.Attrs[name] == "" {
			return &usageError{fmt.Sprintf("%s: type=%s has no %s", flag, e.Type, name), fmt.Sprintf("write type=%s,%s=…", e.Type, name)}
		}
	}
	return nil
}

const inlineCache, localCache = "inline", "local"

func isInline(e client.CacheOptionsEntry) bool { return e.Type == inlineCache }

// longCaches writes bare references, of which one entry may hold several, as docker buildx understands them.
func longCaches(list []string) ([]string, error) {
	var out []string
	for _, entry := range list {
		switch {
		case strings.HasPrefix(entry, "type="), strings.Contains(entry, ",type="):
			out = append(out, entry)
		case strings.Contains(entry, "="):
			return nil, fmt.Errorf("%q has no type", entry)
		default:
			for ref := range strings.SplitSeq(entry, ",") {
				out = append(out, "type=registry,ref="+ref)
			}
		}
	}
	return out, nil
}
