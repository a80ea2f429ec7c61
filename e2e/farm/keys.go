// SPDX-License-Identifier: Apache-2.0

//go:build linux

package farm

import (
	"crypto/ed25519"
	"encoding/pem"

	"golang.org/x/crypto/ssh"
)

// key is a private key in OpenSSH's PEM form, and its public part.
type key struct {
	private []byte
	public  ssh.PublicKey
}

func newKey(passphrase string) (key, error) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return key{}, err
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if passphrase != "" {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte(passphrase))
	}
	if err != nil {
		return key{}, err
	}
	wire, err := ssh.NewPublicKey(public)
	return key{pem.EncodeToMemory(block), wire}, err
}

// clientKeys are the client's: PEM, and lines of authorized_keys.
type clientKeys struct {
	open, locked             []byte
	openPublic, lockedPublic []byte
}

func newClientKeys() (clientKeys, error) {
	open, err := newKey("")
	if err != nil {
		return clientKeys{}, err
	}
	locked, err := newKey(Passphrase)
	if err != nil {
		return clientKeys{}, err
	}
	return clientKeys{open.private, locked.private, ssh.MarshalAuthorizedKey(open.public), ssh.MarshalAuthorizedKey(locked.public)}, nil
}
