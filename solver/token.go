// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"context"

	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/auth"
	"github.com/moby/buildkit/util/progress/progresswriter"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mab-build/mab/manifestlist"
)

// dockerAuth is what BuildKit's provider of docker's credentials can.
type dockerAuth interface {
	session.Attachable
	auth.AuthServer
	SetLogger(progresswriter.Logger)
}

// nodeTokens leaves it to the solver to exchange credentials for a token with some registries. BuildKit's provider would do it here with one
// HTTP client for all registries, so that certificates which are trusted for one would be trusted for all.
type nodeTokens struct {
	dockerAuth
	hosts map[string]bool
}

var _ auth.AuthServer = nodeTokens{}

// withNodeTokens applies nodeTokens to the registries that have certificates of their own.
func withNodeTokens(all []session.Attachable, registries manifestlist.Registries) []session.Attachable {
	hosts := map[string]bool{}
	for _, r := range registries {
		if r.Insecure || len(r.CAs)+len(r.KeyPairs) > 0 {
			hosts[r.Host] = true
			if r.Host == "docker.io" {
				hosts["registry-1.docker.io"] = true
			}
		}
	}
	for i, a := range all {
		if docker, ok := a.(dockerAuth); ok && len(hosts) > 0 {
			all[i] = nodeTokens{docker, hosts}
		}
	}
	return all
}

// Register offers it in a session.
func (t nodeTokens) Register(server *grpc.Server) { auth.RegisterAuthServer(server, t) }

// GetTokenAuthority says of these registries that nobody here fetches tokens; the solver asks for the credentials then.
func (t nodeTokens) GetTokenAuthority(ctx context.Context, req *auth.GetTokenAuthorityRequest) (*auth.GetTokenAuthorityResponse, error) {
	if t.hosts[req.Host] {
		return nil, status.Errorf(codes.Unavailable, "tokens for %s are the solver's", req.Host)
	}
	return t.dockerAuth.GetTokenAuthority(ctx, req)
}
