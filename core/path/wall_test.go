package path

import (
	"math/rand/v2"
	"testing"
)

// A wall stands in the way of every link that does not lead through it: however a graph changes, what is still taken to be the
// most paths is no less than what a graph without a memory finds. And it is remembered over most changes.
func TestWallsStand(t *testing.T) {
	stood, asked := 0, 0
	for seed := range uint64(600) {
		r := rand.New(rand.NewPCG(seed, 24))
		n := 8 + r.IntN(40)
		edges := sorted(randomLinks(r, n, n+n/2, 1000, 0))
		g := NewGraph(edges)
		from, to := node(r.IntN(n)), node(r.IntN(n))
		was := g.Disjoint(from, to, 3)
		for range 8 {
			now, what := altered(r, edges, n)
			edges = sorted(now)
			next := g.Next(edges)
			c := next.Since(g)
			g = next
			s, ok := g.index(from)
			e, found := g.index(to)
			if !ok || !found || from == to {
				break
			}
			fresh := NewGraph(edges).Disjoint(from, to, 3)
			for _, x := range [...]struct{ told, is limit }{{c.stands(was.apart, s, e), fresh.apart}, {c.stands(was.byLink, s, e), fresh.byLink}} {
				if asked++; !x.told.known || !x.is.known {
					continue
				}
				if stood++; x.told.most < x.is.most {
					t.Fatalf("seed %d, %s: at most %d paths are left, there are %d", seed, what, x.told.most, x.is.most)
				}
			}
			was = c.Disjoint(&was, from, to, 3)
			if a, b := scoreOf(was), scoreOf(fresh); a != b {
				t.Fatalf("seed %d, %s: found %v, there is %v", seed, what, a, b)
			}
		}
	}
	if 2*stood < asked {
		t.Errorf("%d of %d limits were known after a change", stood, asked)
	}
}

// scoreOf is what a result is judged by: how many paths, and what they share.
func scoreOf(r Result) [4]int {
	return [...]int{len(r.Paths), int(r.Disjoint), r.SharedLinks, len(r.SharedNodes)}
}
