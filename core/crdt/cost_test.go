package crdt

import (
	"fmt"
	"testing"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// claims is heads of lives that nobody has, the n-th thousands of them.
func claims(of mesh.NodeID, n int) wire.StateHeads {
	dots := make([]wire.Dot, wire.MaxStateHeads)
	for i := range dots {
		dots[i] = wire.Dot{Author: of, Incarnation: uint64(n)<<20 | uint64(i), Seq: 1 << 40}
	}
	return wire.StateHeads{Dots: dots}
}

// However many lives a neighbour claims, what is remembered of it is no more than its share, is not gone through again for each of
// them, and leaves room for what others claim.
func TestClaimsOfLivesBounded(t *testing.T) {
	w := newWorld(t, 1, 3, [][2]int{{0, 1}, {0, 2}})
	y, liar, other := w.nodes[0].y, w.nodes[1].id, w.nodes[2].id
	tell := func(from mesh.NodeID, m wire.StateMessage) {
		t.Helper()
		if _, _, err := y.Handle(w.now, from, m); err != nil {
			t.Fatal(err)
		}
	}
	for n := range 3 * maxLives / wire.MaxStateHeads {
		tell(liar, claims(liar, n))
		y.peers[liar].fetch = nil // as if they were asked for
	}
	if n := len(y.lives); n > livesShare || y.peers[liar].claims != n {
		t.Errorf("%d lives are asked of one neighbour, %d counted", n, y.peers[liar].claims)
	}
	if y.swept > maxLives {
		t.Errorf("%d lives were looked at for one neighbour in one moment", y.swept)
	}
	tell(other, wire.StateHeads{Dots: []wire.Dot{{Author: other, Incarnation: 1, Seq: 1}}})
	if n := len(y.peers[other].fetch); n != 1 {
		t.Errorf("%d lives are asked of another", n)
	}
	w.now = w.now.Add(patience)
	tell(liar, claims(liar, 1000))
	if n := len(y.peers[liar].fetch); n == 0 || y.peers[liar].claims != livesShare {
		t.Errorf("later %d are asked for, %d counted", n, y.peers[liar].claims)
	}
	y.Remove(liar)
	if len(y.lives) != 0 { // the other's were over, too
		t.Errorf("%d lives are still waited for", len(y.lives))
	}
}

// A message names more than anybody here sends: what is beyond that is not looked at, and found by a later comparison.
func TestManyRefsInOneMessage(t *testing.T) {
	w := newWorld(t, 1, 2, line(2))
	w.nodes[0].fill("k", 2*maxRefs, 1)
	refs := make([]wire.Ref, wire.MaxStateRefs)
	for i := range refs {
		refs[i] = wire.Ref{byte(i), byte(i >> 8), 6: 0xff}
	}
	mine := make([]wire.Ref, 0, 2*maxRefs)
	for _, it := range w.nodes[0].s.tree.root.gather(nil) {
		mine = append(mine, it.ref())
	}
	items := wire.StateItems{}
	for i := range 16 {
		items.Items = append(items.Items, wire.StateItem{Path: wire.Path{}.Child(i), Refs: refs[i*1024:][:1024]})
	}
	for _, m := range []wire.StateMessage{wire.StateOffer{Refs: refs}, items, wire.StateWant{Refs: mine}} {
		y, other := NewSync(w.nodes[0].s), w.nodes[1].id
		y.Add(w.now, other)
		if _, _, err := y.Handle(w.now, other, m); err != nil {
			t.Fatal(err)
		}
		p := y.peers[other]
		if n := len(p.want) + len(p.send); n != maxRefs || !p.lost {
			t.Errorf("%T: %d were looked at, lost %t", m, n, p.lost)
		}
	}
}

// What a neighbour asks for several times in one breath it gets once.
func TestFetchedOnce(t *testing.T) {
	w := newWorld(t, 1, 2, line(2))
	r, other := w.nodes[0], w.nodes[1].id
	r.fill("k", 3*wire.MaxBatch, 8)
	r.y.Pull(w.now, other, 1<<20)
	r.y.peers[other].fresh = nil
	all := wire.StateFetch{After: make([]wire.Dot, wire.MaxStateHeads)}
	for i := range all.After {
		all.After[i] = wire.Dot{Author: r.id, Incarnation: r.cfg.Incarnation, Seq: uint64(len(all.After) - 1 - i)}
	}
	if _, _, err := r.y.Handle(w.now, other, all); err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for range 100 {
		for _, m := range r.y.Pull(w.now, other, 64<<10) {
			if p, ok := m.(wire.StatePiece); ok {
				piece, err := wire.ParsePiece(p.Raw)
				if err != nil {
					t.Fatal(err)
				}
				for i := range piece.Leaves {
					seen[string(piece.Leaves[i].Entry.Key)]++
				}
			}
		}
	}
	for key, n := range seen {
		if n != 1 {
			t.Fatalf("%q was sent %d times", key, n)
		}
	}
	if len(seen) != 3*wire.MaxBatch || r.y.Ready(w.now, other) {
		t.Errorf("%d entries were sent; more to come: %t", len(seen), r.y.Ready(w.now, other))
	}
}

// More lives than one message tells of are told in several.
func TestManyLives(t *testing.T) {
	w := newWorld(t, 1, 2, line(2))
	w.nodes[0].s.settled, w.nodes[1].s.settled = true, true
	for i := range wire.MaxStateHeads + 10 {
		out, err := give(w.nodes[0].s, w.now, pieceBy("b", uint64(i), 1, put(w.now, fmt.Sprint(i), "v")))
		if err != nil {
			t.Fatal(err)
		}
		w.nodes[0].write(out.Write)
	}
	first := w.nodes[0].s.headsAfter(life{}, wire.MaxStateHeads)
	rest := w.nodes[0].s.headsAfter(lifeOf(first[len(first)-1]), wire.MaxStateHeads)
	if len(first) != wire.MaxStateHeads || len(rest) != 10 || first[len(first)-1].Compare(rest[0]) >= 0 {
		t.Errorf("%d and %d heads", len(first), len(rest))
	}
	w.agree(time.Minute)
	w.consistent()
}
