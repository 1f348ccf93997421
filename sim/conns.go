package sim

import (
	"net/netip"
	"slices"
	"time"

	"x0tta6bl4/core/node"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// The model of QUIC.
const (
	retransmit       = 250 * time.Millisecond
	handshakeTimeout = 5 * time.Second
	idleTimeout      = 10 * time.Second
	keepAlive        = 3 * time.Second
	linkMTU          = wire.MaxFrame
)

// half is one node's end of a connection.
type half struct {
	id, other mesh.ConnID
	node      *simNode
	purpose   wire.Purpose
	end       *wireEnd // of a link
	peer      *simNode
	label     mesh.Label // of a link: this node's label
	accepted  bool       // its node has been told of it
	installed bool
	active    bool // the peer's index is known: may send
	out       []wire.Message
	waiting   bool // a retransmission is scheduled
	heard     time.Time
	first     mesh.Label // end to end: the reversed prefix of what came last
	back      []mesh.Label
}

// cross lets one datagram cross a wire, repeating it until it arrives or the deadline has passed.
func (w *World) cross(e *wireEnd, deadline time.Time, arrived, failed func()) {
	if e.passes() && !w.chance(e.link.loss) {
		w.stats.Frames++
		w.after(e.link.delay, arrived)
		return
	}
	if !w.now.Before(deadline) {
		failed()
		return
	}
	w.after(retransmit, func() { w.cross(e, deadline, arrived, failed) })
}

func (w *World) chance(p float64) bool { return p > 0 && w.rng.Float64() < p }

func (w *World) dialLink(s *simNode, d node.Dial) {
	e := w.endAt(s, d.Addr)
	fail := w.boot(s, func() { w.control(s, node.DialFailed{Dial: d.ID, Reason: "timeout"}) })
	if e == nil {
		w.after(0, fail)
		return
	}
	deadline := w.now.Add(handshakeTimeout)
	far := e.other()
	w.cross(e, deadline, func() {
		w.cross(far, deadline, w.boot(s, func() {
			if !far.node.alive {
				fail()
				return
			}
			a, b := w.pair(s, far.node, wire.PurposeLink)
			a.end, b.end = e, far
			w.note('h', s.index, uint64(far.node.index))
			w.cross(e, deadline, func() { w.accept(b, e.addr) }, func() { w.abandon(b.id) })
			a.accepted = true
			w.control(s, w.up(a, d.ID, far.addr))
			w.keepAlive(a)
			w.keepAlive(b)
		}), fail)
	}, fail)
}

func (w *World) up(h *half, dial uint64, remote netip.AddrPort) node.ConnUp {
	return node.ConnUp{
		Conn: h.id, Dial: dial, Purpose: h.purpose, Peer: h.peer.id, Remote: remote, MTU: linkMTU,
		NotAfter: epoch.AddDate(10, 0, 0),
	}
}

// accept tells the answering end of a handshake that it is complete.
func (w *World) accept(h *half, remote netip.AddrPort) {
	if w.conns[h.id] != nil && h.node.alive {
		h.heard = w.now
		h.accepted = true
		w.control(h.node, w.up(h, 0, remote))
	}
}

// pair makes both halves of a connection.
func (w *World) pair(s, t *simNode, p wire.Purpose) (a, b *half) {
	w.next += 2
	a = &half{id: w.next - 1, other: w.next, node: s, peer: t, purpose: p, heard: w.now}
	b = &half{id: w.next, other: w.next - 1, node: t, peer: s, purpose: p, heard: w.now}
	for _, h := range []*half{a, b} {
		w.conns[h.id] = h
		h.node.conns = append(h.node.conns, h.id)
	}
	return a, b
}

func (w *World) install(s *simNode, e node.Install) {
	if h := w.conns[e.Conn]; h != nil && h.node == s {
		h.installed, h.label = true, e.Label
	}
}

// closeConn ends a connection from this end; the other end learns of it when a datagram gets through.
func (w *World) closeConn(id mesh.ConnID) {
	h := w.conns[id]
	if h == nil {
		return
	}
	other := w.conns[h.other]
	w.drop(h)
	if other == nil {
		return
	}
	tell := func() { w.down(other, "closed by the peer") }
	if h.purpose == wire.PurposeLink {
		w.cross(h.end, w.now.Add(handshakeTimeout), tell, func() {})
		return
	}
	w.carry(h, w.now.Add(handshakeTimeout), func(mesh.Label, []mesh.Label) { tell() }, func() {})
}

// down ends the half at a living node and tells it.
func (w *World) down(h *half, reason string) {
	if w.conns[h.id] == nil {
		return
	}
	w.drop(h)
	w.control(h.node, node.ConnDown{Conn: h.id, Reason: reason})
}

// abandon removes a half without telling its node.
func (w *World) abandon(id mesh.ConnID) {
	if h := w.conns[id]; h != nil {
		w.drop(h)
	}
}

func (w *World) drop(h *half) {
	delete(w.conns, h.id)
	h.node.conns = slices.DeleteFunc(h.node.conns, func(id mesh.ConnID) bool { return id == h.id })
}

// keepAlive ends a link connection that has been silent for the idle time.
func (w *World) keepAlive(h *half) {
	w.after(keepAlive, func() {
		if w.conns[h.id] == nil {
			return
		}
		if w.conns[h.other] != nil && h.end.other().passes() {
			h.heard = w.now
		}
		if w.now.Sub(h.heard) >= idleTimeout {
			w.down(h, "idle timeout")
			return
		}
		w.keepAlive(h)
	})
}

func (w *World) sendMessages(s *simNode, e node.Send) {
	h := w.conns[e.Conn]
	if h == nil || h.node != s {
		return
	}
	h.out = append(h.out, e.Messages...)
	if !h.waiting {
		w.flush(h, w.now.Add(idleTimeout))
	}
}

// flush sends what waits on a connection, in order.
func (w *World) flush(h *half, deadline time.Time) {
	h.waiting = false
	if len(h.out) == 0 || w.conns[h.id] == nil {
		return
	}
	if h.purpose != wire.PurposeLink {
		msgs := h.out
		h.out = nil
		w.carry(h, deadline, func(mesh.Label, []mesh.Label) { w.deliverMessages(h.other, msgs) }, func() { w.down(h, "idle timeout") })
		return
	}
	if !h.end.passes() || w.chance(h.end.link.loss) {
		if !w.now.Before(deadline) {
			w.down(h, "idle timeout")
			return
		}
		h.waiting = true
		w.after(retransmit, func() { w.flush(h, deadline) })
		return
	}
	msgs := h.out
	h.out = nil
	w.after(h.end.link.delay, func() { w.deliverMessages(h.other, msgs) })
}

// deliverMessages encodes and parses messages as the connection would, and hands them to the receiving node.
func (w *World) deliverMessages(to mesh.ConnID, msgs []wire.Message) {
	if h := w.conns[to]; h != nil && !h.accepted {
		// Its handshake's last datagram was lost and is being repeated; the stream's bytes wait behind it.
		w.after(retransmit, func() { w.deliverMessages(to, msgs) })
		return
	}
	for _, m := range msgs {
		h := w.conns[to]
		if h == nil || !h.node.alive {
			return
		}
		raw, err := wire.AppendMessage(nil, m)
		if err != nil {
			w.check.fail("message that cannot be encoded: %T: %v", m, err)
			return
		}
		w.stats.Control += uint64(len(raw))
		got, err := wire.ParseMessage(raw[wire.MessageHeader:])
		if err != nil {
			w.check.fail("message that cannot be parsed: %T: %v", m, err)
			return
		}
		h.heard = w.now
		w.note('m', h.node.index, uint64(len(raw)), uint64(raw[wire.MessageHeader]))
		if h := w.cfg.hooks.ignore; h != nil && h(w.conns[to].node, got) {
			continue
		}
		w.control(h.node, node.Received{Conn: to, Message: got})
	}
}

// dialPeer opens an end-to-end connection: three crossings of the mesh.
func (w *World) dialPeer(s *simNode, d node.DialPeer) {
	i := slices.IndexFunc(w.nodes, func(n *simNode) bool { return n.id == d.Peer })
	t := w.nodes[i]
	a, b := w.pair(s, t, wire.PurposeE2E)
	deadline := w.now.Add(handshakeTimeout)
	fail := w.boot(s, func() {
		w.abandon(a.id)
		w.abandon(b.id)
		w.control(s, node.DialFailed{Dial: d.ID, Reason: "timeout"})
	})
	w.carry(a, deadline, func(in mesh.Label, back []mesh.Label) {
		b.first, b.back = in, back
		w.carry(b, deadline, func(mesh.Label, []mesh.Label) {
			if w.conns[a.id] == nil {
				return
			}
			w.carry(a, deadline, func(mesh.Label, []mesh.Label) { w.accept(b, netip.AddrPort{}) }, func() { w.abandon(b.id) })
			a.accepted = true
			w.control(s, w.up(a, d.ID, netip.AddrPort{}))
		}, fail)
	}, fail)
}
