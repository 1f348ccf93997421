package path

import (
	"slices"

	"x0tta6bl4/mesh"
)

// Next returns the graph of edges, as NewGraph does, and sooner if most of them are those of g and they ascend by From and
// Label: then the ends of a link are found where they were.
func (g *Graph) Next(edges []mesh.Edge) *Graph {
	n := &Graph{nodes: make([]mesh.NodeID, 0, len(g.nodes)+1)}
	for i := range edges {
		e := &edges[i]
		if i == 0 || e.From != edges[i-1].From {
			n.nodes = append(n.nodes, e.From)
		}
		if !possible(e) || i > 0 && !ascending(&edges[i-1], e) {
			return NewGraph(edges)
		}
	}
	if slices.Equal(n.nodes, g.nodes) {
		n.nodes = g.nodes
	}
	es := make([]indexed, len(edges))
	moved := movedTo(g.nodes, n.nodes)
	from, old := int32(-1), int32(0)
	for i := range edges {
		e := &edges[i]
		if i == 0 || e.From != edges[i-1].From {
			from++
			for old < int32(len(g.nodes)) && moved[old] < from { // #nosec G115 -- fewer than edges
				old++
			}
		}
		to := g.oldEnd(old, from, moved, e)
		if to < 0 || int(to) >= len(n.nodes) || n.nodes[to] != e.To {
			at, ok := n.index(e.To)
			if !ok {
				return NewGraph(edges) // it has no edge of its own
			}
			to = at
		}
		es[i] = indexed{e, from, to}
	}
	n.build(es)
	n.pair(es)
	n.readGroups(es)
	return n
}

// ascending reports whether an edge comes behind another.
func ascending(a, b *mesh.Edge) bool {
	if a.From == b.From {
		return a.Label < b.Label
	}
	return a.From.Compare(b.From) < 0
}

// movedTo returns where in a list of nodes those of another are, or would be. Both ascend.
func movedTo(was, now []mesh.NodeID) []int32 {
	at := make([]int32, len(was))
	j := 0
	for i := range was {
		for j < len(now) && now[j] != was[i] && now[j].Compare(was[i]) < 0 {
			j++
		}
		at[i] = int32(j) // #nosec G115 -- an index
	}
	return at
}

// oldEnd returns where the edge of the label of e led that left node old in g, if that is from now; -1 if there was none.
func (g *Graph) oldEnd(old, from int32, moved []int32, e *mesh.Edge) int32 {
	if int(old) >= len(moved) || moved[old] != from || g.nodes[old] != e.From {
		return -1
	}
	a := g.labelled(old, e.Label)
	if a < 0 {
		return -1
	}
	return moved[g.arcs[a].to]
}
