// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// names are what a node may be called.
var names = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]*$`)

const nameHint = "begin with a letter or a digit, and go on with these and . _ - (a to z, no capitals)"

// Choose returns the nodes of a build, in order. Each of flags, the values of --node, is a list with commas of what names a node: a name
// of the saved list, local, a URL, or NAME=URL. They are all the nodes there are; without them those that env, the value of MAB_NODES,
// names in the same way, with spaces too; without those local, where a solver can run, and then the saved ones. Where nothing is named and
// nothing saved it is local in any case. A node that is named twice is there once. It does no I/O; its errors have a Hint and count as wrong use.
func Choose(saved []Entry, env string, flags []string, canLocal bool) ([]Entry, error) {
	if len(flags) > 0 {
		return choosing(saved, flags, "--node")
	}
	c := chooser{saved: saved}
	for _, word := range strings.FieldsFunc(env, func(r rune) bool { return strings.ContainsRune(", \t\r\n", r) }) {
		if err := c.add(word, "MAB_NODES"); err != nil {
			return nil, err
		}
	}
	if len(c.out) > 0 {
		return c.out, nil
	}
	if canLocal || len(saved) == 0 {
		c.out = append(c.out, Entry{Name: Local, URL: Local})
	}
	return append(c.out, saved...), nil
}

// Named returns the nodes of lists as Choose takes them, which are there for being named alone.
func Named(saved []Entry, lists []string) ([]Entry, error) { return choosing(saved, lists, "") }

func choosing(saved []Entry, lists []string, where string) ([]Entry, error) {
	c := chooser{saved: saved}
	for _, list := range lists {
		for word := range strings.SplitSeq(list, ",") {
			if err := c.add(word, where); err != nil {
				return nil, err
			}
		}
	}
	return c.out, nil
}

// Find is the one node that word names, as in Choose.
func Find(saved []Entry, word string) (Entry, error) {
	c := chooser{saved: saved}
	return c.find(word, "")
}

type chooser struct{ saved, out []Entry }

func (c *chooser) add(word, where string) error {
	e, err := c.find(word, where)
	if err != nil {
		return err
	}
	for _, other := range c.out {
		switch {
		case other == e:
			return nil
		case other.Name == e.Name && other.URL != e.URL && e.unnamed():
			// As with two ports of one host.
			e.Name = e.URL
		case other.Name == e.Name:
			return wrongWord(where, strconv.Quote(e.Name)+" names two nodes", "call one of them otherwise: NAME=URL")
		case other.URL == e.URL:
			return wrongWord(where, fmt.Sprintf("%q and %q are the same node, %s", other.Name, e.Name, e.URL), "name it once")
		}
	}
	c.out = append(c.out, e)
	return nil
}

// find understands a word that came from where.
func (c *chooser) find(word, where string) (Entry, error) {
	if i := slices.IndexFunc(c.saved, func(e Entry) bool { return e.Name == word }); i >= 0 {
		return c.saved[i], nil
	}
	name, address, named := strings.Cut(word, "=")
	switch {
	case word == Local:
		return Entry{Name: Local, URL: Local}, nil
	case named && name == "":
		return Entry{}, &inputError{fmt.Sprintf("understanding %q: there is no name before the =", word), "write NAME=URL, or the URL alone"}
	case named && !strings.Contains(name, "://"):
		return NewEntry(name, address)
	case strings.Contains(word, "://"):
		e, err := NewEntry("", word)
		// The saved one says more of it.
		if i := slices.IndexFunc(c.saved, func(s Entry) bool { return s.URL == e.URL }); i >= 0 && e.TLS == (TLS{}) {
			return c.saved[i], nil
		}
		return e, err
	}
	return Entry{}, c.unknown(word, where)
}

// unnamed reports whether nobody said what the node is called.
func (e Entry) unnamed() bool {
	at, err := ParseURL(e.URL)
	return err == nil && e.Name == at.name()
}

func (c *chooser) unknown(word, where string) error {
	text := fmt.Sprintf("there is no node %q", redact(word))
	if strings.ContainsAny(word, "@:.") {
		if _, err := ParseURL("ssh://" + word); err == nil {
			return wrongWord(where, text, "did you mean: ssh://"+word)
		}
	}
	list := Local
	for _, e := range c.saved {
		list += ", " + e.Name
	}
	return wrongWord(where, text, "the nodes: "+list+"; a URL such as ssh://HOST names one, too, and mab nodes add NAME ssh://HOST saves it")
}

// wrongWord is an error in what came from where, if that is a thing of its own.
func wrongWord(where, what, hint string) error {
	if where != "" {
		what = "understanding " + where + ": " + what
	}
	return &inputError{what, hint}
}

// NewEntry makes a node of a URL, whose query may say for tcp: ca, cert, key and servername, as the fields of TLS. Without a name it is
// called by its host, or else by its URL.
func NewEntry(name, address string) (Entry, error) {
	out := Entry{Name: name}
	plain, query := address, ""
	if strings.HasPrefix(address, "tcp://") {
		plain, query, _ = strings.Cut(address, "?")
	}
	at, err := ParseURL(plain)
	if err != nil {
		return Entry{}, err
	}
	if out.URL = at.String(); name == "" {
		out.Name = at.name()
	}
	if err := out.TLS.parse(query); err != nil {
		return Entry{}, &inputError{"understanding the node " + strconv.Quote(address) + ": " + err.Error(), tlsHint}
	}
	return out, out.check()
}

// name is what an endpoint is called that nobody gave a name.
func (e Endpoint) name() string {
	if host := strings.ToLower(e.Host); names.MatchString(host) && host != Local {
		return host
	}
	return e.String()
}

const tlsHint = "mutual TLS takes ca, cert and key, PEM files, and servername where the certificate has another name: tcp://HOST:PORT?ca=FILE&cert=FILE&key=FILE"

func (t *TLS) parse(query string) error {
	values, err := url.ParseQuery(query)
	if err != nil {
		return fmt.Errorf("its query: %w", err)
	}
	keys := map[string]*string{"ca": &t.CA, "cert": &t.Cert, "key": &t.Key, "servername": &t.ServerName}
	for pair := range strings.SplitSeq(query, "&") {
		key, _, _ := strings.Cut(pair, "=")
		to, known := keys[key]
		switch {
		case query == "":
		case !known:
			return fmt.Errorf("there is no %q in its query", key)
		case len(values[key]) > 1:
			return fmt.Errorf("%s is there twice", key)
		case values.Get(key) == "":
			return fmt.Errorf("%s is empty", key)
		default:
			*to = values.Get(key)
		}
	}
	return nil
}

// check finds what cannot be without asking anybody.
func (e Entry) check() error {
	at, err := ParseURL(e.URL)
	if err != nil {
		return err
	}
	text, hint := e.TLS.wrong(at)
	switch {
	case (e.Name == Local) != (at.Kind == Local):
		text, hint = "the name local and the URL local are this machine's, and go together", "call another machine otherwise; this one needs no name"
	case e.Name != e.URL && !names.MatchString(e.Name):
		text, hint = fmt.Sprintf("%q is no name of a node", e.Name), nameHint
	case e.Slots < 0:
		text, hint = fmt.Sprintf("%d slots", e.Slots), "give it as many as it may build platforms at once, or none for as many as it has CPUs"
	}
	if text == "" {
		return nil
	}
	return &inputError{"understanding the node " + strconv.Quote(e.shown()) + ": " + text, hint}
}

// wrong tells why an endpoint cannot be reached with these files, and the mend; empty if it can.
func (t TLS) wrong(at Endpoint) (text, hint string) {
	whole := t.CA != "" && t.Cert != "" && t.Key != ""
	switch {
	case t != (TLS{}) && at.Kind != TCP:
		return "there is TLS by tcp only", "leave the certificates out"
	case t != (TLS{}) && !whole:
		return "its TLS is not complete", tlsHint
	case at.Kind == TCP && !whole && !at.loopback():
		return "without TLS whoever is between could run programs there", "give certificates: --tlscacert, --tlscert and --tlskey of mab nodes add, or " +
			at.String() + "?ca=FILE&cert=FILE&key=FILE; or let SSH guard it: ssh+unix://HOST/PATH"
	}
	return "", ""
}

// shown is what a message calls the entry.
func (e Entry) shown() string {
	if e.Name == e.URL {
		return e.URL
	}
	return e.Name + "=" + e.URL
}
