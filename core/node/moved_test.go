package node

import (
	"net/netip"
	"testing"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// linked is a scene with one link that is up.
func linked(t *testing.T, cfg Config) (r *scene, conn mesh.ConnID, label mesh.Label) {
	t.Helper()
	r = newScene(t, cfg)
	conn = r.linkUp(0, alpha, addr(1), 7, 1)
	label = r.Links()[0].Label
	r.report(label, mesh.LinkUp)
	r.pass(time.Second)
	r.takeReflex()
	r.takeDials()
	return r, conn, label
}

// askedLast returns the last challenge that was sent.
func (r *scene) askedLast() SendChallenge {
	r.Helper()
	if len(r.asked) == 0 {
		r.Fatal("no challenge was sent")
	}
	return r.asked[len(r.asked)-1]
}

// A neighbour's frames come from another address: it is challenged there, and when it answers the link goes there, with
// its label and session; a new connection is made meanwhile, and the binding is on disk.
func TestNeighbourMoves(t *testing.T) {
	r, conn, label := linked(t, Config{})
	r.do(Moved{Label: label, Conn: conn, From: addr(9)})
	ask := r.askedLast()
	if ask.Label != label || ask.To != addr(9) || ask.Challenge == (wire.Challenge{}) {
		t.Fatalf("challenge %+v", ask)
	}
	if l := r.Links()[0]; l.Remote != addr(1) || len(r.takeReflex()) != 0 {
		t.Fatalf("moved without a proof: %+v", l)
	}
	r.at = r.at.Add(10 * time.Millisecond)
	r.do(Echoed{Label: label, From: addr(9), Challenge: ask.Challenge})
	l := r.Links()[0]
	if len(r.Links()) != 1 || l.Remote != addr(9) || l.Label != label || l.Session != conn || l.Status.State != mesh.LinkUp {
		t.Fatalf("links %+v", r.Links())
	}
	set, ok := r.takeReflex()[0].(LinkSet)
	if !ok || set.Label != label || set.Session != conn || set.Remote != addr(9) {
		t.Errorf("the fast loop was told %+v", set)
	}
	d := r.takeDials()
	if len(d) != 1 || d[0].Addr != addr(9) || d[0].Want != alpha {
		t.Fatalf("dials %+v, want one to the new address", d)
	}
	kept := r.kept[len(r.kept)-1].Bindings
	if b := kept[len(kept)-1]; b.Label != label || b.Remote != addr(9) || b.Neighbour != alpha {
		t.Errorf("kept %+v", kept)
	}
	fresh := r.linkUp(d[0].ID, alpha, addr(9), 7, 1)
	if ls := r.Links(); len(ls) != 1 || ls[0].Session != fresh || ls[0].Label != label {
		t.Errorf("with the new connection: %+v", ls)
	}
	r.pass(time.Minute)
	if ls := r.Links(); len(ls) != 1 || len(r.takeDials()) != 0 {
		t.Errorf("a minute later: %+v, dials %+v", ls, r.dials)
	}
	if n := r.Counters(); n["moves"] != 1 || n["moves_unproven"] != 0 {
		t.Errorf("counters %v", n)
	}
}

// Nothing but the right bytes, from the right address, under the right label and in time moves a link.
func TestUnprovenMovesAreCounted(t *testing.T) {
	r, conn, label := linked(t, Config{})
	r.do(Moved{Label: label, Conn: conn, From: addr(9)})
	ask := r.askedLast()
	other := ask.Challenge
	other[15]++
	for i, e := range []Echoed{
		{label, addr(9), other},             // bytes that were not asked
		{label, addr(8), ask.Challenge},     // from a third address: whoever saw it passes it on
		{label, addr(1), ask.Challenge},     // from the old address
		{label + 1, addr(9), ask.Challenge}, // another link, or none
	} {
		r.do(e)
		if l := r.Links()[0]; l.Remote != addr(1) || r.Counters()["moves_unproven"] != uint64(i+1) {
			t.Fatalf("%+v: link %+v, counters %v", e, l, r.Counters())
		}
	}
	r.at = r.at.Add(challengeLife + time.Millisecond)
	r.do(Echoed{label, addr(9), ask.Challenge})
	if l := r.Links()[0]; l.Remote != addr(1) || r.Counters()["moves_unproven"] != 5 {
		t.Fatalf("a reply that comes late: link %+v, counters %v", l, r.Counters())
	}
	// The proof works once only: replayed, it moves nothing back.
	r.do(Moved{Label: label, Conn: conn, From: addr(9)})
	ask = r.askedLast()
	r.do(Echoed{label, addr(9), ask.Challenge})
	r.do(Echoed{label, addr(9), ask.Challenge})
	if n := r.Counters(); n["moves"] != 1 || n["moves_unproven"] != 6 || r.Links()[0].Remote != addr(9) {
		t.Errorf("counters %v, link %+v", n, r.Links()[0])
	}
}

// Signs that mean nothing cause no challenge: of another session, of no link, from where the link leads, and from where
// another link to the same neighbour leads.
func TestSignsThatMeanNothing(t *testing.T) {
	r, conn, label := linked(t, Config{})
	second := r.linkUp(0, alpha, addr(2), 8, 1)
	for _, ev := range []Moved{
		{label, second, addr(9)}, {label, 99, addr(9)}, {label + 9, conn, addr(9)}, {label, conn, addr(1)},
		{label, conn, addr(2)}, {label, conn, netip.AddrPort{}},
	} {
		r.do(ev)
	}
	if len(r.asked) != 0 {
		t.Errorf("challenges %+v", r.asked)
	}
	if n := r.Counters(); n["moves_known"] != 1 {
		t.Errorf("counters %v", n)
	}
}

// However many addresses the signs come from, few are under test, each gets few challenges, and a link that goes to
// and fro does so ever more slowly.
func TestMovingIsBounded(t *testing.T) {
	r, conn, label := linked(t, Config{})
	for i := range 50 {
		r.do(Moved{Label: label, Conn: conn, From: addr(10 + i)})
		r.do(Moved{Label: label, Conn: conn, From: addr(10 + i)})
	}
	if len(r.asked) != 50 || len(r.links[0].move.tests) != maxChallenges {
		t.Errorf("%d challenges to 50 addresses, %d under test", len(r.asked), len(r.links[0].move.tests))
	}
	moves := 0
	for i := range 6000 { // ten minutes
		r.at = r.at.Add(100 * time.Millisecond)
		before := len(r.asked)
		r.do(Moved{Label: label, Conn: conn, From: addr(20 + i%2)})
		if len(r.asked) > before {
			r.do(Echoed{label, r.askedLast().To, r.askedLast().Challenge})
			moves++
		}
		for _, d := range r.takeDials() {
			r.do(DialFailed{Dial: d.ID})
		}
	}
	if moves > 60+moveBurst || moves < 30 {
		t.Errorf("%d moves in ten minutes of going to and fro", moves)
	}
}

// A dial to the old address that is still under way does not hold up the one to the new.
func TestMoveWhileDialling(t *testing.T) {
	r, conn, label := linked(t, Config{})
	r.do(Woke{Slept: 3 * time.Second})
	old := r.takeDials()
	if len(old) != 1 || old[0].Addr != addr(1) {
		t.Fatalf("dials %+v", old)
	}
	r.do(Moved{Label: label, Conn: conn, From: addr(9)})
	r.do(Echoed{label, addr(9), r.askedLast().Challenge})
	if d := r.takeDials(); len(d) != 1 || d[0].Addr != addr(9) {
		t.Fatalf("dials %+v", d)
	}
	late := r.handshake(old[0].ID, alpha, addr(1))
	if len(r.Links()) != 1 || r.closed[len(r.closed)-1].Conn != late {
		t.Errorf("a connection to the old address made a link: %+v", r.Links())
	}
}

// The address of a link with a zone keeps it: a neighbour that moved is reached by the same interface.
func TestMoveKeepsTheZone(t *testing.T) {
	r := newScene(t, Config{})
	at := func(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }
	conn := r.linkUp(0, alpha, at("[fe80::1%eth0]:7420"), 7, 1)
	label := r.Links()[0].Label
	r.do(Moved{Label: label, Conn: conn, From: at("[fe80::1]:7420")}) // the same, seen without a zone
	if len(r.asked) != 0 {
		t.Fatalf("challenges %+v", r.asked)
	}
	r.do(Moved{Label: label, Conn: conn, From: at("[fe80::2]:7420")})
	r.do(Echoed{label, at("[fe80::2]:7420"), r.askedLast().Challenge})
	if l := r.Links()[0]; l.Remote != at("[fe80::2%eth0]:7420") {
		t.Errorf("remote %v", l.Remote)
	}
	if to := r.asked[0].To; to != at("[fe80::2%eth0]:7420") {
		t.Errorf("challenged %v", to)
	}
}
