package segment

import "encoding/binary"

// Cutter gives the packets that a large one consists of, one after the other. It allocates nothing; its zero value has none.
type Cutter struct {
	all     []byte // with the virtio header
	pkt     []byte // what follows it; nil = nothing is left
	front   int    // headers
	l4      int    // where TCP or UDP begins
	size    int    // payload of each packet but the last
	next    int    // offset of the next payload
	first   bool
	tcp     bool
	partial bool
	hdr     [maxFront]byte
}

const maxFront = 256 // headers longer than that are not cut: TCP's end at 100, the rest is for extension headers

// Cut takes what was read from a TUN with offload, b, which begins with its virtio header. partial tells whether the packets
// that come out have no checksum: then Joiner must be told so. If whole is set they all have one. The packets lie in b, which
// belongs to the Cutter until the last one is out.
func (c *Cutter) Cut(b []byte, whole bool) (partial bool, err error) {
	*c = Cutter{}
	if len(b) < HeaderLen {
		return false, bad("%d bytes", len(b))
	}
	h, pkt := parseHeader(b), b[HeaderLen:]
	*c = Cutter{all: b, pkt: pkt, size: len(pkt), first: true}
	if h.flags&flagNeedsChecksum == 0 {
		if h.gso != gsoNone {
			return false, c.refuse("to be cut (type %d) without a checksum to be made", h.gso)
		}
		return false, nil
	}
	start, offset := int(h.sumStart), int(h.checksumOffset)
	if len(pkt) < ipv6Header || start < ipv6Header || start+offset+2 > len(pkt) {
		return false, c.refuse("checksum at %d+%d of %d bytes", start, offset, len(pkt))
	}
	if h.gso == gsoNone {
		return c.single(start, offset, whole), nil
	}
	return c.cut(h, start, whole)
}

func (c *Cutter) refuse(format string, args ...any) error {
	*c = Cutter{}
	return bad(format, args...)
}

// single handles a packet that is not to be cut: its checksum is left out if the other end can know where it belongs.
func (c *Cutter) single(start, offset int, whole bool) (partial bool) {
	if at, ok := checksumAt(c.pkt); ok && at == start+offset && !whole {
		binary.BigEndian.PutUint16(c.pkt[at:], 0)
		return true
	}
	finish(c.pkt, start, offset)
	return false
}

// checksumAt tells where the checksum of a plain TCP or UDP packet is.
func checksumAt(pkt []byte) (int, bool) {
	switch {
	case len(pkt) >= ipv6Header+tcpHeader && pkt[6] == protoTCP:
		return ipv6Header + tcpChecksum, true
	case len(pkt) >= ipv6Header+udpHeader && pkt[6] == protoUDP:
		return ipv6Header + udpChecksum, true
	}
	return 0, false
}

func (c *Cutter) cut(h header, start int, whole bool) (partial bool, err error) {
	switch h.gso &^ gsoECN {
	case gsoTCPv6:
		if start+tcpHeader > len(c.pkt) {
			return false, c.refuse("TCP at %d of %d bytes", start, len(c.pkt))
		}
		c.tcp, c.front = true, start+int(c.pkt[start+tcpFlagWord]>>4)*4
		if c.front < start+tcpHeader {
			return false, c.refuse("TCP header of %d bytes", c.front-start)
		}
	case gsoUDP:
		c.front = start + udpHeader
	default:
		return false, c.refuse("to be cut as type %d", h.gso)
	}
	if c.front >= len(c.pkt) || c.front > maxFront || h.size == 0 {
		return false, c.refuse("headers of %d bytes, %d bytes in all, to be cut at %d", c.front, len(c.pkt), h.size)
	}
	c.l4, c.next, c.size = start, c.front, int(h.size)
	copy(c.hdr[:], c.pkt[:c.front])
	c.partial = start == ipv6Header && !whole
	return c.partial, nil
}

// Count returns how many packets are left, and how long the longest is.
func (c *Cutter) Count() (n, longest int) {
	switch {
	case c.pkt == nil:
		return 0, 0
	case c.front == 0:
		return 1, len(c.pkt)
	}
	left := len(c.pkt) - c.next
	return (left + c.size - 1) / c.size, c.front + min(left, c.size)
}

// Next returns the next packet behind margin bytes (HeaderLen at most) that are the caller's; ok is false after the last. It lies
// where the payload of the one before ended, and overwrites that: what was returned before is gone.
func (c *Cutter) Next(margin int) (b []byte, ok bool) {
	if c.pkt == nil {
		return nil, false
	}
	if c.front == 0 {
		c.pkt = nil
		return c.all[HeaderLen-margin:], true
	}
	begin, end := c.next, min(c.next+c.size, len(c.pkt))
	pkt := c.pkt[begin-c.front : end]
	copy(pkt, c.hdr[:c.front])
	last := end == len(c.pkt)
	c.fill(pkt, begin-c.front, last)
	c.next, c.first = end, false
	if last {
		c.pkt = nil
	}
	return c.all[HeaderLen+begin-c.front-margin : HeaderLen+end], true
}

// Skip leaves out the next packet, which stays where it lies. It reports whether that leaves any.
func (c *Cutter) Skip() bool {
	if c.front == 0 || len(c.pkt)-c.next <= c.size {
		c.pkt = nil
		return false
	}
	c.next, c.first = c.next+c.size, false
	return true
}

// fill makes the headers those of the packet whose payload is offset bytes behind that of the first.
func (c *Cutter) fill(pkt []byte, offset int, last bool) {
	binary.BigEndian.PutUint16(pkt[4:], uint16(len(pkt)-ipv6Header)) // #nosec G115 -- a packet is at most 64 KiB
	l4 := pkt[c.l4:]
	at := udpChecksum
	if c.tcp {
		at = tcpChecksum
		binary.BigEndian.PutUint32(l4[tcpSeq:], binary.BigEndian.Uint32(c.hdr[c.l4+tcpSeq:])+uint32(offset)) // #nosec G115 -- as above
		if !last {
			l4[tcpFlagWord+1] &^= flagFIN | flagPSH
		}
		if !c.first {
			l4[tcpFlagWord+1] &^= flagCWR
		}
	} else {
		binary.BigEndian.PutUint16(l4[udpLength:], uint16(len(l4))) // #nosec G115 -- as above
	}
	if c.partial {
		binary.BigEndian.PutUint16(l4[at:], 0)
		return
	}
	proto := byte(protoUDP)
	if c.tcp {
		proto = protoTCP
	}
	binary.BigEndian.PutUint16(l4[at:], pseudo(pkt, proto, len(l4)))
	finish(pkt, c.l4, at)
}
