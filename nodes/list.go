// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// List is the saved nodes, in a file of TOML that people may write, too. Two programs may change it at once. Its zero value is empty and
// cannot be changed.
type List struct {
	// File is its path. Nothing needs to be there.
	File string
}

// DefaultListFile is where the list is when nobody says otherwise: nodes.toml in /etc/mab for root, else in $XDG_CONFIG_HOME/mab. It is
// empty where there is no home.
func DefaultListFile() string {
	dir := os.Getenv("XDG_CONFIG_HOME")
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return ""
		}
		dir = filepath.Join(home, ".config")
	}
	if os.Getuid() == 0 {
		dir = "/etc"
	}
	return filepath.Join(dir, "mab", "nodes.toml")
}

// listText is the form of the file.
type listText struct {
	Nodes []Entry `toml:"node"`
}

const listHeader = `# The nodes of mab. mab nodes add and mab nodes rm write this file anew, without other comments than this one.
`

// Entries reads the list, in the order of the file. Files of TLS are absolute; in the file they may be relative to its directory. What
// does not belong into the file and what cannot be are errors with file and line, all at once, and have a Hint.
func (l List) Entries() ([]Entry, error) {
	if l.File == "" {
		return nil, nil
	}
	text, err := os.ReadFile(l.File)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, &inputError{fmt.Sprintf("reading the nodes %q: %v", l.File, cause(err)), "make it a file that you can read"}
	}
	return parseList(l.File, text)
}

func parseList(file string, text []byte) ([]Entry, error) {
	var doc listText
	if err := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields().Decode(&doc); err != nil {
		return nil, decodeFaults(file, err)
	}
	lines := tableLines(text)
	var wrong listFaults
	seen := map[string]string{}
	for i := range doc.Nodes {
		e, line := &doc.Nodes[i], 0
		if i < len(lines) {
			line = lines[i]
		}
		for _, path := range []*string{&e.TLS.CA, &e.TLS.Cert, &e.TLS.Key} {
			if *path != "" && !filepath.IsAbs(*path) {
				*path = filepath.Join(filepath.Dir(file), *path)
			}
		}
		err := e.check()
		switch before, twice := seen[e.Name]; {
		case err != nil:
		case e.Name == Local:
			err = &inputError{"local is there without being saved", "leave it out"}
		case e.Name == e.URL:
			err = &inputError{fmt.Sprintf("%q is no name of a node", e.Name), nameHint}
		case twice:
			err = &inputError{fmt.Sprintf("the name %q is there twice, for %s and %s", e.Name, before, e.URL), "call one of them otherwise"}
		}
		if err != nil {
			wrong = append(wrong, listFault{file, line, err.Error(), hintOf(err)})
			continue
		}
		at, _ := ParseURL(e.URL)
		e.URL, seen[e.Name] = at.String(), at.String()
	}
	if len(wrong) > 0 {
		return nil, wrong
	}
	return doc.Nodes, nil
}

// tableLines are where the nodes of a file begin, if each is a table of its own.
func tableLines(text []byte) []int {
	var out []int
	var p unstable.Parser
	p.Reset(text)
	for p.NextExpression() {
		e := p.Expression()
		at := e.Key()
		if e.Kind != unstable.ArrayTable || !at.Next() {
			continue
		}
		if first := at.Node(); !at.Next() {
			out = append(out, p.Shape(first.Raw).Start.Line)
		}
	}
	return out
}

// Add saves a node behind the others. Files of TLS become absolute. A name that is there, and one that cannot be, are errors.
func (l List) Add(ctx context.Context, e Entry) error {
	for _, path := range []*string{&e.TLS.CA, &e.TLS.Cert, &e.TLS.Key} {
		if *path == "" {
			continue
		}
		full, err := filepath.Abs(*path)
		if err != nil {
			return fmt.Errorf("saving the node %q: %w", e.Name, err)
		}
		*path = full
	}
	return l.change(ctx, func(all []Entry) ([]Entry, error) {
		if err := l.Free(e, all); err != nil {
			return nil, err
		}
		return append(all, e), nil
	})
}

// Free finds why a node cannot be added to these of the list.
func (l List) Free(e Entry, all []Entry) error {
	if err := e.check(); err != nil {
		return err
	}
	wrong := func(what, hint string) error {
		return &inputError{fmt.Sprintf("saving the node %q: %s", e.Name, what), hint}
	}
	if e.Name == Local || e.Name == e.URL {
		return wrong("it is no name to save a node by", nameHint+"; local needs no saving")
	}
	for _, other := range all {
		switch {
		case other.Name == e.Name:
			return wrong("there is one already, "+other.URL, "choose another name, or remove that one: mab nodes rm "+other.Name)
		case other.URL == e.URL:
			return wrong(e.URL+" is saved already, as "+other.Name, "use that one, or remove it: mab nodes rm "+other.Name)
		}
	}
	return nil
}

// Remove takes a node off the list and returns what was saved of it.
func (l List) Remove(ctx context.Context, name string) (out Entry, err error) {
	err = l.change(ctx, func(all []Entry) ([]Entry, error) {
		i := slices.IndexFunc(all, func(e Entry) bool { return e.Name == name })
		if i < 0 {
			return nil, (&chooser{saved: all}).unknown(name, "")
		}
		out = all[i]
		return slices.Delete(all, i, i+1), nil
	})
	return out, err
}

// change reads the list, and writes it with what do made of it, while no other program does so.
func (l List) change(ctx context.Context, do func([]Entry) ([]Entry, error)) error {
	if l.File == "" {
		return &inputError{"saving nodes: there is no file for them", "name one: MAB_NODES_FILE=FILE"}
	}
	failed := func(err error) error {
		return &saveError{fmt.Errorf("writing the nodes %q: %w", l.File, cause(err))}
	}
	// A list that is a link stays one.
	file := l.File
	if to, err := filepath.EvalSymlinks(file); err == nil {
		file = to
	}
	dir := filepath.Dir(file)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return failed(err)
	}
	lock := flock.New(filepath.Join(dir, "."+filepath.Base(file)+".lock"))
	if _, err := lock.TryLockContext(ctx, 20*time.Millisecond); err != nil {
		return failed(errors.Join(err, lock.Close()))
	}
	all, err := List{file}.Entries()
	if err == nil {
		all, err = do(all)
	}
	if err == nil {
		if err = replace(file, all); err != nil {
			err = failed(err)
		}
	}
	return errors.Join(err, lock.Close())
}

// replace writes the file whole or not at all. What its access was it stays.
func replace(file string, all []Entry) error {
	text := bytes.NewBufferString(listHeader)
	for _, e := range all {
		text.WriteString("\n")
		if err := toml.NewEncoder(text).Encode(listText{[]Entry{e}}); err != nil {
			return err
		}
	}
	mode := fs.FileMode(0o644)
	if info, err := os.Stat(file); err == nil {
		mode = info.Mode().Perm()
	}
	temp, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+".*")
	if err != nil {
		return err
	}
	_, err = temp.Write(text.Bytes())
	err = errors.Join(err, temp.Chmod(mode), temp.Sync(), temp.Close())
	if err == nil {
		err = os.Rename(temp.Name(), file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temp.Name()))
	}
	return nil
}

type saveError struct{ err error }

func (e *saveError) Error() string { return e.err.Error() }

// Unwrap gives the cause.
func (e *saveError) Unwrap() error { return e.err }

// Hint names the way around.
func (*saveError) Hint() string {
	return "keep the nodes where you can write: MAB_NODES_FILE=FILE, or name them for one build: mab build --node URL"
}

// listFault is one thing that is wrong with the file.
type listFault struct {
	file string
	line int
	what string
	hint string
}

func (f listFault) Error() string {
	if f.line == 0 {
		return fmt.Sprintf("reading the nodes %q: %s", f.file, f.what)
	}
	return fmt.Sprintf("reading the nodes %q: line %d: %s", f.file, f.line, f.what)
}

type listFaults []listFault

func (l listFaults) Error() string {
	lines := make([]string, len(l))
	for i, f := range l {
		lines[i] = f.Error()
	}
	return strings.Join(lines, "\n")
}

// Hint gives the mends, each once.
func (l listFaults) Hint() string {
	var out []string
	for _, f := range l {
		if f.hint != "" && !slices.Contains(out, f.hint) {
			out = append(out, f.hint)
		}
	}
	return strings.Join(out, "\n")
}

// Usage marks the error as the user's, for the exit code.
func (listFaults) Usage() bool { return true }

const listHint = "a node is [[node]] with name and url, and slots and [node.tls] with ca, cert, key and server_name where it needs them"

func decodeFaults(file string, err error) error {
	var strict *toml.StrictMissingError
	if !errors.As(err, &strict) {
		out := listFault{file: file, what: strings.TrimPrefix(err.Error(), "toml: "), hint: listHint}
		var at *toml.DecodeError
		if errors.As(err, &at) {
			out.line, _ = at.Position()
			// go-toml names fields of the program's code.
			if given, ok := strings.CutPrefix(out.what, "cannot decode TOML "); ok && len(at.Key()) > 0 {
				kind, _, _ := strings.Cut(given, " ")
				out.what = strings.Join(at.Key(), ".") + " cannot be a " + kind
			}
		}
		return listFaults{out}
	}
	var out listFaults
	for i := range strict.Errors {
		line, _ := strict.Errors[i].Position()
		out = append(out, listFault{file, line, "there is no key " + strconv.Quote(strings.Join(strict.Errors[i].Key(), ".")), listHint})
	}
	return out
}

// cause is what the operating system says, without the path that the message names already.
func cause(err error) error {
	var failure *fs.PathError
	if errors.As(err, &failure) {
		return failure.Err
	}
	return err
}

func hintOf(err error) string {
	var known interface{ Hint() string }
	if errors.As(err, &known) {
		return known.Hint()
	}
	return ""
}
