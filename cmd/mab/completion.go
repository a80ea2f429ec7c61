// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mab-build/mab/nodes"
	"github.com/mab-build/mab/platforms"
	"github.com/mab-build/mab/solver"
)

// completions are what a shell offers for the values of flags, by the flag's name, in whichever command it is. A value that ends with
// = goes on.
func completions() map[string]cobra.CompletionFunc {
	var known, filters []string
	for _, p := range platforms.Known() {
		known = append(known, p.String())
	}
	for _, key := range solver.FilterKeys() {
		filters = append(filters, key+"=")
	}
	return map[string]cobra.CompletionFunc{
		"platform":   lists(known...),
		"strategy":   lists("native", "cross", "emulated"),
		"progress":   values("auto", "plain", "tty", "rawjson", "quiet"),
		"output":     values("type=oci,dest=", "type=docker,dest=", "type=local,dest=", "type=tar,dest=", "type=registry", "type=image", "type=cacheonly"),
		"cache-from": values("type=registry,ref=", "type=local,src="),
		"cache-to":   values("type=registry,ref=", "type=local,dest=", "type=inline"),
		"provenance": values("mode=min", "mode=max", "true", "false"),
		"sbom":       values("true", "false", "generator="),
		"attest":     values("type=provenance", "type=sbom"),
		"secret":     values("id="),
		"network":    values("default", "none", "host"),
		"allow":      lists("network.host", "security.insecure"),
		"filter":     values(filters...),
		"root":       directories,
		"runtime":    directories,
		"cache-size": cobra.NoFileCompletions,
		"cache-age":  cobra.NoFileCompletions,
		"idle":       cobra.NoFileCompletions,
		"shm-size":   cobra.NoFileCompletions,
		"tag":        cobra.NoFileCompletions,
		"target":     cobra.NoFileCompletions,
		"build-arg":  cobra.NoFileCompletions,
		"label":      cobra.NoFileCompletions,
		"annotation": cobra.NoFileCompletions,
		"add-host":   cobra.NoFileCompletions,
		"ulimit":     cobra.NoFileCompletions,
		"ssh":        values("default"),
		"node":       completeNodeList,
		"slots":      cobra.NoFileCompletions,
		"lines":      cobra.NoFileCompletions,

		"list": values("targets", "variables", "type=targets,format=json", "type=variables,format=json"),
		"set":  cobra.NoFileCompletions,
		"var":  cobra.NoFileCompletions,

		"build-platform":  values(known...),
		"connect-timeout": cobra.NoFileCompletions,
		"tls-server-name": cobra.NoFileCompletions,
	}
}

// complete has a shell offer values of flags, and directories where a context is wanted, in a command and all below it.
func complete(cmd *cobra.Command, offers map[string]cobra.CompletionFunc) {
	register := func(f *pflag.Flag) {
		if offer, ok := offers[f.Name]; ok {
			_ = cmd.RegisterFlagCompletionFunc(f.Name, offer)
		}
	}
	cmd.Flags().VisitAll(register)
	cmd.PersistentFlags().VisitAll(register)
	if strings.HasSuffix(cmd.Use, "[CONTEXT]") {
		cmd.ValidArgsFunction = directories
	}
	for _, c := range cmd.Commands() {
		complete(c, offers)
	}
}

// values offers one of these.
func values(all ...string) cobra.CompletionFunc {
	return func(_ *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
		directive := cobra.ShellCompDirectiveNoFileComp
		var out []string
		for _, v := range all {
			if strings.HasPrefix(v, begun) {
				out = append(out, v)
			}
		}
		if len(out) > 0 && strings.HasSuffix(out[0], "=") {
			directive |= cobra.ShellCompDirectiveNoSpace
		}
		if len(out) == 0 && strings.Contains(begun, "=") {
			return nil, cobra.ShellCompDirectiveDefault
		}
		return out, directive
	}
}

// lists offers these after the last comma, but for those that are there already.
func lists(all ...string) cobra.CompletionFunc {
	return func(_ *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
		before, last := "", begun
		if i := strings.LastIndexByte(begun, ','); i >= 0 {
			before, last = begun[:i+1], begun[i+1:]
		}
		var out []string
		for _, v := range all {
			if strings.HasPrefix(v, last) && !strings.Contains(","+before, ","+v+",") {
				out = append(out, before+v)
			}
		}
		return out, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}
}

func directories(_ *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveFilterDirs
}

// nodeNames are those of the saved list, and local. A list that cannot be read offers nothing.
func nodeNames() []string {
	saved, _ := nodeList().Entries()
	out := []string{nodes.Local}
	for _, e := range saved {
		out = append(out, e.Name)
	}
	return out
}

// completeNodes offers the name of a node as an argument.
func completeNodes(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	return values(nodeNames()...)(cmd, args, begun)
}

// completeNodeList offers the names of nodes after the last comma.
func completeNodeList(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	return lists(nodeNames()...)(cmd, args, begun)
}
