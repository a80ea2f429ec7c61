package coordinator

import (
	"github.com/mab-build/mab/crossbuild"
	"github.com/mab-build/mab/platforms"
)

func (h History) Build() platforms.Platform { return platforms.Platform{} }

func (p *Plan) Places(graphs []*crossbuild.Graph) crossbuild.Places {
	out := crossbuild.Places{Private: make([]string, len(graphs))}
	for _, g := range graphs {
		for _, a := range p.Assignments {
			if a.Platform == g.Target {
				out.Home = append(out.Home, a.Node)
			}
		}
	}
	return out
}
