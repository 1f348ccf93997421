package dataplane

import (
	"encoding/binary"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

const (
	headroom  = wire.HeaderLen + 2*wire.MaxLabels
	sealFront = 4 + 8 + wire.InnerHeader // what stands between the labels and the packet
	sealTag   = 16
	maxPacket = 2048 // longer than any that fits a frame: a longer one is cut by Read and refused by its length
)

// sealer is the buffer of one goroutine. A packet lies behind enough room for everything that comes in front of it,
// so that it is sealed in place, once, and each copy needs only another header and labels:
//
//	| room for header and labels | index counter inner header | packet | tag |
type sealer struct {
	buf [headroom + sealFront + maxPacket + sealTag]byte
}

// packet returns where the packet belongs.
func (s *sealer) packet() []byte { return s.buf[headroom+sealFront:][:maxPacket] }

// payload returns an empty slice at the place of the payload, to append to.
func (s *sealer) payload() []byte { return s.buf[headroom:headroom] }

// seal seals the n bytes at packet() for session, and counts them for their path; ok is false if its key is used up.
func (s *sealer) seal(session *peerSession, in wire.Inner, n int, now time.Duration) (payload []byte, ok bool) {
	session.mark(now)
	c := session.counter.Add(1) - 1
	if c >= maxSeals {
		return nil, false
	}
	aead := session.seal.sealing(c, now)
	if aead == nil {
		return nil, false
	}
	session.out[in.Path%wire.PathNumbers].Add(1)
	plain := s.buf[headroom+sealFront-wire.InnerHeader:]
	in.Append(plain[:0])
	return wire.SealData(s.payload(), aead, session.tx.value(), c, plain[:wire.InnerHeader+n]), true
}

// frame puts header and labels in front of the payload of n bytes, over those of the last copy. It is nil if the
// frame would be too long.
func (s *sealer) frame(t wire.FrameType, fl wire.Flags, labels []byte, n int) []byte {
	front := wire.HeaderLen + len(labels)
	if front+n > wire.MaxFrame || front > headroom {
		return nil
	}
	b := s.buf[headroom-front : headroom+n]
	wire.PutHeader(b, t, 0, len(labels)/2, fl)
	copy(b[wire.HeaderLen:], labels)
	return b
}

// ownPacket reports whether pkt may leave this node, and for where.
func (p *Plane) ownPacket(pkt []byte) (dst [16]byte, ok bool) {
	if len(pkt) < ipv6Header || pkt[0]>>4 != 6 {
		p.count.inc(tunNotIPv6)
		return dst, false
	}
	dst = [16]byte(pkt[24:40])
	if !p.prefix.Contains(addrOf(dst)) || dst == p.self {
		p.count.inc(tunOutside)
		return dst, false
	}
	if [16]byte(pkt[8:24]) != p.self {
		p.count.inc(tunBadSource)
		return dst, false
	}
	return dst, true
}

// sendPacket seals the n bytes at s.packet() once and sends a copy on each path.
func (p *Plane) sendPacket(s *sealer, peer *outPeer, n int) {
	now := p.now()
	way := p.course(peer, s.packet()[:n], now)
	if fits := way.room(); n > fits {
		p.count.inc(tunTooBig)
		p.refuse(s.packet()[:n], icmpTooBig, 0, uint32(max(fits, minimumMTU))) // #nosec G115 -- at most wire.MaxFrame
		return
	}
	payload, ok := s.seal(peer.session, way.inner(false), n, now)
	if !ok {
		p.count.inc(peerKeyUsedUp)
		return
	}
	sent := 0
	for i := range way.paths {
		path := &way.paths[i]
		if sent > 0 && !p.mayCopy(path, 1, path.frameLen(wire.InnerHeader+n), now) {
			continue
		}
		if p.sendCopy(s, wire.TypeData, way.flags, path, payload, nil) {
			sent++
		}
	}
	p.noteCopies(&way, 1, sent)
	if sent == 0 {
		p.count.inc(tunNoLink)
		return
	}
	p.noteSent(peer, &way, 1, n, now)
}

// noteSent counts packets that have left for a peer.
func (p *Plane) noteSent(peer *outPeer, way *course, packets, bytes int, now time.Duration) {
	p.count.add(tunSent, packets)
	state := peer.session.peer
	state.lastTx.Store(int64(now))
	state.tx.addAll(packets, bytes)
	busy := &state.busy
	if way.protected() {
		busy = &state.busyPair
	}
	if busy.every(peer.pause, now) {
		p.cb.Sending(peer.node, way.protected())
	}
}

// sealAndSend seals what is at s.packet() and sends it on every path. It returns how many links took it.
func (p *Plane) sealAndSend(s *sealer, to *peerSession, in wire.Inner, n int, fl wire.Flags, paths []outPath) (sent int, ok bool) {
	payload, ok := s.seal(to, in, n, p.now())
	if !ok {
		return 0, false
	}
	for i := range paths {
		if p.sendCopy(s, wire.TypeData, fl, &paths[i], payload, nil) {
			sent++
		}
	}
	return sent, true
}

// sendCopy sends one copy of a payload that lies in s on one path, and remembers it for errors in sends if that is not nil.
func (p *Plane) sendCopy(s *sealer, t wire.FrameType, fl wire.Flags, path *outPath, payload []byte, sends *ring) bool {
	if path.first == nil || !path.first.usable {
		p.count.inc(sendLinkDown)
		return false
	}
	frame := s.frame(t, fl, path.labels, len(payload))
	if frame == nil {
		p.count.inc(sendTooBig)
		return false
	}
	if sends != nil {
		sends.add(payload, path.path) // before the send: the error may be back before it returns
	}
	return p.emit(path.first, frame)
}

// wayBack returns the path to the source of the frame b, which came in by the link in.
func (v *view) wayBack(b []byte, in mesh.Label) outPath {
	var room [wire.MaxLabels]mesh.Label
	return outPath{first: v.links[in], labels: appendLabels(nil, wire.ReversedPrefix(b, room[:0]))}
}

func appendLabels(dst []byte, labels []mesh.Label) []byte {
	for _, l := range labels {
		dst = binary.BigEndian.AppendUint16(dst, uint16(l))
	}
	return dst
}
