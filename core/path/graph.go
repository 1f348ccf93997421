package path

import (
	"cmp"
	"slices"

	"x0tta6bl4/mesh"
)

// Graph is the topology on compact arrays. Equal edges, in whatever order, make equal graphs with equal answers.
// It keeps scratch memory between calls, so one goroutine at a time may use it; the edges never change.
type Graph struct {
	nodes  []mesh.NodeID // ascending
	arcs   []arc         // ascending by from, to, label
	first  []int32       // arcs[first[n]:first[n+1]] leave node n
	in     []inArc       // grouped by the node they enter
	inAt   []int32       // in[inAt[n]:inAt[n+1]] enter node n
	info   []arcInfo     // of the arc at the same index
	groups map[uint32][]int32
	risks  [][]uint32 // shared-risk groups of a link, by its id

	heap   heap
	spf    *Tree // the newest tree that Disjoint used
	solver *solver
	reach  reacher
}

// arc is what the inner loops read of one direction of a link.
type arc struct {
	weight int64
	to     int32
	link   int32 // the smaller index of the link's two arcs
}

type inArc struct {
	weight    int64
	from, arc int32
}

type arcInfo struct {
	from  int32
	label mesh.Label
	mtu   uint16
	cost  mesh.Cost
}

// NewGraph builds the graph of edges. Edges that cannot be (a loop, no label, a label used twice at one node, a zero
// node) are left out.
func NewGraph(edges []mesh.Edge) *Graph {
	es := make([]*mesh.Edge, 0, len(edges))
	for i := range edges {
		if e := &edges[i]; e.Label != 0 && e.From != e.To && !e.From.IsZero() && !e.To.IsZero() {
			es = append(es, e)
		}
	}
	slices.SortStableFunc(es, func(a, b *mesh.Edge) int {
		return cmp.Or(a.From.Compare(b.From), cmp.Compare(a.Label, b.Label), a.To.Compare(b.To))
	})
	es = slices.CompactFunc(es, func(a, b *mesh.Edge) bool { return a.From == b.From && a.Label == b.Label })
	g := &Graph{nodes: nodesOf(es)}
	g.build(es)
	g.pair(es)
	g.readGroups(es)
	return g
}

func nodesOf(es []*mesh.Edge) []mesh.NodeID {
	nodes := make([]mesh.NodeID, 0, 2*len(es))
	for _, e := range es {
		nodes = append(nodes, e.From, e.To)
	}
	slices.SortFunc(nodes, mesh.NodeID.Compare)
	return slices.Clip(slices.Compact(nodes))
}

// build fills the arrays; es is sorted by From.
func (g *Graph) build(es []*mesh.Edge) {
	index := make(map[mesh.NodeID]int32, len(g.nodes))
	for i, n := range g.nodes {
		index[n] = int32(i)
	}
	g.first = make([]int32, len(g.nodes)+1)
	g.inAt = make([]int32, len(g.nodes)+1)
	g.arcs = make([]arc, len(es))
	g.info = make([]arcInfo, len(es))
	g.in = make([]inArc, len(es))
	for i, e := range es {
		from, to := index[e.From], index[e.To]
		cost := min(max(e.Cost, 1), mesh.MaxCost)
		g.arcs[i] = arc{weight: int64(cost) + weakness(e.Quality)*weakUnit, to: to, link: int32(i)}
		g.info[i] = arcInfo{from: from, label: e.Label, mtu: e.MTU, cost: cost}
		g.first[from+1]++
		g.inAt[to+1]++
	}
	for i := range g.nodes {
		g.first[i+1] += g.first[i]
		g.inAt[i+1] += g.inAt[i]
	}
	next := slices.Clone(g.inAt)
	for i, a := range g.arcs {
		g.in[next[a.to]] = inArc{weight: a.weight, from: g.info[i].from, arc: int32(i)}
		next[a.to]++
	}
}

// weakness is what a link of quality q adds to the count of weak links. A link not measured yet is not weak.
func weakness(q mesh.Quality) int64 {
	switch q {
	case mesh.Bad:
		return 2
	case mesh.Poor:
		return 1
	}
	return 0
}

// pair finds the two arcs of each link. Where the far end's label is not known, the parallel links of two nodes are
// paired by rank: cost, then label.
func (g *Graph) pair(es []*mesh.Edge) {
	for i := range g.arcs {
		from, to := g.info[i].from, g.arcs[i].to
		if from > to {
			continue
		}
		if j := g.mirror(es, int32(i), from, to); j >= 0 {
			g.arcs[i].link, g.arcs[j].link = int32(i), int32(i)
		}
	}
}

func (g *Graph) mirror(es []*mesh.Edge, i, from, to int32) int32 {
	back := g.between(to, from)
	if remote := es[i].Remote; remote != 0 {
		for _, j := range back {
			if g.info[j].label == remote {
				return j
			}
		}
		return -1
	}
	rank := slices.Index(g.between(from, to), i)
	if rank < len(back) {
		return back[rank]
	}
	return -1
}

// between returns the arcs from one node to another by rank.
func (g *Graph) between(from, to int32) []int32 {
	var out []int32
	for i := g.first[from]; i < g.first[from+1]; i++ {
		if g.arcs[i].to == to {
			out = append(out, i)
		}
	}
	slices.SortFunc(out, func(a, b int32) int { return cmp.Or(cmp.Compare(g.info[a].cost, g.info[b].cost), cmp.Compare(a, b)) })
	return out
}

// readGroups gives each link the groups that either of its ends named.
func (g *Graph) readGroups(es []*mesh.Edge) {
	for i, e := range es {
		if len(e.Groups) == 0 {
			continue
		}
		if g.risks == nil {
			g.risks = make([][]uint32, len(es))
			g.groups = make(map[uint32][]int32)
		}
		link := g.arcs[i].link
		for _, r := range e.Groups {
			if !slices.Contains(g.risks[link], r) {
				g.risks[link] = append(g.risks[link], r)
				g.groups[r] = append(g.groups[r], link)
			}
		}
	}
}

// Len returns how many nodes have a link.
func (g *Graph) Len() int { return len(g.nodes) }

func (g *Graph) index(n mesh.NodeID) (int32, bool) {
	i, ok := slices.BinarySearchFunc(g.nodes, n, mesh.NodeID.Compare)
	return int32(i), ok
}

// path makes a mesh.Path of arcs.
func (g *Graph) path(arcs []int32) mesh.Path {
	p := mesh.Path{
		Nodes:  make([]mesh.NodeID, 1, len(arcs)+1),
		Labels: make([]mesh.Label, 0, len(arcs)),
	}
	p.Nodes[0] = g.nodes[g.info[arcs[0]].from]
	for i, a := range arcs {
		in := &g.info[a]
		p.Nodes = append(p.Nodes, g.nodes[g.arcs[a].to])
		p.Labels = append(p.Labels, in.label)
		p.Cost += in.cost
		if i == 0 || in.mtu < p.MTU {
			p.MTU = in.mtu
		}
	}
	return p
}
