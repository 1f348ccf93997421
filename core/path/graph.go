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
	risks  [][]uint32           // shared-risk groups of a link, by its id
	carry  []mesh.BitsPerSecond // what arcs carry; nil: none says
	fixed  []uint32             // of the ends that Disjoint is asked about: groups of every link of one of them

	heap   heap
	spf    *Tree // the newest tree that Disjoint used
	blind  Tree  // the same for shorter
	hops   []int32
	queue  []int32
	aims   []goal // of goals
	weak   bool   // there are weak links
	solver *solver

	scratch Tree
	reach   reacher
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
	g := &Graph{nodes: nodesOf(edges)}
	index := make(map[mesh.NodeID]int32, len(g.nodes))
	for i, n := range g.nodes {
		index[n] = int32(i)
	}
	es := grouped(edges, index)
	g.build(es)
	g.pair(es)
	g.readGroups(es)
	return g
}

func possible(e *mesh.Edge) bool {
	return e.Label != 0 && e.From != e.To && !e.From.IsZero() && !e.To.IsZero()
}

// nodesOf returns the ends of edges, ascending.
func nodesOf(edges []mesh.Edge) []mesh.NodeID {
	var nodes []mesh.NodeID
	known := make(map[mesh.NodeID]bool, len(edges)/4)
	for i := range edges {
		if e := &edges[i]; possible(e) {
			for _, n := range [...]mesh.NodeID{e.From, e.To} {
				if !known[n] {
					known[n] = true
					nodes = append(nodes, n)
				}
			}
		}
	}
	slices.SortFunc(nodes, mesh.NodeID.Compare)
	return nodes
}

// indexed is an edge with the indices of its ends.
type indexed struct {
	*mesh.Edge
	from, to int32
}

// grouped returns the possible edges in the order of arcs: sorted by node in linear time, then by label at each.
func grouped(edges []mesh.Edge, index map[mesh.NodeID]int32) []indexed {
	all := make([]indexed, 0, len(edges))
	at := make([]int32, len(index)+1)
	for i := range edges {
		if e := &edges[i]; possible(e) {
			x := indexed{e, index[e.From], index[e.To]}
			all = append(all, x)
			at[x.from+1]++
		}
	}
	for i := range len(index) {
		at[i+1] += at[i]
	}
	out := make([]indexed, len(all))
	next := slices.Clone(at)
	for _, x := range all {
		out[next[x.from]] = x
		next[x.from]++
	}
	for i := range len(index) {
		slices.SortStableFunc(out[at[i]:at[i+1]], func(a, b indexed) int {
			return cmp.Or(cmp.Compare(a.Label, b.Label), cmp.Compare(a.to, b.to))
		})
	}
	return slices.CompactFunc(out, func(a, b indexed) bool { return a.from == b.from && a.Label == b.Label })
}

// build fills the arrays.
func (g *Graph) build(es []indexed) {
	g.first = make([]int32, len(g.nodes)+1)
	g.inAt = make([]int32, len(g.nodes)+1)
	g.arcs = make([]arc, len(es))
	g.info = make([]arcInfo, len(es))
	g.in = make([]inArc, len(es))
	for i, e := range es {
		cost := min(max(e.Cost, 1), mesh.MaxCost)
		g.weak = g.weak || weakness(e.Quality) > 0
		g.arcs[i] = arc{weight: int64(cost) + weakness(e.Quality)*weakUnit, to: e.to, link: int32(i)}
		g.info[i] = arcInfo{from: e.from, label: e.Label, mtu: e.MTU, cost: cost}
		if e.Capacity > 0 {
			if g.carry == nil {
				g.carry = make([]mesh.BitsPerSecond, len(es))
			}
			g.carry[i] = e.Capacity
		}
		g.first[e.from+1]++
		g.inAt[e.to+1]++
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
func (g *Graph) pair(es []indexed) {
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

func (g *Graph) mirror(es []indexed, i, from, to int32) int32 {
	if remote := es[i].Remote; remote != 0 {
		if j := g.labelled(to, remote); j >= 0 && g.arcs[j].to == from {
			return j
		}
		return -1
	}
	back := g.between(to, from)
	if rank := slices.Index(g.between(from, to), i); rank < len(back) {
		return back[rank]
	}
	return -1
}

// labelled returns the arc that leaves a node by a label, -1 if none does.
func (g *Graph) labelled(node int32, l mesh.Label) int32 {
	lo, hi := g.first[node], g.first[node+1]
	for lo < hi {
		if mid := (lo + hi) / 2; g.info[mid].label < l {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == g.first[node+1] || g.info[lo].label != l {
		return -1
	}
	return lo
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
func (g *Graph) readGroups(es []indexed) {
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

// carries returns the capacity of an arc, 0 if it is not known.
func (g *Graph) carries(arc int32) mesh.BitsPerSecond {
	if g.carry == nil {
		return 0
	}
	return g.carry[arc]
}

// path makes a mesh.Path of arcs.
func (g *Graph) path(arcs []int32) mesh.Path {
	p := mesh.Path{
		Nodes:  make([]mesh.NodeID, 1, len(arcs)+1),
		Labels: make([]mesh.Label, 0, len(arcs)),
	}
	p.Nodes[0] = g.nodes[g.info[arcs[0]].from]
	for _, a := range arcs {
		in := &g.info[a]
		p.Nodes = append(p.Nodes, g.nodes[g.arcs[a].to])
		p.Labels = append(p.Labels, in.label)
		p.Cost += in.cost
		if p.MTU == 0 || in.mtu != 0 && in.mtu < p.MTU { // 0 = not known
			p.MTU = in.mtu
		}
		if c := g.carries(a); p.Capacity == 0 || c != 0 && c < p.Capacity {
			p.Capacity = c
		}
	}
	return p
}
