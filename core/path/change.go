package path

import (
	"slices"

	"x0tta6bl4/mesh"
)

// A Change is how a graph differs from an earlier one, for who has sets of paths in that one and wants to know which of
// them to compute anew. In a large mesh hardly any is touched by one link that comes, goes, or has another cost.
//
// A set stays if it lost nothing and the rest of the graph has nothing better to offer. What became worse has not. What
// became better has not if no frame can go a way over it, for every one is longer than MaxLongHops; or if every one is too
// dear: one over the link from u to v costs d(s,u) + w + d(v,t) at least, and the other paths of its set as much as the
// cheapest set of one path less. As in Disjoint the length is left to a heuristic: a link that is on no path of MaxHops
// hops is taken not to make one possible. Among sets that are equally good the one in use stays, where Disjoint might find
// another.
type Change struct {
	g       *Graph
	all     bool // nothing can be said
	touched []place
	better  []gain
}

// place is an arc as paths name it.
type place struct {
	from  mesh.NodeID
	label mesh.Label
}

// gain is a link that is new or cheaper.
type gain struct {
	u, v   int32
	weight int64
	cost   [2]*Tree   // of u and v, made when they are needed
	hops   [2][]int32 // to u and to v, likewise
}

// maxGains is how many links that became better are looked at one by one.
const maxGains = 8

// Since returns how the graph differs from an earlier one.
func (g *Graph) Since(old *Graph) *Change {
	c := &Change{g: g}
	if g.risks != nil || old.risks != nil {
		c.all = true // groups are for Disjoint
		return c
	}
	i, j := 0, 0
	for i < len(old.nodes) || j < len(g.nodes) {
		switch order(old.nodes, g.nodes, i, j) {
		case -1:
			c.compare(old, int32(i), -1) // #nosec G115 -- an index
			i++
		case 1:
			c.compare(old, -1, int32(j)) // #nosec G115 -- an index
			j++
		default:
			c.compare(old, int32(i), int32(j)) // #nosec G115 -- indices
			i++
			j++
		}
	}
	c.all = len(c.better) > maxGains
	return c
}

// order compares the node at i of a with that at j of b; an end of the list is behind everything.
func order(a, b []mesh.NodeID, i, j int) int {
	switch {
	case i == len(a):
		return 1
	case j == len(b):
		return -1
	case a[i] == b[j]:
		return 0
	}
	return a[i].Compare(b[j])
}

// compare finds the differences between the arcs that leave a node of the old graph and the same node of the new one;
// -1 is a node without arcs.
func (c *Change) compare(old *Graph, was, is int32) {
	var a, enda, b, endb int32
	if was >= 0 {
		a, enda = old.first[was], old.first[was+1]
	}
	if is >= 0 {
		b, endb = c.g.first[is], c.g.first[is+1]
	}
	for a < enda || b < endb {
		switch {
		case b == endb || a < enda && old.info[a].label < c.g.info[b].label:
			c.touch(old, was, a)
			a++
		case a == enda || c.g.info[b].label < old.info[a].label:
			c.gain(is, b)
			b++
		default:
			x, y := &old.arcs[a], &c.g.arcs[b]
			moved := old.nodes[x.to] != c.g.nodes[y.to]
			if moved || x.weight != y.weight || old.info[a].mtu != c.g.info[b].mtu || old.carries(a) != c.g.carries(b) {
				c.touch(old, was, a)
			}
			if moved || y.weight < x.weight {
				c.gain(is, b)
			}
			a++
			b++
		}
	}
}

func (c *Change) touch(old *Graph, from, arc int32) {
	c.touched = append(c.touched, place{old.nodes[from], old.info[arc].label})
}

func (c *Change) gain(from, arc int32) {
	to, weight := c.g.arcs[arc].to, c.g.arcs[arc].weight
	for i := range c.better {
		if x := &c.better[i]; x.u == to && x.v == from || x.u == from && x.v == to {
			x.weight = min(x.weight, weight)
			return
		}
	}
	if len(c.better) <= maxGains {
		c.better = append(c.better, gain{u: from, v: to, weight: weight})
	}
}

// Keeps reports whether a set of paths from one node to another, as Disjoint gave it in the earlier graph, stays as good a
// choice as any.
func (c *Change) Keeps(r *Result, from, to mesh.NodeID) bool {
	if c.all || c.touchesAny(r) {
		return false
	}
	if len(c.better) == 0 {
		return true
	}
	s, ok := c.g.index(from)
	t, found := c.g.index(to)
	if !ok || !found {
		return false
	}
	standing := c.stands(limit{known: true, wall: r.apart.wall}, s, t).known && c.stands(limit{known: true, wall: r.byLink.wall}, s, t).known
	for i := range c.better {
		x := &c.better[i]
		if way := c.hopsOver(x, s, t); way > MaxLongHops {
			continue
		} else if !r.full || !standing || way <= r.within {
			return false
		}
		if c.costOver(x, s, t) < r.room {
			return false
		}
	}
	return true
}

// Disjoint returns what that of the graph does, but for sets that are equally good, and sooner: how many paths there are is
// known unless a link became better that leads through the wall of the others, and whether there are shorter ones than the
// cheapest is asked again only if there may be.
func (c *Change) Disjoint(r *Result, from, to mesh.NodeID, k int) Result {
	return c.g.disjoint(from, to, k, c, r)
}

// stays reports whether a set with long paths stays what was found instead of the cheapest, which is this now.
func (c *Change) stays(r *Result, q *query, cheapest set) bool {
	return !c.all && !c.touchesAny(r) && q.g.sameLabels(cheapest.paths, r.cheapest) &&
		!slices.ContainsFunc(c.better, func(x gain) bool { return c.hopsOver(&x, q.tree.from, q.t) <= r.within })
}

func (c *Change) touchesAny(r *Result) bool {
	return len(c.touched) > 0 && slices.ContainsFunc(r.Paths, func(p mesh.Path) bool { return c.touches(&p) })
}

func (c *Change) touches(p *mesh.Path) bool {
	for _, x := range c.touched {
		for h, l := range p.Labels {
			if l == x.label && p.Nodes[h] == x.from {
				return true
			}
		}
	}
	return false
}

// hopsOver returns the hops of the shortest way over a link that became better.
func (c *Change) hopsOver(x *gain, s, t int32) int {
	if x.hops[0] == nil {
		x.hops = [2][]int32{slices.Clone(c.g.hopsTo(x.u)), slices.Clone(c.g.hopsTo(x.v))}
	}
	return int(min(x.hops[0][s]+1+x.hops[1][t], x.hops[1][s]+1+x.hops[0][t]))
}

// costOver returns the least that a way over a link that became better costs.
func (c *Change) costOver(x *gain, s, t int32) int64 {
	if x.cost[0] == nil {
		x.cost = [2]*Tree{{g: c.g}, {g: c.g}}
		x.cost[0].grow(x.u, plain)
		x.cost[1].grow(x.v, plain)
	}
	u, v := x.cost[0].dist, x.cost[1].dist
	return x.weight + min(u[s]+v[t], v[s]+u[t])
}
