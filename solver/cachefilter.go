// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/buildkit/client"
)

// CacheFilter says which records of a cache are meant: those that fit all that was added to it. The zero value means all.
type CacheFilter struct {
	// Unused is how long a record must not have been used. Zero: any time.
	Unused time.Duration
	// Selectors are what a record must fit, in the syntax of containerd's filters.
	Selectors []string
	keys      []string
}

// filterKeys are the keys of docker buildx prune --filter with what they take. Source: adaptUsageInfo in BuildKit's cache/manager.go.
var filterKeys = map[string]filterKind{
	"id": filterText, "parents": filterText, "description": filterText, "type": filterType,
	"inuse": filterFlag, "mutable": filterFlag, "immutable": filterFlag, "shared": filterFlag, "private": filterFlag,
	"until": filterTime, "unused-for": filterTime,
}

type filterKind int

const (
	filterText filterKind = iota
	filterType
	filterFlag // the record has the property
	filterTime
)

// recordTypes are the values of the key type.
var recordTypes = []string{
	string(client.UsageRecordTypeRegular), string(client.UsageRecordTypeLocalSource), string(client.UsageRecordTypeGitCheckout),
	string(client.UsageRecordTypeCacheMount), string(client.UsageRecordTypeFrontend), string(client.UsageRecordTypeInternal),
}

const filterHint = "write until=24h, id=ID, type=regular|source.local|source.git.checkout|exec.cachemount|frontend|internal, " +
	"description~=REGEXP, parents=ID, or one of inuse, mutable, immutable, shared, private; != negates, ~= takes a regular expression"

// Add narrows the filter by one value of --filter, as docker buildx prune understands it: KEY, KEY=VALUE, KEY!=VALUE or
// KEY~=REGEXP. An id also fits a regular expression after =, as it does there. Keys that
// take no value understand true, and false where another key says the contrary.
func (f *CacheFilter) Add(text string) error {
	refuse := func(why string) error { return &usageError{"--filter " + quote(text) + ": " + why, filterHint} }
	key, value, valued := strings.Cut(text, "=")
	operator := "=="
	if valued && (strings.HasSuffix(key, "!") || strings.HasSuffix(key, "~")) {
		operator = key[len(key)-1:] + "="
		key = key[:len(key)-1]
	}
	key, value = strings.ToLower(strings.TrimSpace(key)), strings.TrimSpace(value)
	// docker buildx passes a value on as it is, so that one with a comma or a space must be quoted for it.
	if bare, err := strconv.Unquote(value); err == nil {
		value = bare
	}
	kind, known := filterKeys[key]
	switch {
	case !known:
		return refuse("there is no key " + quote(key))
	case slices.Contains(f.keys, key):
		return refuse("the key is there already")
	case kind != filterFlag && value == "":
		return refuse("it has no value")
	}
	selector, why := f.selector(kind, key, operator, value)
	if why != "" {
		return refuse(why)
	}
	if selector != "" {
		f.Selectors = append(f.Selectors, selector)
	}
	f.keys = append(f.keys, key)
	return nil
}

// selector translates one value; why tells what is wrong with it. The time goes into a field of its own.
func (f *CacheFilter) selector(kind filterKind, key, operator, value string) (selector, why string) {
	if key == "id" && operator == "==" {
		operator = "~="
	}
	if operator == "~=" {
		if _, err := regexp.Compile(value); err != nil {
			return "", err.Error()
		}
	}
	switch kind {
	case filterTime:
		age, err := time.ParseDuration(value)
		if err != nil || age < 0 || operator != "==" {
			return "", "it takes a time, such as 24h"
		}
		if slices.Contains(f.keys, "until") || slices.Contains(f.keys, "unused-for") {
			return "", "a time is there already"
		}
		f.Unused = age
		return "", ""
	case filterFlag:
		return flagSelector(key, operator, value)
	case filterType:
		if operator != "~=" && !slices.Contains(recordTypes, value) {
			return "", fmt.Sprintf("there is no type %q", value)
		}
	}
	return key + operator + strconv.Quote(value), ""
}

// opposites are the keys that say the contrary of one another: containerd's filters cannot negate a property.
var opposites = map[string]string{"mutable": "immutable", "immutable": "mutable", "shared": "private", "private": "shared"}

func flagSelector(key, operator, value string) (selector, why string) {
	holds, err := strconv.ParseBool(value)
	switch {
	case operator == "==" && (value == "" || (err == nil && holds)):
		return key, ""
	case operator == "==" && err == nil && opposites[key] != "":
		return opposites[key], ""
	}
	return "", "it takes no value"
}

// expressions is the filter as BuildKit takes it. None: everything.
func (f *CacheFilter) expressions() []string {
	if len(f.Selectors) == 0 {
		return nil
	}
	return []string{strings.Join(f.Selectors, ",")}
}

// FilterKeys are the keys that CacheFilter.Add takes, sorted.
func FilterKeys() []string { return slices.Sorted(maps.Keys(filterKeys)) }
