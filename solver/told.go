// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/moby/buildkit/frontend/dockerfile/dfgitutil"
	"github.com/moby/buildkit/util/purl"
)

// predicate is where a provenance predicate has what notes tell of: the names differ between SLSA v1 and v0.2.
type predicate struct {
	// request has args, locals, secrets and ssh; source is where the Dockerfile is from.
	request, source map[string]any
	// materials is the field of materialsIn that lists them; complete is that of completeIn, hermetic that of meta.
	materialsIn, completeIn, meta map[string]any
	materials, complete, hermetic string
	// accounts is the field of meta that has what an Account tells.
	accounts string
	// detailed is mode=max.
	detailed bool
}

func newPredicate(doc map[string]any) predicate {
	at := func(names ...string) map[string]any {
		in := doc
		for _, name := range names {
			in, _ = in[name].(map[string]any)
		}
		return in
	}
	if doc["buildDefinition"] != nil {
		return predicate{
			request: at("buildDefinition", "externalParameters", "request"), source: at("buildDefinition", "externalParameters", "configSource"),
			materialsIn: at("buildDefinition"), materials: "resolvedDependencies",
			completeIn: at("runDetails", "metadata", "buildkit_completeness"), complete: "resolvedDependencies",
			meta: at("runDetails", "metadata"), hermetic: "buildkit_hermetic", accounts: accountField,
			detailed: at("buildDefinition", "internalParameters", "buildConfig") != nil,
		}
	}
	return predicate{
		request: at("invocation", "parameters"), source: at("invocation", "configSource"),
		materialsIn: doc, materials: "materials",
		completeIn: at("metadata", "completeness"), complete: "materials",
		meta: at("metadata"), hermetic: "https://mobyproject.org/buildkit@v1#hermetic", accounts: accountField02,
		detailed: at("buildConfig") != nil,
	}
}

// tell moves the notes that are among a predicate's arguments to where they belong.
func tell(doc map[string]any, platform string) error {
	text := takeNotes(doc)
	if text == "" {
		return nil
	}
	var all map[string]note
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		return fmt.Errorf("reading the notes in the provenance: %w", err)
	}
	n, ok := all[platform]
	p := newPredicate(doc)
	if !ok || p.request == nil || p.meta == nil || p.completeIn == nil {
		return nil
	}
	if err := p.addMaterials(n); err != nil {
		return err
	}
	var locals []any
	for _, name := range n.Locals {
		locals = append(locals, map[string]any{"name": name})
	}
	p.add("locals", "name", locals)
	if p.detailed {
		for _, s := range n.Secrets {
			p.add("secrets", "id", []any{asked(s.ID, s.Optional)})
		}
		for _, s := range n.SSH {
			p.add("ssh", "id", []any{asked(s.ID, s.Optional)})
		}
	}
	if len(n.Locals) > 0 {
		p.completeIn[p.complete] = false
	}
	if len(n.Locals) > 0 || n.Network {
		delete(p.meta, p.hermetic)
	}
	return nil
}

// asked is a secret or an agent as BuildKit writes it.
func asked(id string, optional bool) map[string]any {
	out := map[string]any{"id": id}
	if optional {
		out["optional"] = true
	}
	return out
}

// add puts those in a list of the request that are not there by their key, and sorts it by that. What one step must have is not optional.
func (p predicate) add(list, key string, more []any) {
	all, _ := p.request[list].([]any)
	field := func(element any) string {
		of, _ := element.(map[string]any)
		text, _ := of[key].(string)
		return text
	}
	for _, element := range more {
		i := slices.IndexFunc(all, func(other any) bool { return field(other) == field(element) })
		if i < 0 {
			all = append(all, element)
			continue
		}
		if other, ok := all[i].(map[string]any); ok && element.(map[string]any)["optional"] == nil {
			delete(other, "optional")
		}
	}
	if len(all) == 0 {
		return
	}
	slices.SortStableFunc(all, func(a, b any) int { return cmp.Compare(field(a), field(b)) })
	p.request[list] = all
}

// addMaterials adds those of a note as BuildKit would have listed them, had it seen them all.
func (p predicate) addMaterials(n note) error {
	text, err := json.Marshal(p.materialsIn[p.materials])
	var own []Material
	if err == nil {
		err = json.Unmarshal(text, &own)
	}
	if err != nil {
		return fmt.Errorf("reading the materials in the provenance: %w", err)
	}
	all := orderly(slices.DeleteFunc(own, func(m Material) bool {
		return strings.HasPrefix(m.URI, "pkg:oci/") && slices.Contains(n.Imports, m.Digest["sha256"])
	}), n.Materials)
	// As maps their fields have the order that those of other predicates have.
	var fields []any
	if text, err = json.Marshal(all); err == nil {
		err = json.Unmarshal(text, &fields)
	}
	if err != nil {
		return fmt.Errorf("writing the materials into the provenance: %w", err)
	}
	if delete(p.materialsIn, p.materials); len(fields) > 0 {
		p.materialsIn[p.materials] = fields
	}
	p.find(all)
	return nil
}

// find gives the source of the Dockerfile the digest of its material, as BuildKit does where it fetches it
// (https://github.com/moby/buildkit/blob/v0.33.1/solver/llbsolver/provenance/predicate.go, findMaterial).
func (p predicate) find(all []Material) {
	uri, _ := p.source["uri"].(string)
	if uri == "" || p.source["digest"] != nil {
		return
	}
	plain, git := dfgitutil.FragmentFormat(uri, false)
	for _, m := range all {
		if m.URI != plain && m.URI != uri {
			continue
		}
		if git {
			p.source["uri"], _ = dfgitutil.FragmentFormat(uri, true)
		}
		p.source["digest"] = m.Digest
		return
	}
}

// orderly joins materials in BuildKit's order: images, blobs, git repositories, files, each by its name. An image that is told of by its tag
// is not told of by its digest as well.
func orderly(own, more []Material) []Material {
	var all []Material
	tagged := map[string]bool{}
	for _, m := range slices.Concat(own, more) {
		if slices.ContainsFunc(all, func(other Material) bool { return other.URI == m.URI }) {
			continue
		}
		all = append(all, m)
		if r := rank(m); r.kind == kindImage && !r.pinned {
			tagged[r.tag] = true
		}
	}
	all = slices.DeleteFunc(all, func(m Material) bool {
		r := rank(m)
		return r.kind == kindImage && r.pinned && tagged[r.tag]
	})
	slices.SortStableFunc(all, func(a, b Material) int {
		x, y := rank(a), rank(b)
		return cmp.Or(cmp.Compare(x.kind, y.kind), cmp.Compare(x.name, y.name), cmp.Compare(a.URI, b.URI))
	})
	return all
}

// The kinds of materials, in BuildKit's order.
const (
	kindImage = iota
	kindBlob
	kindGit
	kindFile
)

// ranked is where a material belongs among others.
type ranked struct {
	kind int
	name string
	// tag is an image's name with its tag; pinned tells that its digest is a part of its name.
	tag    string
	pinned bool
}

func rank(m Material) ranked {
	rest, oci := strings.CutPrefix(m.URI, "pkg:oci/")
	if !oci && !strings.HasPrefix(m.URI, "pkg:docker/") {
		if m.Digest["sha1"] != "" {
			return ranked{kind: kindGit, name: m.URI}
		}
		return ranked{kind: kindFile, name: m.URI}
	}
	image := m.URI
	if oci {
		image = "pkg:docker/" + rest
	}
	name, _, err := purl.PURLToRef(image)
	if err != nil {
		name = m.URI
	}
	kind := kindImage
	switch {
	case strings.Contains(m.URI, "ref_type=blob"):
		kind = kindBlob
	case strings.Contains(m.URI, "ref_type=bundle"):
		return ranked{kind: kindGit, name: name}
	}
	out := ranked{kind: kind, name: name}
	if named, err := reference.ParseNormalizedNamed(name); err == nil {
		_, out.pinned = named.(reference.Digested)
		tag := "latest"
		if t, ok := named.(reference.Tagged); ok {
			tag = t.Tag()
		}
		out.tag = named.Name() + ":" + tag
	}
	return out
}

// takeNotes removes the notes wherever they are, and returns them.
func takeNotes(at any) string {
	found := ""
	switch at := at.(type) {
	case map[string]any:
		for name, value := range at {
			args, ok := value.(map[string]any)
			if text, noted := args[notesKey].(string); ok && noted {
				found = text
				if delete(args, notesKey); len(args) == 0 {
					delete(at, name)
				}
			}
			found = cmp.Or(takeNotes(value), found)
		}
	case []any:
		for _, element := range at {
			found = cmp.Or(takeNotes(element), found)
		}
	}
	return found
}
