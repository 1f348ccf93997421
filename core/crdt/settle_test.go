package crdt

import (
	"errors"
	"testing"
	"time"

	"x0tta6bl4/wire"
)

// Two replicas that hold the same, be it nothing or a part of what others had, do not settle each other: both may have lost the rest.
// One that is settled settles both, whichever they meet first.
func TestUnsettledSettleNobody(t *testing.T) {
	for _, part := range []bool{false, true} {
		w := newWorld(t, 1, 3, line(3))
		w.cut[[2]int{0, 1}] = true
		if err := w.nodes[0].do(Put([]byte("k"), []byte("real"))); err != nil {
			t.Fatal(err)
		}
		if part {
			news := wire.StatePiece{Raw: pieceBy("b", 1, 1, put(w.now, "part", "v"))}
			for _, r := range w.nodes[1:] {
				_, job, err := r.y.Handle(w.now, w.nodes[3-r.n].id, news)
				if err != nil {
					t.Fatal(err)
				}
				r.write(r.y.Verified(w.now, job, check(job)).Write)
			}
		}
		w.run(5 * time.Minute)
		for _, r := range w.nodes[1:] {
			if a := r.y.Agreement(); r.s.Settled() || a.Agreeing != 1 {
				t.Errorf("%s, part %t: settled %t, agrees with %d", r.id, part, r.s.Settled(), a.Agreeing)
			}
			r.crash()
			if err := r.do(Put([]byte("k"), []byte("default"))); !errors.Is(err, ErrUnsettled) {
				t.Errorf("%s, part %t, after a restart: %v", r.id, part, err)
			}
		}
		w.cut = map[[2]int]bool{}
		w.agree(time.Minute)
		w.run(4 * time.Second)
		for _, r := range w.nodes {
			if reads(t, r.s, "k", "real"); !r.s.Settled() {
				t.Errorf("%s, part %t: not settled by one that is", r.id, part)
			}
		}
	}
}

// Once others are settled the founder is not needed any more: what it leaves behind goes on, settles who is new, and settles the
// founder's node when it comes back empty. A replica that has settled stays so when it starts again.
func TestFounderGone(t *testing.T) {
	w := newWorld(t, 1, 4, [][2]int{{0, 1}, {1, 2}, {2, 3}})
	w.cut[[2]int{2, 3}] = true
	w.run(4 * time.Second)
	w.cut[[2]int{0, 1}] = true
	delete(w.cut, [2]int{2, 3})
	for _, r := range w.nodes[1:3] {
		r.sync(nil)
		if r.crash(); !r.s.Settled() {
			t.Fatalf("%s: not settled after a restart", r.id)
		}
	}
	w.run(4 * time.Second)
	for _, r := range w.nodes[1:] {
		if err := r.do(Put([]byte(r.id.String()), []byte("v"))); err != nil {
			t.Errorf("%s: %v", r.id, err)
		}
	}
	a := w.nodes[0]
	a.cfg.Incarnation, a.cfg.Founder, a.disk, a.lazy = 999, false, map[string][]byte{}, nil
	a.s = New(w.now, a.cfg)
	a.sync(a.s.Begun())
	a.y = NewSync(a.s)
	a.connect()
	delete(w.cut, [2]int{0, 1})
	w.agree(time.Minute)
	w.run(4 * time.Second)
	if err := a.do(Put([]byte("k"), []byte("v"))); err != nil {
		t.Error(err)
	}
	w.agree(time.Minute)
	w.consistent()
}

// A neighbour of the first version does not say whether it is settled, so it settles nobody, and is understood else.
func TestNeighbourOfTheFirstVersion(t *testing.T) {
	w := newWorld(t, 1, 2, line(2))
	r, other := w.nodes[1], w.nodes[0].id
	for range 2 {
		if _, _, err := r.y.Handle(w.now, other, r.s.Digest()); err != nil {
			t.Fatal(err)
		}
		if a := r.y.Agreement(); r.s.Settled() || a.Agreeing != 1 || a.Last != w.now {
			t.Errorf("settled %t, %+v", r.s.Settled(), a)
		}
	}
	if _, _, err := r.y.Handle(w.now, other, wire.StateRoot{Settled: true}); err != nil || !r.s.Settled() {
		t.Errorf("settled %t by one of this version: %v", r.s.Settled(), err)
	}
	if _, _, err := r.y.Handle(w.now, other, r.s.Digest()); err != nil || !r.s.Settled() {
		t.Errorf("settled %t after that: %v", r.s.Settled(), err)
	}
}
