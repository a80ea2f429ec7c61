// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// fleeting are the fields of a provenance predicate that differ between two runs of one build although nothing was built
// anew: SLSA v1 (https://slsa.dev/spec/v1.0/provenance#BuildMetadata) and v0.2 (https://slsa.dev/spec/v0.2/provenance#schema)
// name them differently, and both call them optional. A digest mapping (BuildKit's, with mode=max) gives the steps their
// digests in this one run, of which an id that each run makes up is a part. The history keeps all of them.
var fleeting = [][]string{
	{"runDetails", "metadata", "invocationId"},
	{"runDetails", "metadata", "startedOn"},
	{"runDetails", "metadata", "finishedOn"},
	{"runDetails", "metadata", "buildkit_metadata", "source", "infos", "*", "digestMapping"},
	{"buildDefinition", "internalParameters", "buildConfig", "digestMapping"},
	{"metadata", "buildInvocationID"},
	{"metadata", "buildStartedOn"},
	{"metadata", "buildFinishedOn"},
	{"metadata", "https://mobyproject.org/buildkit@v1#metadata", "source", "infos", "*", "digestMapping"},
	{"buildConfig", "digestMapping"},
}

// steadyProvenance returns the provenance predicate of a platform without its fleeting fields, with what notes and an account tell of it, in a
// form that depends on its content alone.
func steadyProvenance(predicate []byte, platform string, account any) ([]byte, error) {
	dec := json.NewDecoder(bytes.NewReader(predicate))
	dec.UseNumber()
	var doc map[string]any
	if err := dec.Decode(&doc); err != nil {
		return nil, fmt.Errorf("reading provenance: %w", err)
	}
	for _, path := range fleeting {
		drop(doc, path)
	}
	if err := tell(doc, platform); err != nil {
		return nil, err
	}
	newPredicate(doc).account(account)
	return json.MarshalIndent(doc, "", "  ")
}

// drop removes the field at path; * stands for every element of a list.
func drop(at any, path []string) {
	switch at := at.(type) {
	case map[string]any:
		if len(path) == 1 {
			delete(at, path[0])
			return
		}
		drop(at[path[0]], path[1:])
	case []any:
		for _, element := range at {
			drop(element, path[1:])
		}
	}
}
