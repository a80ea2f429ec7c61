// SPDX-License-Identifier: Apache-2.0

package nodes

// Entry is a node as its user named it, before anybody reached it.
type Entry struct {
	// Name is how the user and every message call the node.
	Name string `json:"name" toml:"name"`
	// URL is its endpoint: local, ssh://[user@]host[:port], ssh+unix://[user@]host[:port]/path, unix:///path, tcp://host:port.
	URL string `json:"url" toml:"url"`
	// Slots are how many platforms it builds at once without each being slower. Zero: as many as it has CPUs, at most 4.
	Slots int `json:"slots,omitempty" toml:"slots,omitempty"`
	// TLS are the PEM files for a tcp endpoint. Its zero value is plain TCP, which only a loopback address may be.
	TLS TLS `json:"tls,omitzero" toml:"tls,omitzero"`
}

// TLS are PEM files: the CA that signed the server's certificate, and the client's own certificate with its key.
type TLS struct {
	CA   string `json:"ca,omitempty" toml:"ca,omitempty"`
	Cert string `json:"cert,omitempty" toml:"cert,omitempty"`
	Key  string `json:"key,omitempty" toml:"key,omitempty"`
	// ServerName is that of the server's certificate. Empty: the host of the URL.
	ServerName string `json:"server_name,omitempty" toml:"server_name,omitempty"`
}
