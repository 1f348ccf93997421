package dataplane

import (
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// course is how a packet goes, and all that are cut from it.
type course struct {
	paths  []outPath // by the first, and a copy by the second
	class  uint8     // as in wire.Inner
	number uint8     // of the path that the packet is counted for, 0 = none
	flags  wire.Flags
}

// course chooses how the packet pkt of this node's own goes to a peer that is ready.
func (p *Plane) course(peer *outPeer, pkt []byte, now time.Duration) course {
	ecn := packetECN(pkt)
	c := course{class: ecn, flags: wire.Flags(0).WithECN(ecn)}
	if peer.protects(pkt) {
		c.class |= wire.ClassProtected
		c.flags |= wire.FlagProtected
		c.paths = peer.pair
	}
	if len(c.paths) == 0 {
		c.paths = peer.wayOf(pkt, now).paths
		c.number = c.paths[0].path.Number
	}
	return c
}

// protects reports whether a packet to the peer is of the protected class. Where its ports cannot be known it is only if its
// code point or its destination is.
func (o *outPeer) protects(pkt []byte) bool {
	if o.protected || o.class.HasDSCP(packetDSCP(pkt)) {
		return true
	}
	if !o.class.ByPort() {
		return false
	}
	protocol, from, to, ok := packetPorts(pkt)
	return ok && o.class.HasPorts(protocol, from, to)
}

// protected reports whether the packet is of the protected class.
func (c *course) protected() bool { return c.class&wire.ClassProtected != 0 }

// inner returns the header of the packet's plaintext.
func (c *course) inner(partial bool) wire.Inner {
	return wire.Inner{Kind: wire.InnerPacket, Class: c.class, Path: c.number, Partial: partial}
}

// room returns how long the packet may be: what a frame holds besides the labels of a path, of both paths if they are always
// to be two. The copy that goes along while a path is in doubt is not worth a refusal. Links thinner than a frame take it in
// parts.
func (c *course) room() int {
	room := c.paths[0].room()
	for i := range c.paths[1:] {
		if r := c.paths[1+i].room(); r < room == c.protected() {
			room = r
		}
	}
	return room
}

// mayCopy reports whether packets of n bytes together that left already may also go by a path. A frame that would be
// the only one of its packet is no copy, and is not asked about.
func (p *Plane) mayCopy(path *outPath, packets, n int, now time.Duration) bool {
	o := path.first
	if o == nil || !o.usable || o.state.copies.take(now, n, o.copyRate) { // who sends counts a link that is down
		return true
	}
	p.count.add(copyLimited, packets)
	return false
}

// copyRateOf returns how many bytes a second of copies may go out by a link of a capacity; 0: it is not known.
func (r *registry) copyRateOf(capacity mesh.BitsPerSecond) uint64 {
	if capacity == 0 {
		return r.copyRate
	}
	return uint64(float64(r.copyRate) * float64(capacity) / (8 * assumedCapacity))
}

// noteCopies counts packets that left by so many links.
func (p *Plane) noteCopies(c *course, packets, sent int) {
	if sent > 1 {
		p.count.add(copySent, packets*(sent-1))
	}
	if !c.protected() || sent == 0 {
		return
	}
	p.count.add(protectedSent, packets)
	if sent == 1 {
		p.count.add(protectedSingle, packets)
	}
}
