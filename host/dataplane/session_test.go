package dataplane

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

func TestProbe(t *testing.T) {
	n := line(t)
	a, d := n.nodes["a"], n.nodes["d"]
	path := a.table.Peers[0].Ways[0].Path
	path.Number = 1
	if err := a.plane.SendProbe(d.id, path, wire.Probe{ID: 3, SentAt: 44, Labels: path.Labels}, false); err != nil {
		t.Fatal(err)
	}
	if len(a.replies) != 1 || a.replies[0].ID != 3 || a.replies[0].SentAt != 44 || a.replies[0].Path != 1 || a.replies[0].Labels != nil {
		t.Fatalf("replies %+v", a.replies)
	}
	if u := d.plane.PeerUsage()[a.id]; !u.Last().IsZero() {
		t.Errorf("a probe counts as use: %+v", u)
	}
	// A node that has no path of its own answers by the way back.
	d.table.Peers[0].Ways = nil
	d.publish()
	if err := a.plane.SendProbe(d.id, path, wire.Probe{ID: 4}, false); err != nil {
		t.Fatal(err)
	}
	if len(a.replies) != 2 || a.replies[1].ID != 4 {
		t.Fatalf("replies %+v", a.replies)
	}
	// One that cannot seal for the peer yet does not.
	secret := bytes.Repeat([]byte{99}, 32)
	a.addPeer(200, d, n.dataKeys(secret, true), 8)
	a.plane.SetPeerTx(200, 9)
	d.addPeer(201, a, n.dataKeys(secret, false), 9)
	if err := a.plane.SendProbe(d.id, path, wire.Probe{ID: 5}, false); err != nil {
		t.Fatal(err)
	}
	d.wantCount("peer_no_way_back", 1)
}

func TestProbeMalformed(t *testing.T) {
	n := line(t)
	a, d := n.nodes["a"], n.nodes["d"]
	peer := a.plane.view.Load().byNode[d.id]
	send := func(kind wire.InnerKind, size int) {
		s := new(sealer)
		a.plane.sealAndSend(s, peer.session, wire.Inner{Kind: kind}, size, 0, peer.ways[0].paths)
	}
	send(wire.InnerProbe, 17)
	send(wire.InnerProbeReply, 17)
	send(9, 0)
	d.wantCount("peer_malformed", 3)
	send(wire.InnerKeepalive, 0)
	send(wire.InnerProbeReply, 18)
	d.wantCount("peer_malformed", 3)
	if len(d.replies) != 1 {
		t.Errorf("%d replies", len(d.replies))
	}
}

// TestRenewal: packets switch to the new session at Publish, frames of the old one are still received until it is
// removed, and the same holds for links.
func TestRenewal(t *testing.T) {
	n := newNet(t, "a", "b")
	n.link("a", "b", 1, 2, 1452)
	n.session("a", "b")
	n.route("a", 1, "b")
	a, b := n.nodes["a"], n.nodes["b"]
	oldPeer, oldLink := b.table.Peers[0].Session, b.table.Links[0].Session
	var frames [][]byte
	n.tap = func(_, _ *testNode, f []byte) int { frames = append(frames, bytes.Clone(f)); return 0 }
	first := a.sendTo(b, 60)
	a.sendTo(b, 61)

	n.session("a", "b")
	secret := bytes.Repeat([]byte{88}, 32)
	a.table.Links, b.table.Links = nil, nil
	a.addLink(300, 1, b, 1452, n.linkKeys(secret, true), 0x300)
	b.addLink(301, 2, a, 1452, n.linkKeys(secret, false), 0x301)
	a.plane.SetLinkTx(300, 0x301)

	b.plane.handleFrame(a.under, frames[0])
	b.wantDelivered(first)
	n.tap = func(_, _ *testNode, f []byte) int { return 1 }
	b.wantDelivered(a.sendTo(b, 62))
	b.plane.RemovePeer(oldPeer)
	b.plane.handleFrame(a.under, bytes.Clone(frames[1]))
	b.wantDelivered()
	b.wantCount("peer_unknown_session", 1)
	b.plane.RemoveLink(oldLink)
	b.plane.handleFrame(a.under, bytes.Clone(frames[1]))
	b.wantCount("link_unknown_session", 1)
	b.wantDelivered(a.sendTo(b, 63))
	if u := b.plane.LinkCounters()[2]; u.RxFrames != 4 {
		t.Errorf("counters do not survive the session: %+v", u)
	}
}

func TestKeyUsedUp(t *testing.T) {
	n := line(t)
	a, d := n.nodes["a"], n.nodes["d"]
	s := a.plane.view.Load().byNode[d.id].session
	s.counter.Store(maxSeals - 1)
	if err := d.plane.view.Load().sessions[0].open.follow(wire.Epoch(maxSeals-1), 1); err != nil {
		t.Fatal(err)
	}
	d.wantDelivered(a.sendTo(d, 60))
	a.sendTo(d, 60)
	d.wantDelivered()
	a.wantCount("peer_key_used_up", 1)
	if err := a.plane.SendProbe(d.id, a.table.Peers[0].Ways[0].Path, wire.Probe{}, false); err == nil {
		t.Error("probed with a key that is used up")
	}
}

// TestCounterCarry crosses 2^32 link frames, where the low half on the wire begins again.
func TestCounterCarry(t *testing.T) {
	n := newNet(t, "a", "b")
	n.link("a", "b", 1, 2, 1452)
	n.session("a", "b")
	n.route("a", 1, "b")
	a, b := n.nodes["a"], n.nodes["b"]
	s := a.plane.view.Load().links[1].session
	s.counter.Store(1<<31 - 1)
	b.wantDelivered(a.sendTo(b, 60))
	s.counter.Store(1<<32 - 2)
	for range 4 {
		b.wantDelivered(a.sendTo(b, 60))
	}
	if e := b.plane.LinkCounters()[2].ExpectedFrames; e != 1<<32+2 {
		t.Errorf("expected %d", e)
	}
}

func TestLinkLossIsKnown(t *testing.T) {
	n := newNet(t, "a", "b")
	n.link("a", "b", 1, 2, 1452)
	n.session("a", "b")
	n.route("a", 1, "b")
	a, b := n.nodes["a"], n.nodes["b"]
	i := 0
	n.tap = func(_, _ *testNode, f []byte) int { i++; return i % 2 }
	for range 11 {
		a.sendTo(b, 60)
	}
	if u := b.plane.LinkCounters()[2]; u.RxFrames != 6 || u.ExpectedFrames != 11 {
		t.Errorf("usage %+v", u)
	}
}

func TestMovedAndUnknown(t *testing.T) {
	n := newNet(t, "a", "b")
	n.link("a", "b", 1, 2, 1452)
	a, b := n.nodes["a"], n.nodes["b"]
	old := a.under
	a.under = netip.MustParseAddrPort("[::ffff:198.51.100.7]:9")
	a.plane.SendHello(1, wire.Hello{}, 0)
	a.plane.SendHello(1, wire.Hello{}, 0)
	if len(b.moved) != 1 || b.moved[0] != netip.MustParseAddrPort("198.51.100.7:9") {
		t.Fatalf("moved %v", b.moved)
	}
	n.now = n.now.Add(time.Second)
	a.under = netip.AddrPortFrom(netip.AddrFrom16(old.Addr().As16()), old.Port()) // the same, as a dual-stack socket says it
	a.plane.SendHello(1, wire.Hello{}, 0)
	if len(b.moved) != 1 {
		t.Errorf("moved %v", b.moved)
	}
	f := wire.AppendFrame(nil, wire.TypeHello, 0, nil, make([]byte, 41))
	f[7] = 9
	b.plane.handleFrame(old, bytes.Clone(f))
	b.plane.handleFrame(old, bytes.Clone(f))
	b.wantCount("link_unknown_session", 2)
	if len(b.unknown) != 1 || b.unknown[0] != 9 {
		t.Errorf("unknown %v", b.unknown)
	}
}

// A link that is bound to an interface hears its neighbour from the same address without a zone: that is no move. Another
// address, or the same one by another interface, is.
func TestZoneIsNoMove(t *testing.T) {
	n := newNet(t, "a", "b")
	n.link("a", "b", 1, 2, 1452)
	a, b := n.nodes["a"], n.nodes["b"]
	plain := a.under
	b.table.Links[0].Remote = mesh.InZone(plain, "wlan0")
	b.publish()
	for _, tc := range []struct {
		from  netip.AddrPort
		moved bool
	}{
		{plain, false},
		{netip.AddrPortFrom(netip.AddrFrom16(plain.Addr().As16()), plain.Port()), false},
		{mesh.InZone(plain, "wlan0"), false},
		{mesh.InZone(plain, "eth0"), true},
		{netip.MustParseAddrPort("198.51.100.7:9"), true},
	} {
		b.moved, n.now = nil, n.now.Add(time.Second)
		a.under = tc.from
		a.plane.SendHello(1, wire.Hello{}, 0)
		if moved := len(b.moved) == 1 && b.moved[0] == tc.from; moved != tc.moved || !tc.moved && len(b.moved) > 0 {
			t.Errorf("from %s: moved %v", tc.from, b.moved)
		}
	}
}

func TestSendFails(t *testing.T) {
	n := line(t)
	a, d := n.nodes["a"], n.nodes["d"]
	delete(n.at, n.nodes["b"].under)
	a.sendTo(d, 60)
	a.wantCount("send_failed", 1)
	a.wantCount("tun_no_link", 1)
	a.wantCount("tun_sent", 0)
}

func TestDefaults(t *testing.T) {
	p := New(Config{
		Self: mesh.Addr(testDomain, mesh.MustNodeID("a")), Prefix: testPrefix, Tun: &memTUN{},
		Send: func(netip.AddrPort, []byte) error { return nil },
	})
	p.Publish(nil)
	p.handleFrame(netip.AddrPort{}, []byte("not a frame, but long enough for one header"))
	f := wire.AppendFrame(nil, wire.TypeData, 0, nil, make([]byte, 40))
	p.handleFrame(netip.AddrPort{}, f)
	if c := p.Counters(); c["link_unknown_session"] != 1 || c["frame_bad_type"] != 1 || len(c) != int(numCounters) {
		t.Errorf("counters %v", c)
	}
	if err := p.AddPeer(1, mesh.MustNodeID("b"), netip.Addr{}, 1, wire.DataKeys{}); err == nil {
		t.Error("a peer without address")
	}
	c := Callbacks{}.withDefaults()
	c.Hello(1, wire.Hello{}, time.Time{})
	c.Challenge(1, netip.AddrPort{}, false, wire.Challenge{})
	c.Moved(1, 1, netip.AddrPort{})
	c.Error(wire.ErrorFrame{}, 1, time.Time{}, nil)
	c.Need(netip.Addr{})
	c.ProbeReply(mesh.NodeID{}, 0, wire.Probe{}, time.Time{})
	c.Handshake(wire.Handshake{}, 1, nil)
}

// TestManyGoroutines lets sockets, TUN and control work at once: for the race detector, and every packet still
// arrives exactly once.
func TestManyGoroutines(t *testing.T) {
	n := newNet(t, "a", "b", "c")
	n.link("a", "b", 1, 2, 1452)
	n.link("b", "c", 3, 4, 1232)
	n.session("a", "c")
	n.route("a", 1, "b", 3, "c")
	a, b, c := n.nodes["a"], n.nodes["b"], n.nodes["c"]
	n.tap = func(_, _ *testNode, f []byte) int { return 2 } // every datagram twice
	pkt := packet(a.addr, c.addr, 1360, 1)
	var senders, others sync.WaitGroup
	for range 4 {
		senders.Go(func() {
			for range 200 {
				a.send(pkt)
			}
		})
	}
	stop := make(chan struct{})
	for _, d := range []*testNode{a, b, c} {
		f := &mesh.Forwarding{Links: d.table.Links, Peers: d.table.Peers}
		others.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					d.plane.Publish(f)
					d.plane.Counters()
					d.plane.LinkCounters()
					d.plane.PeerUsage()
					d.plane.LastHeard(1)
				}
			}
		})
	}
	senders.Wait()
	close(stop)
	others.Wait()
	joined := c.plane.Counters()["part_joined"]
	if got := len(c.tun.take()); uint64(got) != joined || got < 700 {
		// A part whose other half waited behind 16 others is given up, so not all need arrive.
		t.Errorf("%d of 800 delivered, %d joined", got, joined)
	}
}

// FuzzHandleFrame: whatever comes from outside delivers nothing and panics nowhere; and nothing does from a neighbour
// who has link keys but no session.
func FuzzHandleFrame(f *testing.F) {
	n := line(f)
	a, c := n.nodes["a"], n.nodes["c"]
	d := n.nodes["d"]
	n.tap = func(_, to *testNode, b []byte) int {
		f.Add(bytes.Clone(b))
		return 1 // arrives now, so that it is a replay afterwards
	}
	a.sendTo(d, 100)
	d.tun.take()
	a.plane.SendHello(12, wire.Hello{Seq: 1}, 0)
	_ = a.plane.SendHandshake(12, []mesh.Label{22}, wire.Handshake{Datagram: []byte{1}})
	f.Add(wire.AppendFrame(nil, wire.TypeError, 0, []mesh.Label{32}, wire.ErrorFrame{Code: 1}.Append(nil)))
	f.Add(wire.AppendFrame(nil, wire.TypePart, 0, nil, []byte{0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1}))
	f.Add(wire.AppendFrame(nil, wire.TypePart, 0, nil, []byte{0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 1}))
	n.tap = func(_, _ *testNode, _ []byte) int { return 1 }
	r := rand.New(rand.NewPCG(1, 2))
	f.Fuzz(func(t *testing.T, b []byte) {
		n.now = n.now.Add(time.Duration(r.IntN(1e6)))
		c.plane.handleFrame(d.under, bytes.Clone(b))
		if len(b) >= wire.HeaderLen && len(b) <= wire.MaxFrame {
			a.plane.emit(a.plane.view.Load().links[12], bytes.Clone(b))
		}
		for _, x := range n.nodes {
			if got := x.tun.take(); len(got) != 0 {
				t.Fatalf("%v delivered %x", x.id, got)
			}
			x.hellos, x.errors, x.matches, x.shakes, x.challenges, x.unknown = nil, nil, nil, nil, nil, nil
		}
	})
}
