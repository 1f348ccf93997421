package dataplane

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

func TestDirect(t *testing.T) {
	n := newNet(t, "a", "b")
	n.link("a", "b", 1, 2, 1452)
	n.session("a", "b")
	n.route("a", 1, "b")
	n.route("b", 2, "a")
	a, b := n.nodes["a"], n.nodes["b"]
	b.wantDelivered(a.sendTo(b, 1360))
	a.wantDelivered(b.sendTo(a, 41))
	if u := a.plane.PeerUsage()[b.id]; u.TxPackets != 1 || u.TxBytes != 1360 || u.RxPackets != 1 || u.RxBytes != 41 || u.Sealed != 1 || !u.Last().Equal(n.now) {
		t.Errorf("usage %+v", u)
	}
	if !a.plane.LastHeard(1).Equal(n.now) || !a.plane.LastHeard(9).IsZero() {
		t.Errorf("last heard %v and %v", a.plane.LastHeard(1), a.plane.LastHeard(9))
	}
	if l := b.plane.LinkCounters()[2]; l.RxFrames != 1 || l.TxFrames != 1 || l.RxBytes != 1360+36+16 || l.ExpectedFrames != 1 {
		t.Errorf("link %+v", l)
	}
}

// TestLine follows one packet over two relays: each swaps one label, and no byte of packet or addresses shows.
func TestLine(t *testing.T) {
	n := line(t)
	a, b, c, d := n.nodes["a"], n.nodes["b"], n.nodes["c"], n.nodes["d"]
	var frames [][]byte
	n.tap = func(_, _ *testNode, b []byte) int { frames = append(frames, bytes.Clone(b)); return 1 }
	pkt := a.sendTo(d, 600)
	d.wantDelivered(pkt)
	want := []struct {
		hop    uint8
		labels []byte
	}{
		{0, []byte{0, 22, 0, 32}},
		{1, []byte{0, 21, 0, 32}},
		{2, []byte{0, 21, 0, 31}},
	}
	if len(frames) != len(want) {
		t.Fatalf("%d frames", len(frames))
	}
	src, dst := a.addr.As16(), d.addr.As16()
	for i, w := range want {
		f, err := wire.ParseFrame(frames[i])
		if err != nil || f.Hop != w.hop || !bytes.Equal(f.Labels, w.labels) {
			t.Errorf("frame %d: hop %d, labels %v, %v; want %d, %v", i, f.Hop, f.Labels, err, w.hop, w.labels)
		}
		first, _ := wire.ParseFrame(frames[0])
		if !bytes.Equal(f.Payload, first.Payload) {
			t.Errorf("frame %d: the payload changed on the way", i)
		}
		for what, secret := range map[string][]byte{
			"payload": pkt[60:76], "source": src[:], "destination": dst[:], "host part": dst[8:], "header": pkt[:8],
		} {
			if bytes.Contains(frames[i], secret) {
				t.Errorf("frame %d shows the %s", i, what)
			}
		}
	}
	for _, r := range []*testNode{b, c} {
		r.wantCount("relay_forwarded", 1)
		r.wantDelivered()
	}
	if l := b.plane.LinkCounters()[21]; l.ForwardedFrames != 1 || l.ForwardedBytes != uint64(len(frames[0])) {
		t.Errorf("use of the relay %+v", l)
	}
}

func TestWayBack(t *testing.T) {
	n := line(t)
	a, d := n.nodes["a"], n.nodes["d"]
	ask := wire.Handshake{FromInitiator: true, Conversation: 7, Datagram: []byte("client hello")}
	if err := a.plane.SendHandshake(12, []mesh.Label{22, 32}, ask); err != nil {
		t.Fatal(err)
	}
	if len(d.shakes) != 1 {
		t.Fatalf("%d handshakes", len(d.shakes))
	}
	s := d.shakes[0]
	if s.in != 41 || !slices.Equal(s.back, []mesh.Label{31, 21}) || string(s.h.Datagram) != "client hello" {
		t.Fatalf("arrived %+v", s)
	}
	answer := wire.Handshake{Conversation: 7, Datagram: []byte("server hello")}
	if err := d.plane.SendHandshake(s.in, s.back, answer); err != nil {
		t.Fatal(err)
	}
	if len(a.shakes) != 1 || string(a.shakes[0].h.Datagram) != "server hello" || a.shakes[0].h.FromInitiator {
		t.Fatalf("answer %+v", a.shakes)
	}
}

func TestHandshakeErrorMatches(t *testing.T) {
	n := line(t)
	a, d := n.nodes["a"], n.nodes["d"]
	n.nodes["c"].usable(32, false)
	h := wire.Handshake{FromInitiator: true, Conversation: 7, Datagram: make([]byte, 1200)}
	if err := a.plane.SendHandshake(12, []mesh.Label{22, 32}, h); err != nil {
		t.Fatal(err)
	}
	if len(a.matches) != 1 {
		t.Fatalf("%d errors", len(a.matches))
	}
	if m := a.matches[0]; !m.Handshake || m.Node != d.id || m.Reporter != 2 || len(m.Path.Nodes) != 4 {
		t.Errorf("match %+v", m)
	}
}

func TestSendRefuses(t *testing.T) {
	n := line(t)
	a, b := n.nodes["a"], n.nodes["b"]
	h := wire.Handshake{Datagram: []byte{1}}
	good := a.table.Peers[0].Ways[0].Path
	for _, c := range []struct {
		name string
		err  error
		want error
	}{
		{"handshake by no link", a.plane.SendHandshake(99, nil, h), ErrNoLink},
		{"too many labels", a.plane.SendHandshake(12, make([]mesh.Label, 33), h), ErrPath},
		{"empty datagram", a.plane.SendHandshake(12, nil, wire.Handshake{}), ErrTooBig},
		{"huge datagram", a.plane.SendHandshake(12, nil, wire.Handshake{Datagram: make([]byte, 9000)}), ErrTooBig},
		{"probe without session", a.plane.SendProbe(b.id, good, wire.Probe{}, false), ErrNoSession},
		{"probe by no path", a.plane.SendProbe(n.nodes["d"].id, mesh.Path{}, wire.Probe{}, false), ErrPath},
		{"probe to elsewhere", a.plane.SendProbe(n.nodes["d"].id, mesh.Path{Nodes: good.Nodes[:2], Labels: good.Labels[:1]}, wire.Probe{}, false), ErrPath},
		{"challenge by no link", a.plane.SendChallenge(99, netip.AddrPort{}, false, wire.Challenge{}), ErrNoLink},
		{"good handshake", a.plane.SendHandshake(12, nil, h), nil},
		{"good probe", a.plane.SendProbe(n.nodes["d"].id, good, wire.Probe{}, false), nil},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, c.err, c.want)
		}
	}
	a.usable(12, false)
	if err := a.plane.SendProbe(n.nodes["d"].id, good, wire.Probe{}, false); !errors.Is(err, ErrNoLink) {
		t.Errorf("probe on a dead link: %v", err)
	}
}

// TestBadFrames damages one frame on its last link; the same frame undamaged is delivered.
func TestBadFrames(t *testing.T) {
	cases := []struct {
		name    string
		damage  func(b []byte) []byte
		counter string
	}{
		{"none", func(b []byte) []byte { return b }, "delivered"},
		{"empty", func(b []byte) []byte { return nil }, "frame_truncated"},
		{"header cut", func(b []byte) []byte { return b[:19] }, "frame_truncated"},
		{"labels cut", func(b []byte) []byte { return b[:22] }, "frame_truncated"},
		{"payload cut", func(b []byte) []byte { return b[:len(b)-1] }, "link_bad_mac"},
		{"longer", func(b []byte) []byte { return append(b, 0) }, "link_bad_mac"},
		{"too long", func(b []byte) []byte { return append(b, make([]byte, 1452)...) }, "frame_malformed"},
		{"type", func(b []byte) []byte { b[0] = 0x3f; return b }, "frame_bad_type"},
		{"QUIC", func(b []byte) []byte { b[0] |= 0x40; return b }, "frame_bad_type"},
		{"hop beyond labels", func(b []byte) []byte { b[1] = 3; return b }, "frame_malformed"},
		{"too many labels", func(b []byte) []byte { b[2] = 33; return b }, "frame_malformed"},
		{"hop back", func(b []byte) []byte { b[1] = 1; return b }, "link_bad_mac"},
		{"flags", func(b []byte) []byte { b[3] ^= 1; return b }, "link_bad_mac"},
		{"index", func(b []byte) []byte { b[7] ^= 0x80; return b }, "link_unknown_session"},
		{"counter", func(b []byte) []byte { b[11]++; return b }, "link_bad_mac"},
		{"MAC", func(b []byte) []byte { b[19] ^= 1; return b }, "link_bad_mac"},
		{"label", func(b []byte) []byte { b[21] ^= 1; return b }, "link_bad_mac"},
		{"end-to-end index", func(b []byte) []byte { b[24] ^= 1; return b }, "link_bad_mac"},
		{"ciphertext", func(b []byte) []byte { b[len(b)-20] ^= 1; return b }, "peer_bad_seal"},
		{"tag", func(b []byte) []byte { b[len(b)-1] ^= 1; return b }, "peer_bad_seal"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			n := line(t)
			a, d := n.nodes["a"], n.nodes["d"]
			var last []byte
			n.tap = func(_, to *testNode, b []byte) int {
				if to != d {
					return 1
				}
				last = b
				return 0
			}
			pkt := a.sendTo(d, 200)
			d.plane.handleFrame(n.nodes["c"].under, c.damage(bytes.Clone(last)))
			d.wantCount(c.counter, 1)
			if c.counter == "delivered" {
				d.wantDelivered(pkt)
			} else {
				d.wantDelivered()
			}
			// A damaged frame takes nothing from the good one, except its place in the link's replay window.
			d.plane.handleFrame(n.nodes["c"].under, bytes.Clone(last))
			if c.counter == "peer_bad_seal" || c.counter == "delivered" {
				d.wantDelivered()
				d.wantCount("link_replay", 1)
			} else {
				d.wantDelivered(pkt)
			}
		})
	}
}

// TestEveryBitFlip: no single bit changed on a link gets a packet through, or an altered one.
func TestEveryBitFlip(t *testing.T) {
	n := newNet(t, "a", "b")
	n.link("a", "b", 1, 2, 1452)
	n.session("a", "b")
	n.route("a", 1, "b")
	a, b := n.nodes["a"], n.nodes["b"]
	var frame []byte
	n.tap = func(_, _ *testNode, f []byte) int { frame = f; return 0 }
	a.sendTo(b, 48)
	for bit := range 8 * len(frame) {
		a.sendTo(b, 48)
		f := bytes.Clone(frame)
		f[bit/8] ^= 1 << (bit % 8)
		b.plane.handleFrame(a.under, f)
		if got := b.tun.take(); len(got) != 0 {
			// Reserved flag bits are covered by the MAC too: nothing may pass.
			t.Fatalf("bit %d of byte %d changed and delivered", bit%8, bit/8)
		}
		n.now = n.now.Add(time.Second)
	}
	a.sendTo(b, 48)
	b.plane.handleFrame(a.under, bytes.Clone(frame))
	if len(b.tun.take()) != 1 {
		t.Error("the unchanged frame was not delivered")
	}
}

func TestReplay(t *testing.T) {
	n := line(t)
	a, d := n.nodes["a"], n.nodes["d"]
	n.tap = func(_, _ *testNode, _ []byte) int { return 2 }
	pkt := a.sendTo(d, 100)
	d.wantDelivered(pkt)
	for _, r := range []string{"b", "c", "d"} {
		n.nodes[r].wantCount("link_replay", 1)
	}

	// A member in the path that resends under fresh link counters is caught by the end-to-end window.
	var payload []byte
	n.tap = func(_, to *testNode, b []byte) int {
		if f, _ := wire.ParseFrame(b); to == d {
			payload = bytes.Clone(f.Payload)
		}
		return 1
	}
	pkt = a.sendTo(d, 101)
	d.wantDelivered(pkt)
	c := n.nodes["c"]
	frame := wire.AppendFrame(nil, wire.TypeData, 0, nil, payload)
	c.plane.emit(c.plane.view.Load().links[32], frame)
	d.wantDelivered()
	d.wantCount("peer_replay", 1)
}

func TestSpoofedInside(t *testing.T) {
	n := line(t)
	a, b, d := n.nodes["a"], n.nodes["b"], n.nodes["d"]
	good := packet(a.addr, d.addr, 80, 1)
	short := bytes.Clone(good)
	binary.BigEndian.PutUint16(short[4:], 41)
	v4 := bytes.Clone(good)
	v4[0] = 0x45
	for i, c := range []struct {
		pkt     []byte
		counter string
	}{
		{packet(b.addr, d.addr, 80, 1), "peer_bad_source"},
		{packet(d.addr, d.addr, 80, 1), "peer_bad_source"},
		{packet(a.addr, b.addr, 80, 1), "peer_bad_destination"},
		{short, "peer_bad_packet"},
		{v4, "peer_bad_packet"},
		{good[:39], "peer_bad_packet"},
	} {
		before := d.plane.Counters()[c.counter]
		a.forge(d, c.pkt)
		if got := d.plane.Counters()[c.counter]; got != before+1 {
			t.Errorf("case %d: %s went from %d to %d", i, c.counter, before, got)
		}
		d.wantDelivered()
	}
	a.forge(d, good)
	d.wantDelivered(good)
	if got := a.plane.PeerUsage()[d.id].TxPackets; got != 7 {
		t.Errorf("sent %d", got)
	}
	if got := d.plane.PeerUsage()[a.id].RxPackets; got != 1 {
		t.Errorf("received %d", got)
	}
}

func TestOwnPacketCheck(t *testing.T) {
	n := line(t)
	a, b, d := n.nodes["a"], n.nodes["b"], n.nodes["d"]
	outside := netip.MustParseAddr("2001:db8::1")
	for _, c := range []struct {
		pkt     []byte
		counter string
	}{
		{packet(a.addr, outside, 80, 0), "tun_outside"},
		{packet(a.addr, netip.MustParseAddr("ff02::2"), 80, 0), "tun_outside"},
		{packet(a.addr, a.addr, 80, 0), "tun_outside"},
		{packet(b.addr, d.addr, 80, 0), "tun_bad_source"},
		{packet(outside, d.addr, 80, 0), "tun_bad_source"},
		{append([]byte{0x45}, make([]byte, 60)...), "tun_not_ipv6"},
		{packet(a.addr, d.addr, 80, 0)[:39], "tun_not_ipv6"},
		{nil, "tun_not_ipv6"},
		{packet(a.addr, d.addr, 1500, 0), "tun_too_big"},
	} {
		before := a.plane.Counters()[c.counter]
		a.send(c.pkt)
		a.wantCount(c.counter, before+1)
		d.wantDelivered()
	}
	d.wantDelivered(a.sendTo(d, 80))
	if len(a.needs) != 0 {
		t.Errorf("asked for %v", a.needs)
	}
}

func TestThinLink(t *testing.T) {
	n := newNet(t, "a", "b", "c")
	n.link("a", "b", 1, 2, 1452)
	n.link("b", "c", 3, 4, 1232)
	n.session("a", "c")
	n.route("a", 1, "b", 3, "c")
	n.route("c", 4, "b", 2, "a")
	a, b, c := n.nodes["a"], n.nodes["b"], n.nodes["c"]
	longest, lose := 0, false
	n.tap = func(from, to *testNode, f []byte) int {
		if from == c || to == c {
			longest = max(longest, len(f))
			if lose {
				lose = false
				return 0
			}
		}
		return 1
	}
	c.wantDelivered(a.sendTo(c, 1360))
	a.wantDelivered(c.sendTo(a, 1360))
	b.wantCount("part_sent", 1)
	c.wantCount("part_joined", 1)
	b.wantCount("part_joined", 1)
	if longest > 1232 {
		t.Errorf("a datagram of %d bytes on a link of 1232", longest)
	}
	c.wantDelivered(a.sendTo(c, 1100))
	b.wantCount("part_sent", 1)

	lose = true // one part lost loses this packet only
	a.sendTo(c, 1360)
	c.wantDelivered()
	c.wantDelivered(a.sendTo(c, 1360))
}

func TestTooBigForTwoParts(t *testing.T) {
	n := newNet(t, "a", "b", "c")
	n.link("a", "b", 1, 2, 1452)
	n.link("b", "c", 3, 4, 700)
	n.session("a", "c")
	n.route("a", 1, "b", 3, "c")
	a, b, c := n.nodes["a"], n.nodes["b"], n.nodes["c"]
	c.wantDelivered(a.sendTo(c, 1280))
	a.sendTo(c, 1360)
	c.wantDelivered()
	b.wantCount("send_too_big", 1)
	if len(a.errors) != 1 || a.errors[0].Code != wire.ErrorTooBig || a.errors[0].MTU != 700 {
		t.Errorf("errors %+v", a.errors)
	}
}

func TestBadParts(t *testing.T) {
	n := newNet(t, "a", "b")
	n.link("a", "b", 1, 2, 1452)
	a, b := n.nodes["a"], n.nodes["b"]
	out := a.plane.view.Load().links[1]
	for _, c := range []struct {
		name    string
		frame   []byte
		counter string
	}{
		{"short", wire.AppendFrame(nil, wire.TypePart, 0, nil, make([]byte, 9)), "part_malformed"},
		{"index", wire.AppendFrame(nil, wire.TypePart, 0, nil, []byte{0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 1}), "part_malformed"},
		{"of a part", wire.AppendFrame(nil, wire.TypePart, 0, nil, []byte{0, 0, 0, 1, 0, 4, 0, 0, 0, 0, 1}), "part_malformed"},
		{"of a hello", wire.AppendFrame(nil, wire.TypePart, 0, nil, []byte{0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 1}), "part_malformed"},
		{"with labels", wire.AppendFrame(nil, wire.TypePart, 0, []mesh.Label{3}, make([]byte, 20)), "link_only_routed"},
		{"hello with labels", wire.AppendFrame(nil, wire.TypeHello, 0, []mesh.Label{3}, make([]byte, 41)), "link_only_routed"},
		{"challenge with labels", wire.AppendFrame(nil, wire.TypeChallenge, 0, []mesh.Label{3}, make([]byte, 16)), "link_only_routed"},
		{"short hello", wire.AppendFrame(nil, wire.TypeHello, 0, nil, make([]byte, 40)), "hello_malformed"},
		{"short challenge", wire.AppendFrame(nil, wire.TypeChallenge, 0, nil, make([]byte, 15)), "challenge_malformed"},
		{"short handshake", wire.AppendFrame(nil, wire.TypeHandshake, 0, nil, make([]byte, 12)), "handshake_malformed"},
		{"short error", wire.AppendFrame(nil, wire.TypeError, 0, nil, make([]byte, 21)), "error_malformed"},
		{"short data", wire.AppendFrame(nil, wire.TypeData, 0, nil, make([]byte, 27)), "peer_malformed"},
	} {
		before := b.plane.Counters()[c.counter]
		a.plane.emit(out, c.frame)
		if got := b.plane.Counters()[c.counter]; got != before+1 {
			t.Errorf("%s: %s went from %d to %d", c.name, c.counter, before, got)
		}
	}
	if len(b.hellos)+len(b.challenges)+len(b.shakes)+len(b.errors) != 0 {
		t.Error("something of it reached a callback")
	}
	a.plane.SendHello(1, wire.Hello{Seq: 5}, 0)
	if err := a.plane.SendChallenge(1, b.under, true, wire.Challenge{9}); err != nil {
		t.Fatal(err)
	}
	if len(b.hellos) != 1 || b.hellos[0].Seq != 5 || len(b.challenges) != 1 || b.challenges[0][0] != 9 {
		t.Errorf("hellos %v, challenges %v", b.hellos, b.challenges)
	}
	a.plane.SendHello(7, wire.Hello{}, 0)
	a.wantCount("hello_no_link", 1)
	a.wantCount("hello_sent", 1)
	a.wantCount("hello_sent_bytes", 61)
	b.wantCount("hello_received", 1)
	b.wantCount("hello_received_bytes", 61)
}

func TestDuplicatePaths(t *testing.T) {
	n := newNet(t, "a", "b", "c", "d")
	n.link("a", "b", 1, 2, 1452)
	n.link("a", "c", 3, 4, 1452)
	n.link("b", "d", 5, 6, 1452)
	n.link("c", "d", 7, 8, 1232) // in parts on one of them
	n.session("a", "d")
	n.route("a", 1, "b", 5, "d")
	n.route("a", 3, "c", 7, "d")
	a, b, c, d := n.nodes["a"], n.nodes["b"], n.nodes["c"], n.nodes["d"]
	a.doubtWay(d)
	for range 10 {
		d.wantDelivered(a.sendTo(d, 1360))
	}
	b.wantCount("relay_forwarded", 10)
	c.wantCount("relay_forwarded", 10)
	d.wantCount("peer_replay", 10)
	if u := a.plane.PeerUsage()[d.id]; u.TxPackets != 10 || u.Sealed != 10 {
		t.Errorf("sealed %d for %d packets", u.Sealed, u.TxPackets)
	}
	// Either path alone is enough, and a dead first link costs nothing.
	n.tap = func(from, _ *testNode, _ []byte) int {
		if from == b {
			return 0
		}
		return 1
	}
	d.wantDelivered(a.sendTo(d, 1000))
	a.usable(1, false)
	d.wantDelivered(a.sendTo(d, 1000))
	a.wantCount("send_link_down", 1)
	a.usable(3, false)
	a.sendTo(d, 1000)
	a.wantCount("tun_no_link", 1)
}

func TestRunTUN(t *testing.T) {
	n := line(t)
	a, d := n.nodes["a"], n.nodes["d"]
	pkt := packet(a.addr, d.addr, 99, 3)
	a.tun.in <- pkt
	close(a.tun.in)
	if err := a.plane.RunTUN(context.Background()); err == nil {
		t.Error("a closed TUN is no error")
	}
	d.wantDelivered(pkt)
	a.wantCount("tun_read", 1)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := a.plane.RunTUN(ctx); err != nil {
		t.Errorf("stopped: %v", err)
	}
	d.tun.fail = errors.New("no buffer space")
	a.send(pkt)
	d.wantCount("tun_write_failed", 1)
}

func TestCongestionMark(t *testing.T) {
	for _, c := range []struct {
		inner uint8
		mark  bool
		want  int // code point delivered, -1 = dropped
	}{{0, false, 0}, {0, true, -1}, {1, false, 1}, {1, true, 3}, {2, false, 2}, {2, true, 3}, {3, true, 3}} {
		n := newNet(t, "a", "b")
		n.link("a", "b", 1, 2, 1452)
		n.session("a", "b")
		n.route("a", 1, "b")
		a, b := n.nodes["a"], n.nodes["b"]
		pkt := packet(a.addr, b.addr, 60, 0)
		pkt[1] |= c.inner << 4
		if c.mark { // a relay would mark and seal again; here the sender marks its own copy
			s := new(sealer)
			peer := a.plane.view.Load().byNode[b.id]
			k := copy(s.packet(), pkt)
			a.plane.sealAndSend(s, peer.session, wire.Inner{}, k, wire.Flags(0).WithECN(3), peer.ways[0].paths)
		} else {
			a.send(pkt)
		}
		got := b.tun.take()
		if c.want < 0 {
			b.wantCount("peer_congestion_drop", 1)
			if len(got) != 0 {
				t.Errorf("%+v: delivered", c)
			}
			continue
		}
		if len(got) != 1 || int(packetECN(got[0])) != c.want {
			t.Errorf("%+v: got %x", c, got)
		}
	}
}
