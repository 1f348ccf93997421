package path

import "slices"

// searchLimit bounds the sets that one search for shared-risk diversity computes.
const searchLimit = 24

// solve returns the cheapest set of up to k paths, of which primary, if not nil, is one. If paths of it meet in
// shared-risk groups, it searches for one in which fewer do, of as many paths that share as few links and
// relays. The exact problem is NP-hard (Hu 2003), so this is a heuristic: best first from the exact set; the children
// of a set are found by banning a group where paths meet in it, on all paths but one, and on all; searchLimit sets in
// all.
func (q *query) solve(share sharing, k int, primary []int32) set {
	root := q.solveOnce(share, k, primary, nil)
	if root.overlap == 0 {
		return root
	}
	type candidate struct {
		set
		bans []int32
	}
	best, open, seen := root, []candidate{{set: root}}, [][]int32{nil}
	for left := searchLimit; left > 0 && len(open) > 0 && best.overlap > 0; {
		at := 0
		for i := range open {
			if open[i].better(open[at].set) {
				at = i
			}
		}
		c := open[at]
		open = slices.Delete(open, at, at+1)
		for _, bans := range q.branches(c.set, c.bans) {
			if left == 0 || slices.ContainsFunc(seen, func(s []int32) bool { return slices.Equal(s, bans) }) {
				continue
			}
			left--
			seen = append(seen, bans)
			next := q.solveOnce(share, k, primary, bans)
			if len(next.paths) < len(root.paths) || next.links > root.links || next.relays > root.relays {
				continue
			}
			if next.distinct && next.better(best) {
				best = next
			}
			open = append(open, candidate{next, bans})
		}
	}
	return best
}

// branches returns the bans to try next: for the first group in which paths meet, its links that are not on one of these
// paths, for each of them, and all its links.
func (q *query) branches(s set, bans []int32) [][]int32 {
	g := q.g
	var out [][]int32
	for _, group := range s.groups {
		if slices.Contains(g.fixed, group) {
			continue
		}
		for i := -1; i < len(s.paths); i++ {
			more := slices.Clone(bans)
			for _, link := range g.groups[group] {
				if i >= 0 && slices.ContainsFunc(s.paths[i], func(a int32) bool { return g.arcs[a].link == link }) {
					continue
				}
				more = append(more, link)
			}
			slices.Sort(more)
			out = append(out, slices.Compact(more))
		}
	}
	return out
}

func (q *query) solveOnce(share sharing, k int, primary []int32, bans []int32) set {
	var fixed [][]int32
	if primary != nil {
		fixed = [][]int32{primary}
		k--
	}
	found := q.g.solver.cheapest(q.tree, q.t, share, k, fixed, bans)
	return q.g.measure(append(fixed, found...), q.tree.price)
}
