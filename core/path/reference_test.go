package path

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"x0tta6bl4/mesh"
)

// The reference: all simple paths, and all multisets of them. Slow and obvious.

// score is what a multiset of paths is judged by, in this order.
type score struct{ links, relays, weak, cost int }

func (s score) less(o score) bool {
	for _, d := range [...]int{s.links - o.links, s.relays - o.relays, s.weak - o.weak, s.cost - o.cost} {
		if d != 0 {
			return d < 0
		}
	}
	return false
}

type refPath struct {
	mesh.Path
	links  []int // undirected: the index of the edge's first direction
	relays []mesh.NodeID
	weak   int
	risks  map[uint32]bool
}

// allPaths lists every simple path. edges come in pairs: 2i and 2i+1 are the directions of one link.
func allPaths(edges []mesh.Edge, from, to mesh.NodeID) []refPath {
	var out []refPath
	var walk func(p refPath)
	walk = func(p refPath) {
		at := p.Nodes[len(p.Nodes)-1]
		if at == to {
			out = append(out, p)
			return
		}
	next:
		for i, e := range edges {
			if e.From != at {
				continue
			}
			for _, n := range p.Nodes {
				if n == e.To {
					continue next
				}
			}
			q := refPath{weak: p.weak + int(weakness(e.Quality)), risks: map[uint32]bool{}}
			q.Nodes = append(append(q.Nodes, p.Nodes...), e.To)
			q.Labels = append(append(q.Labels, p.Labels...), e.Label)
			q.Cost = p.Cost + e.Cost
			q.links = append(append(q.links, p.links...), i/2)
			q.relays = append(q.relays, p.relays...)
			if e.To != to {
				q.relays = append(q.relays, e.To)
			}
			for r := range p.risks {
				q.risks[r] = true
			}
			for _, r := range e.Groups {
				q.risks[r] = true
			}
			walk(q)
		}
	}
	if from != to {
		walk(refPath{Path: mesh.Path{Nodes: []mesh.NodeID{from}}})
	}
	return out
}

func rate(ps []refPath) (s score, overlap int) {
	links, relays, risks := map[int]int{}, map[mesh.NodeID]int{}, map[uint32]int{}
	for _, p := range ps {
		s.weak += p.weak
		s.cost += int(p.Cost)
		for _, l := range p.links {
			links[l]++
			s.links += min(1, links[l]-1)
		}
		for _, n := range p.relays {
			relays[n]++
			s.relays += min(1, relays[n]-1)
		}
		for r := range p.risks {
			risks[r]++
			overlap += min(1, risks[r]-1)
		}
	}
	return s, overlap
}

// multisets calls f with every multiset of j of the paths.
func multisets(all []refPath, j int, f func([]refPath)) {
	var pick func(chosen []refPath, from int)
	pick = func(chosen []refPath, from int) {
		if len(chosen) == j {
			f(chosen)
			return
		}
		for i := from; i < len(all); i++ {
			pick(append(chosen[:len(chosen):len(chosen)], all[i]), i)
		}
	}
	pick(nil, 0)
}

// optimum is the best multiset of j paths, with and without a path that must be in it.
type optimum struct {
	found       bool
	best        score
	twice       bool // some best multiset holds a path twice
	withFound   bool
	with        score
	bestOverlap int
}

func solveRef(all []refPath, j int, must mesh.Path, allow func(score) bool) (o optimum) {
	multisets(all, j, func(ps []refPath) {
		s, overlap := rate(ps)
		if !allow(s) {
			return
		}
		twice := false
		for i := 1; i < j; i++ {
			twice = twice || ps[i].Same(ps[i-1].Path)
		}
		switch {
		case !o.found || s.less(o.best):
			o.found, o.best, o.twice, o.bestOverlap = true, s, twice, overlap
		case s == o.best:
			o.twice = o.twice || twice
			o.bestOverlap = min(o.bestOverlap, overlap)
		}
		for _, p := range ps {
			if p.Same(must) && (!o.withFound || s.less(o.with)) {
				o.withFound, o.with = true, s
			}
		}
	})
	return o
}

func anything(score) bool    { return true }
func nodeApart(s score) bool { return s.links == 0 && s.relays == 0 }
func linkApart(s score) bool { return s.links == 0 }
func nearRef(w, b score) bool {
	return w.links == b.links && w.relays == b.relays && w.weak == b.weak && 2*w.cost <= 3*b.cost
}
func most(all []refPath, k int, allow func(score) bool) (n int) {
	for j := 1; j <= k && solveRef(all, j, mesh.Path{}, allow).found; j++ {
		n = j
	}
	return n
}

// trap makes a graph in which the shortest path, 0-2-3-1, crosses the cheapest pair, 0-2-1 and 0-3-1; a third way round, by 4, is
// sometimes near enough.
func trap(r *rand.Rand) []mesh.Edge {
	b := newBuilder()
	b.link(0, 2, 10)
	b.link(2, 3, 10)
	b.link(3, 1, 10)
	b.link(0, 3, mesh.Cost(20+r.IntN(30)))
	b.link(2, 1, mesh.Cost(20+r.IntN(30)))
	b.link(0, 4, mesh.Cost(20+r.IntN(40)))
	b.link(4, 1, mesh.Cost(20+r.IntN(40)))
	for range r.IntN(3) {
		if i, j := r.IntN(6), r.IntN(6); i != j {
			b.link(i, j, mesh.Cost(20+r.IntN(60)))
		}
	}
	return b.edges
}

// randomLinks makes a graph of n nodes and up to m links, parallel ones among them.
func randomLinks(r *rand.Rand, n, m, maxCost int, riskGroups int) []mesh.Edge {
	b := newBuilder()
	for range m {
		i, j := r.IntN(n), r.IntN(n)
		if i == j {
			continue
		}
		q := mesh.Excellent
		switch r.IntN(12) {
		case 0:
			q = mesh.Bad
		case 1:
			q = mesh.Poor
		}
		opts := []func(*mesh.Edge){quality(q)}
		if riskGroups > 0 && r.IntN(2) == 0 {
			opts = append(opts, groups(uint32(1+r.IntN(riskGroups))))
		}
		b.link(i, j, mesh.Cost(1+r.IntN(maxCost)), opts...)
	}
	return b.edges
}

func TestDisjointAgainstReference(t *testing.T) {
	runs := 4000
	if testing.Short() {
		runs = 400
	}
	var seen [NodeDisjoint + 1]int
	forced := 0
	for seed := range runs {
		r := rand.New(rand.NewPCG(uint64(seed), 7))
		edges := randomLinks(r, 4+r.IntN(4), 4+r.IntN(9), []int{3, 30, 3000}[r.IntN(3)], 0)
		if r.IntN(4) == 0 {
			edges = trap(r)
		}
		k := 2 + r.IntN(2)
		all := allPaths(edges, node(0), node(1))
		if len(all) > 90 {
			continue
		}
		g := NewGraph(edges)
		res := g.Disjoint(node(0), node(1), k)
		f, err := checkAgainst(g, all, res, k)
		if err != nil {
			t.Fatalf("seed %d, k %d: %v\n%v", seed, k, err, res)
		}
		if f {
			forced++
		}
		seen[res.Disjoint]++
	}
	t.Logf("single %d, maximal %d, link %d, node %d; primary forced %d", seen[0], seen[1], seen[2], seen[3], forced)
	for d, n := range seen {
		if n < runs/100 {
			t.Errorf("only %d results are %v: the random graphs do not test it", n, Disjointness(d))
		}
	}
	if forced < runs/100 {
		t.Errorf("the primary was forced %d times only", forced)
	}
}

// checkAgainst compares a result with the reference and says whether the primary rule changed the set.
func checkAgainst(g *Graph, all []refPath, res Result, k int) (bool, error) {
	if len(all) == 0 {
		if len(res.Paths) != 0 {
			return false, fmt.Errorf("a path where there is none")
		}
		return false, nil
	}
	from, to := all[0].Nodes[0], all[0].Nodes[len(all[0].Nodes)-1]
	shortest, _ := g.Shortest(from).To(to)
	n, e := most(all, k, nodeApart), most(all, k, linkApart)
	j, allow, want := len(res.Paths), anything, Maximal
	switch {
	case n >= 2 && n == max(n, e):
		j, allow, want = n, nodeApart, NodeDisjoint
	case e >= 2:
		j, allow, want = e, linkApart, LinkDisjoint
	case j == 1:
		want = Single
	}
	if len(res.Paths) != j || res.Disjoint != want {
		return false, fmt.Errorf("%d paths, %v; want %d, %v", len(res.Paths), res.Disjoint, j, want)
	}
	if allow(score{links: 1}) { // maximal: more paths would have held one of them twice
		for more := j + 1; more <= k; more++ {
			if o := solveRef(all, more, shortest, anything); !o.twice {
				return false, fmt.Errorf("%d different paths share least", more)
			}
		}
	}
	var got []refPath
	for _, p := range res.Paths {
		for _, a := range all {
			if a.Same(p) && a.Cost == p.Cost {
				got = append(got, a)
			}
		}
	}
	if len(got) != j {
		return false, fmt.Errorf("a path that the graph has not")
	}
	s, _ := rate(got)
	o := solveRef(all, j, shortest, allow)
	isShortest := got[0].weak == weakOf(all, shortest) && got[0].Cost == shortest.Cost
	switch {
	case s == o.best && !isShortest && j > 1 && o.withFound && nearRef(o.with, o.best):
		return false, fmt.Errorf("primary is not the shortest path, although a set with it is near: %v, %v", o.with, o.best)
	case s == o.best:
		return false, nil
	case s == o.with && nearRef(o.with, o.best) && isShortest:
		return true, nil
	}
	return false, fmt.Errorf("score %v; best is %v, with the shortest path %v", s, o.best, o.with)
}

func weakOf(all []refPath, p mesh.Path) int {
	for _, a := range all {
		if a.Same(p) {
			return a.weak
		}
	}
	return -1
}

// The search for shared-risk diversity is a heuristic: this is how far it is from the optimum on small graphs.
func TestSharedRiskGap(t *testing.T) {
	cases, exact, root := 0, 0, 0
	for seed := range 1500 {
		r := rand.New(rand.NewPCG(uint64(seed), 11))
		edges := randomLinks(r, 5+r.IntN(3), 7+r.IntN(7), 100, 4)
		all := allPaths(edges, node(0), node(1))
		if len(all) > 60 || most(all, 2, nodeApart) < 2 {
			continue
		}
		best, overlap := optimum{}, -1
		multisets(all, 2, func(ps []refPath) {
			if s, o := rate(ps); nodeApart(s) && (overlap < 0 || o < overlap || o == overlap && s.less(best.best)) {
				overlap, best.best = o, s
			}
		})
		g := NewGraph(edges)
		res := g.Disjoint(node(0), node(1), 2)
		without := solveRef(all, 2, mesh.Path{}, nodeApart)
		if without.bestOverlap == overlap && overlap == 0 {
			continue // nothing to search for
		}
		cases++
		if len(res.SharedGroups) > without.bestOverlap {
			t.Fatalf("seed %d: more shared risk than in the cheapest set", seed)
		}
		if len(res.SharedGroups) == overlap {
			exact++
		}
		if without.bestOverlap == overlap {
			root++
		}
	}
	t.Logf("%d graphs where paths meet in a group: least overlap found in %d, by the cheapest set alone in %d", cases, exact, root)
	if exact*100 < cases*95 {
		t.Errorf("least overlap found in %d of %d", exact, cases)
	}
}
