package crdt

import (
	"errors"
	"strings"
	"testing"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// A node that comes up with its clock far ahead forgets no deletion by it: not when it is restored, not while its neighbours' clocks say
// otherwise, and not within the first hour if there are none.
func TestClockAheadForgetsNothing(t *testing.T) {
	w := newWorld(t, 1, 2, line(2))
	a, b := w.nodes[0], w.nodes[1]
	w.run(4 * time.Second)
	if err := b.do(Put([]byte("k"), []byte("v")), Delete([]byte("k"))); err != nil {
		t.Fatal(err)
	}
	w.agree(time.Minute)
	b.sync(nil)
	b.skew = 2 * Life
	b.crash()
	if b.s.Digest().Count != 1 {
		t.Fatal("it was forgotten while it was restored")
	}
	if may := b.y.MayForget(); may != b.clock().Add(time.Hour) {
		t.Errorf("without neighbours it may from %v on", may)
	}
	w.run(2 * time.Second)
	if b.s.Digest().Count != 1 || !b.y.MayForget().IsZero() || a.y.MayForget() != a.s.opened {
		t.Error("the neighbours' clocks do not count")
	}
	b.skew = 0
	w.run(4 * time.Second)
	if b.y.MayForget().IsZero() {
		t.Error("not now that its clock is right")
	}
	w.agree(time.Minute)
	w.consistent()
}

// Most of the neighbours that tell their clock decide, so that one that lies delays nothing where there are others.
func TestMostClocksCount(t *testing.T) {
	w := newWorld(t, 1, 4, [][2]int{{0, 1}, {0, 2}, {0, 3}})
	y := w.nodes[0].y
	tell := func(n int, at time.Time) {
		t.Helper()
		root := wire.StateRoot{Time: uint64(at.UnixMilli())}
		if _, _, err := y.Handle(w.now, w.nodes[n].id, root); err != nil {
			t.Fatal(err)
		}
	}
	behind := w.now.Add(-maxSkew - time.Minute)
	write := func() error { return w.nodes[0].do(Put([]byte("k"), []byte("v"))) }
	for _, c := range []struct {
		n     int
		at    time.Time
		may   bool
		wrong error
	}{
		{1, w.now.Add(-time.Minute), true, nil},
		{1, behind, false, nil},
		{2, w.now, true, nil},
		{3, behind, false, nil},
		{2, behind, false, ErrClock},
		{1, w.now.Add(10 * maxSkew), false, nil},
		{3, w.now, true, nil},
	} {
		if tell(c.n, c.at); y.MayForget().IsZero() == c.may {
			t.Errorf("%+v: may forget %t", c, !c.may)
		}
		if err := write(); !errors.Is(err, c.wrong) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	tell(1, behind)
	tell(2, behind)
	tell(3, behind)
	if err := write(); !errors.Is(err, ErrClock) || !strings.Contains(err.Error(), "ahead") {
		t.Errorf("while all say so: %v", err)
	}
	y.Remove(w.nodes[1].id)
	if err := write(); !errors.Is(err, ErrClock) {
		t.Errorf("with two that say so: %v", err)
	}
	y.Add(w.now, w.nodes[1].id)
	if err := write(); err != nil {
		t.Errorf("with one that has not told yet: %v", err)
	}
	y.Remove(w.nodes[1].id)
	if _, _, err := y.Handle(w.now, w.nodes[2].id, wire.StateRoot{Time: 1 << 63}); err != nil {
		t.Fatal(err)
	}
	if ahead, known := y.clocks(); ahead != 1 || known != 2 {
		t.Errorf("%d of %d are behind", ahead, known)
	}
}

// What a wrong clock has stored is said with what helps, and that does help; the times that it stored about itself do not outlast it.
func TestClockWasAhead(t *testing.T) {
	w := newWorld(t, 1, 2, line(2))
	a, b := w.nodes[0], w.nodes[1]
	b.skew, b.disk = 10*Life, map[string][]byte{}
	b.s = New(b.clock(), b.cfg)
	b.sync(b.s.Begun())
	b.y = NewSync(b.s)
	b.connect()
	w.run(4 * time.Second)
	w.cut[[2]int{0, 1}] = true
	b.y.Remove(a.id) // alone, it writes
	if err := b.do(Put([]byte("k"), []byte("far"))); err != nil {
		t.Fatal(err)
	}
	b.skew = 0
	b.crash()
	err := b.do(Put([]byte("k"), []byte("v")))
	if !errors.Is(err, ErrClock) || !strings.Contains(err.Error(), "empty replica") {
		t.Fatalf("its clock is right again: %v", err)
	}
	if !b.s.born.After(b.clock()) || !b.s.synced.After(b.clock()) {
		t.Fatal("the test does not try it")
	}
	w.cut = map[[2]int]bool{}
	w.run(10 * time.Second)
	if b.s.born.After(b.clock()) || b.s.synced.After(b.clock()) {
		t.Errorf("born %v, agreed %v, it is %v", b.s.born, b.s.synced, b.clock())
	}
	b.cfg.Incarnation, b.disk, b.lazy = 999, map[string][]byte{}, nil
	b.s = New(b.clock(), b.cfg)
	b.sync(b.s.Begun())
	b.y = NewSync(b.s)
	b.connect()
	w.agree(time.Minute)
	w.run(4 * time.Second)
	if err := b.do(Put([]byte("k"), []byte("v"))); err != nil {
		t.Error(err)
	}
	w.agree(time.Minute)
	if v, _ := a.s.Get([]byte("k")); string(v.Bytes) != "v" || v.Time > mesh.HybridAt(w.now) {
		t.Errorf("%q at %v", v.Bytes, v.Time)
	}
}
