package path

import (
	"slices"

	"x0tta6bl4/mesh"
)

// limit is how many paths of a kind there are at most between two nodes, whatever they cost: the number that was looked for
// at most, or what their links allow, or, if it has a wall, what the rest of the graph does.
type limit struct {
	known bool
	most  int
	wall  *wall
}

// of returns the smaller of a bound and what is known.
func (l limit) of(bound int) int {
	if l.known {
		return min(bound, l.most)
	}
	return bound
}

// found is what is known when so many paths were found, where no more than asked were looked for, of which the ends allow
// so many.
func (l limit) found(paths, asked, ends int, s *solver) limit {
	n := limit{known: !s.cut, most: paths}
	switch {
	case paths < asked:
		n.wall = s.wall
	case asked < ends:
		n.wall = l.wall
	}
	return n
}

// A wall is why there is no further path: the states that a way leads from to the other end, in the graph that is left of the
// paths found (the cut of Ford and Fulkerson). None leads into them from outside, so only a link that does makes another path
// possible. Links that go away, or become worse, leave it standing.
type wall struct {
	nodes []mesh.NodeID
	near  []uint64 // bit 2i: node i, entered; bit 2i+1: left
}

// newWall remembers what a search that failed has come to.
func (s *solver) newWall() *wall {
	w := &wall{nodes: s.g.nodes, near: make([]uint64, (len(s.states)+63)/64)}
	for _, x := range s.order {
		w.near[x/64] |= 1 << (x % 64)
	}
	return w
}

func (w *wall) has(x int) bool { return w.near[x/64]>>(x%64)&1 != 0 }

// broken reports whether a link of g leads through the wall, in either direction.
func (w *wall) broken(g *Graph, u, v int32) bool {
	i, j := int(u), int(v)
	if len(w.nodes) != len(g.nodes) || &w.nodes[0] != &g.nodes[0] {
		var there, thereToo bool
		i, there = slices.BinarySearchFunc(w.nodes, g.nodes[u], mesh.NodeID.Compare)
		j, thereToo = slices.BinarySearchFunc(w.nodes, g.nodes[v], mesh.NodeID.Compare)
		if !there || !thereToo {
			return true
		}
	}
	return !w.has(2*i+1) && w.has(2*j) || !w.has(2*j+1) && w.has(2*i)
}

// stands returns what is still known of how many paths there are between two nodes.
func (c *Change) stands(l limit, s, t int32) limit {
	if c.all || !l.known {
		return limit{}
	}
	for i := range c.better {
		if x := &c.better[i]; x.at(s) || x.at(t) || l.wall != nil && l.wall.broken(c.g, x.u, x.v) {
			return limit{}
		}
	}
	return l
}

func (x *gain) at(n int32) bool { return x.u == n || x.v == n }
