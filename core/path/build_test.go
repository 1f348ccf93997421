package path

import (
	"fmt"

	"x0tta6bl4/mesh"
)

// builder makes edges of links between numbered nodes; each node labels its links from 1 up.
type builder struct {
	edges []mesh.Edge
	next  map[int]mesh.Label
}

func newBuilder() *builder { return &builder{next: map[int]mesh.Label{}} }

func node(i int) mesh.NodeID { return mesh.MustNodeID(fmt.Sprintf("n%05d", i)) }

// link adds both directions and returns the index of the first; change tailors both.
func (b *builder) link(i, j int, cost mesh.Cost, change ...func(*mesh.Edge)) int {
	b.next[i]++
	b.next[j]++
	e := mesh.Edge{From: node(i), To: node(j), Label: b.next[i], Remote: b.next[j], Cost: cost, Quality: mesh.Excellent, MTU: 1452}
	for _, f := range change {
		f(&e)
	}
	back := e
	back.From, back.To, back.Label, back.Remote = e.To, e.From, e.Remote, e.Label
	b.edges = append(b.edges, e, back)
	return len(b.edges) - 2
}

func quality(q mesh.Quality) func(*mesh.Edge) { return func(e *mesh.Edge) { e.Quality = q } }

func groups(gs ...uint32) func(*mesh.Edge) { return func(e *mesh.Edge) { e.Groups = gs } }

func mtu(m uint16) func(*mesh.Edge) { return func(e *mesh.Edge) { e.MTU = m } }
