// SPDX-License-Identifier: Apache-2.0

//go:build linux

package machine

import (
	"archive/tar"
	"crypto/ed25519"
	"encoding/pem"

	"golang.org/x/crypto/ssh"
)

// keys are what a machine is known by and what it lets in; each machine has its own.
type keys struct {
	host, client       ssh.Signer
	hostPEM, clientPEM []byte
}

func newKeys() (keys, error) {
	host, hostPEM, err := newKey()
	if err != nil {
		return keys{}, err
	}
	client, clientPEM, err := newKey()
	return keys{host: host, client: client, hostPEM: hostPEM, clientPEM: clientPEM}, err
}

func newKey() (ssh.Signer, []byte, error) {
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, nil, err
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		return nil, nil, err
	}
	signer, err := ssh.NewSignerFromKey(private)
	return signer, pem.EncodeToMemory(block), err
}

// add adds to the archive what the machine is to know of k.
func (k keys) add(archive *tar.Writer) error {
	for _, file := range []struct {
		name    string
		content []byte
	}{
		{"run/machine/host_key", k.hostPEM},
		{"run/machine/authorized_keys", ssh.MarshalAuthorizedKey(k.client.PublicKey())},
	} {
		if err := archive.WriteHeader(&tar.Header{Name: file.name, Mode: 0o600, Size: int64(len(file.content))}); err != nil {
			return err
		}
		if _, err := archive.Write(file.content); err != nil {
			return err
		}
	}
	return nil
}
