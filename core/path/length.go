package path

import "x0tta6bl4/mesh"

// shorten looks for a set of paths that frames can carry. The exact problem is NP-hard (Itai, Perl and Shiloach
// 1982), so it tries three prices per hop, the last one blind to cost and weak links, and takes the first set without a
// long path, else the one with the fewest. The last has the fewest hops in all: where it does no better than best, the others
// are not tried. If no path has MaxHops (or MaxLongHops) but one exists, that path is joined by what is disjoint from it.
func (q *query) shorten(best set) set {
	hops := q.g.hopsTo(q.t)
	if best.fit() < q.mostFit(hops, len(best.paths)) {
		if best = q.shorter(best); best.longest() <= MaxHops {
			return best
		}
	}
	limit := MaxHops
	if hops[q.tree.from] > MaxHops {
		limit = MaxLongHops
	}
	if int(hops[q.tree.from]) > limit || best.within(limit) > 0 {
		return best
	}
	return q.around(q.tree.usable(q.t))
}

// shorter returns the first set without a long path that is found with a price per hop, else the one with the fewest.
func (q *query) shorter(best set) set {
	dear, blind := pricing{mask: -1, perHop: int64(mesh.MaxCost)}, pricing{perHop: 1}
	if !q.g.weak {
		blind = dear // what a path costs is little beside such a price
	}
	if q.g.blind.g == nil || q.g.blind.from != q.tree.from {
		q.g.blind.g = q.g
		q.g.blind.grow(q.tree.from, blind)
	}
	last := q.priced(&q.g.blind)
	if last.fit() <= best.fit() {
		return best
	}
	mean := q.tree.dist[q.t] & costMask / int64(len(q.tree.arcsTo(q.t)))
	for _, price := range []pricing{{mask: -1, perHop: mean}, dear} {
		if price == blind {
			continue
		}
		q.g.scratch.g = q.g
		q.g.scratch.grow(q.tree.from, price)
		if other := q.priced(&q.g.scratch); other.fit() > best.fit() {
			best = other
		}
		if best.longest() <= MaxHops {
			return best
		}
	}
	if last.fit() > best.fit() {
		return last
	}
	return best
}

// priced returns the set to use by the prices of a tree.
func (q *query) priced(tree *Tree) set {
	other := query{g: q.g, tree: tree, t: q.t, k: q.k, apart: q.apart, byLink: q.byLink}
	return other.choose()
}

// mostFit bounds the fit of every set, hops being those to the other end: each path begins with an arc of its own, unless
// links have to be shared.
func (q *query) mostFit(hops []int32, paths int) int {
	short, long := 0, 0
	for _, a := range q.g.arcs[q.g.first[q.tree.from]:q.g.first[q.tree.from+1]] {
		if h := hops[a.to] + 1; h <= MaxLongHops {
			long++
			if h <= MaxHops {
				short++
			}
		}
	}
	most := paths
	if max(q.apart.most, q.byLink.most) < 2 { // which set there is depends on the prices
		most = q.k
		short, long = short*q.k, long*q.k
	}
	return rank(min(short, most), min(long, most))
}

// fit ranks sets by how many of their paths are short, then by how many can be used at all.
func (s set) fit() int { return rank(s.within(MaxHops), s.within(MaxLongHops)) }

func rank(short, long int) int { return short*(MaxPaths+1) + long }

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
