package path

import (
	"slices"

	"x0tta6bl4/mesh"
)

// pricing is how a search reads the weight of an arc: the bits of mask, and perHop for its length.
type pricing struct{ mask, perHop int64 }

var plain = pricing{mask: -1}

func (p pricing) of(weight int64) int64 { return weight&p.mask + p.perHop }

// Tree is the shortest-path tree of one node.
type Tree struct {
	g     *Graph
	from  int32
	price pricing
	dist  []int64
	via   []int32 // the arc that enters the node on its shortest path
}

// Shortest returns the tree of from: Dijkstra's algorithm over all nodes. A node without links has an empty tree.
func (g *Graph) Shortest(from mesh.NodeID) *Tree {
	t := &Tree{g: g, from: -1}
	if i, ok := g.index(from); ok {
		t.grow(i, plain)
	}
	return t
}

// Reuse makes t the tree of from in g, in the memory that it has.
func (t *Tree) Reuse(g *Graph, from mesh.NodeID) {
	t.g, t.from = g, -1
	if i, ok := g.index(from); ok {
		t.grow(i, plain)
	}
}

func (t *Tree) grow(from int32, price pricing) {
	g := t.g
	t.from, t.price = from, price
	t.reset()
	dist, via := t.dist, t.via
	dist[from] = 0
	h := g.heap[:0]
	h.push(0, from)
	for len(h) > 0 {
		top := h.pop()
		if top.key > dist[top.item] {
			continue
		}
		lo, hi := g.first[top.item], g.first[top.item+1]
		for i, a := range g.arcs[lo:hi] {
			if d := top.key + a.weight&price.mask + price.perHop; d < dist[a.to] {
				dist[a.to], via[a.to] = d, lo+int32(i)
				h.push(d, a.to)
			}
		}
	}
	g.heap = h
}

// reset makes a tree one that has reached no node.
func (t *Tree) reset() {
	n := len(t.g.nodes)
	t.dist = slices.Grow(t.dist[:0], n)[:n]
	t.via = slices.Grow(t.via[:0], n)[:n]
	for i := range t.dist {
		t.dist[i], t.via[i] = infinity, -1
	}
}

// To returns the shortest path to n. If it has more than MaxHops hops, the shortest one within MaxHops, else within
// MaxLongHops, takes its place; false if there is none, or n is the root.
func (t *Tree) To(n mesh.NodeID) (mesh.Path, bool) {
	i, ok := t.g.index(n)
	if !ok || t.from < 0 || i == t.from {
		return mesh.Path{}, false
	}
	if arcs := t.usable(i); arcs != nil {
		return t.g.path(arcs), true
	}
	return mesh.Path{}, false
}

// usable returns the arcs of the shortest path to a node that is short enough for a frame.
func (t *Tree) usable(to int32) []int32 {
	if t.dist[to] == infinity {
		return nil
	}
	arcs := t.arcsTo(to)
	if len(arcs) <= MaxHops {
		return arcs
	}
	if short := t.g.bounded(t.from, to, MaxHops, -1); short != nil {
		return short
	}
	if len(arcs) <= MaxLongHops {
		return arcs
	}
	return t.g.bounded(t.from, to, MaxLongHops, -1)
}

// arcsTo returns the arcs of the way to a node that the tree reaches, in order.
func (t *Tree) arcsTo(to int32) []int32 {
	var arcs []int32
	for n := to; n != t.from; n = t.g.info[t.via[n]].from {
		arcs = append(arcs, t.via[n])
	}
	slices.Reverse(arcs)
	return arcs
}

// hopsTo returns how many hops it is from each node to one, beyond MaxLongHops where there is no way. The result is good
// until the next call.
func (g *Graph) hopsTo(to int32) []int32 {
	n := len(g.nodes)
	g.hops = slices.Grow(g.hops[:0], n)[:n]
	for i := range g.hops {
		g.hops[i] = noWay
	}
	g.hops[to] = 0
	g.queue = append(g.queue[:0], to)
	for at := 0; at < len(g.queue); at++ {
		v := g.queue[at]
		for _, in := range g.in[g.inAt[v]:g.inAt[v+1]] {
			if g.hops[in.from] == noWay {
				g.hops[in.from] = g.hops[v] + 1
				g.queue = append(g.queue, in.from)
			}
		}
	}
	return g.hops
}

// noWay is more hops than any path has.
const noWay = int32(1 << 30)
