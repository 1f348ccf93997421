package lsdb

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"x0tta6bl4/mesh"
)

// Patched edges are those that would be made anew, whatever is announced, ends, or is removed between two calls, and the very
// same slice if no way is another.
func TestPatchedEdgesAreTheEdges(t *testing.T) {
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 1))
		db, now := newDB("self"), epoch
		var authors []*author
		for i := range 12 {
			authors = append(authors, newAuthor(fmt.Sprintf("a%d", i), epoch))
			if _, err := take(t, db, now, KindRecord, authors[i].record(now)); err != nil {
				t.Fatal(err)
			}
		}
		said := map[[2]int]mesh.Adjacency{}
		announce := func(i int) {
			var links []mesh.Adjacency
			for j := range authors {
				if l, ok := said[[2]int{i, j}]; ok {
					links = append(links, l)
				}
			}
			if _, err := take(t, db, now, KindLSA, authors[i].raw(now, links...)); err != nil {
				t.Fatal(err)
			}
		}
		var edges []mesh.Edge
		for range 150 {
			now = now.Add(time.Second)
			i, j := r.IntN(len(authors)), r.IntN(len(authors))
			switch key := [2]int{i, j}; {
			case i == j && r.IntN(10) == 0:
				db.Remove(authors[i].id)
				if _, err := take(t, db, now, KindRecord, authors[i].record(now)); err != nil {
					t.Fatal(err)
				}
			case i == j:
				announce(i) // a mere renewal
			case r.IntN(4) == 0:
				delete(said, key)
				announce(i)
			default:
				l := link(authors[j].id.String(), mesh.Label(1+j), mesh.Label(1+i), mesh.Cost(1+r.IntN(3)))
				l.Suspect = r.IntN(2) == 0
				said[key] = l
				announce(i)
			}
			if r.IntN(3) == 0 {
				continue // several changes at once
			}
			was := edges
			edges = db.Patch(edges)
			if want := db.Edges(); !slices.EqualFunc(edges, want, SameWay) {
				t.Fatalf("seed %d: patched\n%v\nmade anew\n%v", seed, edges, want)
			}
			if same := len(was) > 0 && len(edges) > 0 && &was[0] == &edges[0]; same != slices.EqualFunc(was, edges, SameWay) && len(edges) > 0 {
				t.Fatalf("seed %d: the same slice %v for\n%v\n%v", seed, same, was, edges)
			}
		}
	}
}

// So many changes that they are not remembered one by one, and a caller that has the edges from somewhere else.
func TestPatchAfterAll(t *testing.T) {
	db := graph(t, map[string][]mesh.Adjacency{"a": {link("b", 1, 2, 10)}, "b": {link("a", 2, 1, 10)}})
	edges := db.Patch(nil)
	if len(edges) != 2 {
		t.Fatalf("%v", edges)
	}
	for i := range 2 * maxStirred {
		db.stirred.add(mesh.MustNodeID(fmt.Sprint("n", i)))
	}
	if !db.stirred.all || len(db.stirred.nodes) != 0 {
		t.Fatalf("%d nodes are remembered", len(db.stirred.nodes))
	}
	if now := db.Patch(edges); &now[0] != &edges[0] {
		t.Error("the same edges are made anew")
	}
	db.stirred.add(mesh.MustNodeID("a"))
	db.Caught()
	if now := db.Patch(nil); now != nil {
		t.Errorf("%v, although the caller said that it has them", now)
	}
}
