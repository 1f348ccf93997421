package path

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"x0tta6bl4/mesh"
)

// cheapestWalk returns what the cheapest simple way of at most hops links costs that does not use the link of an edge nor lead
// through a node, by trying all; -1 if there is none.
func cheapestWalk(edges []mesh.Edge, at, to, past mesh.NodeID, not mesh.Edge, hops int, been []mesh.NodeID) int64 {
	if at == to {
		return 0
	}
	best := int64(-1)
	if hops == 0 || at == past {
		return best
	}
	for _, e := range edges {
		same := e.From == not.From && e.Label == not.Label || e.From == not.To && e.Label == not.Remote
		if e.From != at || same || slices.Contains(been, e.To) {
			continue
		}
		rest := cheapestWalk(edges, e.To, to, past, not, hops-1, append(slices.Clone(been), at))
		if w := rest + int64(e.Cost) + weakness(e.Quality)*weakUnit; rest >= 0 && (best < 0 || w < best) {
			best = w
		}
	}
	return best
}

// follow returns where labels lead, what that weighs, and the nodes between.
func follow(edges []mesh.Edge, at mesh.NodeID, labels []mesh.Label) (end mesh.NodeID, weight int64, between []mesh.NodeID) {
	for i, l := range labels {
		j := slices.IndexFunc(edges, func(e mesh.Edge) bool { return e.From == at && e.Label == l })
		if j < 0 {
			return mesh.NodeID{}, 0, nil
		}
		if i > 0 {
			between = append(between, at)
		}
		at = edges[j].To
		weight += int64(edges[j].Cost) + weakness(edges[j].Quality)*weakUnit
	}
	return at, weight, between
}

// smallMesh is a random graph of up to 9 nodes, with parallel links and weak ones.
func smallMesh(r *rand.Rand) []mesh.Edge {
	b := newBuilder()
	n := 3 + r.IntN(7)
	for range n + r.IntN(n) {
		if i, j := r.IntN(n), r.IntN(n); i != j {
			q := []mesh.Quality{mesh.Excellent, mesh.Excellent, mesh.Excellent, mesh.Poor}[r.IntN(4)]
			b.link(i, j, mesh.Cost(1+r.IntN(50)), quality(q))
		}
	}
	return b.edges
}

// Every detour is the cheapest of those that a search of all ways finds, and none is missing.
func TestAroundAgainstAllWays(t *testing.T) {
	for seed := range uint64(150) {
		edges := smallMesh(rand.New(rand.NewPCG(seed, 5)))
		g := NewGraph(edges)
		for _, e := range edges {
			a, ok := g.Around(e.From, e.Label, 256)
			if !ok {
				t.Fatalf("seed %d: no link %d of %v", seed, e.Label, e.From)
			}
			wanted := map[mesh.Label]mesh.NodeID{0: e.To}
			for _, x := range edges {
				if x.From == e.To && x.To != e.From {
					wanted[x.Label] = x.To
				}
			}
			missing, unseen := 0, 0
			for behind, to := range wanted {
				want := cheapestWalk(edges, e.From, to, e.To, e, MaxDetour, nil)
				i := slices.IndexFunc(a.Detours, func(d mesh.Detour) bool { return d.Behind == behind })
				if i < 0 != (want < 0) {
					t.Fatalf("seed %d: from %v by %d to behind %d: %+v, all ways: %d", seed, e.From, e.Label, behind, a.Detours, want)
				}
				if i < 0 {
					missing++
					hidden := !slices.ContainsFunc(edges, func(x mesh.Edge) bool {
						return x.To == to && (behind != 0 && x.From != e.To || behind == 0 && (x.From != e.From || x.Label != e.Label))
					})
					if hidden { // nobody looks for a way to where no other link leads
						missing, unseen = missing-1, unseen+1
					}
					continue
				}
				d := a.Detours[i]
				end, weight, between := follow(edges, e.From, d.Labels)
				if end != to || weight != want || len(d.Labels) > MaxDetour || slices.Contains(between, e.To) || d.Labels[0] == e.Label {
					t.Fatalf("seed %d: detour %+v of %v by %d leads to %v by %v for %d, want %v for %d",
						seed, d, e.From, e.Label, end, between, weight, to, want)
				}
			}
			if len(a.Detours)+missing+unseen != len(wanted) || !slices.IsSortedFunc(a.Detours, func(x, y mesh.Detour) int { return int(x.Behind) - int(y.Behind) }) {
				t.Fatalf("seed %d: %+v", seed, a.Detours)
			}
			if stands := g.Stands(&a, e.From, 256); stands != (missing == 0) {
				t.Fatalf("seed %d: in their own graph the detours stand: %v, %d missing", seed, stands, missing)
			}
			if p, ok := g.Detour(e.From, e.Label); ok != (len(a.Detours) > 0 && a.Detours[0].Behind == 0) || ok && !slices.Equal(p.Labels, a.Detours[0].Labels) {
				t.Fatalf("seed %d: Detour says %v, Around %+v", seed, p, a.Detours)
			}
		}
	}
}

// A detour avoids what the link may have failed by, if there is a way without it.
func TestAroundAvoidsSharedRisk(t *testing.T) {
	for _, other := range []bool{true, false} {
		b := newBuilder()
		b.link(0, 1, 10, groups(7, 8))
		b.link(0, 2, 10, groups(8)) // in the same duct
		b.link(2, 1, 10)
		if other {
			chain(b, 100, 0, 3, 1)
		}
		g := NewGraph(b.edges)
		a, ok := g.Around(node(0), 1, 256)
		want := mesh.Label(2)
		if other {
			want = 3
		}
		if !ok || len(a.Detours) == 0 || a.Detours[0].Labels[0] != want || !g.Stands(&a, node(0), 256) {
			t.Errorf("another way is there: %v: detours %+v", other, a.Detours)
		}
		if p, ok := g.Shortest(node(0)).To(node(2)); !ok || p.Cost != 10 {
			t.Errorf("a search for something else weighs groups: %+v", p)
		}
	}
}

// Equal edges in another order have the same detours; what was found is bounded.
func TestAroundIsDeterministicAndBounded(t *testing.T) {
	edges := mesh6(60, 4)
	other := slices.Clone(edges)
	rand.New(rand.NewPCG(1, 1)).Shuffle(len(other), func(i, j int) { other[i], other[j] = other[j], other[i] })
	g, h := NewGraph(edges), NewGraph(other)
	for _, e := range edges {
		a, _ := g.Around(e.From, e.Label, 256)
		b, _ := h.Around(e.From, e.Label, 256)
		if !reflect.DeepEqual(a, b) {
			t.Fatalf("%+v and %+v", a, b)
		}
		for most := range 4 {
			c, ok := g.Around(e.From, e.Label, most)
			if !ok || len(c.Detours) != min(most, len(a.Detours)) || !reflect.DeepEqual(c.Detours, a.Detours[:len(c.Detours)]) && len(c.Detours) > 0 {
				t.Fatalf("of at most %d: %+v, of all: %+v", most, c.Detours, a.Detours)
			}
		}
	}
	if a, ok := g.Around(node(0), 999, 256); ok || len(a.Detours) > 0 {
		t.Errorf("detours of no link: %+v", a)
	}
	if a, ok := g.Around(node(999), 1, 256); ok || len(a.Detours) > 0 {
		t.Errorf("detours of nobody: %+v", a)
	}
}

// Detours stand until one of them does not lead where it did, has become dear, or something else lies behind the neighbour.
func TestStands(t *testing.T) {
	line := func(change func(*builder)) *Graph {
		b := newBuilder()
		chain(b, 10, 0, 1, 2) // 0 by 1 to 2
		chain(b, 10, 0, 3, 2) // and by 3
		b.link(3, 4, 10)
		b.link(3, 1, 10)
		change(b)
		return NewGraph(b.edges)
	}
	g := line(func(*builder) {})
	a, ok := g.Around(node(0), 1, 256)
	if !ok || len(a.Detours) != 3 || !g.Stands(&a, node(0), 256) {
		t.Fatalf("%+v, %v", a, ok)
	}
	cut := func(i int) func(*builder) {
		return func(b *builder) { b.edges = slices.Delete(b.edges, i, i+2) }
	}
	cost := func(i int, c mesh.Cost) func(*builder) {
		return func(b *builder) { b.edges[i].Cost, b.edges[i+1].Cost = c, c }
	}
	for _, c := range []struct {
		name   string
		change func(*builder)
		stands bool
	}{
		{"nothing changed", func(*builder) {}, true},
		{"a link elsewhere is new", func(b *builder) { b.link(4, 5, 1) }, true},
		{"a link elsewhere is cut", cut(8), true},
		{"a detour costs twice as much", cost(4, 20), true},
		{"it costs more than that", cost(4, 21), false},
		{"the link is cut", cut(0), false},
		{"what is behind the neighbour is cut", cut(2), false},
		{"something is new behind the neighbour", func(b *builder) { b.link(1, 4, 1) }, false},
		{"the first link of detours is cut", cut(4), false},
		{"another link of a detour is cut", cut(6), false},
		{"a label leads elsewhere", func(b *builder) { b.edges[6].To, b.edges[7].From, b.edges[7].Label = node(4), node(4), 7 }, false},
	} {
		if got := line(c.change).Stands(&a, node(0), 256); got != c.stands {
			t.Errorf("%s: stands %v", c.name, got)
		}
	}
	if g.Stands(&a, node(0), 2) {
		t.Error("more detours stand than are wanted")
	}
	if g.Stands(&Around{}, node(0), 256) || g.Stands(&a, node(99), 256) {
		t.Error("nothing stands")
	}
}

// All detours of a node, and the question whether they stand.
func BenchmarkAround(b *testing.B) {
	g := NewGraph(mesh6(1000, 1))
	of := func(n int32, each func(mesh.Label)) {
		for a := g.first[n]; a < g.first[n+1]; a++ {
			each(g.info[a].label)
		}
	}
	b.Run("find", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			n := int32(i % 1000)
			of(n, func(l mesh.Label) { g.Around(g.nodes[n], l, 256) })
		}
	})
	b.Run("stand", func(b *testing.B) {
		all := make([][]Around, 1000)
		for n := range all {
			of(int32(n), func(l mesh.Label) {
				a, _ := g.Around(g.nodes[n], l, 256)
				all[n] = append(all[n], a)
			})
		}
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			n := i % 1000
			for j := range all[n] {
				g.Stands(&all[n][j], g.nodes[n], 256)
			}
		}
	})
}
