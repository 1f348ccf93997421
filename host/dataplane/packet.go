package dataplane

import (
	"encoding/binary"
	"net/netip"

	"x0tta6bl4/mesh"
)

const ipv6Header = 40 // RFC 8200 §3

func addrOf(a [16]byte) netip.Addr { return netip.AddrFrom16(a) }

// wholePacket reports whether b is exactly one IPv6 packet: its version, and its length as its header tells.
func wholePacket(b []byte) bool {
	return len(b) >= ipv6Header && b[0]>>4 == 6 && len(b) == ipv6Header+int(b[4])<<8+int(b[5])
}

// packetDSCP returns the code point of an IPv6 packet: the high bits of the traffic class (RFC 2474 §3).
func packetDSCP(pkt []byte) uint8 { return pkt[0]&0x0f<<2 | pkt[1]>>6 }

// packetPorts returns the ports of a TCP or UDP packet. Of fragments it knows none, so that all of a packet count alike.
func packetPorts(pkt []byte) (protocol uint8, from, to uint16, ok bool) {
	if len(pkt) < ipv6Header {
		return 0, 0, 0, false
	}
	next, at, whole, ok := upperLayer(pkt)
	if !ok || !whole || next != mesh.ProtocolTCP && next != mesh.ProtocolUDP || len(pkt) < at+4 {
		return 0, 0, 0, false
	}
	return next, binary.BigEndian.Uint16(pkt[at:]), binary.BigEndian.Uint16(pkt[at+2:]), true
}

// The ECN code points that matter here (RFC 3168 §5).
const (
	notECT = 0
	ect1   = 1
	ce     = 3
)

// packetECN returns the ECN code point of an IPv6 packet: the low bits of the traffic class.
func packetECN(pkt []byte) uint8 { return pkt[1] >> 4 & 3 }

// markPacket combines the code point of the outer header with the packet's own as RFC 6040 §4.2 (figure 4) says. False
// means that the packet must be dropped: congestion was marked on a packet whose sender would not see the mark.
func markPacket(pkt []byte, outer uint8) bool {
	if outer != ce && outer != ect1 {
		return true
	}
	switch inner := packetECN(pkt); {
	case inner == notECT:
		return outer != ce
	case inner != ce:
		pkt[1] = pkt[1]&^(3<<4) | outer<<4
	}
	return true
}
