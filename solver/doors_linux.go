// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"net"
	"time"

	"github.com/containerd/containerd/v2/defaults"
	"github.com/moby/buildkit/control"
	"github.com/moby/buildkit/util/grpcerrors"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
)

// doors are where clients come in. The kernel tells of the end of those on this machine, who come in by the near ones, and a build that is
// stopped in a terminal and goes on later loses nothing. By the far ones come those who may be on other machines, for whom somebody
// holds the connection here; nobody tells if the link behind it is cut.
type doors struct{ near, far []net.Listener }

func (d doors) close() {
	closeAll(d.near)
	closeAll(d.far)
}

// A far client that says nothing for aliveAfter is asked, and gone if it says nothing for another aliveWithin: then its builds are
// cancelled. Whatever arrives counts, so that an answer may be late behind data on a slow link: of data that is taken word comes back.
const (
	aliveAfter  = 4 * time.Second
	aliveWithin = 6 * time.Second
	// askedAtMost is how often clients may ask in turn.
	askedAtMost = 500 * time.Millisecond
)

func heartbeat() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: aliveAfter, Timeout: aliveWithin}),
		// A link may be cut before the client has said its first word.
		grpc.ConnectionTimeout(aliveAfter + aliveWithin),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: askedAtMost, PermitWithoutStream: true}),
	}
}

// newServer offers what buildkitd does.
func newServer(controller *control.Controller, options ...grpc.ServerOption) *grpc.Server {
	server := grpc.NewServer(append([]grpc.ServerOption{
		grpc.ChainUnaryInterceptor(grpcerrors.UnaryServerInterceptor),
		grpc.StreamInterceptor(grpcerrors.StreamServerInterceptor),
		grpc.MaxRecvMsgSize(defaults.DefaultMaxRecvMsgSize),
		grpc.MaxSendMsgSize(defaults.DefaultMaxSendMsgSize),
	}, options...)...)
	healthv1.RegisterHealthServer(server, health.NewServer())
	controller.Register(server)
	return server
}

// stop lets running builds end for a while and then cuts them off.
func stop(server *grpc.Server) {
	timer := time.AfterFunc(stopWait, server.Stop)
	defer timer.Stop()
	server.GracefulStop()
}
