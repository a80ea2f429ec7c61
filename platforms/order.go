// SPDX-License-Identifier: Apache-2.0

package platforms

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// PlainFirst returns list with the lower variant first wherever several items are for one operating system and architecture:
// arm/v5 before arm/v7, amd64 before amd64/v3. They share the places that they had; all else stays where it was. Readers that do
// not look at variants take the first item of an architecture, and so get what runs on every machine of it. Equal items keep
// their order.
func PlainFirst[T any](list []T, of func(T) Platform) []T {
	places := map[Platform][]int{}
	for i, item := range list {
		key := of(item)
		key.Variant = ""
		places[key] = append(places[key], i)
	}
	out := slices.Clone(list)
	for _, at := range places {
		items := make([]T, len(at))
		for i, place := range at {
			items[i] = list[place]
		}
		slices.SortStableFunc(items, func(a, b T) int { return compareVariants(of(a).Variant, of(b).Variant) })
		for i, place := range at {
			out[place] = items[i]
		}
	}
	return out
}

// compareVariants orders versions (v8.1, v10) by their numbers, no variant first, and what is no version last, alphabetically.
func compareVariants(a, b string) int {
	majorA, minorA, knownA := version(a)
	majorB, minorB, knownB := version(b)
	switch {
	case knownA && knownB:
		return cmp.Or(cmp.Compare(majorA, majorB), cmp.Compare(minorA, minorB))
	case knownA:
		return -1
	case knownB:
		return 1
	}
	return cmp.Compare(a, b)
}

func version(variant string) (major, minor int, known bool) {
	if variant == "" {
		return 0, 0, true
	}
	first, second, hasMinor := strings.Cut(strings.TrimPrefix(variant, "v"), ".")
	major, err := strconv.Atoi(first)
	if err != nil {
		return 0, 0, false
	}
	if hasMinor {
		minor, err = strconv.Atoi(second)
	}
	return major, minor, err == nil
}
