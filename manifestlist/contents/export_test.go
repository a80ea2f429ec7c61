// SPDX-License-Identifier: Apache-2.0

package contents

import (
	"fmt"
	"io"
	"reflect"

	"github.com/mab-build/mab/platforms"
)

// Program is what was read of one file.
type Program struct {
	ELF                   platforms.ELF
	Interpreter, Argument string
	Script, Runs          bool
}

// ReadProgram reads one file.
func ReadProgram(in io.Reader) (Program, bool, error) {
	p, err := newProgramReader().read(in)
	if p == nil {
		return Program{}, false, err
	}
	return Program{p.elf, p.interpreter, p.argument, p.script, p.runs()}, true, err
}

// ApplyTars reads layers and applies them; it returns the paths of the files.
func ApplyTars(layers ...io.Reader) ([]string, error) {
	t := newTree()
	for _, in := range layers {
		read, err := readTar(in)
		if err != nil {
			return nil, err
		}
		// Whatever is read is to be kept without a loss.
		l, err := recall(keep(read))
		if err != nil || !reflect.DeepEqual(read, l) {
			panic(fmt.Sprintf("kept was %+v, and recalled %+v: %v", read, l, err))
		}
		if err := t.apply(l); err != nil {
			return nil, err
		}
	}
	var paths []string
	for path := range t.files() {
		paths = append(paths, path)
	}
	return paths, nil
}

// Recall reports whether kept is taken for a layer.
func Recall(kept []byte) bool {
	_, err := recall(kept)
	return err == nil
}
