package dataplane

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
)

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
		if got := a.plane.view.Load().byNode[d.id].protects(tt.pkt); got != tt.want {
			t.Errorf("%s: %v for %s", tt.name, got, tt.rule)
		}
	}
	a.withRules()
	if a.plane.view.Load().byNode[d.id].protects(sip) {
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
