package node

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// A configured neighbour that does not answer is dialled again and again, ever more slowly, never more than RetryMax
// apart, and at the first rate again once it has been met.
func TestDialBackOff(t *testing.T) {
	r := newScene(t, Config{Neighbours: []netip.AddrPort{addr(1)}})
	var waits []time.Duration
	last := r.at
	for range 40 {
		r.pass(r.Control.Deadline().Sub(r.at))
		d := r.takeDials()
		if len(d) == 0 {
			continue
		}
		if len(d) != 1 || d[0].Addr != addr(1) {
			t.Fatalf("dials %+v", d)
		}
		waits = append(waits, r.at.Sub(last))
		last = r.at
		r.do(DialFailed{Dial: d[0].ID, Reason: "timeout"})
	}
	if longest := slices.Max(waits); len(waits) < 10 || longest > 5*time.Second || longest < 2500*time.Millisecond {
		t.Errorf("waits between dials: %v", waits)
	}
	if waits[1] > 100*time.Millisecond {
		t.Errorf("first wait %v", waits[1])
	}
	r.pass(10 * time.Second)
	d := r.takeDials()
	conn := r.linkUp(d[0].ID, alpha, addr(1), 7, 1)
	r.pass(time.Minute)
	if d := r.takeDials(); len(d) != 0 || len(r.Waiting()) != 0 {
		t.Errorf("dialled %v while the link is there; waiting for %v", d, r.Waiting())
	}
	r.do(ConnDown{Conn: conn, Reason: "idle"})
	if d := r.takeDials(); len(d) != 1 {
		t.Errorf("a link that ends is not dialled at once: %v", d)
	}
}

// A connection that ends before it was opened (our SVID was refused) is a failure; one that opens and ends is not
// dialled again in a tight loop either.
func TestConnectionsThatEndAtOnce(t *testing.T) {
	r := newScene(t, Config{Neighbours: []netip.AddrPort{addr(1)}})
	r.pass(time.Second)
	for i := range 30 {
		d := r.takeDials()
		if len(d) == 0 {
			r.pass(r.Control.Deadline().Sub(r.at))
			continue
		}
		id := r.handshake(d[0].ID, alpha, addr(1))
		if i > 15 {
			r.do(Received{Conn: id, Message: wire.LinkOpen{Version: 1, Index: 5, Label: 9, MTU: 1400, Boot: 1}})
		}
		r.do(ConnDown{Conn: id, Reason: "refused"})
		if d := r.dials; len(d) != 0 {
			t.Fatalf("attempt %d: dialled again at once: %v", i, d)
		}
	}
}

func TestDialsThatReachNobodyElse(t *testing.T) {
	r := newScene(t, Config{Neighbours: []netip.AddrPort{addr(1), addr(2), addr(1)}})
	r.pass(time.Second)
	d := r.takeDials()
	if len(d) != 2 {
		t.Fatalf("two addresses, one of them given twice: dials %v", d)
	}
	id := r.handshake(d[0].ID, self, addr(1))
	r.do(DialFailed{Dial: d[1].ID, Self: true})
	r.pass(time.Minute)
	if d := r.takeDials(); len(d) != 0 {
		t.Errorf("dials itself again: %v", d)
	}
	if len(r.Links()) != 0 || len(r.closed) != 1 || r.closed[0].Conn != id {
		t.Errorf("links %v, closed %v", r.Links(), r.closed)
	}
	stray := r.handshake(99, alpha, addr(3))
	if len(r.closed) != 2 || r.closed[1].Conn != stray {
		t.Errorf("a connection of a dial that nobody made was kept")
	}
	// Answers to what was given up change nothing.
	r.do(DialFailed{Dial: 99})
	r.do(ConnDown{Conn: 99})
	r.do(Received{Conn: 99, Message: wire.LinkOpen{}})
	r.do(LinkReport{Label: 99})
	r.do(Stale{Node: zeta})
	r.do(Used{Node: zeta, At: r.at})
}

// Both ends dial at once: both connections are kept for a while, both ends send by the one that the smaller ID
// opened, and the link is one link.
func TestSimultaneousOpen(t *testing.T) {
	for _, c := range []struct {
		neighbour mesh.NodeID
		theirs    bool // the neighbour's connection wins
	}{{alpha, true}, {zeta, false}} {
		r := newScene(t, Config{Neighbours: []netip.AddrPort{addr(1)}})
		r.pass(time.Second)
		mine := r.linkUp(r.takeDials()[0].ID, c.neighbour, addr(1), 7, 1)
		r.at = r.at.Add(10 * time.Millisecond)
		theirs := r.linkUp(0, c.neighbour, addr(1), 7, 1)
		want := mine
		if c.theirs {
			want = theirs
		}
		links := r.Links()
		if len(links) != 1 || links[0].Session != want {
			t.Fatalf("with %v: links %+v, want session %d", c.neighbour, links, want)
		}
		if len(r.closed) != 0 {
			t.Errorf("with %v: closed %v while packets may be in flight", c.neighbour, r.closed)
		}
		r.pass(40 * time.Second)
		if len(r.closed) != 1 || r.closed[0].Conn == want {
			t.Errorf("with %v: closed %v at last", c.neighbour, r.closed)
		}
	}
}

// A link is announced when both ends say so and the fast loop has it up, and no longer.
func TestOnlyTwoWayLinksAreAnnounced(t *testing.T) {
	r := newScene(t, Config{})
	id := r.handshake(0, alpha, addr(1))
	r.pass(time.Second)
	if links, ok := r.announced(); ok {
		t.Errorf("announced %v before the neighbour opened", links)
	}
	r.do(Received{Conn: id, Message: wire.LinkOpen{Version: 1, Index: 1, Label: 7, MTU: 1300, Boot: 1}})
	label := r.Links()[0].Label
	r.pass(time.Second)
	if links, ok := r.announced(); ok {
		t.Errorf("announced %v before a hello came through both ways", links)
	}
	r.report(label, mesh.LinkUp)
	r.pass(time.Second)
	if links, _ := r.announced(); !slices.Equal(links, []mesh.NodeID{alpha}) {
		t.Errorf("announces %v", links)
	}
	last := r.signed[len(r.signed)-1].LSA.Links[0]
	if last.Label != label || last.Remote != 7 || last.MTU != 1300 || last.Suspect {
		t.Errorf("announces %+v", last)
	}
	r.report(label, mesh.LinkSuspect)
	r.pass(5 * time.Second)
	if last := r.signed[len(r.signed)-1].LSA.Links; len(last) != 1 || !last[0].Suspect {
		t.Errorf("announces %+v while the link is suspect", last)
	}
	r.report(label, mesh.LinkDown)
	if links, _ := r.announced(); len(links) != 0 {
		t.Errorf("announces %v in the step in which the link went down", links)
	}
	r.report(label, mesh.LinkUp)
	r.pass(5 * time.Second)
	if links, _ := r.announced(); len(links) != 1 {
		t.Errorf("announces %v after the link came back", links)
	}
	r.do(ConnDown{Conn: id, Reason: "gone"})
	r.pass(time.Second)
	if links, _ := r.announced(); len(links) != 0 || len(r.Links()) != 0 {
		t.Errorf("announces %v without a connection", links)
	}
	if _, ok := r.reflex[len(r.reflex)-1].(LinkGone); !ok {
		t.Errorf("the fast loop was told %T last", r.reflex[len(r.reflex)-1])
	}
}

// The identity is rotated: the link gets a successor under the new SVID, and at every moment there is a session.
func TestRotationMakesBeforeBreak(t *testing.T) {
	r := newScene(t, Config{Neighbours: []netip.AddrPort{addr(1)}})
	r.pass(time.Second)
	old := r.linkUp(r.takeDials()[0].ID, alpha, addr(1), 7, 1)
	r.do(identityOf(self, 1, r.at.Add(36*time.Hour)))
	if n := len(r.signed); r.signed[n-1].Record.Chain == nil || r.signed[n-1].Record.Seq == 0 {
		t.Errorf("no record under the new SVID: %+v", r.signed[n-1])
	}
	step := func(d time.Duration) {
		t.Helper()
		for end := r.at.Add(d); r.at.Before(end); {
			r.pass(min(100*time.Millisecond, end.Sub(r.at)))
			if l := r.Links(); len(l) != 1 || l[0].Session == 0 {
				t.Fatalf("no session %v after the start", r.at.Sub(epoch))
			}
		}
	}
	step(time.Minute)
	d := r.takeDials()
	if len(d) != 1 || d[0].Want != alpha || d[0].Addr != addr(1) {
		t.Fatalf("dials for a successor: %+v", d)
	}
	r.do(DialFailed{Dial: d[0].ID}) // lost; it is tried again
	step(time.Second)
	d = r.takeDials()
	if len(d) != 1 {
		t.Fatalf("dials after a failure: %+v", d)
	}
	successor := r.linkUp(d[0].ID, alpha, addr(1), 7, 1)
	if l := r.Links(); l[0].Session != successor {
		t.Errorf("session %d, want the successor %d", l[0].Session, successor)
	}
	step(30 * time.Second)
	if len(r.closed) != 1 || r.closed[0].Conn != old {
		t.Errorf("closed %v, want %d after its linger time", r.closed, old)
	}
	if d := r.takeDials(); len(d) != 0 {
		t.Errorf("dials though there is a successor: %v", d)
	}
}

// The neighbour's process is a new one: connections to the old one end in the step in which that is known, and the
// link keeps its label.
func TestNeighbourRestarts(t *testing.T) {
	r := newScene(t, Config{})
	old := r.linkUp(0, alpha, addr(1), 7, 100)
	label := r.Links()[0].Label
	r.report(label, mesh.LinkUp)
	r.pass(time.Second)
	fresh := r.linkUp(0, alpha, addr(1), 8, 200)
	if l := r.Links(); len(l) != 1 || l[0].Session != fresh || l[0].Label != label || l[0].Theirs != 8 {
		t.Errorf("link %+v", l)
	}
	if len(r.closed) != 1 || r.closed[0].Conn != old {
		t.Errorf("closed %v", r.closed)
	}
	r.pass(2 * time.Second)
	if last := r.signed[len(r.signed)-1].LSA.Links; len(last) != 1 || last[0].Remote != 8 {
		t.Errorf("announces %+v", last)
	}
	r.do(Received{Conn: fresh, Message: wire.Bye{Reason: "going down"}})
	if l := r.Links(); len(l) != 0 {
		t.Errorf("links after goodbye: %+v", l)
	}
}

// A link that was down for seconds and is up again gets a fresh connection, once.
func TestReturningLinkIsRedialled(t *testing.T) {
	r := newScene(t, Config{})
	r.linkUp(0, alpha, addr(1), 7, 100)
	label := r.Links()[0].Label
	r.report(label, mesh.LinkUp)
	r.report(label, mesh.LinkDown)
	r.pass(5 * time.Second)
	r.report(label, mesh.LinkUp)
	d := r.takeDials()
	if len(d) != 1 || d[0].Want != alpha {
		t.Fatalf("dials %v", d)
	}
	r.pass(4 * time.Second)
	r.linkUp(d[0].ID, alpha, addr(1), 7, 100)
	r.pass(time.Minute)
	if d := r.takeDials(); len(d) != 0 {
		t.Errorf("dials %v again", d)
	}
}
