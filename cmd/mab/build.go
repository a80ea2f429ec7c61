// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mab-build/mab/coordinator"
	"github.com/mab-build/mab/platforms"
	"github.com/mab-build/mab/solver"
)

type buildCommand struct {
	*options
	request      coordinator.Request
	farm         nodeOptions
	progress     string
	quiet        bool
	metadataFile string
	iidFile      string
	reproducible bool
}

func newBuild(o *options) *cobra.Command {
	b := &buildCommand{options: o}
	cmd := &cobra.Command{
		Use:   "build [flags] [CONTEXT]",
		Short: "Build an image for one or many platforms",
		Long: `Build an image for one or many platforms from a Dockerfile and a context, as docker buildx build does. The context is a
directory, a tar file, the URL of a git repository or a tar, or - for a tar or a Dockerfile on standard input.

Standard output gets the result alone: REFERENCE@DIGEST of what was pushed, else the digest.`,
		Example: `  mab build --platform linux/amd64,linux/arm64 -t registry.example/app:1.0 --push .
  mab build --platform linux/arm64 -o type=oci,dest=app.tar .`,
		Args: arguments(0, 1, "one CONTEXT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				b.request.Context = args[0]
			}
			return b.run(cmd)
		},
	}
	flags := cmd.Flags()
	requestFlags(flags, &b.request)
	nodeFlags(flags, &b.farm)
	checkFlags(flags, &b.request)
	ignoredFlags(flags)
	flags.BoolVar(&b.request.KeepGoing, "keep-going", false, "when a platform fails, finish the others and report all failures; nothing is written then")
	flags.StringVar(&b.progress, "progress", env("BUILDKIT_PROGRESS", "auto"), "how progress is shown: auto, plain, tty, rawjson, quiet")
	flags.BoolVarP(&b.quiet, "quiet", "q", false, "show nothing but the result")
	flags.BoolVar(&b.reproducible, "check-reproducible", false,
		"build twice, without the cache and on other nodes the second time, and write nothing if the images differ")
	flags.StringVar(&b.metadataFile, "metadata-file", "", "write what is known about the result to this `FILE`, as JSON")
	flags.StringVar(&b.iidFile, "iidfile", "", "write the digest of the result to this `FILE`")
	return cmd
}

// requestFlags binds the flags of docker buildx build to the request. Names and meanings are docker's.
func requestFlags(flags *pflag.FlagSet, r *coordinator.Request) {
	flags.Var((*platformList)(&r.Platforms), "platform", "build for these `platforms`, in this order (linux/arm64,linux/amd64; repeatable)")
	flags.StringArrayVarP(&r.Tags, "tag", "t", nil, "`reference` of the result (repeatable)")
	flags.StringVarP(&r.File, "file", "f", "", "the Dockerfile: a path, a URL, or - for standard input (default CONTEXT/Dockerfile)")
	flags.StringVar(&r.Target, "target", "", "the `stage` to build")
	flags.StringArrayVar(&r.BuildArgs, "build-arg", nil, "`NAME=VALUE` of a build argument (repeatable)")
	flags.StringArrayVar(&r.Labels, "label", nil, "`NAME=VALUE` of a label of the image (repeatable)")
	flags.StringArrayVar(&r.Annotations, "annotation", nil, "`[LEVEL:]NAME=VALUE` of an annotation (repeatable)")
	flags.StringArrayVar(&r.Secrets, "secret", nil, "a secret for RUN --mount=type=secret: `id=NAME[,src=FILE|env=VAR]` (repeatable)")
	flags.StringArrayVar(&r.SSH, "ssh", nil, "an agent or key for RUN --mount=type=ssh: `default|ID[=SOCKET|KEY]` (repeatable)")
	flags.StringArrayVar(&r.NamedContexts, "build-context", nil, "a further context: `NAME=PATH|URL|docker-image://…|oci-layout://…|target:…` (repeatable)")
	flags.BoolVar(&r.NoCache, "no-cache", false, "run every step, whatever the cache has")
	flags.StringSliceVar(&r.NoCacheFilter, "no-cache-filter", nil, "run the steps of these `stages`")
	flags.BoolVar(&r.Pull, "pull", false, "look for new versions of base images")
	flags.VarP((*outputList)(&r.Outputs), "output", "o", "what to make: `type=oci|docker|local|tar|image|registry[,dest=PATH]` (repeatable)")
	flags.BoolVar(&r.Push, "push", false, "push to the registry: short for -o type=registry")
	flags.BoolVar(&r.Load, "load", false, "load into Docker or podman: short for -o type=docker")
	flags.StringArrayVar(&r.CacheFrom, "cache-from", nil, "read a cache: `type=registry,ref=…|type=local,src=…` (repeatable)")
	flags.StringArrayVar(&r.CacheTo, "cache-to", nil, "write the cache: `type=registry,ref=…|type=local,dest=…|type=inline` (repeatable)")
	flags.StringVar(&r.Provenance, "provenance", "", "provenance of the image: `true|false|mode=min|mode=max` (default mode=min)")
	flags.StringVar(&r.SBOM, "sbom", "", "bill of materials of the image: `true|false|generator=IMAGE`")
	flags.StringArrayVar(&r.Attests, "attest", nil, "an attestation: `type=provenance|sbom[,KEY=VALUE…]` (repeatable)")
	flags.StringVar(&r.Network, "network", "", "network of RUN: default, none or host")
	flags.StringSliceVar(&r.AddHosts, "add-host", nil, "`NAME:IP` known to RUN; the IP host-gateway is this machine (repeatable)")
	flags.StringVar(&r.ShmSize, "shm-size", "", "size of /dev/shm")
	flags.StringArrayVar(&r.Ulimits, "ulimit", nil, "`TYPE=SOFT[:HARD]` of RUN (repeatable)")
	flags.StringVar(&r.CgroupParent, "cgroup-parent", "", "control `group` of RUN; without effect where steps get none, as in the local solver")
	flags.StringSliceVar(&r.Allow, "allow", nil, "grant `network.host`, security.insecure or buildx.local.delete")
	ownFlags(flags, r)
	for _, name := range []string{"provenance", "sbom"} {
		flags.Lookup(name).NoOptDefVal = "true"
	}
}

// ownFlags binds the flags that docker buildx does not have: those of how, not of what.
func ownFlags(flags *pflag.FlagSet, r *coordinator.Request) {
	flags.StringVar(&r.EmulationImage, "emulation-image", env("MAB_EMULATION_IMAGE", ""),
		"take emulators that are missing from this image: `REF`, oci-layout://DIR or default (env MAB_EMULATION_IMAGE)")
	flags.Var((*timeLimit)(&r.EmulatedTimeout), "emulated-timeout",
		"stop a step that runs under QEMU for this `time`, and try its platform elsewhere (10m; 0: no limit; env "+emulatedTimeoutVariable+")")
	flags.Var(&r.Strategies, "strategy", "allow only these: native,cross,assisted,emulated")
	flags.Var(&r.Assist, "assist", "`toolchains` that run natively in emulated steps: auto, off, or a list of auto, go and cc")
	flags.Var((*platformValue)(&r.Build), "build-platform", "BUILDPLATFORM for the whole build: a `platform` (default that of the fastest node)")
	flags.BoolVar(&r.NoSplit, "no-split", false, "build each platform whole on its node, also what several have in common")
	flags.BoolVar(&r.InsecureRegistry, "insecure-registry", false, "push by plain HTTP or to an unknown certificate")
}

func (b *buildCommand) run(cmd *cobra.Command) error {
	mode := b.progress
	if b.quiet {
		mode = "quiet"
	}
	display, err := solver.NewDisplay(b.std.err, mode)
	if err != nil {
		return err
	}
	for _, path := range []string{b.iidFile, b.metadataFile} {
		if err := writable(path); err != nil {
			return err
		}
	}
	if err := fill(cmd.Flags(), &b.request, b.metadataFile); err != nil {
		return err
	}
	var notes []string
	c, err := b.coordinator(&b.farm, display, func(text string) { notes = append(notes, text) })
	if err != nil {
		return err
	}
	b.request.Stdin = b.std.in
	if !b.quiet {
		b.tellIgnored(cmd.Flags())
	}
	if b.request.CgroupParent != "" && !b.quiet {
		b.note("--cgroup-parent has no effect: steps of the local solver get no control groups")
	}
	build := c.Build
	if b.reproducible {
		build = c.BuildReproducibly
	}
	result, err := build(cmd.Context(), b.request)
	// Not before: on a terminal the display draws over lines that are not its own.
	for _, text := range notes {
		if !b.quiet {
			b.note("%s", text)
		}
	}
	if err != nil {
		return err
	}
	if !b.quiet {
		b.tellChecked(result.Checked)
	}
	return b.tell(result)
}

// fill fills in what flags leave open of a request, and what a metadata file wants to be known. Empty: there is none.
func fill(flags *pflag.FlagSet, r *coordinator.Request, metadataFile string) error {
	if metadataFile != "" {
		r.Metadata = coordinator.ParseMetadataOptions(os.Getenv("BUILDX_METADATA_PROVENANCE"), os.Getenv("BUILDX_METADATA_WARNINGS"))
	}
	if err := emulatedTimeout(r, flags.Changed("emulated-timeout")); err != nil {
		return err
	}
	return applySettings(flags, r)
}

// tell writes the result where the user asked for it.
func (b *buildCommand) tell(result *coordinator.Result) error {
	if b.iidFile != "" {
		if err := writeFile(b.iidFile, []byte(result.ID())); err != nil {
			return err
		}
	}
	if b.metadataFile != "" {
		text, err := result.Metadata()
		if err != nil {
			return err
		}
		if err := writeFile(b.metadataFile, append(text, '\n')); err != nil {
			return err
		}
	}
	if len(b.request.Outputs) == 0 && !b.request.Push && !b.request.Load && !b.quiet {
		_, _ = fmt.Fprintln(b.std.err, "mab: note: the result is in the cache only; to get it out: --push, --load, or -o type=oci,dest=FILE, or -o DIR")
	}
	if line := result.String(); line != "" && !b.request.UsesStdout() {
		_, _ = fmt.Fprintln(b.std.out, line)
	}
	return nil
}

// platformList is the flag --platform.
type platformList []platforms.Platform

func (l *platformList) String() string { return "" }
func (l *platformList) Type() string   { return "platforms" }

// Set takes local for this machine's own, as docker buildx does.
func (l *platformList) Set(s string) error {
	var all []string
	words := strings.Split(s, ",")
	for i, word := range words {
		words[i] = named(word)
	}
	s = strings.Join(words, ",")
	for _, p := range *l {
		all = append(all, p.String())
	}
	list, err := platforms.ParseList(append(all, s))
	if err != nil {
		return err
	}
	*l = list
	return nil
}

// named is the name of a platform, of which local is this machine's own.
func named(word string) string {
	if strings.TrimSpace(word) == "local" {
		return platforms.Host().String()
	}
	return word
}

// platformValue is the flag --build-platform.
type platformValue platforms.Platform

func (v *platformValue) String() string { return "" }
func (v *platformValue) Type() string   { return "platform" }

// Set takes local as platformList does.
func (v *platformValue) Set(s string) error {
	p, err := platforms.Parse(named(s))
	if err != nil {
		return err
	}
	*v = platformValue(p)
	return nil
}

// outputList is the flag --output.
type outputList []coordinator.Output

func (l *outputList) String() string { return "" }
func (l *outputList) Type() string   { return "output" }

func (l *outputList) Set(s string) error {
	out, err := coordinator.ParseOutput(s)
	if err != nil {
		return err
	}
	*l = append(*l, out)
	return nil
}

func env(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}
