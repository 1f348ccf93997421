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
	out       []letter
	waiting   bool // a retransmission is scheduled
	heard     time.Time
	last      int64         // when what was sent last arrives: messages keep their order
	gone      bool          // it has ended
	easy      time.Duration // how long a message takes if nothing is in its way, as of that number of changes of the network
	easyAt    uint64
	back      wayBack                  // end to end: of what came last
	sent, got [wire.PathNumbers]uint32 // end to end: frames by number of their path
	told      int64                    // end to end: when the fast loop was last told that packets are sent
	protects  bool                     // end to end: of these some are of the protected class
	counter   uint64                   // end to end: of the next payload
	window    *wire.Window             // of those that came
}

// fresh reports whether a payload of this counter has not come before.
func (h *half) fresh(counter uint64) bool {
	if h.window == nil {
		h.window = wire.NewWindow(wire.MinWindow)
	}
	return h.window.Accept(counter)
}

// conn returns a connection that has not ended.
func (w *World) conn(id mesh.ConnID) *half {
	if id < mesh.ConnID(len(w.conns)) {
		return w.conns[id]
	}
	return nil
}

// cross lets one datagram cross a wire, repeating it until it arrives or the deadline has passed.
func (w *World) cross(e *wireEnd, deadline time.Time, arrived, failed func()) {
	if d, ok := w.stream(e, quicDatagram); ok {
		w.stats.Frames++
		w.after(d, arrived)
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
		NotAfter: forever,
	}
}

// accept tells the answering end of a handshake that it is complete.
func (w *World) accept(h *half, remote netip.AddrPort) {
	if !h.gone && h.node.alive {
		h.heard = w.now
		h.accepted = true
		w.control(h.node, w.up(h, 0, remote))
	}
}

// pair makes both halves of a connection.
func (w *World) pair(s, t *simNode, p wire.Purpose) (a, b *half) {
	next := mesh.ConnID(len(w.conns))
	a = &half{id: next, other: next + 1, node: s, peer: t, purpose: p, heard: w.now}
	b = &half{id: next + 1, other: next, node: t, peer: s, purpose: p, heard: w.now}
	for _, h := range []*half{a, b} {
		w.conns = append(w.conns, h)
		h.node.conns = append(h.node.conns, h.id)
	}
	return a, b
}

func (w *World) install(s *simNode, e node.Install) {
	if h := w.conn(e.Conn); h != nil && h.node == s {
		h.installed, h.label = true, e.Label
		if h.end != nil {
			s.label(h.end, e.Label)
		}
	}
}

// closeConn ends a connection from this end; the other end learns of it when a datagram gets through.
func (w *World) closeConn(id mesh.ConnID) {
	h := w.conn(id)
	if h == nil {
		return
	}
	other := w.conn(h.other)
	w.drop(h)
	if other == nil {
		return
	}
	tell := func() { w.down(other, "closed by the peer") }
	if h.purpose == wire.PurposeLink {
		w.cross(h.end, w.now.Add(handshakeTimeout), tell, func() {})
		return
	}
	w.carry(h, w.now.Add(handshakeTimeout), func(wayBack) { tell() }, func() {})
}

// down ends the half at a living node and tells it.
func (w *World) down(h *half, reason string) {
	if h.gone {
		return
	}
	w.drop(h)
	w.control(h.node, node.ConnDown{Conn: h.id, Reason: reason})
}

// abandon removes a half without telling its node.
func (w *World) abandon(id mesh.ConnID) {
	if h := w.conn(id); h != nil {
		w.drop(h)
	}
}

func (w *World) drop(h *half) {
	if h.end != nil {
		w.landAt(h.end)
	}
	h.gone = true
	w.conns[h.id] = nil
	h.node.conns = slices.DeleteFunc(h.node.conns, func(id mesh.ConnID) bool { return id == h.id })
}

// keepAlive ends a link connection that has been silent for the idle time.
func (w *World) keepAlive(h *half) {
	w.after(keepAlive, func() {
		if h.gone {
			return
		}
		if w.conn(h.other) != nil && h.end.other().answers() {
			h.heard = w.now
		}
		if w.now.Sub(h.heard) >= idleTimeout {
			w.down(h, "idle timeout")
			return
		}
		w.keepAlive(h)
	})
}

// dialPeer opens an end-to-end connection: three crossings of the mesh.
func (w *World) dialPeer(s *simNode, d node.DialPeer) {
	t := w.byID[d.Peer]
	a, b := w.pair(s, t, wire.PurposeE2E)
	deadline := w.now.Add(handshakeTimeout)
	fail := w.boot(s, func() {
		w.abandon(a.id)
		w.abandon(b.id)
		w.control(s, node.DialFailed{Dial: d.ID, Reason: "timeout"})
	})
	w.carry(a, deadline, func(back wayBack) {
		b.back = back
		w.carry(b, deadline, func(wayBack) {
			if a.gone {
				return
			}
			w.carry(a, deadline, func(wayBack) { w.accept(b, netip.AddrPort{}) }, func() { w.abandon(b.id) })
			a.accepted = true
			w.control(s, w.up(a, d.ID, netip.AddrPort{}))
		}, fail)
	}, fail)
}

// endAt returns the wire end of s that leads to an underlay address.
func (w *World) endAt(s *simNode, remote netip.AddrPort) *wireEnd {
	far := w.byIP[remote.Addr()]
	if far == nil || far.other().node != s {
		return nil
	}
	return far.other()
}
