// SPDX-License-Identifier: Apache-2.0

package link

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // known_hosts hashes names with it
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// plainAlgorithms and certificateAlgorithms are those of host keys, the best first.
var (
	plainAlgorithms = []string{ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521,
		ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}
	certificateAlgorithms = []string{ssh.CertAlgoED25519v01, ssh.CertAlgoECDSA256v01, ssh.CertAlgoECDSA384v01, ssh.CertAlgoECDSA521v01,
		ssh.CertAlgoRSASHA512v01, ssh.CertAlgoRSASHA256v01}
)

// known is a line of a known_hosts file.
type known struct {
	marker string
	hosts  []string
	key    ssh.PublicKey
	// place is FILE:LINE, and file FILE.
	place, file string
}

// names reports whether the line is about the host.
func (k known) names(host string) bool {
	if len(k.hosts) == 1 && strings.HasPrefix(k.hosts[0], "|1|") {
		salt, hash, _ := strings.Cut(k.hosts[0][3:], "|")
		rawSalt, err := base64.StdEncoding.DecodeString(salt)
		rawHash, err2 := base64.StdEncoding.DecodeString(hash)
		mac := hmac.New(sha1.New, rawSalt)
		_, _ = mac.Write([]byte(host))
		return err == nil && err2 == nil && hmac.Equal(mac.Sum(nil), rawHash)
	}
	lower := make([]string, len(k.hosts))
	for i, pattern := range k.hosts {
		lower[i] = strings.ToLower(pattern)
	}
	return anyOf(lower, host)
}

func (k known) is(key ssh.PublicKey) bool { return bytes.Equal(k.key.Marshal(), key.Marshal()) }

// readKnown reads known_hosts files. Like OpenSSH, it takes a file that cannot be read for an empty one, and passes over lines that make no sense.
func readKnown(files []string) []known {
	var list []known
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		for i, line := range bytes.Split(text, []byte("\n")) {
			// Without the comment, in which ParseKnownHosts allows no spaces.
			fields, end := bytes.Fields(line), 3
			if len(fields) > 0 && fields[0][0] == '@' {
				end = 4
			}
			fields = fields[:min(end, len(fields))]
			marker, hosts, key, _, _, err := ssh.ParseKnownHosts(bytes.Join(fields, []byte(" ")))
			if err != nil {
				continue
			}
			list = append(list, known{marker: marker, hosts: hosts, key: key, place: fmt.Sprintf("%s:%d", file, i+1), file: file})
		}
	}
	return list
}

// hostKeys are the keys that one server may have.
type hostKeys struct {
	hop hop
	// about are the lines of the server, bare those of its name without the port.
	about, bare []known
}

func newHostKeys(h hop) hostKeys {
	keys := hostKeys{hop: h}
	for _, line := range readKnown(slices.Concat(h.users, h.globals)) {
		switch {
		case line.names(h.known):
			keys.about = append(keys.about, line)
		case h.bare != "" && line.names(h.bare):
			keys.bare = append(keys.bare, line)
		}
	}
	return keys
}

// algorithms are the ones to agree on: those of keys that are known come first, so that the server shows one of them.
func (k hostKeys) algorithms() []string {
	var list []string
	for _, line := range k.all() {
		switch {
		case line.marker == "cert-authority":
			list = append(list, certificateAlgorithms...)
		case line.marker != "":
		case line.key.Type() == ssh.KeyAlgoRSA:
			list = append(list, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
		default:
			list = append(list, line.key.Type())
		}
	}
	// Certificates before keys, as they say more.
	slices.SortStableFunc(list, func(a, b string) int {
		return -cmpBool(slices.Contains(certificateAlgorithms, a), slices.Contains(certificateAlgorithms, b))
	})
	var once []string
	for _, name := range append(list, plainAlgorithms...) {
		if !slices.Contains(once, name) && (slices.Contains(plainAlgorithms, name) || slices.Contains(certificateAlgorithms, name)) {
			once = append(once, name)
		}
	}
	return once
}

func cmpBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// check tells what is wrong with the key that the server showed; nil if it is known to have that one.
func (k hostKeys) check(key ssh.PublicKey) *HostKeyError {
	plain := key
	cert, isCert := key.(*ssh.Certificate)
	if isCert {
		plain = cert.Key
	}
	wrong := &HostKeyError{Name: k.hop.known, Type: plain.Type(), Fingerprint: ssh.FingerprintSHA256(plain)}
	if len(k.hop.users) > 0 {
		wrong.File = k.hop.users[0]
	}
	for _, line := range k.all() {
		if line.marker == "revoked" && (line.is(plain) || (isCert && line.is(cert.SignatureKey))) {
			wrong.Revoked = true
			wrong.Where = append(wrong.Where, line.place)
		}
	}
	switch {
	case wrong.Revoked:
		return wrong
	case isCert && k.vouched(cert):
		if wrong.Err = checkCertificate(cert, k.hop.principal); wrong.Err == nil {
			return nil
		}
		return wrong
	case k.knows(plain):
		return nil
	}
	for _, line := range k.about {
		if line.marker == "" {
			wrong.Changed = true
			wrong.Where = append(wrong.Where, line.place)
			wrong.File = line.file
		}
	}
	return wrong
}

func (k hostKeys) all() []known { return slices.Concat(k.about, k.bare) }

// vouched reports whether one of the server's authorities signed the certificate.
func (k hostKeys) vouched(cert *ssh.Certificate) bool {
	return slices.ContainsFunc(k.all(), func(line known) bool { return line.marker == "cert-authority" && line.is(cert.SignatureKey) })
}

// knows reports whether a key is the server's. One of its name without the port counts where none is known of that port.
func (k hostKeys) knows(key ssh.PublicKey) bool {
	is := func(line known) bool { return line.marker == "" && line.is(key) }
	isPlain := func(line known) bool { return line.marker == "" }
	return slices.ContainsFunc(k.about, is) || (!slices.ContainsFunc(k.about, isPlain) && slices.ContainsFunc(k.bare, is))
}

// checkCertificate is CertChecker's check for a host, whose names in the certificate may be patterns.
func checkCertificate(cert *ssh.Certificate, host string) error {
	if cert.CertType != ssh.HostCert {
		return fmt.Errorf("it is not of a host")
	}
	principal := host
	for _, pattern := range cert.ValidPrincipals {
		if wildcard(strings.ToLower(pattern), host) {
			principal = pattern
		}
	}
	return new(ssh.CertChecker).CheckCert(principal, cert)
}

// remember adds a key to the first known_hosts file of the user.
func (k hostKeys) remember(key ssh.PublicKey) error {
	if len(k.hop.users) == 0 {
		return nil
	}
	file, name := k.hop.users[0], k.hop.known
	if k.hop.hashed {
		name = knownhosts.HashHostname(name)
	}
	line := append([]byte(name+" "), ssh.MarshalAuthorizedKey(key)...)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return fmt.Errorf("remembering the host key of %s: %w", k.hop.known, err)
	}
	if text, err := os.ReadFile(file); err == nil && len(text) > 0 && text[len(text)-1] != '\n' {
		line = append([]byte("\n"), line...)
	}
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("remembering the host key of %s: %w", k.hop.known, err)
	}
	_, err = f.Write(line)
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return fmt.Errorf("remembering the host key of %s: %w", k.hop.known, err)
	}
	return nil
}

// verify returns what the handshake asks about a key: one that is unknown is accepted and remembered if that is wanted, a changed one never.
func (k hostKeys) verify(accept bool, note func(text string)) func(key ssh.PublicKey) error {
	return func(key ssh.PublicKey) error {
		wrong := k.check(key)
		if wrong == nil {
			return nil
		}
		accept := accept || slices.Contains([]string{"no", "off", "accept-new"}, k.hop.strict)
		if wrong.Changed || wrong.Revoked || wrong.Err != nil || !accept {
			return wrong
		}
		if cert, ok := key.(*ssh.Certificate); ok {
			key = cert.Key
		}
		if err := k.remember(key); err != nil {
			return err
		}
		note(strings.TrimSuffix(fmt.Sprintf("accepted the host key of %s, %s %s, and wrote it to %s", wrong.Name, wrong.Type, wrong.Fingerprint,
			wrong.File), ", and wrote it to "))
		return nil
	}
}
