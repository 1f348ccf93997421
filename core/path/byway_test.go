package path

import (
	"math/rand/v2"
	"slices"
	"testing"

	"x0tta6bl4/mesh"
)

// ladder is two rows between 0 and 5, with a link from each to the other: 0-1-2-5 and 0-3-4-5, 1-4 and 3-2.
func ladder() *Graph {
	b := newBuilder()
	chain(b, 10, 0, 1, 2, 5)
	chain(b, 10, 0, 3, 4, 5)
	b.link(1, 4, 30)
	b.link(3, 2, 40)
	return NewGraph(b.edges)
}

// The third way shares half with each of those that failed; when it fails too the fourth one is left, and then nothing.
func TestBywayCrossesOver(t *testing.T) {
	g := ladder()
	failed := g.Disjoint(node(0), node(5), 3).Paths
	for _, want := range [][]int{{0, 1, 4, 5}, {0, 3, 2, 5}} {
		p, ok := g.Byway(node(0), node(5), failed)
		if !ok || !slices.Equal(numbers(p), want) {
			t.Fatalf("after %d failed: %v, %v; want %v", len(failed), numbers(p), ok, want)
		}
		if same, ok := g.Follow(p); !ok || same.Cost != p.Cost {
			t.Errorf("followed: %+v, %v", same, ok)
		}
		failed = append(failed, p)
	}
	for ok := true; ok; { // there and back in the middle: longer ones
		var p mesh.Path
		if p, ok = g.Byway(node(0), node(5), failed); ok {
			failed = append(failed, p)
		}
		if len(failed) > 6 {
			t.Fatalf("%d paths of a graph that has six", len(failed))
		}
	}
}

// What nobody has blamed comes first, whatever it costs; of equals the cheapest.
func TestBywayPrefersTheBlameless(t *testing.T) {
	b := newBuilder()
	chain(b, 1, 0, 1, 2)
	chain(b, 1, 0, 3, 2)
	b.link(1, 3, 1)
	chain(b, 500, 0, 4, 5, 2)
	chain(b, 400, 0, 6, 7, 2)
	g := NewGraph(b.edges)
	p, ok := g.Byway(node(0), node(2), g.Disjoint(node(0), node(2), 2).Paths)
	if !ok || !slices.Equal(numbers(p), []int{0, 6, 7, 2}) {
		t.Errorf("%v, %v", numbers(p), ok)
	}
}

// That nobody has blamed a way makes it no better than one by a relay that may be the culprit, where its links lose most of what they
// carry; one that is poor is worth a try.
func TestBywayOfWeakLinks(t *testing.T) {
	for _, tt := range []struct {
		q     mesh.Quality
		links int
		want  []int
	}{
		{mesh.Bad, 20, []int{0, 1, 4, 5}}, {mesh.Poor, 20, []int{0, 1, 4, 5}}, {mesh.Bad, 4, []int{0, 1, 4, 5}},
		{mesh.Poor, 1, []int{0, 9, 5}}, {mesh.Fair, 20, nil},
	} {
		b := newBuilder()
		chain(b, 10, 0, 1, 2, 5)
		chain(b, 10, 0, 3, 4, 5)
		b.link(1, 4, 30)
		b.link(3, 2, 40)
		failed := NewGraph(b.edges).Disjoint(node(0), node(5), 3).Paths
		nodes := []int{0, 9}
		for i := range tt.links - 1 {
			nodes = append(nodes, 100+i)
		}
		nodes = append(nodes, 5)
		from := len(b.edges)
		chain(b, 1, nodes...)
		for i := range tt.links { // the rest is excellent
			b.edges[from+2*i].Quality, b.edges[from+2*i+1].Quality = tt.q, tt.q
		}
		if tt.want == nil {
			tt.want = nodes
		}
		if p, ok := NewGraph(b.edges).Byway(node(0), node(5), failed); !ok || !slices.Equal(numbers(p), tt.want) {
			t.Errorf("%d %v links: %v, %v, want %v", tt.links, tt.q, numbers(p), ok, tt.want)
		}
	}
}

// A way of more hops than a frame can go, which nobody has blamed, hides none of those that it can go, however many there are.
func TestBywayBesideLongWays(t *testing.T) {
	b := newBuilder()
	chain(b, 10, 0, 1, 2, 5)
	chain(b, 10, 0, 3, 4, 5)
	b.link(1, 4, 30)
	b.link(3, 2, 40)
	failed := NewGraph(b.edges).Disjoint(node(0), node(5), 3).Paths
	for long := range 30 {
		first := 100 * (long + 1)
		from := 0
		for i := range MaxLongHops {
			b.link(from, first+i, 1)
			from = first + i
		}
		b.link(from, 5, 1)
	}
	g := NewGraph(b.edges)
	for _, want := range [][]int{{0, 1, 4, 5}, {0, 3, 2, 5}} {
		p, ok := g.Byway(node(0), node(5), failed)
		if !ok || !slices.Equal(numbers(p), want) {
			t.Fatalf("after %d failed: %v, %v; want %v", len(failed), numbers(p), ok, want)
		}
		failed = append(failed, p)
	}
	if p, ok := g.Byway(node(0), node(9), failed); ok {
		t.Errorf("a way to nowhere: %v", numbers(p))
	}
}

func TestBywayWhereThereIsNone(t *testing.T) {
	b := newBuilder()
	chain(b, 1, 0, 1, 2)
	g := NewGraph(b.edges)
	only := g.Disjoint(node(0), node(2), 3).Paths
	for _, c := range []struct {
		name     string
		from, to int
	}{{"one path", 0, 2}, {"no such node", 0, 9}, {"no such source", 9, 0}, {"itself", 0, 0}} {
		if p, ok := g.Byway(node(c.from), node(c.to), only); ok {
			t.Errorf("%s: %v", c.name, p)
		}
	}
}

// A path that the graph has lost, or whose link leads elsewhere now, cannot be followed.
func TestFollow(t *testing.T) {
	b := newBuilder()
	chain(b, 10, 0, 1, 2, 3)
	b.link(1, 3, 100)
	g := NewGraph(b.edges)
	p := g.Disjoint(node(0), node(3), 1).Paths[0]
	if got, ok := g.Follow(p); !ok || !got.Same(p) || got.Cost != p.Cost {
		t.Errorf("%+v, %v", got, ok)
	}
	without := NewGraph(slices.DeleteFunc(slices.Clone(b.edges), func(e mesh.Edge) bool { return e.From == node(1) && e.To == node(2) }))
	if _, ok := without.Follow(p); ok {
		t.Error("a path with a link that is gone was followed")
	}
	elsewhere := p
	elsewhere.Nodes = []mesh.NodeID{node(0), node(1), node(3), node(2)}
	if _, ok := g.Follow(elsewhere); ok {
		t.Error("labels that lead elsewhere were followed")
	}
	elsewhere.Nodes = []mesh.NodeID{node(9), node(1), node(2), node(3)}
	if _, ok := g.Follow(elsewhere); ok {
		t.Error("a path from nowhere was followed")
	}
}

// On random graphs, two paths of which failed by a relay each, a byway is one that did not fail, and a clean one is found after
// few tries if there is any.
func TestBywayAgainstAllPaths(t *testing.T) {
	tried, worst := 0, 0
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 9))
		b := newBuilder()
		for n := 6 + r.IntN(3); len(b.edges) < 4*n; {
			if i, j := r.IntN(n), r.IntN(n); i != j {
				b.link(i, j, mesh.Cost(1+r.IntN(50)))
			}
		}
		edges, g := b.edges, NewGraph(b.edges)
		from, to := g.nodes[0], g.nodes[g.Len()-1]
		failed := g.Disjoint(from, to, 2).Paths
		if len(failed) < 2 {
			continue
		}
		grey := map[mesh.NodeID]bool{}
		for _, p := range failed {
			if n := len(p.Nodes) - 2; n > 0 {
				grey[p.Nodes[1+r.IntN(n)]] = true
			}
		}
		clean := func(p mesh.Path) bool {
			return !slices.ContainsFunc(p.Nodes, func(n mesh.NodeID) bool { return grey[n] })
		}
		var all []mesh.Path
		for _, p := range allPaths(edges, from, to) {
			all = append(all, p.Path)
		}
		if slices.ContainsFunc(failed, clean) || !slices.ContainsFunc(all, clean) {
			continue
		}
		tried++
		for n := 1; ; n++ {
			p, ok := g.Byway(from, to, failed)
			if !ok || n > len(all) {
				t.Fatalf("seed %d: none of %d after %d tries", seed, len(all), n)
			}
			if !slices.ContainsFunc(all, p.Same) || slices.ContainsFunc(failed, p.Same) {
				t.Fatalf("seed %d: %v is no path, or has failed", seed, numbers(p))
			}
			if failed = append(failed, p); clean(p) {
				worst = max(worst, n)
				break
			}
		}
	}
	t.Logf("%d graphs, at most %d tries", tried, worst)
	if tried < 10 || worst > 6 {
		t.Errorf("%d graphs, at most %d tries", tried, worst)
	}
}
