package node

import (
	"fmt"
	"slices"
	"testing"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// What a member says of its own links changes nothing about anybody else's, and makes none of its own cheaper, wider or
// other than its neighbours say; what it says of links that it has not got is nothing.
func TestLieIsAboutTheLiarOnly(t *testing.T) {
	names := []string{"a", "b", "c", "m"}
	id := func(s string) mesh.NodeID { return mesh.MustNodeID(s) }
	// A square with a diagonal: a-b, b-c, c-m, m-a, a-c. Node i's label for its link to node k is 10i+k.
	square := map[string][]string{"a": {"b", "c", "m"}, "b": {"a", "c"}, "c": {"a", "b", "m"}, "m": {"a", "c"}}
	label := func(x, y string) mesh.Label {
		return mesh.Label(10*slices.Index(names, x) + slices.Index(names, y) + 1) // #nosec G115 -- small
	}
	honest := func(x string) (links []mesh.Adjacency) {
		for _, y := range square[x] {
			links = append(links, mesh.Adjacency{Neighbour: id(y), Label: label(x, y), Remote: label(y, x), Cost: 5000, Quality: mesh.Good, MTU: 1400, Groups: []uint32{7}})
		}
		return links
	}
	edges := func(t *testing.T, lie func(*mesh.Adjacency), more ...mesh.Adjacency) (others, its []mesh.Edge, r *scene) {
		r = newScene(t, Config{})
		conn := r.linkUp(0, zeta, addr(1), 7, 1)
		for _, x := range names {
			links := honest(x)
			if x == "m" {
				for i := range links {
					lie(&links[i])
				}
				links = append(links, more...)
				slices.SortFunc(links, func(a, b mesh.Adjacency) int { return int(a.Label) - int(b.Label) })
			}
			r.hear(conn, id(x), 1, links...)
		}
		for _, e := range r.Database().Edges() {
			if e.From == id("m") || e.To == id("m") {
				its = append(its, e)
			} else {
				others = append(others, e)
			}
		}
		return others, its, r
	}
	othersHonest, itsHonest, _ := edges(t, func(*mesh.Adjacency) {})
	if len(othersHonest) != 6 || len(itsHonest) != 4 {
		t.Fatalf("%d edges of others, %d of m", len(othersHonest), len(itsHonest))
	}
	everywhere := func() (links []mesh.Adjacency) {
		for i, y := range []string{"a", "b", "c", "self", "zeta"} {
			links = append(links, mesh.Adjacency{Neighbour: id(y), Label: mesh.Label(1000 + i), Remote: 1, Cost: 1, Quality: mesh.Excellent}) // #nosec G115 -- small
		}
		return append(links, mesh.Adjacency{Neighbour: id("b"), Label: 2000, Remote: label("b", "a"), Cost: 1, Quality: mesh.Excellent})
	}
	for _, tt := range []struct {
		name string
		lie  func(*mesh.Adjacency)
		more []mesh.Adjacency
		same bool // nothing changes at all
	}{
		{"cheap", func(l *mesh.Adjacency) { l.Cost = 1 }, nil, true},
		{"excellent", func(l *mesh.Adjacency) { l.Quality = mesh.Excellent }, nil, true},
		{"wide", func(l *mesh.Adjacency) { l.MTU = 65535 }, nil, true},
		{"unknown MTU and quality", func(l *mesh.Adjacency) { l.MTU, l.Quality = 0, 0 }, nil, true},
		{"in no group", func(l *mesh.Adjacency) { l.Groups = nil }, nil, true},
		{"links to everybody, and by another's label", func(*mesh.Adjacency) {}, everywhere(), true},
		{"dear", func(l *mesh.Adjacency) { l.Cost = mesh.MaxCost }, nil, false},
		{"bad and narrow", func(l *mesh.Adjacency) { l.Quality, l.MTU = mesh.Bad, 1 }, nil, false},
		{"in many groups", func(l *mesh.Adjacency) { l.Groups = []uint32{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16} }, nil, false},
		{"of other labels", func(l *mesh.Adjacency) { l.Label += 500 }, nil, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			others, its, r := edges(t, tt.lie, tt.more...)
			show := func(es []mesh.Edge) string { return fmt.Sprintf("%+v", es) }
			if show(others) != show(othersHonest) {
				t.Errorf("links of others changed:\n%v\n%v", others, othersHonest)
			}
			if (show(its) == show(itsHonest)) != tt.same {
				t.Errorf("its own links: changed %t\n%v", !tt.same, its)
			}
			for _, e := range its {
				if e.Cost < 5000 || e.MTU > 1400 || e.Quality > mesh.Good {
					t.Errorf("better than its neighbour says: %+v", e)
				}
			}
			if p := r.PathsTo(id("b")); len(p.Paths) != 0 {
				t.Errorf("a link of this node's that it does not announce leads to %v", p.Paths)
			}
		})
	}
}

// Addresses in a record are tried for its origin only: whoever else answers there is no neighbour by it, and a few
// are tried at a time.
func TestAddressesOfOthersInARecord(t *testing.T) {
	r := newScene(t, Config{})
	liar := mesh.MustNodeID("mallory")
	conn := r.linkUp(0, zeta, addr(1), 7, 1)
	down := r.linkUp(0, liar, addr(2), 7, 1)
	for i := range 16 {
		r.lives[liar] = append(r.lives[liar], addr(100+i).String())
	}
	r.hear(conn, liar, 1)
	r.takeDials()
	r.do(ConnDown{Conn: down, Reason: "lost"})
	r.hear(conn, liar, 2)
	dials := r.takeDials()
	r.pass(2 * seekAfter)
	dials = append(dials, r.takeDials()...)
	if len(dials) == 0 || len(dials) > hintsPerVia+1 {
		t.Errorf("%d dials at once because of one record", len(dials))
	}
	for _, d := range dials {
		if d.Want != liar {
			t.Errorf("dials %v for %v", d.Addr, d.Want)
		}
	}
}

// A neighbour that opens its links with labels of its liking gets what any other gets: zero is refused as it is parsed,
// one label for two ways is one link, and a label that changes is announced at the node's own pace.
func TestLabelsOfANeighbourAreItsOwnAffair(t *testing.T) {
	open := wire.LinkOpen{Version: 1, Index: 1, Label: 7, Hello: 50_000, MTU: 1400, Boot: 1}
	b, err := wire.AppendMessage(nil, open)
	if err != nil {
		t.Fatal(err)
	}
	body := b[wire.MessageHeader:]
	if _, err := wire.ParseMessage(body); err != nil {
		t.Errorf("an honest open: %v", err)
	}
	body[6], body[7] = 0, 0 // type, version, index, then the label
	if _, err := wire.ParseMessage(body); err == nil {
		t.Error("label 0 is accepted")
	}

	r := newScene(t, Config{})
	r.linkUp(0, zeta, addr(1), 7, 1)
	ours := r.Links()[0].Label
	r.report(ours, mesh.LinkUp)
	made := len(r.signed)
	for i := range 1000 {
		r.at = r.at.Add(10_000_000)
		r.linkUp(0, zeta, addr(1), mesh.Label(100+i), 1) // #nosec G115 -- small
	}
	if ls := r.Links(); len(ls) != 1 || ls[0].Label != ours {
		t.Errorf("%d links, ours has label %d, want %d", len(ls), ls[0].Label, ours)
	}
	if n := len(r.signed) - made; n > 30 {
		t.Errorf("%d announcements in ten seconds because a neighbour renames its link", n)
	}
	if n := len(r.Control.conns); n > 9 {
		t.Errorf("%d connections are kept", n)
	}
}
