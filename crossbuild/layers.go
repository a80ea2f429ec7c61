// SPDX-License-Identifier: Apache-2.0

package crossbuild

// TopLayers returns the steps that wrote the layers of the target's image, a step for each layer, from the highest down, as far as that is
// certain: to the base image, or to a step whose result has other layers than its own.
func (g *Graph) TopLayers() []*Step {
	if g == nil || g.origin == nil {
		return nil
	}
	list, _ := g.layers(g.origin.result.from)
	return list
}

// layers are those of a step's result, and whole tells that there are no others below.
func (g *Graph) layers(at int) (list []*Step, whole bool) {
	for {
		op, inputs := g.origin.ops[at], g.origin.inputs[at]
		switch kind(op) {
		case KindExec, KindFile:
			list = append(list, &g.Steps[at])
			in := base(op)
			if in < 0 {
				return list, true
			}
			at = inputs[in].from
		case KindMerge:
			for i := len(inputs) - 1; i >= 0; i-- {
				more, all := g.layers(inputs[i].from)
				if list = append(list, more...); !all {
					return list, false
				}
			}
			return list, true
		default:
			return list, false
		}
	}
}
