package daemon

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"x0tta6bl4/core/node"
	"x0tta6bl4/host/dataplane"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// neighbours are far ends, one for each of a daemon's links, label by label.
type neighbours struct {
	d   *Daemon
	far [4]*node.Reflex
	now time.Time
}

// newNeighbours returns a daemon with four links that are up, as of a time some seconds ago, and their far ends.
func newNeighbours(t *testing.T) *neighbours {
	t.Helper()
	n := &neighbours{d: bareDaemon(), now: time.Now().Add(-10 * time.Second)}
	d := n.d
	t.Cleanup(func() { _ = d.alarm.Close() })
	d.calm, d.intake.last = make(chan node.HelloHeard, 16), map[mesh.Label]time.Time{}
	d.reports, d.orders = newMailbox[node.ControlEvent](), newMailbox[node.ReflexEvent]()
	d.plane = dataplane.New(dataplane.Config{
		Self: mesh.Addr(testDomain, testAlpha), Prefix: mesh.Prefix(testDomain), Send: func(netip.AddrPort, []byte) error { return nil },
	})
	d.table.Store(&mesh.Forwarding{})
	d.reflex = node.NewReflex(node.Config{Rand: rand.New(rand.NewPCG(1, 1))})
	for i := range n.far {
		l := node.LinkSet{Label: mesh.Label(i + 1), Neighbour: mesh.MustNodeID("far"), Session: 1, Remote: netip.MustParseAddrPort("192.0.2.1:1"), MTU: wire.MaxFrame}
		n.far[i] = node.NewReflex(node.Config{Rand: rand.New(rand.NewPCG(2, uint64(i)))})
		n.far[i].Step(n.now, l)
		d.reflex.Step(n.now, l)
	}
	for range 5000 {
		n.pass(func(h node.HelloHeard) { d.reflex.Step(n.now, h) })
	}
	return n
}

// pass lets a millisecond pass and gives what the far ends say to hear.
func (n *neighbours) pass(hear func(node.HelloHeard)) {
	n.now = n.now.Add(time.Millisecond)
	for _, h := range n.d.reflex.Step(n.now, node.Tick{}).Hellos {
		n.far[h.Label-1].Step(n.now, node.HelloHeard{Label: h.Label, Hello: h.Hello, At: n.now})
	}
	for i, r := range n.far {
		for _, h := range r.Step(n.now, node.Tick{}).Hellos {
			hear(node.HelloHeard{Label: mesh.Label(i + 1), Hello: h.Hello, At: n.now})
		}
	}
}

// silence lets hellos wait for as long as the machine bears it, and returns them and when it would be late.
func (n *neighbours) silence() (waiting []node.HelloHeard, late time.Time) {
	for i, r := range n.far { // all are heard at once
		for _, h := range r.Step(n.now, node.Nudge{}).Hellos {
			n.d.reflex.Step(n.now, node.HelloHeard{Label: mesh.Label(i + 1), Hello: h.Hello, At: n.now})
		}
	}
	for range 70 {
		n.pass(func(h node.HelloHeard) { waiting = append(waiting, h) })
	}
	return waiting, n.now.Add(25 * time.Millisecond)
}

func (n *neighbours) suspects() (l []mesh.Label) {
	for _, ev := range n.d.reports.take() {
		if r, ok := ev.(node.LinkReport); ok && r.Status.State == mesh.LinkSuspect {
			l = append(l, r.Label)
		}
	}
	return l
}

// A turn takes in the hellos of all links before it doubts any: taken one by one, the first would make all others pass for
// silent, though their hellos lie right behind it.
func TestTurnHearsAllBeforeItDoubtsAny(t *testing.T) {
	n := newNeighbours(t)
	waiting, late := n.silence()
	if len(waiting) < len(n.far) {
		t.Fatalf("%d hellos wait", len(waiting))
	}
	for i, h := range waiting {
		if i%2 == 0 {
			n.d.calm <- h
		} else {
			n.d.frames <- h
		}
	}
	n.d.takeIn(late, late)
	if l := n.suspects(); len(l) > 0 || len(n.d.calm)+len(n.d.frames) > 0 {
		t.Errorf("suspect are %v; %d and %d hellos were left", l, len(n.d.calm), len(n.d.frames))
	}
	n = newNeighbours(t) // the control
	waiting, late = n.silence()
	n.d.effect(n.d.reflex.Step(late, waiting[0]))
	if l := n.suspects(); len(l) < 2 {
		t.Errorf("suspect are %v when hellos are taken one by one: the test shows nothing", l)
	}
}

// What else there is is taken after the hellos, and nothing twice: a thousand orders make one table.
func TestTurnTakesOthersOnce(t *testing.T) {
	n := newNeighbours(t)
	n.d.frames <- node.Nudge{}
	for range 1000 {
		n.d.orders.put(node.PeerSet{Node: testBeta, Session: 7})
	}
	n.d.orders.put(node.PeerSet{Node: testBeta, Session: 8})
	n.d.takeIn(n.now, time.Time{})
	if len(n.d.intake.others) != 0 || len(n.d.frames) != 0 || len(n.d.orders.take()) != 0 {
		t.Errorf("%d are left, and %d in the queue", len(n.d.intake.others), len(n.d.frames))
	}
	if p, ok := n.d.table.Load().Peer(testBeta); !ok || p.Session != 8 {
		t.Errorf("the table has %+v", p)
	}
	if c := n.d.plane.Counters()["hello_no_link"]; c != uint64(len(n.far)) {
		t.Errorf("%d hellos after a nudge, want one for each of %d links", c, len(n.far))
	}
}
