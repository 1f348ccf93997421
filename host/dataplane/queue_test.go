package dataplane

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"x0tta6bl4/mesh"
)

// TestFirstPackets: what is sent before there is a peer, a session, its index or a path arrives when all are there, in
// order and once.
func TestFirstPackets(t *testing.T) {
	n := newNet(t, "a", "b")
	n.link("a", "b", 1, 2, 1452)
	a, b := n.nodes["a"], n.nodes["b"]
	var want [][]byte
	send := func() { want = append(want, a.sendTo(b, 100+len(want))) }
	send()
	if len(a.needs) != 1 || a.needs[0] != b.addr {
		t.Fatalf("asked for %v", a.needs)
	}
	a.entry(b)
	a.publish()
	send()
	n.session("a", "b")
	send()
	b.wantDelivered()
	n.route("a", 1, "b")
	b.wantDelivered(want...)
	a.wantCount("queue_added", 3)
	b.wantDelivered(a.sendTo(b, 100))
	a.wantCount("queue_added", 3)
	if a.plane.queue.n.Load() != 0 {
		t.Error("an empty queue is kept")
	}
}

func TestFlushByIndex(t *testing.T) {
	n := newNet(t, "a", "b")
	n.link("a", "b", 1, 2, 1452)
	n.session("a", "b")
	a, b := n.nodes["a"], n.nodes["b"]
	n.route("a", 1, "b")
	secret := bytes.Repeat([]byte{77}, 32)
	a.addPeer(100, b, n.dataKeys(secret, true), 5)
	b.addPeer(101, a, n.dataKeys(secret, false), 6)
	pkt := a.sendTo(b, 80)
	b.wantDelivered()
	a.plane.SetPeerTx(100, 6)
	b.wantDelivered(pkt)
	a.plane.SetPeerTx(555, 6) // unknown sessions are ignored
	a.plane.SetLinkTx(555, 6)
}

func TestQueueBounds(t *testing.T) {
	n := newNet(t, "a", "b")
	n.link("a", "b", 1, 2, 1452)
	a, b := n.nodes["a"], n.nodes["b"]
	var want [][]byte
	for i := range 70 {
		want = append(want, a.sendTo(b, 100+i))
	}
	a.wantCount("queue_overflow", 6)
	n.session("a", "b")
	n.route("a", 1, "b")
	b.wantDelivered(want[6:]...)

	// 256 destinations, then no more until they are too old.
	other := func(i int) netip.Addr {
		x := a.addr.As16()
		x[15], x[14] = byte(i), x[14]^byte(1+i>>8)
		return netip.AddrFrom16(x)
	}
	a.needs = nil
	for i := range 256 {
		a.send(packet(a.addr, other(i), 60, 0))
	}
	a.wantCount("queue_overflow", 6)
	a.send(packet(a.addr, other(256), 60, 0))
	a.wantCount("queue_overflow", 7)
	b.wantDelivered(a.sendTo(b, 60)) // who has a session is not concerned
	if len(a.needs) != 256 {
		t.Errorf("asked %d times", len(a.needs))
	}
	n.now = n.now.Add(queueAge + time.Second)
	a.send(packet(a.addr, other(256), 60, 0))
	a.wantCount("queue_overflow", 7)
	a.wantCount("queue_expired", 256)
	if got := a.plane.queue.n.Load(); got != 1 {
		t.Errorf("%d destinations wait", got)
	}
}

func TestQueueBytes(t *testing.T) {
	var q queue
	q.to = map[[16]byte]*waiting{}
	var c counters
	big := make([]byte, 100<<10)
	for i := range 5 {
		q.add(&c, [16]byte{1}, big, time.Duration(i))
		w := q.to[[16]byte{1}]
		if w.bytes > queueBytes || w.bytes != len(w.packets)*len(big) {
			t.Fatalf("%d packets, %d bytes", len(w.packets), w.bytes)
		}
	}
	if c[queueOverflow].Load() != 3 {
		t.Errorf("%d dropped", c[queueOverflow].Load())
	}
}

func TestQueueAge(t *testing.T) {
	n := newNet(t, "a", "b")
	n.link("a", "b", 1, 2, 1452)
	a, b := n.nodes["a"], n.nodes["b"]
	a.sendTo(b, 60)
	n.now = n.now.Add(3 * time.Second)
	young := a.sendTo(b, 61)
	n.now = n.now.Add(3 * time.Second)
	n.session("a", "b")
	n.route("a", 1, "b")
	b.wantDelivered(young)
	a.wantCount("queue_expired", 1)
}

func TestNeedRate(t *testing.T) {
	n := newNet(t, "a", "b", "c")
	a := n.nodes["a"]
	for range 5 {
		a.sendTo(n.nodes["b"], 60)
		a.sendTo(n.nodes["c"], 60)
	}
	if len(a.needs) != 2 {
		t.Errorf("asked for %v", a.needs)
	}
	n.now = n.now.Add(needInterval)
	a.sendTo(n.nodes["b"], 60)
	if len(a.needs) != 3 {
		t.Errorf("asked for %v", a.needs)
	}
}

// TestNeedMayPublish: the answer to Need may come before the callback returns.
func TestNeedMayPublish(t *testing.T) {
	n := newNet(t, "a", "b")
	n.link("a", "b", 1, 2, 1452)
	a, b := n.nodes["a"], n.nodes["b"]
	a.plane.cb.Need = func(netip.Addr) {
		n.session("a", "b")
		n.route("a", 1, "b")
	}
	b.wantDelivered(a.sendTo(b, 60))
	b.wantDelivered(a.sendTo(b, 61))
}

// TestWrongOwner: keys of one link or peer never serve another, whatever is published.
func TestWrongOwner(t *testing.T) {
	n := newNet(t, "a", "b", "c")
	n.link("a", "b", 1, 2, 1452)
	n.link("a", "c", 3, 4, 1452)
	n.session("a", "b")
	n.route("a", 1, "b")
	a, b, c := n.nodes["a"], n.nodes["b"], n.nodes["c"]
	right := a.table.Links[0].Session
	a.table.Links[0].Session = a.table.Links[1].Session
	a.publish()
	a.sendTo(b, 60)
	b.wantDelivered()
	a.wantCount("send_no_session", 1)
	a.table.Links[0].Session = right
	a.publish()
	b.wantDelivered(a.sendTo(b, 60))

	e := a.entry(c)
	e.Session = a.entry(b).Session
	n.route("a", 3, "c")
	a.sendTo(c, 60)
	a.wantCount("queue_added", 1)
	a.entry(c).Ways = []mesh.Way{{}, {Path: mesh.Path{Labels: []mesh.Label{3}}}}
	a.publish()
	a.wantCount("path_invalid", 2)
}
