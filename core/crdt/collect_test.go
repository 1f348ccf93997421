package crdt

import (
	"fmt"
	"testing"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// collect runs Collect to its end, some entries at a time.
func collect(s *State, now time.Time) (out Outcome) {
	for done := false; !done; {
		var o Outcome
		o, done = s.Collect(now, 3)
		out.Write = append(out.Write, o.Write...)
	}
	return out
}

// Deletions are remembered for Life, and then forgotten with what they cover; nothing else is.
func TestDeletionsForgotten(t *testing.T) {
	s := founder("a")
	for i := range 20 {
		key := fmt.Append(nil, i)
		for _, err := range []error{
			perform(s, epoch, Put(key, []byte("v")), Insert(key, []byte("e")), Insert(key, []byte("kept")), Assign(key, []byte("v")), Count(key, 3)),
			perform(s, epoch, Delete(key), Remove(key, []byte("e")), Withdraw(key)),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	other := founder("b")
	transfer(t, epoch, s, other, newWorld(t, 1, 0, nil).rnd)
	if err := perform(other, epoch, Insert([]byte("1"), []byte("kept")), Remove([]byte("2"), []byte("kept")), Assign([]byte("3"), []byte("v"))); err != nil {
		t.Fatal(err)
	}
	transfer(t, epoch, other, s, newWorld(t, 1, 0, nil).rnd)
	before := s.Digest()
	collect(s, epoch.Add(Life))
	if s.Digest() != before {
		t.Error("something was forgotten too early")
	}
	out := collect(s, epoch.Add(Life+time.Second))
	if err := s.valid(); err != nil {
		t.Fatal(err)
	}
	// Of 20 keys: a counter and an element each, less the two of key 2, with one author's add covered by the other's at 1; and
	// the value of 3.
	if n := s.Digest().Count; n != 20+19+1 || len(out.Write) == 0 {
		t.Errorf("%d entries are left", n)
	}
	for i := range 20 {
		key := fmt.Append(nil, i)
		want := 1
		if i == 2 {
			want = 0
		}
		if e := s.Elements(key); len(e) != want || s.Counter(key) != 3 {
			t.Errorf("%d: %q, %d", i, e, s.Counter(key))
		}
		reads(t, s, fmt.Sprint(i), "")
	}
	if len(s.Values([]byte("3"))) != 1 {
		t.Error("a value was forgotten")
	}
}

// Once a deletion is forgotten, what it deleted does not come back by a neighbour that kept it: it is set aside, and an
// operator's write settles it everywhere.
func TestDeletedStaysDeleted(t *testing.T) {
	s := founder("a")
	old := pieceBy("b", 1, 1, put(epoch, "k", "v"), put(epoch, "l", "v"))
	give(s, epoch, old)
	if err := perform(s, epoch.Add(time.Hour), Delete([]byte("k")), Delete([]byte("l"))); err != nil {
		t.Fatal(err)
	}
	late := epoch.Add(Life + 2*time.Hour)
	collect(s, late)
	if s.Digest().Count != 0 {
		t.Fatal("the deletions are not forgotten")
	}
	for range 2 {
		if _, err := give(s, late, old); err != nil {
			t.Fatal(err)
		}
	}
	reads(t, s, "k", "")
	counted(t, s, "old", 2) // the second time it is known
	aside := s.Aside()
	if len(aside) != 2 || string(aside[0].Key) != "k" && string(aside[0].Key) != "l" || aside[0].Dot.Author.String() != "b" {
		t.Fatalf("aside: %+v", aside)
	}
	if p, err := wire.ParsePiece(aside[0].Raw); err != nil || string(p.Leaves[0].Entry.Value) != "v" {
		t.Errorf("what is aside cannot be read: %v", err)
	}
	if err := perform(s, late, Delete([]byte("k")), Put([]byte("l"), []byte("v"))); err != nil {
		t.Fatal(err)
	}
	if len(s.Aside()) != 0 {
		t.Error("what was settled is still aside")
	}
	other := founder("c") // it had the old ones all the time
	give(other, epoch, old)
	transfer(t, late, s, other, newWorld(t, 1, 0, nil).rnd)
	transfer(t, late, other, s, newWorld(t, 1, 0, nil).rnd)
	if s.Digest() != other.Digest() {
		t.Error("the two do not agree")
	}
	counted(t, s, "over", 0)
	give(s, late, pieceBy("d", 1, 1, del(epoch, "unknown")))
	counted(t, s, "over", 1)
}

// A young replica takes what is old: it has all of it from others.
func TestYoungTakesOld(t *testing.T) {
	late := epoch.Add(2 * Life)
	s := New(late, Config{Incarnation: 1})
	give(s, late, pieceBy("b", 1, 1, put(epoch, "k", "v")))
	reads(t, s, "k", "v")
}

// A replica that was silent for longer than deletions are remembered begins again as an empty one: what was deleted
// meanwhile does not come back, and what it alone had written is handed out.
func TestSilentRejoins(t *testing.T) {
	w := newWorld(t, 1, 2, line(2))
	a, b := w.nodes[0], w.nodes[1]
	w.run(4 * time.Second)
	if err := a.do(Put([]byte("gone"), []byte("v")), Put([]byte("kept"), []byte("v")), Count([]byte("n"), 1)); err != nil {
		t.Fatal(err)
	}
	w.run(2 * time.Hour)
	w.cut[[2]int{0, 1}] = true
	if b.s.Silent(b.clock()) {
		t.Error("silent already")
	}
	if err := a.do(Delete([]byte("gone"))); err != nil {
		t.Fatal(err)
	}
	if err := b.do(Put([]byte("unseen"), []byte("v")), Count([]byte("n"), 5)); err != nil {
		t.Fatal(err)
	}
	w.now = w.now.Add(Life + 3*time.Hour)
	if !b.s.Silent(b.clock()) {
		t.Fatal("not silent")
	}
	a.write(collect(a.s, a.clock()).Write)
	unseen, out := b.s.Rejoin(b.clock(), 77)
	b.sync(out.Write)
	if len(unseen) != 2 || len(out.Changed) < 4 {
		t.Errorf("%d unseen, %d changed", len(unseen), len(out.Changed))
	}
	b.crash()
	w.cut = map[[2]int]bool{}
	w.agree(time.Minute)
	w.run(5 * time.Second)
	reads(t, b.s, "gone", "")
	reads(t, b.s, "kept", "v")
	if err := b.do(Count([]byte("n"), 2)); err != nil {
		t.Fatal(err)
	}
	if d := b.s.peers(wire.EntryCounter, []byte("n"), nil)[1].dot(); d != (wire.Dot{Author: b.id, Incarnation: 77, Seq: 1}) {
		t.Errorf("it writes as %v", d)
	}
	w.agree(time.Minute)
	if a.s.Counter([]byte("n")) != 3 {
		t.Errorf("counter %d", a.s.Counter([]byte("n")))
	}
	w.consistent()
}

// One replica forgets before the other, and its author writes on: what it covered once does not stand again where it is not
// forgotten yet.
func TestForgottenHereNotThere(t *testing.T) {
	rnd := newWorld(t, 1, 0, nil).rnd
	for _, again := range [][]Op{
		{Assign([]byte("k"), []byte("a2")), Insert([]byte("s"), []byte("e")), Remove([]byte("s"), []byte("e"))},
		{Assign([]byte("k"), []byte("a2")), Insert([]byte("s"), []byte("other"))},
	} {
		a, b := founder("a"), founder("b")
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		must(perform(b, epoch, Assign([]byte("k"), []byte("b1")), Insert([]byte("s"), []byte("e"))))
		transfer(t, epoch, b, a, rnd)
		must(perform(a, epoch, Assign([]byte("k"), []byte("a1")), Remove([]byte("s"), []byte("e"))))
		transfer(t, epoch, a, b, rnd)
		late := epoch.Add(Life + time.Minute)
		collect(a, late)
		must(perform(a, late, again...))
		transfer(t, late, a, b, rnd)
		collect(b, late)
		if vs := b.Values([]byte("k")); len(vs) != 1 || string(vs[0].Bytes) != "a2" {
			t.Errorf("%d values", len(vs))
		}
		transfer(t, late, b, a, rnd)
		if a.Digest() != b.Digest() {
			t.Errorf("%v and %v", a.Digest(), b.Digest())
		}
		counted(t, a, "old", 0)
	}
}

// The same where the later write takes the deletion's own place: at who wrote both, and at one that was killed when the write was on
// disk and nothing else yet.
func TestForgottenWithWhatIsOutdone(t *testing.T) {
	late := epoch.Add(Life + time.Minute)
	for _, killed := range []bool{false, true} {
		w := newWorld(t, 1, 1, nil)
		r, other := w.nodes[0], founder("c")
		out, err := give(r.s, epoch, pieceBy("b", 1, 1, wire.Entry{Kind: wire.EntryMulti, Time: mesh.HybridAt(epoch), Key: []byte("k")}))
		if err != nil {
			t.Fatal(err)
		}
		r.write(out.Write)
		if err := r.do(Withdraw([]byte("k"))); err != nil {
			t.Fatal(err)
		}
		transfer(t, epoch, r.s, other, w.rnd)
		collect(other, late)
		w.now = late
		d, err := r.s.Begin(r.clock(), testLeaf, []Op{Assign([]byte("k"), []byte("later"))})
		if err != nil {
			t.Fatal(err)
		}
		if r.seal(d); killed {
			r.crash()
		} else {
			r.write(r.y.Commit(late, d).Write)
		}
		transfer(t, late, r.s, other, w.rnd)
		transfer(t, late, other, r.s, w.rnd)
		if r.s.Digest() != other.Digest() || other.Digest().Count != 1 {
			t.Errorf("killed %t: %v and %v", killed, r.s.Digest(), other.Digest())
		}
		w.consistent()
	}
}

// What an old deletion covers is forgotten with it, also where a later write covers the same: those that forgot both before that write
// came do not have it any more.
func TestForgottenWithTheOldestCover(t *testing.T) {
	rnd := newWorld(t, 1, 0, nil).rnd
	for _, writer := range []string{"a", "z"} { // comes before or behind the deletion's author in the order of the index
		b, c, e := founder("b"), founder("c"), founder(writer)
		late := epoch.Add(Life + time.Minute)
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		must(perform(b, epoch, Assign([]byte("k"), []byte("b"))))
		transfer(t, epoch, b, c, rnd)
		must(perform(c, epoch, Withdraw([]byte("k"))))
		transfer(t, epoch, c, e, rnd)
		collect(c, late)
		must(perform(e, late, Assign([]byte("k"), []byte("later")))) // before it collects
		collect(e, late)
		transfer(t, late, e, c, rnd)
		transfer(t, late, c, e, rnd)
		if c.Digest() != e.Digest() || e.Digest().Count != 1 {
			t.Errorf("%s: %v and %v", writer, c.Digest(), e.Digest())
		}
	}
}
