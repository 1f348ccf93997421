package dataplane

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// The vectors were computed by another program, with Python's struct and the sums of RFC 1071 in 16-bit words.
func TestICMPErrorVectors(t *testing.T) {
	src, dst := netip.MustParseAddr("fd12:3456:789a::1"), netip.MustParseAddr("fd12:3456:789a::2")
	udp := func(n int, fill byte) []byte {
		b := packet(src, dst, ipv6Header+n, 0)
		for i := range n {
			b[ipv6Header+i] = fill + byte(i)
		}
		return b
	}
	for _, c := range []struct {
		name       string
		pkt        []byte
		kind, code byte
		param      uint32
		hash, want string
	}{
		{"odd length", udp(33, 7), icmpTooBig, 0, 1336, "1d88b6fcacde2ff69d436d252beff83fa89491b2653d723ba6330656b5cc7eb1",
			"6000000000513a40fd123456789a00000000000000000001fd123456789a0000000000000000000102005656000005386000000000211140" +
				"fd123456789a00000000000000000001fd123456789a000000000000000000020708090a0b0c0d0e0f101112131415161718191a1b1c1d1e" +
				"1f2021222324252627"},
		{"unreachable", udp(8, 200), icmpUnreachable, icmpNoSuchPlace, 0, "758b29854ec6a3b7bd10003a8fc87ee637847dab0dc549e2430bf5c93f72f6fc",
			"6000000000383a40fd123456789a00000000000000000001fd123456789a000000000000000000010103b5fb000000006000000000081140" +
				"fd123456789a00000000000000000001fd123456789a00000000000000000002c8c9cacbcccdcecf"},
		{"cut to the minimum MTU", udp(1320, 3), icmpTooBig, 0, 1336, "ef48748aa3bad9bd7f5da91106cbe7018fec135a719df81b715ba02fc15bb33d", ""},
	} {
		got := icmpError(src.As16(), c.pkt, c.kind, c.code, c.param)
		if sum := sha256.Sum256(got); hex.EncodeToString(sum[:]) != c.hash || c.want != "" && hex.EncodeToString(got) != c.want || len(got) > 1280 {
			t.Errorf("%s: %d bytes\n%x", c.name, len(got), got)
		}
	}
}

// longPath gives a path of so many labels in the frame from a to the last of the nodes, and no way behind its first link.
func longPath(t *testing.T, labels int) (a, z *testNode) {
	names := []string{"a"}
	for i := range labels + 1 {
		names = append(names, fmt.Sprintf("r%d", i))
	}
	n := newNet(t, names...)
	n.link("a", "r0", 1, 2, 1452)
	n.session("a", names[len(names)-1])
	hops := []any{}
	for i, name := range names[1:] {
		hops = append(hops, i+1, name)
	}
	n.route("a", hops...)
	return n.nodes["a"], n.nodes[names[len(names)-1]]
}

func TestPacketTooBigSaysWhatFits(t *testing.T) {
	for _, c := range []struct{ labels, mtu int }{{20, 1360}, {21, 1358}, {32, 1336}} {
		a, z := longPath(t, c.labels)
		a.sendTo(z, c.mtu)
		a.wantCount("tun_sent", 1)
		pkt := a.sendTo(z, c.mtu+1)
		a.wantCount("tun_too_big", 1)
		a.wantCount("icmp_sent", 1)
		a.wantDelivered(icmpError(a.addr.As16(), pkt, icmpTooBig, 0, uint32(c.mtu)))
	}
}

func TestTooBigForOnePathOnlyIsSent(t *testing.T) {
	a, z := longPath(t, 32)
	e := a.entry(z)
	e.Ways[0].Copy = mesh.Path{Nodes: []mesh.NodeID{a.id, z.id}, Labels: []mesh.Label{1}}
	a.publish()
	a.sendTo(z, 1360)
	a.wantCount("tun_sent", 1)
	a.wantCount("icmp_sent", 0)
	a.wantDelivered()
}

func TestUnknownAddressIsAnsweredAtOnce(t *testing.T) {
	n := newNet(t, "a", "b", "c")
	a, b, c := n.nodes["a"], n.nodes["b"], n.nodes["c"]
	one, two, other := a.sendTo(b, 80), a.sendTo(b, 90), a.sendTo(c, 70)
	a.wantDelivered()
	a.plane.Unreachable(b.addr)
	a.wantDelivered(icmpError(a.addr.As16(), one, icmpUnreachable, icmpNoSuchPlace, 0), icmpError(a.addr.As16(), two, icmpUnreachable, icmpNoSuchPlace, 0))
	a.wantCount("queue_refused", 2)
	a.plane.Unreachable(b.addr) // nothing waits
	a.plane.Unreachable(netip.MustParseAddr("fd00::1"))
	a.wantDelivered()
	// Asked again after a pause only; and what waits in vain is answered when that is noticed.
	asked := len(a.needs)
	three := a.sendTo(b, 80)
	if len(a.needs) != asked {
		t.Error("asked for at once after it was refused")
	}
	n.now = n.now.Add(queueAge + time.Second)
	a.publish()
	if got := a.tun.take(); len(got) != 2 || !(bytes.Equal(got[0], icmpError(a.addr.As16(), three, icmpUnreachable, icmpNoRoute, 0)) ||
		bytes.Equal(got[0], icmpError(a.addr.As16(), other, icmpUnreachable, icmpNoRoute, 0))) {
		t.Errorf("%x", got)
	}
	a.wantCount("queue_expired", 2)
}

func TestNoErrorAboutErrors(t *testing.T) {
	self, far := netip.MustParseAddr("fd12:3456:789a::1"), netip.MustParseAddr("fd12:3456:789a::2")
	with := func(change func(b []byte)) []byte {
		b := packet(self, far, 200, 0)
		change(b)
		return b
	}
	icmp := func(kind byte) []byte { return with(func(b []byte) { b[6], b[40] = 58, kind }) }
	behind := func(header byte, change func(b []byte)) []byte {
		return with(func(b []byte) { b[6], b[40], b[48] = header, 58, 1; change(b) })
	}
	none := func([]byte) {}
	for _, c := range []struct {
		name string
		pkt  []byte
		may  bool
	}{
		{"UDP", with(none), true},
		{"echo request", icmp(128), true},
		{"neighbour solicitation", icmp(135), true},
		{"unreachable", icmp(1), false},
		{"too big", icmp(2), false},
		{"unassigned error", icmp(127), false},
		{"redirect", icmp(137), false},
		{"error behind hop-by-hop options", behind(0, none), false},
		{"error behind a routing header", behind(43, none), false},
		{"error behind destination options", behind(60, none), false},
		{"error behind a fragment header", behind(44, none), false},
		{"echo behind destination options", behind(60, func(b []byte) { b[48] = 128 }), true},
		{"later fragment", with(func(b []byte) { b[6], b[40], b[43] = 44, 17, 8 }), false},
		{"first fragment", with(func(b []byte) { b[6], b[40], b[43] = 44, 17, 1 }), true},
		{"multicast destination", with(func(b []byte) { b[24] = 0xff }), false},
		{"multicast source", with(func(b []byte) { b[8] = 0xff }), false},
		{"no source", with(func(b []byte) { clear(b[8:24]) }), false},
		{"headers that do not end", with(func(b []byte) { b[6], b[41] = 0, 255 }), false},
		{"cut in an option header", with(func(b []byte) { b[6] = 0 })[:41], false},
		{"cut ICMP", icmp(128)[:40], false},
		{"shorter than a header", icmp(128)[:39], false},
	} {
		if mayRefuse(c.pkt) != c.may {
			t.Errorf("%s: an error is allowed: %v", c.name, !c.may)
		}
	}
	a, z := longPath(t, 32)
	pkt := packet(a.addr, z.addr, 1360, 0)
	pkt[6], pkt[40] = 58, 3
	a.send(pkt)
	a.wantCount("tun_too_big", 1)
	a.wantCount("icmp_none", 1)
	a.wantDelivered()
}

func TestICMPErrorsAreLimited(t *testing.T) {
	a, z := longPath(t, 32)
	for range 100 {
		a.sendTo(z, 1360)
	}
	a.wantCount("icmp_sent", icmpBurst)
	a.wantCount("icmp_limited", 100-icmpBurst)
	a.net.now = a.net.now.Add(5 * icmpInterval)
	for range 100 {
		a.sendTo(z, 1360)
	}
	a.wantCount("icmp_sent", icmpBurst+5)
}

func FuzzMayRefuse(f *testing.F) {
	f.Add(packet(netip.MustParseAddr("fd12::1"), netip.MustParseAddr("fd12::2"), 100, 0))
	f.Fuzz(func(t *testing.T, pkt []byte) {
		if mayRefuse(pkt) && len(icmpError([16]byte{1}, pkt, icmpTooBig, 0, 1300)) > minimumMTU {
			t.Error("longer than the minimum MTU")
		}
	})
}

func TestPaddedHello(t *testing.T) {
	n := newNet(t, "a", "b")
	n.link("a", "b", 1, 2, 1232)
	a, b := n.nodes["a"], n.nodes["b"]
	var sizes []int
	spoil := false
	n.tap = func(_, _ *testNode, f []byte) int {
		sizes = append(sizes, len(f))
		if spoil {
			f[len(f)-1] ^= 1
		}
		return 1
	}
	h := wire.Hello{Seq: 5, SentAt: 6, Interval: 50000, Probe: true, Padded: true}
	a.send(packet(a.addr, b.addr, 1300, 0xff)) // leaves its bytes in a buffer that is used again
	for _, c := range []struct{ size, want int }{{0, 61}, {10, 61}, {62, 62}, {1232, 1232}, {1452, 1452}, {60000, 1452}} {
		sizes, b.hellos = nil, nil
		a.plane.SendHello(1, h, c.size)
		if len(sizes) != 1 || sizes[0] != c.want || len(b.hellos) != 1 || b.hellos[0] != h {
			t.Errorf("size %d: sent %v, heard %+v", c.size, sizes, b.hellos)
		}
	}
	spoil = true // the MAC covers the padding
	b.hellos = nil
	a.plane.SendHello(1, h, 1452)
	b.wantCount("link_bad_mac", 1)
	if len(b.hellos) != 0 {
		t.Error("heard a hello whose padding was changed on the way")
	}
}

func TestRefusedSizeIsTold(t *testing.T) {
	n := newNet(t, "a", "b")
	n.link("a", "b", 1, 2, 1452)
	n.session("a", "b")
	n.route("a", 1, "b")
	a, b := n.nodes["a"], n.nodes["b"]
	var told []int
	a.plane.cb.TooBig = func(l mesh.Label, size int) {
		if l != 1 {
			t.Errorf("link %d", l)
		}
		told = append(told, size)
	}
	a.plane.send = func(_ netip.AddrPort, f []byte) error {
		if len(f) > 1300 {
			return fmt.Errorf("send: %w", syscall.EMSGSIZE)
		}
		return syscall.ENETUNREACH
	}
	a.plane.SendHello(1, wire.Hello{Seq: 1}, 1452)
	a.plane.SendHello(1, wire.Hello{Seq: 1}, 1400)
	a.plane.SendHello(1, wire.Hello{Seq: 1}, 0)
	for range 10 {
		a.sendTo(b, 1350)
	}
	if fmt.Sprint(told) != "[1452 1400 1402]" {
		t.Errorf("told %v: want both hellos, and one of ten packets", told)
	}
	a.wantCount("send_failed", 13)
}
