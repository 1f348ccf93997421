package dataplane

import (
	"context"
	"fmt"
	"time"

	"x0tta6bl4/host/dataplane/segment"
	"x0tta6bl4/wire"
)

const (
	maxRead = segment.HeaderLen + ipv6Header + 65535

	// What one call of SendRun takes at most: the kernel allows 64 datagrams (UDP_MAX_SEGMENTS) and 64 KiB less headers.
	maxRun      = 64
	maxRunBytes = 65000

	maxHold = time.Millisecond // that a frame may wait in an outbox for others, while more is read
)

// outbox is the buffer of one goroutine that reads the TUN. A large packet is cut where it was read; what is cut off is
// sealed into out, frame behind frame, which is the only copy that is made of it.
type outbox struct {
	cut segment.Cutter
	out [maxRunBytes]byte
	dup [maxRunBytes]byte // the same for another path

	n, size, frames int // of out: bytes, those of a frame, how many

	// What is in out goes to one peer, by one way.
	peer  *outPeer
	way   course
	bytes int           // of the packets
	now   time.Duration // when the first was read
}

// RunTUN reads packets from the TUN and sends them, until ctx ends or the TUN fails. A Read that waits is not ended by
// ctx: close the TUN. It may run in several goroutines where the TUN has several queues.
func (p *Plane) RunTUN(ctx context.Context) error {
	s, q := new(outbox), newBacklog()
	for ctx.Err() == nil {
		if q.empty() {
			p.flush(s)
			n, err := p.tun.Read(q.buffer())
			if ctx.Err() != nil {
				return nil
			}
			if err != nil {
				return fmt.Errorf("dataplane: read a packet: %w", err)
			}
			p.count.inc(tunRead)
			q.add(n, p.now())
		}
		now := p.gather(q)
		if s.frames > 0 && now-s.now >= maxHold {
			p.flush(s)
		}
		b, hit := q.next(now)
		p.handlePacket(s, b, hit)
	}
	return nil
}

// gather reads what else there is. It returns when that was.
func (p *Plane) gather(q *backlog) time.Duration {
	now := p.now()
	for range backlogReads {
		room := q.buffer()
		if room == nil {
			break
		}
		n, ok := p.tun.TryRead(room)
		if !ok {
			break
		}
		p.count.inc(tunRead)
		q.add(n, now)
	}
	return now
}

// handlePacket sends b, a virtio header and a packet, on its way, or queues or drops it; if it is hit, because it waited too
// long, it is marked, or the first of what it is to be cut into is dropped: its sender learns as much from one as from all. What
// is to leave may wait in s for more, until flush; behind a packet that comes to nothing it does not: there may be any number of
// those.
func (p *Plane) handlePacket(s *outbox, b []byte, hit bool) {
	if !p.sealPacket(s, b, hit) {
		p.flush(s)
	}
}

// sealPacket is handlePacket without the end of the wait. It reports whether the packet went into s.
func (p *Plane) sealPacket(s *outbox, b []byte, hit bool) bool {
	dst, ok := p.ownPacket(b[min(len(b), segment.HeaderLen):])
	if !ok {
		return false
	}
	drop := hit && !p.markOwn(b[segment.HeaderLen:])
	peer := p.view.Load().byAddr[dst]
	ready := peer.ready() && !p.queue.holds(dst)
	partial, err := s.cut.Cut(b, !ready)
	if err != nil {
		p.count.inc(tunMalformed)
		return false
	}
	if drop {
		p.count.inc(congestionDropped)
		if !s.cut.Skip() {
			return false
		}
	}
	if ready {
		return p.sendCut(s, peer, b[segment.HeaderLen:], partial)
	}
	p.flush(s) // it was read before what may leave now, if a session has come meanwhile
	for pkt, ok := s.cut.Next(0); ok; pkt, ok = s.cut.Next(0) {
		p.wait(dst, pkt, p.now())
	}
	return false
}

// markOwn marks a packet of this node's own congestion-experienced. False means that one must be dropped instead: who sent it
// would not see the mark (RFC 3168 §5).
func (p *Plane) markOwn(pkt []byte) bool {
	if packetECN(pkt) == notECT {
		return false
	}
	p.count.inc(congestionMarked)
	pkt[1] |= ce << 4
	return true
}

// sendCut seals the packets that s.cut gives, which are all cut from pkt, and sends a copy of each on each path. It reports
// whether they went into s.
func (p *Plane) sendCut(s *outbox, peer *outPeer, pkt []byte, partial bool) bool {
	now := p.now()
	way := p.course(peer, pkt, now)
	n, longest := s.cut.Count()
	if fits := way.room(); longest > fits {
		pkt, _ := s.cut.Next(0)
		p.count.add(tunTooBig, n)
		p.refuse(pkt, icmpTooBig, 0, uint32(max(fits, minimumMTU))) // #nosec G115 -- at most wire.MaxFrame
		return false
	}
	peer.session.mark(now)
	last := peer.session.counter.Add(uint64(n))
	if last > maxSeals {
		p.count.add(peerKeyUsedUp, n)
		return false
	}
	in := way.inner(partial)
	peer.session.out[in.Path%wire.PathNumbers].Add(uint32(n)) // #nosec G115 -- at most 64 KiB of packets
	if s.frames > 0 && !s.takes(peer, &way) {
		p.flush(s)
	}
	for c := last - uint64(n); c < last; c++ {
		p.sealNext(s, peer, &way, in, c, now)
	}
	if n > 1 { // what follows a large packet does not fit behind it
		p.flush(s)
	}
	return true
}

// sealNext seals the next packet that s.cut gives with counter c, into a frame behind those in out.
func (p *Plane) sealNext(s *outbox, peer *outPeer, way *course, in wire.Inner, c uint64, now time.Duration) {
	b, _ := s.cut.Next(wire.InnerHeader)
	in.Append(b[:0])
	if s.frames > 0 && !s.fits(way.paths, len(b)) {
		p.flush(s)
	}
	aead := peer.session.seal.sealing(c, now)
	if aead == nil {
		p.count.inc(peerKeyUsedUp)
		return
	}
	if s.frames == 0 {
		s.peer, s.way, s.now = peer, *way, now
	}
	f := s.place(&way.paths[0], len(b), way.flags)
	wire.SealData(f, aead, peer.session.tx.value(), c, b)
	s.bytes += len(b) - wire.InnerHeader
}

// takes reports whether a packet for a peer that goes a way can leave together with those in out.
func (s *outbox) takes(peer *outPeer, way *course) bool {
	return s.peer == peer && s.way.flags == way.flags && len(s.way.paths) == len(way.paths) && &s.way.paths[0] == &way.paths[0]
}

// fits reports whether a frame with n bytes of plaintext can follow those in out, by each of the paths that they go. Only the last
// may be shorter.
func (s *outbox) fits(paths []outPath, n int) bool {
	size, longer := paths[0].frameLen(n), 0
	for i := range paths {
		longer = max(longer, len(paths[i].labels)-len(paths[0].labels))
	}
	return s.frames < maxRun && s.n+size+(s.frames+1)*longer <= maxRunBytes && size <= s.size && s.n == s.frames*s.size
}

// place puts header and labels of a frame behind the frames in out. What it returns is where its payload begins: an empty
// slice, with room for a payload of n bytes of plaintext.
func (s *outbox) place(path *outPath, n int, fl wire.Flags) []byte {
	f := s.out[s.n : s.n+path.frameLen(n)]
	front := wire.HeaderLen + len(path.labels)
	wire.PutHeader(f, wire.TypeData, 0, len(path.labels)/2, fl)
	copy(f[wire.HeaderLen:], path.labels)
	if s.frames == 0 {
		s.size = len(f)
	}
	s.n += len(f)
	s.frames++
	return f[front:front:len(f)]
}

// flush sends what is in out on every path.
func (p *Plane) flush(s *outbox) {
	if s.frames == 0 {
		return
	}
	sent, first := 0, &s.way.paths[0]
	for i := range s.way.paths {
		path := &s.way.paths[i]
		b, size := s.out[:s.n], s.size
		if i > 0 {
			longer := len(path.labels) - len(first.labels)
			if sent > 0 && !p.mayCopy(path, s.frames, s.n+s.frames*longer, s.now) {
				continue
			}
			b, size = s.relabel(first, path), s.size+longer
		}
		if p.sendRun(path, b, size) {
			sent++
		}
	}
	p.noteCopies(&s.way, s.frames, sent)
	if sent == 0 {
		p.count.add(tunNoLink, s.frames)
	} else {
		p.noteSent(s.peer, &s.way, s.frames, s.bytes, s.now)
	}
	s.n, s.size, s.frames, s.bytes = 0, 0, 0, 0
	s.peer, s.way = nil, course{} // of a table that may be gone
}

// relabel returns the frames in out, which go by the path was, as they go by another one.
func (s *outbox) relabel(was, path *outPath) []byte {
	n := 0
	for at := 0; at < s.n; at += s.size {
		f := s.out[at:min(at+s.size, s.n)]
		n += copy(s.dup[n:], f[:wire.HeaderLen])
		wire.PutHeader(s.dup[n-wire.HeaderLen:], wire.TypeData, 0, len(path.labels)/2, wire.FlagsOf(f))
		n += copy(s.dup[n:], path.labels)
		n += copy(s.dup[n:], f[wire.HeaderLen+len(was.labels):])
	}
	return s.dup[:n]
}
