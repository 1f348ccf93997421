package node

import (
	"slices"
	"testing"
	"time"

	"x0tta6bl4/core/lsdb"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// seenFrom returns what by announces of its links with of.
func seenFrom(t *testing.T, all []Observation, by, of mesh.NodeID) Observation {
	t.Helper()
	for _, o := range all {
		if o.By == by && o.Of == of {
			return o
		}
	}
	t.Fatalf("%s announces no link with %s: %+v", by, of, all)
	return Observation{}
}

// A link counts as mutual when both ends announce it, and its age goes on through announcements that keep it.
func TestObservations(t *testing.T) {
	r := newScene(t, Config{Observe: true})
	conn := r.linkUp(0, alpha, addr(1), 7, 100)
	label := r.Links()[0].Label
	r.report(label, mesh.LinkUp)
	r.pass(time.Second)
	first := r.at
	r.hear(conn, alpha, 100, adjacency(self, 7, label), adjacency(zeta, 8, 9))

	o := seenFrom(t, r.ObserversOf(self), alpha, self)
	want := Observation{By: alpha, Of: self, Since: first, Quality: mesh.Excellent, Cost: 5000, Mutual: true}
	if o != want || len(r.ObserversOf(self)) != 1 {
		t.Errorf("of us: %+v, want %+v", r.ObserversOf(self), want)
	}
	if o := seenFrom(t, r.Observations(), alpha, zeta); o.Mutual || o.Since != first {
		t.Errorf("a link that zeta has not confirmed: %+v", o)
	}
	if o := seenFrom(t, r.Observations(), self, alpha); !o.Mutual {
		t.Errorf("our own: %+v", o)
	}

	r.pass(time.Minute)
	doubt := adjacency(self, 7, label)
	doubt.Suspect, doubt.Cost = true, 9000
	r.hear(conn, alpha, 100, doubt, adjacency(zeta, 8, 9))
	r.hear(conn, zeta, 100, adjacency(alpha, 9, 8))
	if o := seenFrom(t, r.Observations(), alpha, self); o.Since != first || !o.Suspect || o.Cost != 9000 {
		t.Errorf("after a renewal: %+v", o)
	}
	if o := seenFrom(t, r.Observations(), alpha, zeta); !o.Mutual || o.Since != first {
		t.Errorf("confirmed by zeta: %+v", o)
	}
	if got := r.Reachable(); !slices.Equal(got, []mesh.NodeID{alpha, zeta}) {
		t.Errorf("reachable: %v", got)
	}
	if p := r.Shortest([]mesh.NodeID{zeta, mesh.MustNodeID("omega")}); len(p) != 1 || !slices.Equal(p[zeta].Nodes, []mesh.NodeID{self, alpha, zeta}) {
		t.Errorf("shortest paths: %v", p)
	}

	r.hear(conn, alpha, 100, adjacency(zeta, 8, 9))
	if got := r.ObserversOf(self); len(got) != 0 {
		t.Errorf("alpha has withdrawn the link, and yet: %+v", got)
	}
	if got := r.Reachable(); len(got) != 0 {
		t.Errorf("nobody says that we are linked, and yet we reach %v", got)
	}
	r.pass(time.Minute)
	r.hear(conn, alpha, 100, adjacency(self, 7, label), adjacency(zeta, 8, 9))
	if o := seenFrom(t, r.ObserversOf(self), alpha, self); o.Since != r.at {
		t.Errorf("a link that was away is said to be held since %v, not %v", o.Since, r.at)
	}
}

// What ended by itself is not held any more, and when it comes back its age begins anew.
func TestObservationsEndWithTheirAnnouncement(t *testing.T) {
	r := newScene(t, Config{Observe: true})
	conn := r.linkUp(0, alpha, addr(1), 7, 100)
	r.hear(conn, zeta, 100, adjacency(alpha, 9, 8))
	if len(r.Observations()) != 1 || len(r.observed.seen) != 1 {
		t.Fatalf("%+v", r.Observations())
	}
	r.pass(lsdb.Lifetime + time.Second)
	if len(r.Observations()) != 0 || len(r.observed.seen) != 0 {
		t.Errorf("still held: %+v, %+v", r.Observations(), r.observed.seen)
	}
	r.hear(conn, zeta, 100, adjacency(alpha, 9, 8))
	if o := seenFrom(t, r.Observations(), zeta, alpha); o.Since != r.at {
		t.Errorf("held since %v, not %v", o.Since, r.at)
	}
	if records, lsas := r.Accepted(); records != 2 || lsas != 2 {
		t.Errorf("accepted %d records and %d LSAs, not 2 and 2", records, lsas)
	}
}

// Of parallel links the one that both ends announce speaks for the two nodes, whatever it costs.
func TestObservationsOfParallelLinks(t *testing.T) {
	r := newScene(t, Config{})
	conn := r.linkUp(0, alpha, addr(1), 7, 100)
	cheap := adjacency(zeta, 3, 4)
	cheap.Cost = 1
	r.hear(conn, alpha, 100, cheap, adjacency(zeta, 8, 9))
	r.hear(conn, zeta, 100, adjacency(alpha, 9, 8))
	o := seenFrom(t, r.Observations(), alpha, zeta)
	if !o.Mutual || o.Cost != 5000 || !o.Since.IsZero() {
		t.Errorf("%+v", o)
	}
}

// A neighbour's own announcements tell how its clock stands to ours; what it passes on of others does not.
func TestClocks(t *testing.T) {
	r := newScene(t, Config{})
	conn := r.linkUp(0, alpha, addr(1), 7, 100)
	say := func(n mesh.NodeID, seq uint64, ahead time.Duration) {
		_, leaf := chainOf(n, 0)
		lsa := wire.LSA{Origin: n, Incarnation: 9, Boot: 100, Seq: seq, Time: r.at.Add(ahead), Lifetime: lsdb.Lifetime, SVID: leaf}
		r.do(Received{Conn: conn, Message: wire.LSAMsg{Raw: lsa.AppendSigned(nil, []byte("signature"))}})
	}
	if got := r.Clocks(); len(got) != 0 {
		t.Errorf("nothing came, and yet: %+v", got)
	}
	say(zeta, 100, time.Hour)
	say(alpha, 100, -5*time.Minute) // it lay somewhere
	if got := r.Clocks(); len(got) != 1 || got[0] != (ClockView{alpha, -5 * time.Minute, false}) {
		t.Errorf("the first announcement, which may be old: %+v", got)
	}
	say(alpha, 101, 3*time.Minute)
	if got := r.Clocks(); len(got) != 1 || got[0] != (ClockView{alpha, 3 * time.Minute, true}) {
		t.Errorf("alpha is 3 minutes ahead; said: %+v", got)
	}
	if r.db.Counters()["future"] != 2 {
		t.Errorf("counters %v", r.db.Counters())
	}
	r.pass(time.Second)
	say(alpha, 102, 3*time.Minute-time.Second) // this one was longer on its way
	if got := r.Clocks(); got[0].Ahead != 3*time.Minute {
		t.Errorf("said: %+v", got)
	}
	say(alpha, 103, -time.Millisecond)
	if got := r.Clocks(); got[0].Ahead != -time.Millisecond {
		t.Errorf("alpha's clock was set back, as its next announcement shows; said: %+v", got)
	}
	say(alpha, 102, 3*time.Minute) // from before that, come late
	if got := r.Clocks(); got[0].Ahead != -time.Millisecond {
		t.Errorf("an old announcement told of the present; said: %+v", got)
	}
	say(alpha, 104, time.Minute)
	if got := r.Clocks(); got[0].Ahead != time.Minute {
		t.Errorf("alpha's clock was set ahead; said: %+v", got)
	}
	r.ForgetClocks()
	if got := r.Clocks(); len(got) != 0 {
		t.Errorf("forgotten, and yet: %+v", got)
	}
}
