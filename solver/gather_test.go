// SPDX-License-Identifier: Apache-2.0

package solver_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/session/filesync"
	"github.com/tonistiigi/fsutil/types"

	"github.com/mab-build/mab/solver"
)

// packets keeps copies of what is sent.
type packets struct {
	filesync.FileSync_DiffCopyServer
	sent []*types.Packet
}

func (r *packets) SendMsg(m any) error {
	r.sent = append(r.sent, m.(*types.Packet).CloneVT())
	return nil
}

// TestGatherer holds that all bytes arrive, each file's in their order and before its end, in fewer messages.
func TestGatherer(t *testing.T) {
	const piece = 32 << 10
	type message struct {
		kind types.Packet_PacketType
		id   uint32
		size int
	}
	const data, end, stat = types.PACKET_DATA, 0, types.PACKET_STAT
	for _, test := range []struct {
		rule       string
		sent, want []message
	}{
		{"a small file", []message{{data, 1, 10}, {data, 1, end}}, []message{{data, 1, 10}, {data, 1, end}}},
		{"an empty one", []message{{data, 1, end}}, []message{{data, 1, end}}},
		{"one of many pieces", slices.Concat(slices.Repeat([]message{{data, 1, piece}}, 16), []message{{data, 1, 5}, {data, 1, end}}),
			[]message{{data, 1, 7 * piece}, {data, 1, 7 * piece}, {data, 1, 2*piece + 5}, {data, 1, end}}},
		{"two at once", []message{{data, 1, piece}, {data, 1, piece}, {data, 2, piece}, {data, 1, 7}, {data, 2, end}, {data, 1, end}},
			[]message{{data, 1, 2 * piece}, {data, 2, piece}, {data, 1, 7}, {data, 2, end}, {data, 1, end}}},
		{"what is no file's content is not overtaken", []message{{data, 1, piece}, {stat, 0, 0}, {data, 1, piece}, {types.PACKET_FIN, 0, 0}},
			[]message{{data, 1, piece}, {stat, 0, 0}, {data, 1, piece}, {types.PACKET_FIN, 0, 0}}},
		{"a piece that is larger than what is gathered", []message{{data, 1, 3}, {data, 1, 20 * piece}, {data, 1, end}},
			[]message{{data, 1, 3}, {data, 1, 20 * piece}, {data, 1, end}}},
	} {
		t.Run(test.rule, func(t *testing.T) {
			to := &packets{}
			g := solver.Gather(to)
			buffer := make([]byte, 20*piece) // used again, as fsutil does
			given, arrived := map[uint32][]byte{}, map[uint32][]byte{}
			for i, m := range test.sent {
				p := &types.Packet{Type: m.kind, ID: m.id}
				if m.size > 0 {
					p.Data = buffer[:m.size]
					for n := range p.Data {
						p.Data[n] = byte(i + n)
					}
					given[m.id] = append(given[m.id], p.Data...)
				}
				if err := g.SendMsg(p); err != nil {
					t.Fatal(err)
				}
			}
			var got []message
			for _, p := range to.sent {
				got = append(got, message{p.Type, p.ID, len(p.Data)})
				if len(p.Data) > 0 {
					arrived[p.ID] = append(arrived[p.ID], p.Data...)
				}
			}
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(message{})); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
			for id := range given {
				if !bytes.Equal(given[id], arrived[id]) {
					t.Errorf("file %d is another", id)
				}
			}
		})
	}
}
