// SPDX-License-Identifier: Apache-2.0

package solver

import "strings"

// ConfigKeys are the paths of configKeys.
func ConfigKeys() []string {
	out := make([]string, len(configKeys))
	for i, k := range configKeys {
		out[i] = k.path
	}
	return out
}

// KnowsKey reports whether the table has a key, with / between its parts.
func KnowsKey(path string) bool {
	known, _, _ := lookUp(strings.Split(path, "/"), false)
	return known
}

// ParseConfig is parseConfig.
func ParseConfig(path, text string) (Config, error) { return parseConfig(path, []byte(text)) }
