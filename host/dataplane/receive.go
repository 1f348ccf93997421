package dataplane

import (
	"bytes"
	"errors"
	"net/netip"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// arrival is one frame whose link MAC and counter were good, or that was joined from parts that were.
type arrival struct {
	v    *view
	in   *linkSession
	f    wire.Frame
	b    []byte // the whole frame
	from netip.AddrPort
	now  time.Duration
	to   *Receiver // nil: b does not last, what is done with it is done at once

	queue *discipline // nil: nobody knows how long it waited
}

// back returns the path to the frame's source.
func (a *arrival) back() outPath { return a.v.wayBack(a.b, a.in.label) }

// HandleFrame takes one datagram that is not QUIC's. It changes b, and needs it until Flush.
func (r *Receiver) HandleFrame(from netip.AddrPort, b []byte) { r.p.handle(r, from, b, r.clock()) }

// HandleWaiting takes a datagram that came some time ago, at a time since the plane was made. Others of its link may have been
// handled since. It changes b, and needs it only during the call.
func (p *Plane) HandleWaiting(from netip.AddrPort, b []byte, at time.Time) {
	p.handle(nil, from, b, p.since(at))
}

// handle takes a datagram at a time of the plane's clock.
func (p *Plane) handle(to *Receiver, from netip.AddrPort, b []byte, now time.Duration) {
	f, err := wire.ParseFrame(b)
	if err != nil {
		p.count.inc(parseCounter(err))
		return
	}
	v := p.view.Load()
	in := v.linkRx[f.Session]
	if in == nil {
		p.count.inc(linkUnknownSession)
		if p.unknown.allow(now) {
			p.cb.UnknownSession(from, f.Session)
		}
		return
	}
	newest, ok := in.accept(&p.count, b, f.Counter)
	if !ok {
		return
	}
	a := arrival{v: v, in: in, f: f, b: b, from: from, to: to, now: now}
	if to != nil && to.queue.came != 0 {
		a.queue = &to.queue
	}
	in.state.hear(a.now)
	in.state.rx.add(len(b))
	if newest {
		p.checkMoved(&a)
	}
	if f.Type == wire.TypePart {
		p.handlePart(&a)
		return
	}
	p.route(&a)
}

func parseCounter(err error) counter {
	switch {
	case errors.Is(err, wire.ErrTruncated):
		return frameTruncated
	case errors.Is(err, wire.ErrFrameType):
		return frameBadType
	}
	return frameMalformed
}

// checkMoved tells of a neighbour that sends from another address than frames are sent to. That those are sent by a
// certain interface is no difference: what arrives does not tell by which it came.
func (p *Plane) checkMoved(a *arrival) {
	o := a.v.links[a.in.label]
	if o == nil || o.session != a.in || mesh.SameUnderlay(o.remote, a.from) {
		return
	}
	if a.in.state.moved.allow(a.now) {
		p.cb.Moved(a.in.label, a.in.conn, mesh.PlainUnderlay(a.from))
	}
}

// handlePart joins parts. What they were parts of came by the same link, whose MAC covered all of it.
func (p *Plane) handlePart(a *arrival) {
	if len(a.f.Labels) != 0 {
		p.count.inc(linkOnlyRouted)
		return
	}
	s := p.sealers.Get().(*sealer)
	defer p.sealers.Put(s)
	b, whole, err := a.in.join(p.time(int64(a.now)), a.f.Payload, s.buf[:])
	if err != nil {
		p.count.inc(partMalformed)
		return
	}
	if !whole {
		return
	}
	if a.to != nil {
		a.to.Flush() // what came before it goes first
	}
	joined := *a
	joined.b, joined.to = b, nil
	if joined.f, err = wire.ParseFrame(b); err != nil {
		p.count.inc(partMalformed)
		return
	}
	switch joined.f.Type {
	case wire.TypeData, wire.TypeHandshake, wire.TypeError:
		p.count.inc(partJoined)
		p.route(&joined)
	default: // parts of parts would be recursion on the neighbour's terms
		p.count.inc(partMalformed)
	}
}

// route sends a frame on or delivers it.
func (p *Plane) route(a *arrival) {
	labels := len(a.f.Labels) / 2
	switch a.f.Type {
	case wire.TypeData, wire.TypeError, wire.TypeHandshake:
		if (int(a.f.Hop) < labels || a.f.Type == wire.TypeData) && a.queue != nil && !p.admit(a) {
			return
		}
		if int(a.f.Hop) < labels {
			p.relay(a)
			return
		}
	default:
		if labels != 0 {
			p.count.inc(linkOnlyRouted)
			return
		}
	}
	switch a.f.Type {
	case wire.TypeData:
		p.deliverData(a)
	case wire.TypeHandshake:
		p.deliverHandshake(a)
	case wire.TypeError:
		p.deliverError(a)
	case wire.TypeHello:
		p.deliverHello(a)
	case wire.TypeChallenge, wire.TypeChallengeReply:
		p.deliverChallenge(a)
	}
}

func (p *Plane) deliverHello(a *arrival) {
	h, err := wire.ParseHello(a.f.Payload)
	if err != nil {
		p.count.inc(helloMalformed)
		return
	}
	if !a.in.state.told.take(a.now, toldBurst, toldInterval) {
		p.count.inc(helloLimited)
		return
	}
	p.count.sized(helloReceived, len(a.b))
	p.cb.Hello(a.in.label, h, p.time(int64(a.now)))
}

func (p *Plane) deliverChallenge(a *arrival) {
	c, err := wire.ParseChallenge(a.f.Payload)
	if err != nil {
		p.count.inc(challengeMalformed)
		return
	}
	if a.f.Type == wire.TypeChallenge && !a.in.state.asked[0].allow(a.now) && !a.in.state.asked[1].allow(a.now) {
		p.count.inc(challengeLimited)
		return
	}
	if a.f.Type == wire.TypeChallengeReply && !a.in.state.told.take(a.now, toldBurst, toldInterval) {
		p.count.inc(challengeLimited)
		return
	}
	p.cb.Challenge(a.in.label, a.from, a.f.Type == wire.TypeChallengeReply, c)
}

func (p *Plane) deliverHandshake(a *arrival) {
	h, err := wire.ParseHandshake(a.f.Payload)
	if err != nil {
		p.count.inc(handshakeMalformed)
		return
	}
	back := wire.ReversedPrefix(a.b, nil)
	via := mesh.Label(0) // the neighbour's own link by which it came there, as an honest one writes it
	if len(back) > 0 {
		via = back[0]
	}
	if s := a.in.state; !s.shakesVia.takeOf(via, a.now, shakeBurst, shakeInterval) || !s.shakes.take(a.now, shakesBurst, shakesEvery) {
		p.count.inc(handshakeLimited)
		return
	}
	h.Datagram = append([]byte(nil), h.Datagram...)
	p.cb.Handshake(h, a.in.label, back)
}

func (p *Plane) deliverError(a *arrival) {
	e, err := wire.ParseErrorFrame(a.f.Payload)
	if err != nil {
		p.count.inc(errorMalformed)
		return
	}
	match, none := p.findSend(a, &e)
	if match == nil {
		p.count.inc(none)
		return
	}
	if !a.in.state.accused.take(a.now, toldBurst, toldInterval) {
		p.count.inc(errorFlood)
		return
	}
	p.count.inc(errorReceived)
	p.cb.Error(e, a.in.label, p.time(int64(a.now)), match)
}

// deliverData opens data for this node and hands on what is inside.
func (p *Plane) deliverData(a *arrival) {
	index, counter, ok := wire.DataIndex(a.f.Payload)
	if !ok {
		p.count.inc(peerMalformed)
		return
	}
	s := a.v.peerRx[index]
	if s == nil {
		p.count.inc(peerUnknownSession)
		p.report(a, wire.ErrorNoSession, 0, 0)
		return
	}
	if !s.fresh(counter) {
		p.count.inc(peerReplay)
		return
	}
	plain, why, ok := s.open.open(a.f.Payload, counter, a.now)
	if !ok {
		p.refuseData(a, why)
		return
	}
	if !s.accept(counter) { // the other copy was opened at the same time
		p.count.inc(peerReplay)
		return
	}
	inner, rest, err := wire.ParseInner(plain)
	if err != nil {
		p.count.inc(peerMalformed)
		return
	}
	s.in[inner.Path%wire.PathNumbers].Add(1)
	switch inner.Kind {
	case wire.InnerPacket:
		p.deliverPacket(a, s, rest, inner.Partial)
	case wire.InnerProbe, wire.InnerProbeReply:
		p.deliverProbe(a, s, inner.Kind, rest)
	case wire.InnerKeepalive:
	}
}

// refuseData counts data that was not opened. If a sender is so far ahead that it was lost, only a new session helps.
func (p *Plane) refuseData(a *arrival, why counter) {
	p.count.inc(why)
	if why == peerBadEpoch {
		p.report(a, wire.ErrorNoSession, 0, 0)
	}
}

// deliverPacket writes a packet to the TUN if the peer may have sent it: only from its own address, only to ours.
func (p *Plane) deliverPacket(a *arrival, s *peerSession, pkt []byte, partial bool) {
	switch {
	case !wholePacket(pkt):
		p.count.inc(peerBadPacket)
		return
	case [16]byte(pkt[8:24]) != s.addr:
		p.count.inc(peerBadSource)
		return
	case [16]byte(pkt[24:40]) != p.self:
		p.count.inc(peerBadDestination)
		return
	case !markPacket(pkt, a.f.Flags.ECN()):
		p.count.inc(peerCongestionDrop)
		return
	}
	s.peer.lastRx.Store(int64(a.now))
	s.peer.rx.add(len(pkt))
	r := a.to
	if r == nil {
		r = p.receivers.Get().(*Receiver)
		defer p.receivers.Put(r)
		defer r.Flush()
	}
	r.add(pkt, partial)
}

func (p *Plane) deliverProbe(a *arrival, s *peerSession, kind wire.InnerKind, b []byte) {
	if !s.peer.probes.take(a.now, toldBurst, toldInterval) {
		p.count.inc(peerProbeLimited)
		return
	}
	probe, err := wire.ParseProbe(b)
	if err != nil {
		p.count.inc(peerMalformed)
		return
	}
	if kind == wire.InnerProbeReply {
		p.cb.ProbeReply(s.node, s.conn, probe, p.time(int64(a.now)))
		return
	}
	probe.Labels = nil
	if c := probe.Counts; c != nil {
		c.Index, c.Received = s.rxIndex, s.in[probe.Path%wire.PathNumbers].Load()
	}
	if !p.answerProbe(a, s, probe) {
		p.count.inc(peerNoWayBack)
	}
}

// answerProbe sends the answer by the way the probe came, which is the path it asks about, and by the paths in use,
// in case that way is dead in this direction only. All copies are one ciphertext: the first to come counts.
func (p *Plane) answerProbe(a *arrival, s *peerSession, probe wire.Probe) bool {
	out := a.v.byNode[s.node]
	if out.ready() {
		s = out.session
	}
	if !s.tx.known() {
		return false
	}
	buf := p.sealers.Get().(*sealer)
	defer p.sealers.Put(buf)
	n := len(probe.Append(buf.packet()[:0]))
	back := a.back()
	paths := []outPath{back}
	if out != nil {
		for _, w := range out.ways {
			for i := range w.paths {
				if o := &w.paths[i]; o.first != back.first || !bytes.Equal(o.labels, back.labels) {
					paths = append(paths, *o)
				}
			}
		}
	}
	sent, ok := p.sealAndSend(buf, s, wire.Inner{Kind: wire.InnerProbeReply}, n, 0, paths)
	return ok && sent > 0
}
