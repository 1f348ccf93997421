package path

import (
	"slices"

	"x0tta6bl4/mesh"
)

// Disjoint returns up to k disjoint paths between two nodes (k = 0: DefaultPaths; at most MaxPaths). The package
// comment says which. The primary is the shortest path of all if the cheapest set that contains it is as
// disjoint as, and at most 1.5 times as dear as, the cheapest set; else the cheapest path of the cheapest set.
func (g *Graph) Disjoint(from, to mesh.NodeID, k int) Result {
	return g.disjoint(from, to, k, &Change{g: g, all: true}, &Result{})
}

// disjoint is Disjoint with the help of what was found before a change.
func (g *Graph) disjoint(from, to mesh.NodeID, k int, c *Change, was *Result) Result {
	if k <= 0 {
		k = DefaultPaths
	}
	q := query{g: g, k: min(k, MaxPaths)}
	s, ok := g.index(from)
	if !ok {
		return Result{}
	}
	if q.t, ok = g.index(to); !ok || s == q.t {
		return Result{}
	}
	g.fixed = g.groupsOfEnds(s, q.t)
	q.tree = g.treeOf(s)
	if q.tree.dist[q.t] == infinity {
		return Result{}
	}
	if g.solver == nil {
		g.solver = newSolver(g)
	}
	q.apart, q.byLink = c.stands(was.apart, s, q.t), c.stands(was.byLink, s, q.t)
	best := q.choose()
	if best.longest() <= MaxHops {
		r := g.result(best.paths)
		q.rate(&r, best)
		return r
	}
	if c.stays(was, &q, best) {
		return *was
	}
	cheapest := g.labelsOf(best.paths)
	best = q.shorten(best)
	r := g.result(best.paths)
	q.rate(&r, best)
	r.cheapest = cheapest
	return r
}

// rate notes how good a result is, which was made of a set.
func (q *query) rate(r *Result, found set) {
	n := len(found.paths)
	r.apart, r.byLink = q.apart, q.byLink
	proven := n > 1 && q.apart.known && n == q.apart.most && q.byLink.known && q.byLink.most <= n
	r.full = found.links == 0 && found.relays == 0 && (proven || n == min(q.k, q.fanout(true)))
	r.room = -q.lesser
	for _, p := range found.paths {
		r.room += q.g.weigh(p, plain)
	}
	switch longest := found.longest(); {
	case longest > MaxLongHops:
		r.within = MaxLongHops
	case longest > MaxHops:
		r.within = MaxHops
	}
}

// labelsOf names paths that begin at the same node.
func (g *Graph) labelsOf(paths [][]int32) [][]mesh.Label {
	all := make([][]mesh.Label, len(paths))
	for i, p := range paths {
		all[i] = make([]mesh.Label, len(p))
		for h, a := range p {
			all[i][h] = g.info[a].label
		}
	}
	return all
}

// sameLabels reports whether labelsOf of paths is this.
func (g *Graph) sameLabels(paths [][]int32, labels [][]mesh.Label) bool {
	return slices.EqualFunc(paths, labels, func(p []int32, ls []mesh.Label) bool {
		return slices.EqualFunc(p, ls, func(a int32, l mesh.Label) bool { return g.info[a].label == l })
	})
}

// treeOf keeps the newest tree, as one node asks for its paths to many.
func (g *Graph) treeOf(s int32) *Tree {
	if g.spf == nil || g.spf.from != s {
		g.spf = &Tree{g: g}
		g.spf.grow(s, plain)
	}
	return g.spf
}

// query is one question to Disjoint.
type query struct {
	g    *Graph
	tree *Tree
	t    int32
	k    int

	lesser int64 // what the cheapest node-disjoint set of one path less costs, if there are as many as the ends allow

	apart, byLink limit // how many paths there are
}

// choose returns the set to use, as if any length would do.
func (q *query) choose() set {
	best, share := q.cheapestSet()
	if len(best.paths) < 2 {
		return best
	}
	shortest := q.tree.dist[q.t]
	for _, p := range best.paths {
		if q.g.weigh(p, q.tree.price) == shortest {
			return best
		}
	}
	primary := q.tree.arcsTo(q.t)
	if len(primary) > MaxHops {
		return best
	}
	with := q.solve(share, len(best.paths), primary)
	if len(with.paths) == len(best.paths) && with.distinct && with.longest() <= MaxHops && nearly(with, best) {
		return with
	}
	return best
}

// nearly reports whether a set may take the place of the best one: it shares no more and has no more weak links, and
// costs at most half as much again.
func nearly(s, best set) bool {
	return s.links <= best.links && s.relays <= best.relays && s.overlap <= best.overlap &&
		s.weight>>costBits <= best.weight>>costBits && 2*(s.weight&costMask) <= 3*(best.weight&costMask)
}

// cheapestSet walks down from node-disjoint to maximally disjoint and says where it stopped.
func (q *query) cheapestSet() (set, sharing) {
	var nodes, links set
	ends := min(q.k, q.fanout(true))
	most := q.apart.of(ends)
	if most > 1 {
		nodes = q.solve(apart, most, nil)
		q.lesser = q.g.solver.lesser
		q.apart = q.apart.found(len(nodes.paths), most, ends, q.g.solver)
	} else {
		q.apart = limit{true, most, q.apart.wall}
	}
	if len(nodes.paths) == q.k {
		return nodes, apart
	}
	ends = min(q.k, q.fanout(false))
	if most = q.byLink.of(ends); most > max(1, len(nodes.paths)) {
		links = q.solve(byLink, most, nil)
		q.byLink = q.byLink.found(len(links.paths), most, ends, q.g.solver)
	} else {
		q.byLink = limit{true, most, q.byLink.wall}
	}
	switch {
	case len(links.paths) > max(1, len(nodes.paths)):
		return links, byLink
	case len(nodes.paths) > 1:
		return nodes, apart
	}
	for k := q.k; k > 1; k-- {
		if all := q.solve(leastBoth, k, nil); len(all.paths) == k && all.distinct {
			return all, leastBoth
		}
	}
	return q.g.measure([][]int32{q.tree.arcsTo(q.t)}, q.tree.price), apart
}

// fanout bounds how many disjoint paths there can be by the links of both ends, or by their neighbours.
func (q *query) fanout(nodes bool) int {
	g, s, t := q.g, q.tree.from, q.t
	var out, in []int32
	for _, a := range g.arcs[g.first[s]:g.first[s+1]] {
		out = append(out, a.to)
	}
	for _, a := range g.in[g.inAt[t]:g.inAt[t+1]] {
		in = append(in, a.from)
	}
	if !nodes {
		return min(len(out), len(in))
	}
	// Parallel links to a relay count once, those straight to the other end each.
	distinct := func(ends []int32, other int32) (n int) {
		slices.Sort(ends)
		for i, e := range ends {
			if e == other || i == 0 || e != ends[i-1] {
				n++
			}
		}
		return n
	}
	return min(distinct(out, t), distinct(in, s))
}

// result makes the answer of arcs; paths that no frame can carry are left out.
func (g *Graph) result(paths [][]int32) Result {
	paths = slices.DeleteFunc(slices.Clone(paths), func(p []int32) bool { return len(p) == 0 || len(p) > MaxLongHops })
	if len(paths) == 0 {
		return Result{}
	}
	g.arrange(paths)
	m := g.measure(paths, plain)
	r := Result{SharedLinks: m.links, SharedGroups: m.groups}
	r.EndGroups = slices.DeleteFunc(slices.Clone(m.groups), func(x uint32) bool { return !slices.Contains(g.fixed, x) })
	for _, p := range paths {
		r.Paths = append(r.Paths, g.path(p))
	}
	for _, n := range m.nodes {
		r.SharedNodes = append(r.SharedNodes, g.nodes[n])
	}
	switch {
	case len(paths) == 1:
		r.Disjoint = Single
	case m.links > 0:
		r.Disjoint = Maximal
	case len(m.nodes) > 0:
		r.Disjoint = LinkDisjoint
	default:
		r.Disjoint = NodeDisjoint
	}
	return r
}
