package path

import (
	"math/rand/v2"
	"slices"
	"testing"

	"x0tta6bl4/mesh"
)

// altered changes one link of edges, both directions of it: takes it away, gives it another cost or another MTU, or adds one.
func altered(r *rand.Rand, edges []mesh.Edge, n int) (now []mesh.Edge, what string) {
	now = slices.Clone(edges)
	if r.IntN(5) == 0 {
		i, j := r.IntN(n), r.IntN(n-1)
		if j >= i {
			j++
		}
		a := mesh.Edge{From: node(i), To: node(j), Label: 5000, Remote: 6000, Cost: mesh.Cost(1 + r.IntN(400)), Quality: mesh.Excellent}
		b := a
		b.From, b.To, b.Label, b.Remote = a.To, a.From, a.Remote, a.Label
		return append(now, a, b), "more"
	}
	e := now[r.IntN(len(now))]
	same := func(x mesh.Edge) bool {
		return x.From == e.From && x.Label == e.Label || x.From == e.To && x.Label == e.Remote
	}
	if r.IntN(2) == 0 {
		return slices.DeleteFunc(now, same), "less"
	}
	cost := mesh.Cost(1 + r.IntN(1000))
	for i := range now {
		if same(now[i]) {
			now[i].Cost = cost
		}
	}
	return now, "cost"
}

func weightOf(r Result) (w mesh.Cost) {
	for _, p := range r.Paths {
		w += p.Cost
	}
	return w
}

// A set that is kept is one of the new graph, with the costs that it had, and as disjoint and as cheap as what would be
// found there; most sets are kept when a link is lost, and many when one is won.
func TestKeptSetsAreAsGood(t *testing.T) {
	kept, asked := map[string]int{}, map[string]int{}
	for seed := range uint64(1500) {
		r := rand.New(rand.NewPCG(seed, 21))
		n := 8 + r.IntN(50)
		edges := randomLinks(r, n, 3*n, 1000, 0)
		old := NewGraph(edges)
		from, to := node(r.IntN(n)), node(r.IntN(n))
		was := old.Disjoint(from, to, 3)
		now, what := altered(r, edges, n)
		g := NewGraph(now)
		asked[what]++
		if !g.Since(old).Keeps(&was, from, to) {
			continue
		}
		kept[what]++
		is := g.Disjoint(from, to, 3)
		if len(is.Paths) != len(was.Paths) || is.Disjoint != was.Disjoint || is.SharedLinks != was.SharedLinks || len(is.SharedNodes) != len(was.SharedNodes) {
			t.Fatalf("seed %d, %s: kept %+v, there is %+v", seed, what, was, is)
		}
		// The primary may be the shortest path of all for half as much again: which of two such sets is a matter of taste.
		if a, b := weightOf(was), weightOf(is); a != b && (2*a > 3*b || 2*b > 3*a) {
			t.Fatalf("seed %d, %s: kept a set that costs %d, there is one for %d", seed, what, a, b)
		}
		for _, p := range was.Paths {
			i, _ := g.index(p.Nodes[0])
			cost := mesh.Cost(0)
			for h, l := range p.Labels {
				a := g.labelled(i, l)
				if a < 0 || g.nodes[g.arcs[a].to] != p.Nodes[h+1] {
					t.Fatalf("seed %d, %s: kept %v, which is no path any more", seed, what, p)
				}
				cost += g.info[a].cost
				i = g.arcs[a].to
			}
			if cost != p.Cost {
				t.Fatalf("seed %d, %s: kept %v, which costs %d now", seed, what, p, cost)
			}
		}
	}
	if 10*kept["less"] < 7*asked["less"] || 10*kept["more"] < 2*asked["more"] || 10*kept["cost"] < 4*asked["cost"] {
		t.Errorf("kept %v of %v", kept, asked)
	}
}

// What touches a set, or may better it, is not kept.
func TestNotKept(t *testing.T) {
	build := func(direct mesh.Cost, change ...func(*mesh.Edge)) *Graph {
		b := newBuilder()
		b.link(0, 1, 10, change...)
		b.link(1, 3, 10)
		b.link(0, 2, 20)
		b.link(2, 3, 20)
		b.link(0, 4, 1000) // 0 has a third link, 3 has one if there is a direct one
		if direct > 0 {
			b.link(4, 5, direct)
			b.link(5, 3, direct)
		}
		return NewGraph(b.edges)
	}
	base := build(0)
	was := base.Disjoint(node(0), node(3), 3)
	if len(was.Paths) != 2 {
		t.Fatalf("%+v", was)
	}
	for name, c := range map[string]struct {
		g    *Graph
		want bool
	}{
		"the same":          {build(0), true},
		"a link is dearer":  {build(0, func(e *mesh.Edge) { e.Cost = 11 }), false},
		"a link is cheaper": {build(0, func(e *mesh.Edge) { e.Cost = 9 }), false},
		"another MTU":       {build(0, mtu(1300)), false},
		"a group":           {build(0, groups(7)), false},
		"a bad link":        {build(0, quality(mesh.Bad)), false},
		"a third way":       {build(100), false},
		"no graph any more": {NewGraph(nil), false},
	} {
		if got := c.g.Since(base).Keeps(&was, node(0), node(3)); got != c.want {
			t.Errorf("%s: kept %v", name, got)
		}
	}
}

// What is found with the help of an earlier set is as good as what is found without.
func TestFoundAgainIsAsGood(t *testing.T) {
	same, long := 0, 0
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 23))
		n := 60 + r.IntN(60)
		b := newBuilder() // a long strip, so that many sets have paths of more than MaxHops hops
		for i := range n {
			for _, j := range [...]int{i + 1, i + 2, i + 3 + r.IntN(3)} {
				if j < n && r.IntN(6) > 0 {
					b.link(i, j, mesh.Cost(1+r.IntN(400)))
				}
			}
		}
		old := NewGraph(b.edges)
		from, to := node(r.IntN(n/4)), node(n-1-r.IntN(n/4))
		was := old.Disjoint(from, to, 3)
		now, what := altered(r, b.edges, n)
		g := NewGraph(now)
		got, want := g.Since(old).Disjoint(&was, from, to, 3), g.Disjoint(from, to, 3)
		if len(got.Paths) < len(want.Paths) || got.Disjoint < want.Disjoint || got.SharedLinks > want.SharedLinks {
			t.Fatalf("seed %d, %s: found %+v, there is %+v", seed, what, got, want)
		}
		for _, p := range got.Paths {
			i, _ := g.index(p.Nodes[0])
			for h, l := range p.Labels {
				a := g.labelled(i, l)
				if a < 0 || g.nodes[g.arcs[a].to] != p.Nodes[h+1] {
					t.Fatalf("seed %d, %s: found %v, which is no path", seed, what, p)
				}
				i = g.arcs[a].to
			}
		}
		if len(was.cheapest) > 0 {
			long++
			if len(got.Paths) > 0 && len(was.Paths) > 0 && &got.Paths[0] == &was.Paths[0] {
				same++
			}
		}
	}
	if long < 50 || same < long/4 {
		t.Errorf("%d sets of %d long ones stayed", same, long)
	}
}

// A path has the capacity of its thinnest link of those that announce one, and is computed anew when that of one of its links
// changes.
func TestCapacityOfPaths(t *testing.T) {
	mesh3 := func(first, second, elsewhere mesh.BitsPerSecond) *Graph {
		carries := func(c mesh.BitsPerSecond) func(*mesh.Edge) { return func(e *mesh.Edge) { e.Capacity = c } }
		b := newBuilder()
		b.link(0, 1, 10, carries(first))
		b.link(1, 2, 10, carries(second))
		b.link(2, 3, 10, carries(elsewhere))
		return NewGraph(b.edges)
	}
	for _, c := range []struct{ first, second, want mesh.BitsPerSecond }{{0, 0, 0}, {5e6, 0, 5e6}, {0, 5e6, 5e6}, {5e6, 7e6, 5e6}, {7e6, 5e6, 5e6}} {
		g := mesh3(c.first, c.second, 1e3)
		r := g.Disjoint(node(0), node(2), 3)
		if len(r.Paths) != 1 || r.Paths[0].Capacity != c.want {
			t.Errorf("%d and %d: %+v", c.first, c.second, r.Paths)
		}
		if !mesh3(c.first, c.second, 2e3).Since(g).Keeps(&r, node(0), node(2)) {
			t.Errorf("%d and %d: a link elsewhere has another capacity, and the paths are looked for anew", c.first, c.second)
		}
		if mesh3(c.first, c.second+1, 1e3).Since(g).Keeps(&r, node(0), node(2)) {
			t.Errorf("%d and %d: the capacity of a link changed, and the path stays", c.first, c.second)
		}
	}
}
