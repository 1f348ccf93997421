package path

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"x0tta6bl4/mesh"
)

func sorted(edges []mesh.Edge) []mesh.Edge {
	slices.SortFunc(edges, func(a, b mesh.Edge) int {
		if c := a.From.Compare(b.From); c != 0 {
			return c
		}
		return int(a.Label) - int(b.Label)
	})
	return edges
}

// The next graph is the one that would be made of its edges alone, whatever changed: also if nodes came and went, an edge has
// no counterpart, or edges are in no order.
func TestNextIsTheSameGraph(t *testing.T) {
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 22))
		n := 4 + r.IntN(30)
		edges := sorted(randomLinks(r, n, 2*n, 1000, r.IntN(3)))
		g := NewGraph(edges)
		for range 6 {
			switch now, _ := altered(r, edges, n); r.IntN(8) {
			case 0: // a node goes
				gone := node(r.IntN(n))
				edges = slices.DeleteFunc(now, func(e mesh.Edge) bool { return e.From == gone || e.To == gone })
			case 1: // one end only
				edges = slices.Delete(now, 0, 1)
			case 2:
				edges = sorted(append(now, mesh.Edge{From: node(n), To: node(0), Label: 9, Cost: 5}, mesh.Edge{From: node(0), To: node(n), Label: 9000, Cost: 5}))
				n++
			case 3:
				r.Shuffle(len(now), func(i, j int) { now[i], now[j] = now[j], now[i] })
				edges = now
			default:
				edges = sorted(now)
			}
			if len(edges) < 10 {
				break
			}
			want, next := NewGraph(edges), g.Next(edges)
			if !reflect.DeepEqual(want, next) {
				t.Fatalf("seed %d: of %d edges\n%+v\nnot\n%+v", seed, len(edges), next, want)
			}
			g = next
		}
	}
	if g := NewGraph(nil).Next(nil); g.Len() != 0 {
		t.Error("no edges make a graph")
	}
}
