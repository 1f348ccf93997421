package node

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"x0tta6bl4/core/lsdb"
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

// echo has the reply to a challenge come from where that went, and the time pass in which a neighbour that has not moved
// would answer at the link's address.
func (r *scene) echo(ask SendChallenge) {
	r.Helper()
	r.do(Echoed{Label: ask.Label, From: ask.To, Challenge: ask.Challenge})
	r.pass(stayReaction)
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
	if l := r.Links()[0]; l.Remote != addr(1) {
		t.Fatalf("moved before the neighbour had the time to answer where it was: %+v", l)
	}
	r.pass(stayReaction)
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
	r.echo(ask)
	r.echo(ask)
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
	if len(r.asked) != 51 || len(r.links[0].move.tests) != maxChallenges {
		t.Errorf("%d challenges to 50 addresses and the link's own, %d under test", len(r.asked), len(r.links[0].move.tests))
	}
	moves := 0
	for i := range 6000 { // ten minutes
		r.at = r.at.Add(100 * time.Millisecond)
		before := len(r.asked)
		r.do(Moved{Label: label, Conn: conn, From: addr(20 + i%2)})
		if len(r.asked) > before {
			r.echo(r.askedLast())
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
	r.echo(r.askedLast())
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
	to := r.askedLast().To
	r.do(Echoed{label, at("[fe80::2]:7420"), r.askedLast().Challenge})
	r.pass(stayReaction)
	if l := r.Links()[0]; l.Remote != at("[fe80::2%eth0]:7420") {
		t.Errorf("remote %v", l.Remote)
	}
	if to != at("[fe80::2%eth0]:7420") {
		t.Errorf("challenged %v", to)
	}
}

// Somebody who sees frames sends copies of them, faster, from an address of his own, and passes challenges and replies on.
// The neighbour answers where the link leads too: the link stays, however often he tries, and the neighbour that moves
// meanwhile is followed all the same.
func TestCopiedFramesMoveNothing(t *testing.T) {
	r, conn, label := linked(t, Config{})
	home := func() SendChallenge {
		i := slices.IndexFunc(r.asked, func(a SendChallenge) bool { return a.To == addr(1) })
		if i < 0 {
			t.Fatalf("the link's address was not challenged: %+v", r.asked)
		}
		return r.asked[i]
	}
	for i := range 200 {
		r.asked = nil
		r.do(Moved{Label: label, Conn: conn, From: addr(66 + i%3)})
		ask := r.askedLast()
		r.at = r.at.Add(time.Millisecond)
		r.do(Echoed{label, ask.To, ask.Challenge}) // he is the faster
		r.at = r.at.Add(time.Millisecond)
		if i%7 != 6 { // but for a few that are lost
			r.do(Echoed{label, addr(1), home().Challenge})
		}
		r.pass(200 * time.Millisecond)
		if l := r.Links()[0]; l.Remote != addr(1) {
			t.Fatalf("try %d: the link went to %v", i, l.Remote)
		}
	}
	if n := r.Counters(); n["moves"] != 0 || n["moves_copied"] != 172 || n["moves_unproven"] != 0 || len(r.takeDials()) != 0 {
		t.Errorf("counters %v", n)
	}
	r.asked = nil
	began := r.at
	r.do(Moved{Label: label, Conn: conn, From: addr(9)})
	ask := r.askedLast()
	r.do(Echoed{label, addr(9), home().Challenge}) // the challenge for the old address reaches it, and it answers from the new
	r.echo(ask)
	for r.Links()[0].Remote != addr(9) && r.at.Sub(began) < 2*time.Second {
		r.pass(10 * time.Millisecond)
	}
	if d := r.at.Sub(began); d > stayDoubt+stayReaction+10*time.Millisecond {
		t.Errorf("the neighbour that moved was followed after %s", d)
	}
	if n := r.Counters(); n["moves"] != 1 || n["moves_unproven"] != 0 {
		t.Errorf("counters %v", n)
	}
}

// While an address is under test the neighbour makes a link from there itself: no two links lead to one address, and the
// label of the new one stays bound.
func TestMoveToWhereALinkWasMadeMeanwhile(t *testing.T) {
	for _, proven := range []bool{false, true} {
		r, conn, label := linked(t, Config{})
		r.do(Moved{Label: label, Conn: conn, From: addr(9)})
		ask := r.askedLast()
		if proven {
			r.do(Echoed{label, addr(9), ask.Challenge})
		}
		r.linkUp(0, alpha, addr(9), 8, 1)
		r.echo(ask)
		r.pass(time.Second)
		ls := r.Links()
		if len(ls) != 2 || ls[0].Remote == ls[1].Remote || r.Counters()["moves"] != 0 || r.Counters()["moves_known"] != 1 {
			t.Errorf("proven before: %v: links %+v, counters %v", proven, ls, r.Counters())
		}
		for _, l := range ls {
			if !slices.ContainsFunc(r.labels.bindings, func(b LabelBinding) bool { return b.Label == l.Label && b.Remote == l.Remote }) {
				t.Errorf("label %d, in use, is not bound: %+v", l.Label, r.labels.bindings)
			}
		}
	}
}

// Both ends get other addresses at once, so that nothing that either sends finds the other. The record that comes through
// a third shows where the neighbour is now; and this node's own goes out with the new address.
func TestBothEndsMoveAtOnce(t *testing.T) {
	r := newScene(t, Config{Addresses: []string{addr(100).String()}})
	lost := r.linkUp(0, alpha, addr(1), 7, 1)
	via := r.linkUp(0, beta, addr(2), 8, 1)
	for _, l := range r.Links() {
		r.report(l.Label, mesh.LinkUp)
	}
	r.lives[alpha] = []string{addr(1).String()}
	r.hear(via, alpha, 1)
	r.pass(10 * time.Second)
	r.takeDials()

	began := r.at
	r.do(LocalAddresses{Addresses: []string{addr(101).String()}})
	if s := r.signed[len(r.signed)-1]; s.Kind != lsdb.KindRecord || !slices.Equal(s.Record.Addresses, []string{addr(101).String()}) {
		t.Fatalf("signed last: %+v", s)
	}
	r.report(r.links[slices.IndexFunc(r.links, func(l *neighbourLink) bool { return l.via == lost })].label, mesh.LinkDown)
	r.pass(200 * time.Millisecond)
	r.lives[alpha] = []string{addr(9).String()}
	r.hear(via, alpha, 1)
	for r.at.Sub(began) < time.Second && !slices.Contains(dialled(r.dials), addr(9)) {
		r.pass(10 * time.Millisecond)
	}
	if !slices.Contains(dialled(r.dials), addr(9)) {
		t.Fatalf("not dialled where the neighbour is now: %v", r.dials)
	}
	d := r.dials[slices.IndexFunc(r.dials, func(d Dial) bool { return d.Addr == addr(9) })]
	r.linkUp(d.ID, alpha, addr(9), 9, 1)
	if i := slices.IndexFunc(r.Links(), func(l LinkView) bool { return l.Remote == addr(9) && l.Neighbour == alpha }); i < 0 {
		t.Errorf("links %+v", r.Links())
	}
}
