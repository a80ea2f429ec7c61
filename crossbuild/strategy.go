// SPDX-License-Identifier: Apache-2.0

package crossbuild

import (
	"fmt"
	"slices"
	"strings"
)

// Strategy is how a target is built on a node. The order is that of speed: a smaller one is faster. The zero value is none.
type Strategy int

// The strategies, from the fastest to the slowest.
const (
	Native   Strategy = iota + 1 // the node's CPU runs the target's programs
	Cross                        // no step runs programs foreign to the node, although the target is
	Assisted                     // foreign steps run under emulation, but hot programs of some natively
	Emulated                     // foreign steps run wholly under emulation
)

// The words of STYLE and of --strategy, by Strategy.
var strategyNames = []string{"", "native", "cross", "assisted", "emulated"}

// String returns the word that users type, "" for the zero value and for what is no strategy.
func (s Strategy) String() string {
	if s < 0 || int(s) >= len(strategyNames) {
		return ""
	}
	return strategyNames[s]
}

// MarshalText writes the word.
func (s Strategy) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a word as ParseStrategy does; empty text gives the zero value.
func (s *Strategy) UnmarshalText(text []byte) error {
	*s = 0
	if len(text) == 0 {
		return nil
	}
	var err error
	*s, err = ParseStrategy(string(text))
	return err
}

// StrategyError is a word that names no strategy.
type StrategyError struct{ Word string }

// Error names the word.
func (e *StrategyError) Error() string {
	return fmt.Sprintf("parsing strategy %q: no such strategy", e.Word)
}

// Hint lists those there are.
func (e *StrategyError) Hint() string {
	return "use one or more of " + strings.Join(strategyNames[1:], ",") + ", as in --strategy native,cross"
}

// ParseStrategy reads one word, in upper or lower case. Its error is a *StrategyError.
func ParseStrategy(word string) (Strategy, error) {
	i := slices.Index(strategyNames, strings.ToLower(strings.TrimSpace(word)))
	if i < 1 {
		return 0, &StrategyError{Word: word}
	}
	return Strategy(i), nil
}

// Strategies is the set that a user allows, from the fastest to the slowest. The empty set, which is the zero value, allows
// all. It is a flag's value as github.com/spf13/pflag wants them.
type Strategies []Strategy

// ParseStrategies reads words with commas between them. Its error is a *StrategyError.
func ParseStrategies(list string) (Strategies, error) {
	var all Strategies
	err := all.Set(list)
	return all, err
}

// Allows reports whether s is in the set or the set is empty.
func (all Strategies) Allows(s Strategy) bool { return len(all) == 0 || slices.Contains(all, s) }

// String returns what ParseStrategies reads back to the same set.
func (all Strategies) String() string {
	words := make([]string, len(all))
	for i, s := range all {
		words[i] = s.String()
	}
	return strings.Join(words, ",")
}

// Set adds what ParseStrategies reads. An error leaves the set as it was.
func (all *Strategies) Set(list string) error {
	next := slices.Clone(*all)
	for word := range strings.SplitSeq(list, ",") {
		s, err := ParseStrategy(word)
		if err != nil {
			return err
		}
		next = append(next, s)
	}
	slices.Sort(next)
	*all = slices.Compact(next)
	return nil
}

// Type names the value in a command's usage.
func (all *Strategies) Type() string { return "strategies" }
