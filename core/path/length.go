package path

import "x0tta6bl4/mesh"

// shorten looks for a set of paths that frames can carry. The exact problem is NP-hard (Itai, Perl and Shiloach
// 1982), so it tries three prices per hop, the last one blind to cost and weak links, and takes the first set without a
// long path, else the one with the fewest. If that has no path of MaxHops (or MaxLongHops) but one exists, that
// path is joined by what is disjoint from it.
func (q *query) shorten(best set) set {
	mean := q.tree.dist[q.t] & costMask / int64(len(q.tree.arcsTo(q.t)))
	for _, price := range []pricing{{mask: -1, perHop: mean}, {mask: -1, perHop: int64(mesh.MaxCost)}, {perHop: 1}} {
		tree := &Tree{g: q.g}
		tree.grow(q.tree.from, price)
		other := (&query{g: q.g, tree: tree, t: q.t, k: q.k}).choose()
		if other.fit() > best.fit() {
			best = other
		}
		if best.longest() <= MaxHops {
			return best
		}
	}
	usable := q.tree.usable(q.t)
	if usable == nil {
		return best
	}
	limit := MaxHops
	if len(usable) > MaxHops {
		limit = MaxLongHops
	}
	if best.within(limit) == 0 {
		return q.around(usable)
	}
	return best
}

// fit ranks sets by how many of their paths are short, then by how many can be used at all.
func (s set) fit() int { return s.within(MaxHops)*(MaxPaths+1) + s.within(MaxLongHops) }

// around returns the set of one path and what is disjoint from it, or shares as little with it as can be.
func (q *query) around(primary []int32) set {
	for _, share := range []sharing{apart, byLink} {
		if s := q.solve(share, q.k, primary); s.within(MaxLongHops) > 1 {
			return s
		}
	}
	if s := q.solve(leastBoth, 2, primary); s.distinct {
		return s
	}
	return q.g.measure([][]int32{primary}, q.tree.price)
}
