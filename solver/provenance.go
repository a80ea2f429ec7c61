// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// fleeting are the fields of a provenance predicate that differ between two runs of one build although nothing was built
// anew: SLSA v1 (https://slsa.dev/spec/v1.0/provenance#BuildMetadata) and v0.2 (https://slsa.dev/spec/v0.2/provenance#schema)
// name them differently, and both call them optional. The history keeps the times.
var fleeting = []struct{ path []string }{
	{[]string{"runDetails", "metadata", "invocationId"}},
	{[]string{"runDetails", "metadata", "startedOn"}},
	{[]string{"runDetails", "metadata", "finishedOn"}},
	{[]string{"metadata", "buildInvocationID"}},
	{[]string{"metadata", "buildStartedOn"}},
	{[]string{"metadata", "buildFinishedOn"}},
}

// steadyProvenance returns a provenance predicate without its fleeting fields, in a form that depends on its content alone.
func steadyProvenance(predicate []byte) ([]byte, error) {
	dec := json.NewDecoder(bytes.NewReader(predicate))
	dec.UseNumber()
	var doc map[string]any
	if err := dec.Decode(&doc); err != nil {
		return nil, fmt.Errorf("reading provenance: %w", err)
	}
	for _, field := range fleeting {
		drop(doc, field.path)
	}
	return json.MarshalIndent(doc, "", "  ")
}

func drop(doc map[string]any, path []string) {
	for _, name := range path[:len(path)-1] {
		next, ok := doc[name].(map[string]any)
		if !ok {
			return
		}
		doc = next
	}
	delete(doc, path[len(path)-1])
}
