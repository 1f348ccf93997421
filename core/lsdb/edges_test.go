package lsdb

import (
	"fmt"
	"testing"
	"time"

	"x0tta6bl4/mesh"
)

func graph(t *testing.T, nodes map[string][]mesh.Adjacency) *DB {
	t.Helper()
	db := newDB("self")
	for _, name := range []string{"a", "b", "c"} {
		x := newAuthor(name, epoch)
		if _, err := take(t, db, epoch, KindRecord, x.record(epoch, "192.0.2.1:7420")); err != nil {
			t.Fatal(err)
		}
		if links, ok := nodes[name]; ok {
			if _, err := take(t, db, epoch, KindLSA, x.raw(epoch, links...)); err != nil {
				t.Fatal(err)
			}
		}
	}
	return db
}

func TestEdges(t *testing.T) {
	ab, ba := link("b", 1, 2, 10), link("a", 2, 1, 20)
	ab.Quality, ba.Quality = mesh.Poor, mesh.Excellent
	ab.MTU, ba.MTU = 1400, 1280
	ab.Capacity, ba.Capacity = 0, 1000
	ab.Groups, ba.Groups = []uint32{1, 5}, []uint32{3, 5}
	ba.Suspect = true
	cases := []struct {
		name  string
		nodes map[string][]mesh.Adjacency
		want  string
	}{
		{"both ends", map[string][]mesh.Adjacency{"a": {ab}, "b": {ba}}, "a>b/1 b>a/2"},
		{"one end only", map[string][]mesh.Adjacency{"a": {ab}, "b": {}}, ""},
		{"other end unheard", map[string][]mesh.Adjacency{"a": {ab}}, ""},
		{"other label", map[string][]mesh.Adjacency{"a": {link("b", 1, 3, 10)}, "b": {ba}}, ""},
		{"labels not mirrored", map[string][]mesh.Adjacency{"a": {ab}, "b": {link("a", 2, 7, 10)}}, ""},
		{"another neighbour's label", map[string][]mesh.Adjacency{"a": {ab}, "b": {link("c", 2, 1, 10)}, "c": {}}, ""},
		{"parallel links", map[string][]mesh.Adjacency{
			"a": {link("b", 1, 8, 10), link("b", 2, 9, 10)}, "b": {link("a", 8, 1, 10), link("a", 9, 2, 10)},
		}, "a>b/1 a>b/2 b>a/8 b>a/9"},
		{"crossed parallel links", map[string][]mesh.Adjacency{
			"a": {link("b", 1, 8, 10), link("b", 2, 9, 10)}, "b": {link("a", 8, 2, 10), link("a", 9, 1, 10)},
		}, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			db := graph(t, c.nodes)
			got := ""
			for _, e := range db.Edges() {
				got += fmt.Sprintf(" %s>%s/%d", e.From, e.To, e.Label)
			}
			if got != "" {
				got = got[1:]
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	db := graph(t, cases[0].nodes)
	for _, e := range db.Edges() {
		if e.Cost != 20 || e.Quality != mesh.Poor || e.MTU != 1280 || e.Capacity != 1000 || !e.Suspect || fmt.Sprint(e.Groups) != "[1 3 5]" {
			t.Errorf("%+v", e)
		}
	}
	if a, b := db.Edges(), db.Edges(); &a[0] != &b[0] {
		t.Error("made anew without a change")
	}
}

func TestNodes(t *testing.T) {
	db := graph(t, map[string][]mesh.Adjacency{"a": {link("b", 1, 2, 10)}})
	nodes := db.Nodes()
	if len(nodes) != 3 || nodes[0].ID.String() != "a" || nodes[0].Links != 1 || !nodes[0].Announced || nodes[1].Announced {
		t.Fatalf("%+v", nodes)
	}
	if a := nodes[0]; len(a.Addresses) != 1 || !a.Expires.Equal(epoch.Add(Lifetime)) || !a.NotAfter.Equal(epoch.Add(24*time.Hour)) {
		t.Errorf("%+v", a)
	}
	if _, ok := db.Node(mesh.MustNodeID("nobody")); ok {
		t.Error("a node from nowhere")
	}
}
