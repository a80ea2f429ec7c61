// SPDX-License-Identifier: Apache-2.0

package link

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// identity is a key of the user's. Its signer is nil where only the public half is there.
type identity struct {
	name   string
	public ssh.PublicKey
	signer ssh.Signer
	// locked is whether it needs a passphrase that nobody can be asked for.
	locked bool
}

func (i identity) is(key ssh.PublicKey) bool {
	return i.public != nil && bytes.Equal(i.public.Marshal(), key.Marshal())
}

// keyring collects the user's keys for the servers of one way. Its agents stay open until close.
type keyring struct {
	ask     func(ctx context.Context, prompt string) (string, error)
	files   map[string]identity
	closers []func()
	// tried are the names of the keys that the last server was offered, problems why others were not, and mend what helps with those.
	tried, problems []string
	mend            string
}

func (k *keyring) close() {
	for _, c := range k.closers {
		c()
	}
}

// signers returns what the server is offered, in the order of OpenSSH: certificates, keys of the agent that the user named, the agent's others, files.
func (k *keyring) signers(ctx context.Context, h hop) []ssh.Signer {
	held := k.agent(ctx, h)
	var files []identity
	for _, path := range h.keys {
		if id, ok := k.file(ctx, path, h.named); ok {
			files = append(files, id)
		}
	}
	var offers []identity
	add := func(id identity) {
		twice := slices.ContainsFunc(offers, func(o identity) bool { return o.is(id.public) })
		if id.signer != nil && !twice {
			offers = append(offers, id)
		}
	}
	owners := slices.Concat(held, files)
	for _, path := range h.certificates {
		k.certificate(path, owners, true, add)
	}
	for _, path := range h.keys {
		k.certificate(path+"-cert.pub", owners, false, add)
	}
	named := func(id identity) bool {
		return slices.ContainsFunc(files, func(f identity) bool { return f.is(id.public) || certifies(id.public, f) })
	}
	for _, id := range held {
		if named(id) {
			add(id)
		}
	}
	for _, id := range held {
		if !h.only {
			add(id)
		}
	}
	for _, id := range files {
		add(id)
	}
	// What needs a passphrase that nobody can be asked for comes last, so that it is in nobody's way.
	slices.SortStableFunc(offers, func(a, b identity) int { return cmpBool(a.locked, b.locked) })
	list := make([]ssh.Signer, len(offers))
	for i, id := range offers {
		list[i] = id.signer
		k.tried = append(k.tried, id.name)
	}
	return list
}

func certifies(key ssh.PublicKey, id identity) bool {
	cert, ok := key.(*ssh.Certificate)
	return ok && id.is(cert.Key)
}

// agent returns the keys of the user's agent.
func (k *keyring) agent(ctx context.Context, h hop) []identity {
	socket := h.agent
	if socket == "" {
		return nil
	}
	conn, err := dialAgent(ctx, socket)
	if err != nil {
		k.problems = append(k.problems, fmt.Sprintf("the agent does not answer: %v", err))
		return nil
	}
	// An agent may be as silent as a server.
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	k.closers = append(k.closers, func() {
		stop()
		_ = conn.Close()
	})
	client := agent.NewClient(conn)
	keys, err := client.List()
	if err != nil {
		k.problems = append(k.problems, fmt.Sprintf("the agent does not answer: %v", err))
		return nil
	}
	signers, err := client.Signers()
	if err != nil || len(signers) != len(keys) {
		k.problems = append(k.problems, fmt.Sprintf("the agent does not sign: %v", err))
		return nil
	}
	list := make([]identity, 0, len(keys))
	for i, signer := range signers {
		// The signer's own PublicKey does not tell a certificate from a key.
		if public, err := ssh.ParsePublicKey(keys[i].Marshal()); err == nil {
			list = append(list, identity{name: "the agent's " + keys[i].Comment, public: public, signer: signer})
		}
	}
	return list
}

func dialAgent(ctx context.Context, socket string) (io.ReadWriteCloser, error) {
	if runtime.GOOS == "windows" && strings.HasPrefix(socket, `\\`) {
		return os.OpenFile(socket, os.O_RDWR, 0)
	}
	return (&net.Dialer{}).DialContext(ctx, "unix", socket)
}

// file returns the key of a file. Where only KEY.pub is there, it has no signer.
func (k *keyring) file(ctx context.Context, path string, named bool) (identity, bool) {
	if id, ok := k.files[path]; ok {
		return id, true
	}
	id, err := k.load(ctx, path)
	switch {
	case err == nil:
		k.files[path] = id
		return id, true
	case named || !errors.Is(err, fs.ErrNotExist):
		k.problems = append(k.problems, err.Error())
	}
	return identity{}, false
}

func (k *keyring) load(ctx context.Context, path string) (identity, error) {
	id := identity{name: path}
	if raw, err := os.ReadFile(path + ".pub"); err == nil {
		if public, _, _, _, err := ssh.ParseAuthorizedKey(raw); err == nil {
			id.public = public
		}
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		if id.public != nil {
			return id, nil
		}
		return id, fmt.Errorf("reading the key %w", err)
	}
	if public, _, _, _, err := ssh.ParseAuthorizedKey(raw); err == nil {
		// IdentityFile may name a public key, whose other half the agent has.
		id.public = public
		return id, nil
	}
	signer, err := ssh.ParsePrivateKey(raw)
	if err == nil {
		id.public, id.signer = signer.PublicKey(), signer
		return id, nil
	}
	var missing *ssh.PassphraseMissingError
	if !errors.As(err, &missing) {
		err = fmt.Errorf("reading the key %q: %w", path, err)
		if id.public == nil {
			return id, err
		}
		// A kind that only agents handle, such as a security key.
		k.problems = append(k.problems, err.Error())
		return id, nil
	}
	if missing.PublicKey != nil {
		id.public = missing.PublicKey
	}
	locked := &lockedKey{path: path, raw: raw, public: id.public, unlock: func(l *lockedKey) error { return k.unlock(ctx, l) }}
	if id.public == nil {
		// Without its public half it cannot be offered, so the passphrase is needed before the server says whether it wants the key.
		if err := locked.open(); err != nil {
			return id, err
		}
		id.public = locked.public
	}
	id.signer, id.locked = locked, k.ask == nil
	return id, nil
}

// certificate adds the certificate of a file together with the key that it is for, wherever that is.
func (k *keyring) certificate(path string, owners []identity, named bool, add func(identity)) {
	raw, err := os.ReadFile(path)
	if err != nil {
		if named {
			k.problems = append(k.problems, fmt.Sprintf("reading the certificate %v", err))
		}
		return
	}
	public, _, _, _, err := ssh.ParseAuthorizedKey(raw)
	cert, ok := public.(*ssh.Certificate)
	if err != nil || !ok {
		k.problems = append(k.problems, fmt.Sprintf("reading %q: it is no certificate", path))
		return
	}
	for _, owner := range owners {
		if !owner.is(cert.Key) || owner.signer == nil {
			continue
		}
		if signer, err := ssh.NewCertSigner(cert, owner.signer); err == nil {
			add(identity{name: path, public: cert, signer: signer, locked: owner.locked})
			return
		}
	}
	if named {
		k.problems = append(k.problems, fmt.Sprintf("there is no key for the certificate %q", path))
	}
}

// unlock asks for the passphrase of a key, three times at most, as OpenSSH does.
func (k *keyring) unlock(ctx context.Context, l *lockedKey) error {
	k.mend = "give the key to an agent: ssh-add " + quoted(l.path)
	if k.ask == nil {
		return fmt.Errorf("the key %s needs a passphrase, and there is nobody to ask", l.path)
	}
	for range 3 {
		passphrase, err := k.ask(ctx, fmt.Sprintf("Passphrase of the key %s: ", l.path))
		if err != nil {
			return fmt.Errorf("asking for the passphrase of the key %s: %w", l.path, err)
		}
		signer, err := ssh.ParsePrivateKeyWithPassphrase(l.raw, []byte(passphrase))
		if err == nil {
			algorithm, ok := signer.(ssh.AlgorithmSigner)
			if !ok {
				return fmt.Errorf("reading the key %q: it cannot sign", l.path)
			}
			l.signer, l.public = algorithm, signer.PublicKey()
			return nil
		}
		if !errors.Is(err, x509.IncorrectPasswordError) {
			return fmt.Errorf("reading the key %q: %w", l.path, err)
		}
	}
	return fmt.Errorf("the key %s has another passphrase", l.path)
}

// lockedKey is a key with a passphrase, which is asked for when a server wants a signature.
type lockedKey struct {
	path   string
	raw    []byte
	public ssh.PublicKey
	signer ssh.AlgorithmSigner
	unlock func(*lockedKey) error
}

func (l *lockedKey) open() error {
	if l.signer != nil {
		return nil
	}
	if err := l.unlock(l); err != nil {
		return &lockedError{err}
	}
	return nil
}

// PublicKey needs no passphrase.
func (l *lockedKey) PublicKey() ssh.PublicKey { return l.public }

// Sign asks for the passphrase if that was not done yet.
func (l *lockedKey) Sign(rand io.Reader, data []byte) (*ssh.Signature, error) {
	return l.SignWithAlgorithm(rand, data, "")
}

// SignWithAlgorithm asks for the passphrase if that was not done yet.
func (l *lockedKey) SignWithAlgorithm(rand io.Reader, data []byte, algorithm string) (*ssh.Signature, error) {
	if err := l.open(); err != nil {
		return nil, err
	}
	return l.signer.SignWithAlgorithm(rand, data, algorithm)
}

// lockedError says that a key could not be opened.
type lockedError struct{ error }

func (e *lockedError) Unwrap() error { return e.error }
