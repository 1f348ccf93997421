package dataplane

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"time"

	"x0tta6bl4/host/dataplane/segment"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// diamond is a with two disjoint paths to d, by b (number 1) and by c (number 2); the second has one more label.
func diamond(t testing.TB) (n *testNet, a, d *testNode) {
	n = newNet(t, "a", "b", "c", "d", "e")
	n.link("a", "b", 1, 2, 1452)
	n.link("a", "c", 3, 4, 1452)
	n.link("b", "d", 5, 6, 1452)
	n.link("c", "e", 7, 8, 1452)
	n.link("e", "d", 9, 10, 1452)
	n.session("a", "d")
	n.route("a", 1, "b", 5, "d")
	n.route("a", 3, "c", 7, "e", 9, "d")
	n.route("d", 6, "b", 2, "a")
	a, d = n.nodes["a"], n.nodes["d"]
	a.entry(d).Ways[0].Number, a.entry(d).Ways[1].Number = 1, 2
	a.publish()
	return n, a, d
}

// sentBy counts the data frames that a sends by each of its links, and their flags.
func (n *testNet) sentBy(a *testNode) (by map[mesh.NodeID]int, flags map[wire.Flags]int) {
	by, flags = map[mesh.NodeID]int{}, map[wire.Flags]int{}
	n.tap = func(from, to *testNode, b []byte) int {
		if from == a && b[0]&0x0f == byte(wire.TypeData) {
			by[to.id]++
			flags[wire.FlagsOf(b)]++
		}
		return 1
	}
	return by, flags
}

// While a path is in doubt everything goes by two, large packets too, and is counted for the path in doubt.
func TestDoubtedPathHasACopy(t *testing.T) {
	n, a, d := diamond(t)
	a.doubt(d)
	by, flags := n.sentBy(a)
	d.wantDelivered(a.sendTo(d, 1000))
	large := largeTCP(a, d, 20*1300, 1300)
	want := bytes.Clone(large[segment.HeaderLen:])
	a.sendLarge(large)
	d.wantDelivered(want)
	if by[n.nodes["b"].id] != 21 || by[n.nodes["c"].id] != 21 || flags[0] != 42 {
		t.Errorf("sent %v, flags %v; want 21 by each, no flags", by, flags)
	}
	a.wantCount("copy_sent", 21)
	a.wantCount("tun_sent", 21)
	a.wantCount("protected_sent", 0)
	s := a.plane.view.Load().byNode[d.id].session
	if s.out[1].Load() != 21 || s.out[2].Load() != 0 {
		t.Errorf("counted %d and %d, want 21 for the path in doubt only", s.out[1].Load(), s.out[2].Load())
	}
	if in := &d.plane.view.Load().sessions[0].in; in[1].Load() != 21 {
		t.Errorf("the end counts %d", in[1].Load())
	}
}

// A copy costs nothing where there is no doubt, and an invalid one is none.
func TestNoCopyWithoutDoubt(t *testing.T) {
	n, a, d := diamond(t)
	e := a.entry(d)
	e.Ways = e.Ways[:1:1]
	a.publish()
	by, _ := n.sentBy(a)
	d.wantDelivered(a.sendTo(d, 100))
	a.wantCount("path_invalid", 0)
	e.Ways[0].Copy = mesh.Path{Labels: []mesh.Label{3}}
	a.publish()
	d.wantDelivered(a.sendTo(d, 100))
	a.wantCount("path_invalid", 1)
	a.wantCount("copy_sent", 0)
	if by[n.nodes["b"].id] != 2 || len(by) != 1 {
		t.Errorf("sent %v", by)
	}
}

// Copies have a budget for each link that they leave by. What is beyond it goes once, and nothing is lost where the first
// link cannot send.
func TestCopiesHaveABudget(t *testing.T) {
	n, a, d := diamond(t)
	a.doubt(d)
	for i := range a.table.Links {
		a.table.Links[i].Capacity = 800_000 // of which a tenth are 10,000 bytes a second
	}
	a.publish()
	by, _ := n.sentBy(a)
	pkt := packet(a.addr, d.addr, 1000-wire.HeaderLen-4-wire.SealOverhead-wire.InnerHeader, 0) // frames of 1000 bytes by c
	for range 15 {
		a.send(pkt)
		d.wantDelivered(pkt)
	}
	if by[n.nodes["c"].id] != 10 {
		t.Errorf("%d copies, want 10", by[n.nodes["c"].id])
	}
	a.wantCount("copy_sent", 10)
	a.wantCount("copy_limited", 5)
	a.usable(1, false)
	for range 15 {
		a.send(pkt)
		d.wantDelivered(pkt)
	}
	a.wantCount("copy_limited", 5)
	a.wantCount("tun_no_link", 0)
	a.usable(1, true)
	n.now = n.now.Add(100 * time.Millisecond)
	for range 5 {
		a.send(pkt)
		d.wantDelivered(pkt)
	}
	a.wantCount("copy_sent", 11)
	a.wantCount("copy_limited", 9)
}

// withRules gives a a class of protected packets.
func (d *testNode) withRules(rules ...string) {
	d.plane.protect = mesh.NewClass(parseRules(d.net.t, rules...))
	d.plane.reg.protect = d.plane.protect
	d.publish()
}

func parseRules(t testing.TB, rules ...string) (out []mesh.ProtectRule) {
	for _, s := range rules {
		r, err := mesh.ParseProtect(s)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, r)
	}
	return out
}

// Packets of the protected class go by two paths, marked inside and outside, and are counted for none.
func TestProtectedPacketsGoByTwoPaths(t *testing.T) {
	n, a, d := diamond(t)
	a.protect(d)
	a.withRules("node:d")
	by, flags := n.sentBy(a)
	d.wantDelivered(a.sendTo(d, 1000))
	large := largeTCP(a, d, 20*1300, 1300)
	want := bytes.Clone(large[segment.HeaderLen:])
	a.sendLarge(large)
	d.wantDelivered(want)
	if by[n.nodes["b"].id] != 21 || by[n.nodes["c"].id] != 21 || flags[wire.FlagProtected] != 42 {
		t.Errorf("sent %v, flags %v", by, flags)
	}
	a.wantCount("protected_sent", 21)
	a.wantCount("protected_single", 0)
	s := a.plane.view.Load().byNode[d.id].session
	if s.out[0].Load() != 21 || s.out[1].Load() != 0 {
		t.Errorf("counted for a path: %d and %d", s.out[0].Load(), s.out[1].Load())
	}
	if want := []sendingTold{{d.id, true}}; !slices.Equal(a.sending, want) {
		t.Errorf("told %v, want %v", a.sending, want)
	}
	// Either path alone is enough.
	for _, dead := range []string{"b", "e"} {
		n.tap = func(from, _ *testNode, _ []byte) int {
			if from == n.nodes[dead] {
				return 0
			}
			return 1
		}
		d.wantDelivered(a.sendTo(d, 1000))
	}
}

// Where there is one path only, a protected packet goes by it, and that is known.
func TestProtectedPacketGoesOnceWhereItMust(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(a *testNode, e *mesh.ForwardPeer)
		number int // that it counts for
	}{
		{"one of a pair", func(_ *testNode, e *mesh.ForwardPeer) { e.Pair = e.Pair[:1] }, 0},
		{"no pair", func(_ *testNode, e *mesh.ForwardPeer) { e.Pair = nil }, 1},
		{"a link is down", func(a *testNode, _ *mesh.ForwardPeer) { a.usable(3, false) }, 0},
		{"no budget", func(a *testNode, _ *mesh.ForwardPeer) { a.plane.copyRate = 0 }, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n, a, d := diamond(t)
			a.protect(d)
			a.withRules("all")
			tt.change(a, a.entry(d))
			a.publish()
			_, flags := n.sentBy(a)
			d.wantDelivered(a.sendTo(d, 1000))
			a.wantCount("protected_sent", 1)
			a.wantCount("protected_single", 1)
			if got := a.plane.view.Load().byNode[d.id].session.out[tt.number].Load(); got != 1 || flags[wire.FlagProtected] != 1 {
				t.Errorf("counted %d for number %d, flags %v", got, tt.number, flags)
			}
		})
	}
}

// A protected packet must fit both of its paths.
func TestProtectedPacketFitsBothPaths(t *testing.T) {
	a, z := longPath(t, 32)
	e := a.entry(z)
	e.Pair = []mesh.Path{{Nodes: []mesh.NodeID{a.id, z.id}, Labels: []mesh.Label{1}}, e.Ways[0].Path}
	a.withRules("dscp:EF")
	pkt := packet(a.addr, z.addr, 1337, 0)
	setDSCP(pkt, 46)
	a.send(pkt)
	a.wantCount("tun_too_big", 1)
	a.wantDelivered(icmpError(a.addr.As16(), pkt, icmpTooBig, 0, 1336))
	pkt = packet(a.addr, z.addr, 1336, 0)
	setDSCP(pkt, 46)
	a.send(pkt)
	a.wantCount("protected_sent", 1)
	a.wantCount("protected_single", 0)
}

func setDSCP(pkt []byte, d uint8) { pkt[0], pkt[1] = 0x60|d>>2, pkt[1]&0x3f|d<<6 }

// header puts an extension header in front of what follows the IPv6 header.
func header(pkt []byte, kind byte, h []byte) []byte {
	h[0] = pkt[6]
	out := slices.Concat(pkt[:ipv6Header], h, pkt[ipv6Header:])
	out[6] = kind
	binary.BigEndian.PutUint16(out[4:], uint16(len(out)-ipv6Header))
	return out
}

func TestWhatIsProtected(t *testing.T) {
	_, a, d := diamond(t)
	ports := func(protocol byte, from, to uint16) []byte {
		b := packet(a.addr, d.addr, 100, 0)
		b[6] = protocol
		binary.BigEndian.PutUint16(b[40:], from)
		binary.BigEndian.PutUint16(b[42:], to)
		return b
	}
	dscp := func(v uint8) []byte {
		b := ports(17, 1, 2)
		b[1] = 2 << 4 // ECN
		setDSCP(b, v)
		return b
	}
	sip := ports(17, 40000, 5060)
	fragment := func(field uint16) []byte {
		h := make([]byte, 8)
		binary.BigEndian.PutUint16(h[2:], field)
		return header(sip, 44, h)
	}
	long := make([]byte, 24)
	long[1] = 2
	for _, tt := range []struct {
		name string
		rule string
		pkt  []byte
		want bool
	}{
		{"code point", "dscp:EF", dscp(46), true},
		{"another code point", "dscp:EF", dscp(47), false},
		{"lowest bit of the code point", "dscp:1", dscp(1), true},
		{"highest bit of the code point", "dscp:32", dscp(32), true},
		{"port there", "udp/5060", sip, true},
		{"port here", "udp/5060", ports(17, 5060, 40000), true},
		{"another port", "udp/5060", ports(17, 5061, 40000), false},
		{"another protocol", "udp/5060", ports(6, 5060, 40000), false},
		{"TCP", "tcp/22", ports(6, 40000, 22), true},
		{"no protocol with ports", "tcp/22", ports(58, 22, 22), false},
		{"behind extension headers", "udp/5060", header(header(sip, 60, make([]byte, 8)), 0, long), true},
		{"behind a header that has no end", "udp/5060", header(sip, 60, []byte{0, 255, 0, 0, 0, 0, 0, 0}), false},
		{"whole, with a fragment header", "udp/5060", fragment(0), true},
		{"first fragment", "udp/5060", fragment(1), false},
		{"later fragment", "udp/5060", fragment(8), false},
		{"fragment of a code point", "dscp:0", fragment(8), true},
		{"ports cut off", "udp/5060", sip[:43], false},
		{"header only", "udp/5060", sip[:40], false},
		{"node", "node:d", sip, true},
		{"another node", "node:b", sip, false},
		{"all", "all", sip, true},
	} {
		a.withRules(tt.rule)
		if got := a.plane.protects(a.plane.view.Load().byNode[d.id], tt.pkt); got != tt.want {
			t.Errorf("%s: %v for %s", tt.name, got, tt.rule)
		}
	}
	a.withRules()
	if a.plane.protects(a.plane.view.Load().byNode[d.id], sip) {
		t.Error("protected without a rule")
	}
}

// portsByTheBook reads ports as RFC 8200 §4 says, one header after the other, without regard to speed.
func portsByTheBook(pkt []byte) (protocol uint8, from, to uint16, ok bool) {
	if len(pkt) < 40 {
		return 0, 0, 0, false
	}
	next, rest := pkt[6], pkt[40:]
	for {
		switch next {
		case 6, 17:
			if len(rest) < 4 {
				return 0, 0, 0, false
			}
			return next, uint16(rest[0])<<8 | uint16(rest[1]), uint16(rest[2])<<8 | uint16(rest[3]), true
		case 44:
			if len(rest) < 8 || rest[2] != 0 || rest[3]&0xf9 != 0 { // offset and more fragments
				return 0, 0, 0, false
			}
			next, rest = rest[0], rest[8:]
		case 0, 43, 60:
			if len(rest) < 2 || len(rest) < 8*(int(rest[1])+1) {
				return 0, 0, 0, false
			}
			next, rest = rest[0], rest[8*(int(rest[1])+1):]
		default:
			return 0, 0, 0, false
		}
	}
}

func FuzzPacketPorts(f *testing.F) {
	self, far := netip.MustParseAddr("fd12::1"), netip.MustParseAddr("fd12::2")
	pkt := packet(self, far, 80, 3)
	f.Add(pkt)
	f.Add(header(pkt, 44, make([]byte, 8)))
	f.Add(header(header(pkt, 60, make([]byte, 8)), 0, make([]byte, 8)))
	f.Add(pkt[:41])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, pkt []byte) {
		protocol, from, to, ok := packetPorts(pkt)
		p, g, u, want := portsByTheBook(pkt)
		if protocol != p || from != g || to != u || ok != want {
			t.Fatalf("%d %d %d %v, want %d %d %d %v", protocol, from, to, ok, p, g, u, want)
		}
	})
}
