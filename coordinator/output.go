// SPDX-License-Identifier: Apache-2.0

package coordinator

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/tonistiigi/go-csvvalue"
)

// The types of outputs, as `docker buildx build --output` spells them.
const (
	outputImage     = "image"
	outputRegistry  = "registry"
	outputOCI       = "oci"
	outputDocker    = "docker"
	outputLocal     = "local"
	outputTar       = "tar"
	outputCacheOnly = "cacheonly"
)

// Output is one thing to be made of the result of a build.
type Output struct {
	// Type is image, registry, oci, docker, local, tar or cacheonly.
	Type string
	// Dest is a path, or - for standard output. Empty for image and registry, and for docker if it is loaded into an engine.
	Dest string
	// Directory makes an oci or docker output a directory instead of a tar.
	Directory bool
	// Referrers puts the index's own provenance into an oci output, whose index.json has more than one entry then.
	Referrers bool
	// Attrs are the remaining settings, which go to the solver as they are.
	Attrs map[string]string
}

// ParseOutput reads the value of --output: type=TYPE[,dest=PATH][,KEY=VALUE…], or a path alone.
func ParseOutput(s string) (Output, error) {
	if !strings.Contains(s, "=") && !strings.Contains(s, ",") {
		switch s {
		case "":
			return Output{}, &outputError{s, "it is empty"}
		case "-":
			return Output{Type: outputTar, Dest: s}, nil
		}
		return Output{Type: outputLocal, Dest: s}, nil
	}
	fields, err := csvvalue.Fields(s, nil)
	if err != nil {
		return Output{}, &outputError{s, "its quotes do not match"}
	}
	out := Output{Attrs: map[string]string{}}
	for _, field := range fields {
		name, value, ok := strings.Cut(field, "=")
		if !ok {
			return Output{}, &outputError{s, fmt.Sprintf("%q is not KEY=VALUE", field)}
		}
		switch name = strings.ToLower(strings.TrimSpace(name)); name {
		case "type":
			out.Type = value
		case "dest":
			out.Dest = value
		default:
			out.Attrs[name] = value
		}
	}
	if err := out.check(); err != nil {
		return Output{}, &outputError{s, err.Error()}
	}
	return out, nil
}

func (o *Output) check() error {
	switch o.Type {
	case outputRegistry:
		o.Type = outputImage
		o.Attrs["push"] = "true"
	case outputImage, outputCacheOnly:
	case outputLocal, outputTar, outputOCI, outputDocker:
		if err := o.checkDest(); err != nil {
			return err
		}
	case "":
		return errors.New("it has no type")
	default:
		return fmt.Errorf("there is no type %q", o.Type)
	}
	if err := o.checkReferrers(); err != nil {
		return err
	}
	return o.checkTar()
}

// checkReferrers reads the setting referrers, which is mab's own.
func (o *Output) checkReferrers() (err error) {
	value, given := o.Attrs["referrers"]
	if !given {
		return nil
	}
	delete(o.Attrs, "referrers")
	if o.Referrers, err = strconv.ParseBool(value); err != nil || o.Type != outputOCI {
		return fmt.Errorf("referrers=%s does not go with type=%s", value, o.Type)
	}
	return nil
}

func (o *Output) checkDest() error {
	switch {
	case o.load():
		return nil
	case o.Dest == "":
		return fmt.Errorf("type=%s needs dest=PATH", o.Type)
	case o.Dest == "-" && o.Type == outputLocal:
		return errors.New("a directory cannot be written to standard output: use type=tar,dest=-")
	}
	return nil
}

// checkTar reads the setting tar, which makes a layout a directory (false) or an archive (true, the default).
func (o *Output) checkTar() error {
	value, given := o.Attrs["tar"]
	if !given {
		return nil
	}
	archive, err := strconv.ParseBool(value)
	if err != nil || !o.layout() {
		return fmt.Errorf("tar=%s does not go with type=%s", value, o.Type)
	}
	delete(o.Attrs, "tar")
	o.Directory = !archive
	switch {
	case o.Directory && o.Type == outputDocker:
		return errors.New("type=docker is always an archive")
	case o.Directory && o.Dest == "-":
		return errors.New("a directory cannot be written to standard output")
	}
	return nil
}

// push reports whether an image output goes to the registry.
func (o *Output) push() bool {
	yes, _ := strconv.ParseBool(o.Attrs["push"])
	return o.Type == outputImage && yes
}

// load reports whether an output is loaded into an engine.
func (o *Output) load() bool { return o.Type == outputDocker && o.Dest == "" }

// layout reports whether an output is made of the image's blobs.
func (o *Output) layout() bool { return o.Type == outputOCI || o.Type == outputDocker }

type outputError struct{ value, reason string }

func (e *outputError) Error() string {
	return fmt.Sprintf("understanding --output %q: %s", e.value, e.reason)
}

// Hint shows the forms.
func (e *outputError) Hint() string {
	return "write --output DIR, or type=registry, or type=docker, or type=oci|docker|tar,dest=FILE, or type=oci,tar=false,dest=DIR, or type=local,dest=DIR"
}

// Usage marks the error as the user's, for the exit code.
func (e *outputError) Usage() bool { return true }
