package dataplane

import (
	"encoding/binary"
	"net/netip"
	"sync"
	"time"

	"x0tta6bl4/host/dataplane/segment"
)

// ICMPv6 errors to applications on this machine (RFC 4443): a packet that no frame holds, or that nobody will take, is
// answered at once, so that its sender need not wait for a timeout. They are written to the TUN, from this node's own
// address, and never leave the machine.

const (
	icmpUnreachable = 1 // RFC 4443 §3.1
	icmpTooBig      = 2 // §3.2

	icmpNoRoute     = 0 // codes of icmpUnreachable: there is nowhere to send it to
	icmpNoSuchPlace = 3 // no node has the address

	icmpHeader  = 8
	icmpNext    = 58
	minimumMTU  = 1280 // RFC 8200 §5
	icmpHopLeft = 64
)

// icmpBucket limits the errors (RFC 4443 §2.4 (f)): so many at once, and one more each interval.
type icmpBucket struct {
	mu   sync.Mutex
	full time.Duration // when the bucket will be full again, on the plane's clock
}

const (
	icmpBurst    = 32
	icmpInterval = 10 * time.Millisecond
)

func (b *icmpBucket) take(now time.Duration) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.full = max(b.full, now)
	if b.full-now > (icmpBurst-1)*icmpInterval {
		return false
	}
	b.full += icmpInterval
	return true
}

// refuse answers the packet pkt of this node's own with an error. param is the MTU of a Packet Too Big, else 0.
func (p *Plane) refuse(pkt []byte, kind, code byte, param uint32) {
	switch {
	case !mayRefuse(pkt):
		p.count.inc(icmpNone)
		return
	case !p.refusals.take(p.now()):
		p.count.inc(icmpLimited)
		return
	}
	if err := p.tun.WritePacket([][]byte{make([]byte, segment.HeaderLen), icmpError(p.self, pkt, kind, code, param)}); err != nil {
		p.count.inc(tunWriteFailed)
		return
	}
	p.count.inc(icmpSent)
}

// icmpError makes the error about pkt from the address self to the packet's source, with as much of the packet as fits the
// minimum MTU (RFC 4443 §3.1, §3.2).
func icmpError(self [16]byte, pkt []byte, kind, code byte, param uint32) []byte {
	quote := pkt[:min(len(pkt), minimumMTU-ipv6Header-icmpHeader)]
	b := make([]byte, ipv6Header+icmpHeader, minimumMTU)
	b[0] = 6 << 4
	binary.BigEndian.PutUint16(b[4:], uint16(icmpHeader+len(quote))) // #nosec G115 -- at most minimumMTU
	b[6], b[7] = icmpNext, icmpHopLeft
	copy(b[8:], self[:])
	copy(b[24:], pkt[8:24])
	b[40], b[41] = kind, code
	binary.BigEndian.PutUint32(b[44:], param)
	b = append(b, quote...)
	binary.BigEndian.PutUint16(b[42:], icmpChecksum(b))
	return b
}

// icmpChecksum returns the checksum of an ICMPv6 message in its packet, whose field holds zero (RFC 8200 §8.1, RFC 1071).
func icmpChecksum(pkt []byte) uint16 {
	sum := uint64(len(pkt)-ipv6Header) + icmpNext // the rest of the pseudo-header is the two addresses
	for b := pkt[8:]; len(b) > 0; {
		if len(b) == 1 {
			sum += uint64(b[0]) << 8
			break
		}
		sum += uint64(b[0])<<8 | uint64(b[1])
		b = b[2:]
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum) // #nosec G115 -- folded
}

// mayRefuse reports whether there may be an error about a packet: not about ICMPv6 errors and redirects, nor about what
// was or seems to be sent to or from many (RFC 4443 §2.4 (e)), nor about fragments but the first.
func mayRefuse(pkt []byte) bool {
	if len(pkt) < ipv6Header {
		return false
	}
	src, dst := addrOf([16]byte(pkt[8:24])), addrOf([16]byte(pkt[24:40]))
	if src.IsUnspecified() || src.IsMulticast() || dst.IsMulticast() {
		return false
	}
	next, at, _, ok := upperLayer(pkt)
	if !ok {
		return false
	}
	if next != icmpNext {
		return true
	}
	const firstInformational, redirect = 128, 137
	return len(pkt) > at && pkt[at] >= firstInformational && pkt[at] != redirect
}

// upperLayer walks the extension headers (RFC 8200 §4) and returns the first header that is none, where it begins, and
// whether the packet is no fragment. ok is false where it is not to be found, as in later fragments.
func upperLayer(pkt []byte) (next byte, at int, whole, ok bool) {
	const hopByHop, routing, fragment, destination, moreFragments = 0, 43, 44, 60, 1
	next, at, whole = pkt[6], ipv6Header, true
	for {
		switch next {
		case hopByHop, routing, destination:
			if len(pkt) < at+2 {
				return 0, 0, false, false
			}
			next, at = pkt[at], at+8*(int(pkt[at+1])+1)
		case fragment:
			if len(pkt) < at+8 || binary.BigEndian.Uint16(pkt[at+2:])>>3 != 0 {
				return 0, 0, false, false
			}
			whole = whole && pkt[at+3]&moreFragments == 0
			next, at = pkt[at], at+8
		default:
			return next, at, whole, true
		}
	}
}

// Unreachable says that no node has a mesh address: packets that wait for it are answered and dropped.
func (p *Plane) Unreachable(addr netip.Addr) {
	for _, pkt := range p.queue.reject(&p.count, addr.As16()) {
		p.refuse(pkt, icmpUnreachable, icmpNoSuchPlace, 0)
	}
}

// tellExpired answers packets that waited in vain: somebody may have the address, but there is no way or no session.
func (p *Plane) tellExpired() {
	for _, pkt := range p.queue.takeExpired() {
		p.refuse(pkt, icmpUnreachable, icmpNoRoute, 0)
	}
}
