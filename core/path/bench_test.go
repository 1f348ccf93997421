package path

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"x0tta6bl4/mesh"
)

// mesh6 returns a connected random graph of n nodes and mean degree 6: a ring and random chords.
func mesh6(n int, seed uint64) []mesh.Edge {
	r := rand.New(rand.NewPCG(seed, 0))
	b := newBuilder()
	for i := range n {
		b.link(i, (i+1)%n, mesh.Cost(500+r.IntN(20000)))
		for range 2 {
			if j := r.IntN(n); j != i {
				b.link(i, j, mesh.Cost(500+r.IntN(20000)))
			}
		}
	}
	return b.edges
}

var sizes = []int{1000, 10000}

func BenchmarkShortest(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			g := NewGraph(mesh6(n, 1))
			var t Tree
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				t.Reuse(g, g.nodes[i%n])
			}
		})
	}
}

func BenchmarkDisjoint(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			g := NewGraph(mesh6(n, 1))
			g.Disjoint(g.nodes[0], g.nodes[1], 3)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				g.Disjoint(g.nodes[0], g.nodes[1+i%(n-1)], 3)
			}
		})
		b.Run(fmt.Sprint(n, "/cold"), func(b *testing.B) {
			g := NewGraph(mesh6(n, 1))
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				g.Disjoint(g.nodes[i%n], g.nodes[(i*7+n/2)%n], 3)
			}
		})
	}
}

func BenchmarkDetour(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			g := NewGraph(mesh6(n, 1))
			for i := 0; b.Loop(); i++ {
				g.Detour(g.nodes[i%n], 1)
			}
		})
	}
}

func BenchmarkNewGraph(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			edges := mesh6(n, 1)
			for b.Loop() {
				NewGraph(edges)
			}
		})
	}
}
