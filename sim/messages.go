package sim

import (
	"slices"
	"time"

	"x0tta6bl4/core/node"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// letter is one control message on its way.
type letter struct {
	message wire.Message
	kind    int
	size    int // encoded, with its length in front
	article *article
}

// parcel is the letters that one datagram, or more, bring to the other end of a connection.
type parcel struct {
	to      mesh.ConnID
	letters []letter
}

func (w *World) sendMessages(s *simNode, e node.Send) {
	h := w.conn(e.Conn)
	if h == nil || h.node != s {
		return
	}
	loose := !h.waiting && len(h.out) == 0 // they go at once, mostly: into memory that all connections share
	if loose {
		h.out = w.loose[:0]
	}
	for _, m := range e.Messages {
		l, err := w.press.letter(m)
		if err != nil {
			w.check.fail("message that cannot be encoded: %T: %v", m, err)
			return
		}
		h.out = append(h.out, l)
	}
	if !h.waiting {
		w.flush(h, w.now.Add(idleTimeout))
	}
	if loose {
		w.loose, h.out = h.out[:0], slices.Clone(h.out)
	}
}

// flush sends what waits on a connection, in order.
func (w *World) flush(h *half, deadline time.Time) {
	h.waiting = false
	if len(h.out) == 0 || h.gone {
		return
	}
	if h.purpose != wire.PurposeLink {
		p := &parcel{h.other, slices.Clone(h.out)}
		h.out = h.out[:0]
		w.carry(h, deadline, func(wayBack) { w.deliverParcel(p) }, func() { w.down(h, "idle timeout") })
		return
	}
	size := 0
	for i := range h.out {
		size += h.out[i].size
	}
	d, ok := w.delay(h, size)
	if !ok {
		if !w.now.Before(deadline) {
			w.down(h, "idle timeout")
			return
		}
		h.waiting = true
		w.after(retransmit, func() { w.flush(h, deadline) })
		return
	}
	p := w.pack(h)
	h.last = max(h.last, w.at+int64(d))
	w.post(time.Duration(h.last-w.at), nil, doDeliver, p)
}

// delay is stream for what waits on a connection. Nearly always nothing has changed since the last time, and nothing is in the
// way.
func (w *World) delay(h *half, size int) (time.Duration, bool) {
	if h.easyAt == w.changes && w.changes > 0 && !w.cfg.Stepwise {
		return h.easy, true
	}
	d, ok := w.stream(h.end, size)
	if l := h.end.link; ok && !l.loses() && l.rate == 0 && l.extra.jitter == 0 {
		h.easy, h.easyAt = d, w.changes
	}
	return d, ok
}

// pack makes what waits on a connection a parcel, in memory of one that was delivered.
func (w *World) pack(h *half) *parcel {
	var p *parcel
	if n := len(w.spare); n > 0 {
		p, w.spare = w.spare[n-1], w.spare[:n-1]
	} else {
		p = &parcel{}
	}
	p.to = h.other
	p.letters, h.out = append(p.letters[:0], h.out...), h.out[:0]
	return p
}

// unpack delivers a parcel that nobody else holds.
func (w *World) unpack(p *parcel) {
	if w.deliverParcel(p) {
		clear(p.letters)
		w.spare = append(w.spare, p)
	}
}

// deliverParcel hands messages to the receiving node. It reports whether the parcel is done with.
func (w *World) deliverParcel(p *parcel) bool {
	h := w.conn(p.to)
	if h != nil && !h.accepted {
		// Its handshake's last datagram was lost and is being repeated; the stream's bytes wait behind it.
		w.post(retransmit, nil, doDeliver, p)
		return false
	}
	for i := range p.letters {
		if h == nil || h.gone || !h.node.alive {
			return true
		}
		if h.node.frozen {
			h.node.backlog = append(h.node.backlog, event{who: h.node, boot: h.node.boots, do: doDeliver, what: &parcel{p.to, p.letters[i:]}})
			return false
		}
		w.receive(h, &p.letters[i])
	}
	return true
}

// receive takes one message at the far end of a connection.
func (w *World) receive(h *half, l *letter) {
	w.count(l.kind, l.size)
	h.heard = w.now
	w.note('m', h.node.index, uint64(l.size), uint64(l.kind))
	if ignore := w.cfg.hooks.ignore; ignore != nil && ignore(h.node, l.message) {
		return
	}
	if !l.article.has(h.node) {
		w.control(h.node, node.Received{Conn: h.id, Message: l.message})
	}
}
