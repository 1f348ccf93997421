package path

import (
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"x0tta6bl4/mesh"
)

// numbers returns the numbers of a path's nodes, easier to read in a failure.
func numbers(p mesh.Path) []int {
	var out []int
	for _, n := range p.Nodes {
		i := 0
		for _, c := range n.String()[1:] {
			i = 10*i + int(c-'0')
		}
		out = append(out, i)
	}
	return out
}

func chain(b *builder, cost mesh.Cost, nodes ...int) {
	for i := 1; i < len(nodes); i++ {
		b.link(nodes[i-1], nodes[i], cost)
	}
}

func wantPaths(t *testing.T, r Result, d Disjointness, want ...[]int) {
	t.Helper()
	if r.Disjoint != d || len(r.Paths) != len(want) {
		t.Fatalf("%d paths, %v: %v; want %d, %v", len(r.Paths), r.Disjoint, r, len(want), d)
	}
	for i, p := range r.Paths {
		if !slices.Equal(numbers(p), want[i]) {
			t.Errorf("path %d is %v, want %v", i, numbers(p), want[i])
		}
	}
}

func TestDisjointOnKnownGraphs(t *testing.T) {
	t.Run("line", func(t *testing.T) {
		b := newBuilder()
		chain(b, 5, 0, 1, 2)
		wantPaths(t, NewGraph(b.edges).Disjoint(node(0), node(2), 3), Single, []int{0, 1, 2})
	})
	t.Run("diamond", func(t *testing.T) {
		b := newBuilder()
		chain(b, 5, 0, 1, 3)
		chain(b, 4, 0, 2, 3)
		wantPaths(t, NewGraph(b.edges).Disjoint(node(0), node(3), 0), NodeDisjoint, []int{0, 2, 3}, []int{0, 1, 3})
	})
	t.Run("remove and repeat fails here", func(t *testing.T) {
		b := newBuilder()
		chain(b, 1, 0, 1, 2, 3)
		b.link(0, 2, 9)
		b.link(1, 3, 8)
		wantPaths(t, NewGraph(b.edges).Disjoint(node(0), node(3), 3), NodeDisjoint, []int{0, 1, 3}, []int{0, 2, 3})
	})
	t.Run("one relay shared", func(t *testing.T) {
		b := newBuilder()
		chain(b, 5, 0, 1, 2, 3, 4)
		chain(b, 6, 0, 5, 2, 6, 4)
		r := NewGraph(b.edges).Disjoint(node(0), node(4), 3)
		wantPaths(t, r, LinkDisjoint, []int{0, 1, 2, 3, 4}, []int{0, 5, 2, 6, 4})
		if !slices.Equal(r.SharedNodes, []mesh.NodeID{node(2)}) {
			t.Errorf("shared relays %v, want n2", r.SharedNodes)
		}
	})
	t.Run("bridge", func(t *testing.T) {
		b := newBuilder()
		chain(b, 5, 0, 1, 2, 4)
		chain(b, 6, 1, 3, 4)
		r := NewGraph(b.edges).Disjoint(node(0), node(4), 3)
		wantPaths(t, r, Maximal, []int{0, 1, 2, 4}, []int{0, 1, 3, 4})
		if r.SharedLinks != 1 {
			t.Errorf("%d shared links, want 1", r.SharedLinks)
		}
	})
	t.Run("parallel links", func(t *testing.T) {
		b := newBuilder()
		b.link(0, 1, 5)
		b.link(0, 1, 7)
		r := NewGraph(b.edges).Disjoint(node(0), node(1), 3)
		wantPaths(t, r, NodeDisjoint, []int{0, 1}, []int{0, 1})
		if r.Paths[0].Labels[0] != 1 || r.Paths[1].Labels[0] != 2 {
			t.Errorf("labels %v, %v: the cheaper link is not first", r.Paths[0].Labels, r.Paths[1].Labels)
		}
	})
	t.Run("no way", func(t *testing.T) {
		b := newBuilder()
		chain(b, 5, 0, 1)
		chain(b, 5, 2, 3)
		g := NewGraph(b.edges)
		for _, to := range []int{0, 2, 9} {
			wantPaths(t, g.Disjoint(node(0), node(to), 3), Single)
		}
		wantPaths(t, g.Disjoint(node(9), node(0), 3), Single)
	})
}

func TestPrimaryRule(t *testing.T) {
	// The shortest path 0-1-2-3 costs 3; the cheapest pair, 0-1-3 and 0-2-3, costs 22; with the shortest path a pair
	// costs 3 + around.
	build := func(around mesh.Cost) *Graph {
		b := newBuilder()
		chain(b, 1, 0, 1, 2, 3)
		b.link(0, 2, 10)
		b.link(1, 3, 10)
		b.link(0, 4, 1)
		b.link(4, 3, around-1)
		return NewGraph(b.edges)
	}
	wantPaths(t, build(30).Disjoint(node(0), node(3), 2), NodeDisjoint, []int{0, 1, 2, 3}, []int{0, 4, 3}) // 33 = 1.5 × 22
	wantPaths(t, build(31).Disjoint(node(0), node(3), 2), NodeDisjoint, []int{0, 1, 3}, []int{0, 2, 3})
}

func TestWeakLinks(t *testing.T) {
	b := newBuilder()
	chain(b, 1000, 0, 1, 2, 3)
	b.link(0, 3, 1, quality(mesh.Poor))
	b.link(0, 4, 1, quality(mesh.Bad))
	b.link(4, 5, 1, quality(mesh.Poor))
	b.link(4, 5, 900, quality(mesh.QualityUnknown))
	g := NewGraph(b.edges)
	want := func(to int, nodes ...int) mesh.Path {
		p, ok := g.Shortest(node(0)).To(node(to))
		if !ok || !slices.Equal(numbers(p), nodes) {
			t.Errorf("to %d: %v, want %v", to, numbers(p), nodes)
		}
		return p
	}
	want(3, 0, 1, 2, 3)
	if p := want(5, 0, 4, 5); p.Cost != 901 {
		t.Errorf("cost %d: a POOR link is used, though an unmeasured one is there", p.Cost)
	}
	wantPaths(t, g.Disjoint(node(0), node(3), 2), NodeDisjoint, []int{0, 1, 2, 3}, []int{0, 3})
}

func TestSharedRisk(t *testing.T) {
	b := newBuilder()
	b.link(0, 1, 10, groups(7))
	b.link(1, 4, 10)
	b.link(0, 2, 10, groups(7, 8))
	b.link(2, 4, 10)
	edges := slices.Clone(b.edges)
	r := NewGraph(edges).Disjoint(node(0), node(4), 2)
	wantPaths(t, r, NodeDisjoint, []int{0, 1, 4}, []int{0, 2, 4})
	if !slices.Equal(r.SharedGroups, []uint32{7}) {
		t.Errorf("shared groups %v, want 7", r.SharedGroups)
	}
	b.link(0, 3, 50)
	b.link(3, 4, 50)
	r = NewGraph(b.edges).Disjoint(node(0), node(4), 2)
	wantPaths(t, r, NodeDisjoint, []int{0, 1, 4}, []int{0, 3, 4})
	if len(r.SharedGroups) != 0 {
		t.Errorf("shared groups %v, want none", r.SharedGroups)
	}
}

func ring(n int) *Graph {
	b := newBuilder()
	for i := range n {
		b.link(i, (i+1)%n, 10, mtu(uint16(1300+i)))
	}
	return NewGraph(b.edges)
}

func TestHopLimits(t *testing.T) {
	for _, c := range []struct {
		n, to int
		hops  []int
	}{
		{34, 17, []int{17, 17}}, {35, 17, []int{17, 18}}, {40, 7, []int{7, 33}}, {41, 7, []int{7}},
		{66, 33, []int{33, 33}}, {68, 34, nil},
	} {
		g := ring(c.n)
		var hops []int
		for _, p := range g.Disjoint(node(0), node(c.to), 3).Paths {
			hops = append(hops, len(p.Labels))
		}
		if !slices.Equal(hops, c.hops) {
			t.Errorf("ring of %d, to %d: hops %v, want %v", c.n, c.to, hops, c.hops)
		}
		if p, ok := g.Shortest(node(0)).To(node(c.to)); ok != (c.hops != nil) || ok && len(p.Labels) != c.hops[0] {
			t.Errorf("ring of %d, to %d: shortest %v", c.n, c.to, numbers(p))
		}
	}
}

func TestLongCheapWay(t *testing.T) {
	b := newBuilder()
	for i := range 40 {
		b.link(i, i+1, 1)
	}
	b.link(0, 20, 5000)
	b.link(20, 40, 5000)
	b.link(0, 50, 9000)
	b.link(50, 40, 9000)
	g := NewGraph(b.edges)
	p, ok := g.Shortest(node(0)).To(node(40)) // 40 hops cost 40, 21 hops cost 5020
	if !ok || !slices.Equal(numbers(p), []int{0, 20, 40}) {
		t.Errorf("shortest %v, want 0 20 40", numbers(p))
	}
	wantPaths(t, g.Disjoint(node(0), node(40), 2), NodeDisjoint, []int{0, 20, 40}, []int{0, 50, 40})
}

// The only disjoint pair is two long ways; the short path that crosses both is the primary all the same.
func TestShortPathAcrossLongPair(t *testing.T) {
	b := newBuilder()
	chain(b, 10, 0, 1, 2, 3)
	chain(b, 10, append(append([]int{1}, sequence(10, 30)...), 3)...)
	chain(b, 10, append(append([]int{0}, sequence(40, 60)...), 2)...)
	r := NewGraph(b.edges).Disjoint(node(0), node(3), 3)
	if r.Disjoint != Maximal || len(r.Paths) != 2 || len(r.Paths[0].Labels) != 3 || r.SharedLinks != 1 {
		t.Errorf("%v, %d shared links, paths %v", r.Disjoint, r.SharedLinks, r.Paths)
	}
}

func sequence(from, to int) (out []int) {
	for i := from; i < to; i++ {
		out = append(out, i)
	}
	return out
}

func TestDetour(t *testing.T) {
	b := newBuilder()
	b.link(0, 1, 10)         // label 1 at both
	b.link(0, 1, 500)        // label 2
	chain(b, 10, 0, 2, 3, 1) // label 3 at 0
	chain(b, 1, 3, 4, 5, 6, 7, 8, 1)
	chain(b, 1, 8, 9)
	g := NewGraph(b.edges)
	for _, c := range []struct {
		from  int
		label mesh.Label
		want  []int
	}{
		{0, 1, []int{0, 2, 3, 1}},
		{0, 2, []int{0, 1}},
		{0, 9, nil},
		{9, 1, nil},
		{99, 1, nil},
	} {
		p, ok := g.Detour(node(c.from), c.label)
		if ok != (c.want != nil) || ok && !slices.Equal(numbers(p), c.want) {
			t.Errorf("from %d by %d: %v, want %v", c.from, c.label, numbers(p), c.want)
		}
		if ok && p.Labels[0] == c.label {
			t.Errorf("from %d by %d: the detour uses its link", c.from, c.label)
		}
	}
	for n, want := range map[int]bool{6: true, 7: false} {
		if p, ok := ring(n).Detour(node(0), 1); ok != want {
			t.Errorf("ring of %d: detour %v", n, numbers(p))
		}
	}
}

func TestPathIsMadeOfItsLinks(t *testing.T) {
	p, ok := ring(9).Shortest(node(7)).To(node(1))
	want := mesh.Path{Nodes: []mesh.NodeID{node(7), node(8), node(0), node(1)}, Cost: 30, MTU: 1300}
	if !ok || !slices.Equal(p.Nodes, want.Nodes) || p.Cost != want.Cost || p.MTU != want.MTU || !p.Valid() {
		t.Errorf("got %+v, want %+v", p, want)
	}
}

func TestImpossibleEdgesAreLeftOut(t *testing.T) {
	ok := mesh.Edge{From: node(0), To: node(1), Label: 1, Cost: 0}
	bad := []mesh.Edge{ok, ok, ok, ok, ok}
	bad[0].Label, bad[1].To, bad[2].From, bad[3].To = 0, node(0), mesh.NodeID{}, mesh.NodeID{}
	bad[4].To = node(2) // label 1 again
	g := NewGraph(append(bad, ok))
	if len(g.arcs) != 1 || g.arcs[0].weight != 1 || g.Len() != 3 {
		t.Errorf("%d arcs of weight %d, %d nodes; want 1, 1, 3", len(g.arcs), g.arcs[0].weight, g.Len())
	}
	if _, found := NewGraph(nil).Shortest(node(0)).To(node(1)); found {
		t.Error("a path in the empty graph")
	}
}

// Parallel links whose remote labels are not known are paired by rank.
func TestPairingWithoutRemote(t *testing.T) {
	b := newBuilder()
	b.link(0, 1, 5)
	b.link(0, 1, 4)
	for i := range b.edges {
		b.edges[i].Remote = 0
	}
	g := NewGraph(b.edges)
	for i, a := range g.arcs {
		other := slices.IndexFunc(g.arcs[:], func(o arc) bool { return o.link == a.link && o.to != a.to })
		if other < 0 || g.info[other].cost != g.info[i].cost {
			t.Errorf("arc %d is paired with %d", i, other)
		}
	}
}

func TestShortestAgainstBellmanFord(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 40).Draw(t, "n")
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 3))
		g := NewGraph(randomLinks(r, n, 3*n, 1000, 0))
		if g.Len() == 0 {
			return
		}
		root := int32(r.IntN(g.Len()))
		dist := hopLimited(g, root, g.Len())
		var tree Tree
		tree.Reuse(g, g.nodes[root])
		if !slices.Equal(tree.dist, dist) {
			t.Fatalf("distances %v, want %v", tree.dist, dist)
		}
		for _, limit := range []int{1, 3, n} {
			within := hopLimited(g, root, limit)
			for to := range g.nodes {
				arcs := g.bounded(root, int32(to), limit, -1)
				if arcs == nil && (within[to] == infinity || int32(to) == root) {
					continue
				}
				if w := g.weigh(arcs, plain); len(arcs) > limit || w != within[to] {
					t.Fatalf("%d hops at most: %v of weight %d, want %d", limit, arcs, w, within[to])
				}
			}
		}
	})
}

// hopLimited returns the weight of the shortest walk of at most limit hops to each node.
func hopLimited(g *Graph, root int32, limit int) []int64 {
	dist := make([]int64, g.Len())
	for i := range dist {
		dist[i] = infinity
	}
	dist[root] = 0
	for range limit {
		before := slices.Clone(dist)
		for i, a := range g.arcs {
			if d := before[g.info[i].from]; d < infinity {
				dist[a.to] = min(dist[a.to], d+a.weight)
			}
		}
	}
	return dist
}

// On larger graphs: what a Result says of itself is true, and the order of the edges does not matter.
func TestDisjointProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 60).Draw(t, "n")
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 5))
		k := rapid.IntRange(0, MaxPaths+2).Draw(t, "k")
		edges := randomLinks(r, n, rapid.IntRange(1, 4).Draw(t, "degree")*n, 1000, rapid.IntRange(0, 6).Draw(t, "groups"))
		g := NewGraph(edges)
		r.Shuffle(len(edges), func(i, j int) { edges[i], edges[j] = edges[j], edges[i] })
		h := NewGraph(edges)
		for range 4 {
			from, to := node(r.IntN(n)), node(r.IntN(n))
			res := g.Disjoint(from, to, k)
			again := h.Disjoint(from, to, k)
			if !slices.EqualFunc(res.Paths, again.Paths, mesh.Path.Same) {
				t.Fatalf("the order of edges changes the paths:\n%v\n%v", res, again)
			}
			checkResult(t, g, edges, from, to, res)
		}
	})
}

func checkResult(t *rapid.T, g *Graph, edges []mesh.Edge, from, to mesh.NodeID, res Result) {
	if _, ok := g.Shortest(from).To(to); ok != (len(res.Paths) > 0) {
		t.Fatalf("%d paths, but shortest exists: %v", len(res.Paths), ok)
	}
	if len(res.Paths) > MaxPaths || len(res.Paths) < 2 && res.Disjoint != Single {
		t.Fatalf("%d paths are %v", len(res.Paths), res.Disjoint)
	}
	links, relays := map[[2]string]int{}, map[mesh.NodeID]int{}
	shared := 0
	for _, p := range res.Paths {
		if !p.Valid() || p.Nodes[0] != from || p.Nodes[len(p.Nodes)-1] != to || len(p.Labels) > MaxLongHops {
			t.Fatalf("bad path %v", p)
		}
		for i, l := range p.Labels {
			at := slices.IndexFunc(edges, func(e mesh.Edge) bool { return e.From == p.Nodes[i] && e.Label == l && e.To == p.Nodes[i+1] })
			if at < 0 {
				t.Fatalf("%v by %d is no edge", p.Nodes[i], l)
			}
			e := edges[at]
			key := [2]string{e.From.String() + string(rune(e.Label)), e.To.String() + string(rune(e.Remote))}
			if e.To.Compare(e.From) < 0 {
				key[0], key[1] = key[1], key[0]
			}
			if links[key]++; links[key] > 1 {
				shared++
			}
			if i > 0 {
				relays[p.Nodes[i]]++
			}
		}
	}
	again := 0
	for n, c := range relays {
		if c > 1 {
			again++
			if !slices.Contains(res.SharedNodes, n) {
				t.Fatalf("%v is shared and not reported", n)
			}
		}
	}
	if shared != res.SharedLinks || again != len(res.SharedNodes) {
		t.Fatalf("%d links and %d relays shared; reported %d, %d", shared, again, res.SharedLinks, len(res.SharedNodes))
	}
	if (res.Disjoint == NodeDisjoint) != (len(res.Paths) > 1 && again == 0 && shared == 0) || (res.Disjoint == Maximal) != (shared > 0) {
		t.Fatalf("%v: %d links, %d relays shared", res.Disjoint, shared, again)
	}
}

func TestDisjointnessNames(t *testing.T) {
	for d, want := range map[Disjointness]string{Single: "single", Maximal: "maximal", LinkDisjoint: "link", NodeDisjoint: "node"} {
		if b, err := d.MarshalText(); err != nil || string(b) != want {
			t.Errorf("%d: %s, %v; want %s", d, b, err, want)
		}
	}
}
