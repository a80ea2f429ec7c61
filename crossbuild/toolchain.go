// SPDX-License-Identifier: Apache-2.0

package crossbuild

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/mab-build/mab/platforms"
)

// Equality is how it is known that a toolchain's programs make the same bytes on every CPU, as JSON prints it.
type Equality string

// EqualVersions is equality by the toolchain's own promise: programs of one version write the same, whatever CPU they run on.
const EqualVersions Equality = "same version"

// Toolchain is a compiler whose hot programs can be those of another CPU while all else of it stays emulated.
type Toolchain struct {
	// Name is what --assist calls it, and Title what it is called in sentences.
	Name, Title string
	// Root is the directory that holds it, in an image where it is recognised. It is empty for what a distribution's packages hold: nor has
	// that any of the four after it.
	Root string
	// Programs is the directory below Root whose programs are in PATH: a step that has it there is taken to use the toolchain.
	Programs string
	// Version is a file below Root whose text tells the version. Where it is not the same on both sides, nothing is replaced.
	Version string
	// Tools is the directory below Root that is replaced, with ARCH for the architecture as OCI writes it, and Tool a program that must be
	// in there.
	Tools, Tool string
	// Equal is why the result is the same.
	Equal Equality
	// Auto is whether it is assisted if the user says nothing.
	Auto bool
}

// toolchains are those that are known. Go's command passes GOARCH and its kin to the programs in its tool directory
// (cmd/go/internal/envcmd, MkEnv), which make the same on every host: https://go.dev/blog/rebuild. What OCI calls an architecture is Go's own
// GOARCH. The command itself must stay the foreign one: it takes its own architecture for GOHOSTARCH and the default of GOARCH. Of gcc, Debian and
// Ubuntu pack compilers for other CPUs, which tell what they were built from.
var toolchains = []Toolchain{
	{
		Name: "go", Title: "Go", Root: "/usr/local/go", Programs: "bin", Version: "VERSION", Tools: "pkg/tool/linux_ARCH", Tool: "compile",
		Equal: EqualVersions, Auto: true,
	},
	{Name: ccName, Title: "gcc", Equal: EqualSources},
}

// Toolchains lists the toolchains that can be assisted.
func Toolchains() []Toolchain { return slices.Clone(toolchains) }

func toolchain(name string) (*Toolchain, bool) {
	i := slices.IndexFunc(toolchains, func(t Toolchain) bool { return t.Name == name })
	if i < 0 {
		return nil, false
	}
	return &toolchains[i], true
}

// tools is the directory that holds its programs for an architecture.
func (t *Toolchain) tools(p platforms.Platform) string {
	return path.Join(t.Root, strings.ReplaceAll(t.Tools, "ARCH", p.Architecture))
}

// AssistError is a word that names no toolchain.
type AssistError struct{ Word string }

// Error names the word.
func (e *AssistError) Error() string {
	return fmt.Sprintf("parsing %q: no such toolchain", e.Word)
}

// Hint lists those there are.
func (e *AssistError) Hint() string {
	names := []string{"auto", "off"}
	for _, t := range toolchains {
		names = append(names, t.Name)
	}
	return "use --assist " + join(names, "or")
}

// Assists says which toolchains are assisted. The zero value is auto: those that are proved to give the same. It is a flag's value as
// github.com/spf13/pflag wants them.
type Assists struct {
	// Off is none, whatever Only says.
	Off bool
	// Only are the names of those that are. Empty: auto.
	Only []string
}

// Has reports whether a toolchain is assisted.
func (a *Assists) Has(t *Toolchain) bool {
	if len(a.Only) == 0 {
		return t.Auto && !a.Off
	}
	return !a.Off && slices.Contains(a.Only, t.Name)
}

// String returns what Set reads.
func (a *Assists) String() string {
	switch {
	case a.Off:
		return "off"
	case len(a.Only) == 0:
		return "auto"
	}
	return strings.Join(a.Only, ",")
}

// Set reads auto, off, or names with commas between them. Its error is an *AssistError.
func (a *Assists) Set(list string) error {
	var next Assists
	for word := range strings.SplitSeq(list, ",") {
		word = strings.ToLower(strings.TrimSpace(word))
		switch t, ok := toolchain(word); {
		case ok:
			next.add(t.Name)
		case word == "auto":
			for _, t := range toolchains {
				if t.Auto {
					next.add(t.Name)
				}
			}
		case word == "off" && !strings.Contains(list, ","):
			next.Off = true
		default:
			return &AssistError{Word: word}
		}
	}
	if strings.EqualFold(strings.TrimSpace(list), "auto") {
		next = Assists{}
	}
	*a = next
	return nil
}

func (a *Assists) add(name string) {
	if !slices.Contains(a.Only, name) {
		a.Only = append(a.Only, name)
	}
}

// Type names the value in a command's usage.
func (a *Assists) Type() string { return "toolchains" }
