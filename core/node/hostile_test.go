package node

import (
	"testing"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// A report that was on its way when the link went, and arrives when it is there again, is of a machine that is no more.
// Believed, it would announce a dead link for ever: the new machine reports changes only, and is down from the start.
func TestReportOfAnEarlierLifeOfALinkIsIgnored(t *testing.T) {
	r := newScene(t, Config{})
	first := r.linkUp(0, zeta, addr(1), 7, 1)
	label := r.Links()[0].Label
	up := mesh.LinkStatus{State: mesh.LinkUp, Since: r.at, Cost: 5000, Quality: mesh.Excellent}
	r.at = r.at.Add(time.Second)
	r.do(ConnDown{Conn: first, Reason: "lost"})
	r.linkUp(0, zeta, addr(1), 7, 1)
	if got := r.Links(); len(got) != 1 || got[0].Label != label || got[0].Session == 0 {
		t.Fatalf("the link is not back: %+v", got)
	}
	r.do(LinkReport{Label: label, Status: up})
	if got := r.Links()[0].Status.State; got != mesh.LinkDown {
		t.Errorf("the link is %v by a report that is older than it", got)
	}
	r.report(label, mesh.LinkUp)
	if got := r.Links()[0].Status.State; got != mesh.LinkUp {
		t.Errorf("the link is %v by its own report", got)
	}
}

// A neighbour that comes from ever new addresses must not take all places in our announcement.
func TestOneNeighbourHasABoundedNumberOfLinks(t *testing.T) {
	r := newScene(t, Config{})
	for i := range 3 * maxParallel {
		r.linkUp(0, zeta, addr(i+1), mesh.Label(i+1), 1)
	}
	if got := len(r.Links()); got != maxParallel || len(r.closed) != 2*maxParallel {
		t.Errorf("%d links, %d connections closed; want %d and %d", got, len(r.closed), maxParallel, 2*maxParallel)
	}
	// A link that is there may renew, and another neighbour come.
	r.linkUp(0, zeta, addr(1), 1, 1)
	r.linkUp(0, mesh.MustNodeID("yota"), addr(100), 1, 1)
	if got := len(r.Links()); got != maxParallel+1 || len(r.closed) != 2*maxParallel {
		t.Errorf("%d links, %d connections closed", got, len(r.closed))
	}
}

func TestNeighbourCannotMakeALinkThinnerThanAnyMayBe(t *testing.T) {
	r := newScene(t, Config{})
	id := r.handshake(0, zeta, addr(1))
	r.do(Received{Conn: id, Message: wire.LinkOpen{Version: 1, Index: 1, Label: 7, MTU: 1, Boot: 1}})
	if got := r.Links()[0].MTU; got != wire.MinLinkMTU {
		t.Errorf("MTU %d, want %d", got, wire.MinLinkMTU)
	}
}

// A node without configured neighbours that is killed and restarted dials those it had: they wait for a connection to
// its earlier life to time out. It gives up soon on those that are gone, and does not call them missing.
func TestRestartRecallsNeighbours(t *testing.T) {
	before := newScene(t, Config{})
	before.linkUp(0, zeta, addr(1), 7, 1)
	kept := before.kept[len(before.kept)-1]
	after := newScene(t, Config{Labels: kept})
	tried := 0
	for range 100 {
		after.pass(100 * time.Millisecond)
		for _, d := range after.takeDials() {
			if d.Addr != addr(1) || d.Want != zeta {
				t.Fatalf("dialled %+v", d)
			}
			tried++
			after.do(DialFailed{Dial: d.ID, Reason: "gone"})
		}
	}
	if tried != recallTries || len(after.Waiting()) != 0 {
		t.Errorf("tried %d times, waiting for %v", tried, after.Waiting())
	}
	again := newScene(t, Config{Labels: kept})
	again.pass(100 * time.Millisecond)
	dials := again.takeDials()
	if len(dials) != 1 {
		t.Fatalf("dials %+v", dials)
	}
	id := again.linkUp(dials[0].ID, zeta, addr(1), 7, 1)
	if ls := again.Links(); len(ls) != 1 || ls[0].Label != before.Links()[0].Label {
		t.Errorf("links after the restart: %+v", ls)
	}
	// Lost once more, it is dialled once more.
	again.do(ConnDown{Conn: id, Reason: "lost"})
	again.pass(time.Second)
	if len(again.takeDials()) != 1 {
		t.Error("a neighbour that had answered is not dialled when it is lost")
	}
}
