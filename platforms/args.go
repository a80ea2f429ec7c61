// SPDX-License-Identifier: Apache-2.0

package platforms

// Arg is one build argument.
type Arg struct{ Name, Value string }

// Args returns the platform arguments of a build, in the order in which BuildKit's Dockerfile frontend declares them. All
// eight are there, empty variants too. Source: https://docs.docker.com/reference/dockerfile/#automatic-platform-args-in-the-global-scope
func Args(build, target Platform) []Arg {
	return []Arg{
		{"BUILDPLATFORM", build.String()},
		{"BUILDOS", build.OS},
		{"BUILDARCH", build.Architecture},
		{"BUILDVARIANT", build.Variant},
		{"TARGETPLATFORM", target.String()},
		{"TARGETOS", target.OS},
		{"TARGETARCH", target.Architecture},
		{"TARGETVARIANT", target.Variant},
	}
}
