package node

import (
	"net/netip"
	"testing"
	"time"

	"x0tta6bl4/mesh"
)

// Two configured addresses lead to one neighbour, which sees us at one of ours only: one link is made of them, the second
// address is left alone while it is good, and taken when it is not.
func TestTwoAddressesOneLink(t *testing.T) {
	r := newScene(t, Config{Neighbours: []netip.AddrPort{addr(1), addr(2)}})
	r.pass(time.Second)
	dials := map[netip.AddrPort]uint64{}
	for _, d := range r.takeDials() {
		dials[d.Addr] = d.ID
	}
	first := r.linkUp(dials[addr(1)], alpha, addr(1), 7, 1)
	label := r.Links()[0].Label
	r.report(label, mesh.LinkUp)
	second := r.linkUp(dials[addr(2)], alpha, addr(2), 7, 1)
	if ls := r.Links(); len(ls) != 1 || ls[0].Label != label || r.closed[len(r.closed)-1].Conn != second || r.Counters()["links_doubled"] != 1 {
		t.Fatalf("links %v, closed %v, counters %v", ls, r.closed, r.Counters())
	}
	r.pass(time.Minute)
	if d := r.takeDials(); len(d) != 0 || len(r.Waiting()) != 0 {
		t.Fatalf("dialled %v while the link is there; waiting for %v", d, r.Waiting())
	}
	r.report(label, mesh.LinkDown)
	r.pass(time.Second)
	d := r.takeDials()
	if len(d) == 0 || d[0].Addr != addr(2) {
		t.Fatalf("dialled %v when the link is down", d)
	}
	third := r.linkUp(d[0].ID, alpha, addr(2), 7, 1)
	if ls := r.Links(); len(ls) != 1 || ls[0].Remote != addr(2) || ls[0].Session != third || r.closed[len(r.closed)-1].Conn != first {
		t.Errorf("links %+v, closed %v", ls, r.closed)
	}
}

// With another label at the neighbour the second address is a second link.
func TestTwoAddressesTwoLinks(t *testing.T) {
	r := newScene(t, Config{})
	r.linkUp(0, alpha, addr(1), 7, 1)
	r.linkUp(0, alpha, addr(2), 8, 1)
	r.linkUp(0, zeta, addr(3), 7, 1) // another neighbour's label is nobody else's
	if n := len(r.Links()); n != 3 || r.Counters()["links_doubled"] != 0 {
		t.Errorf("%d links, counters %v", n, r.Counters())
	}
}

// A neighbour that knows our address by two of its own tells a label of ours with each connection; announced is that of
// the connection in use.
func TestLabelOfTheConnectionInUse(t *testing.T) {
	r := newScene(t, Config{})
	first := r.linkUp(0, alpha, addr(1), 7, 1)
	r.pass(10 * time.Second)
	second := r.linkUp(0, alpha, addr(1), 8, 1)
	if l := r.Links()[0]; l.Session != second || l.Theirs != 8 {
		t.Fatalf("%+v", l)
	}
	r.do(ConnDown{Conn: second, Reason: "there is a link already"})
	if l := r.Links()[0]; l.Session != first || l.Theirs != 7 {
		t.Errorf("%+v", l)
	}
}
