// SPDX-License-Identifier: Apache-2.0

package solver

import (
	"fmt"

	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/filesync"
	"github.com/tonistiigi/fsutil"
	"github.com/tonistiigi/fsutil/types"
	"google.golang.org/grpc"
)

// gatherSize is how many bytes of a file are sent at once: seven of BuildKit's pieces of 32 KiB, which with what is around them fit into one of
// gRPC's buffers.
const gatherSize = 7 * 32 << 10

// gathering gives a solver directories, as BuildKit's own provider does, but large files in fewer messages.
type gathering struct{ filesync.FileSyncServer }

// provide gives a solver directories by their names, as if all files in them were root's.
func provide(dirs map[string]fsutil.FS) (session.Attachable, error) {
	source := filesync.StaticDirSource{}
	for name, dir := range dirs {
		var err error
		if source[name], err = fsutil.NewFilterFS(dir, &fsutil.FilterOpt{Map: ofRoot}); err != nil {
			return nil, fmt.Errorf("opening the context %q: %w", name, err)
		}
	}
	provider := filesync.NewFSSyncProvider(source)
	if server, ok := provider.(filesync.FileSyncServer); ok {
		return gathering{server}, nil
	}
	return provider, nil
}

// ofRoot has files belong to root, whoever owns them here.
func ofRoot(_ string, stat *types.Stat) fsutil.MapResult {
	stat.Uid, stat.Gid = 0, 0
	return fsutil.MapResultKeep
}

// Register registers it.
func (g gathering) Register(server *grpc.Server) { filesync.RegisterFileSyncServer(server, g) }

// DiffCopy sends what the solver does not have yet.
func (g gathering) DiffCopy(stream filesync.FileSync_DiffCopyServer) error {
	return g.FileSyncServer.DiffCopy(&gatherer{FileSync_DiffCopyServer: stream})
}

// gatherer puts pieces of one file together that are sent one after the other. An empty piece is a file's end, so that nothing of one is kept
// back. Like any stream it is sent to by one at a time, which fsutil sees to.
// Source: https://github.com/tonistiigi/fsutil/blob/83cac42c1c52/send.go
type gatherer struct {
	filesync.FileSync_DiffCopyServer
	id   uint32
	data []byte
}

// SendMsg sends a message, or keeps it to be sent with the next.
func (g *gatherer) SendMsg(m any) error {
	p, ok := m.(*types.Packet)
	piece := ok && p.Type == types.PACKET_DATA && len(p.Data) > 0
	if !piece || p.ID != g.id || len(g.data)+len(p.Data) > gatherSize {
		if err := g.flush(); err != nil {
			return err
		}
	}
	if !piece || len(p.Data) > gatherSize {
		return g.FileSync_DiffCopyServer.SendMsg(m)
	}
	if g.data == nil {
		g.data = make([]byte, 0, gatherSize)
	}
	g.id, g.data = p.ID, append(g.data, p.Data...)
	return nil
}

func (g *gatherer) flush() error {
	if len(g.data) == 0 {
		return nil
	}
	err := g.FileSync_DiffCopyServer.SendMsg(&types.Packet{Type: types.PACKET_DATA, ID: g.id, Data: g.data})
	g.data = g.data[:0]
	return err
}
