// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mab-build/mab/emulation"
	"github.com/mab-build/mab/platforms"
	"github.com/mab-build/mab/sandbox"
)

// usual are the platforms that have a line for everybody, beside this machine's own: those that most base images have.
var usual = []string{"linux/amd64", "linux/arm64", "linux/arm/v7", "linux/riscv64", "linux/ppc64le", "linux/s390x"}

// judgeInside makes the lines of namespaces, snapshotter, binfmt_misc and each platform.
func judgeInside(in inside, p place) []Check {
	if in.Refused != nil {
		out := []Check{{Name: "namespaces", Status: Missing, Found: in.Refused.Text, Mend: in.Refused.Hint}}
		for _, name := range slices.Concat([]string{"snapshotter", "binfmt_misc"}, usual) {
			out = append(out, Check{Name: name, Status: Missing, Found: "not tried, for want of namespaces", Mend: "mend the namespaces first"})
		}
		return out
	}
	out := []Check{judgeNamespaces(in), judgeLayers(in, p), judgeInstance(in)}
	if in.SurveyFailed != nil {
		for _, name := range usual {
			out = append(out, Check{Name: name, Status: Missing, Found: in.SurveyFailed.Text, Mend: in.SurveyFailed.Hint})
		}
	}
	for _, s := range in.Survey {
		out = append(out, judgePlatform(s))
	}
	return out
}

func judgeNamespaces(in inside) Check {
	const all = "user, PID and mount namespaces"
	out := Check{Name: "namespaces", Status: OK}
	switch in.Mode {
	case sandbox.Identity:
		out.Found = all + " with every user id"
	case sandbox.Ranges:
		out.Found = fmt.Sprintf("%s with %d user ids", all, in.IDs)
	case sandbox.Single:
		out.Status, out.Found = Limited, all+" with one user id"
		if in.Short != nil {
			out.Found += ": " + in.Short.Why
			out.Mend = in.Short.Mend
		}
		out.Then = "images with files of several owners, and steps that change owners or users, fail"
	default:
		out.Status, out.Found = Limited, "PID and mount namespaces, but no user namespace"
		out.Then = "emulators are used only if they are registered on the host"
		out.Mend = "allow user namespaces: sudo sysctl -w user.max_user_namespaces=15000 (the kernel needs CONFIG_USER_NS)"
	}
	return out
}

func judgeLayers(in inside, p place) Check {
	const name = "snapshotter"
	switch {
	case in.LayersFailed != nil:
		return Check{Name: name, Status: Missing, Found: in.LayersFailed.Text, Mend: in.LayersFailed.Hint}
	case in.Layers == "":
		return Check{Name: name, Status: Missing, Found: "not tried, as the state has no place", Mend: judgeState(p).Mend}
	case in.Limit.Problem == "":
		return Check{Name: name, Status: OK, Found: in.Layers + " in " + p.dir}
	}
	found, then, _ := strings.Cut(strings.ReplaceAll(in.Limit.Problem, p.temp, p.dir), ", so ")
	return Check{Name: name, Status: Limited, Found: in.Layers + ": " + found, Then: then, Mend: in.Limit.Mend}
}

func judgeInstance(in inside) Check {
	out := Check{Name: "binfmt_misc", Status: OK, Found: "private: the host's handlers are neither used nor changed"}
	const then = "the host's handlers are used, and whoever changes them changes builds"
	switch {
	case in.Mode == sandbox.Plain:
		out.Status, out.Found, out.Then = Limited, "the host's, as there is no user namespace", then
		out.Mend = judgeNamespaces(in).Mend
	case in.Shared != nil:
		out.Status, out.Found, out.Then, out.Mend = Limited, in.Shared.Text, then, in.Shared.Hint
	}
	return out
}

func judgePlatform(s emulation.Support) Check {
	name := s.Platform.String()
	out := Check{Name: name, Status: OK, Found: "native", Minor: !slices.Contains(usual, name) && s.Platform != platforms.Host()}
	if !s.Runs() {
		out.Status, out.Found, out.Mend = Missing, s.Problem, s.Mend
		return out
	}
	if s.How == emulation.Emulated {
		out.Found = strings.TrimSpace("QEMU "+s.Version) + ", " + s.Instance
	}
	if s.Problem != "" {
		out.Status, out.Then, out.Mend = Limited, s.Problem, s.Mend
	}
	return out
}
