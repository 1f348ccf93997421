package sim

import (
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
}

// flush sends what waits on a connection, in order.
func (w *World) flush(h *half, deadline time.Time) {
	h.waiting = false
	if len(h.out) == 0 || h.gone {
		return
	}
	p := &parcel{h.other, h.out}
	if h.purpose != wire.PurposeLink {
		h.out = nil
		w.carry(h, deadline, func(mesh.Label, []mesh.Label) { w.deliverParcel(p) }, func() { w.down(h, "idle timeout") })
		return
	}
	size := 0
	for i := range h.out {
		size += h.out[i].size
	}
	d, ok := w.stream(h.end, size)
	if !ok {
		if !w.now.Before(deadline) {
			w.down(h, "idle timeout")
			return
		}
		h.waiting = true
		w.after(retransmit, func() { w.flush(h, deadline) })
		return
	}
	h.out = nil
	h.last = max(h.last, w.at+int64(d))
	w.post(time.Duration(h.last-w.at), nil, doDeliver, p)
}

// deliverParcel hands messages to the receiving node.
func (w *World) deliverParcel(p *parcel) {
	h := w.conn(p.to)
	if h != nil && !h.accepted {
		// Its handshake's last datagram was lost and is being repeated; the stream's bytes wait behind it.
		w.post(retransmit, nil, doDeliver, p)
		return
	}
	for i := range p.letters {
		if h == nil || h.gone || !h.node.alive {
			return
		}
		if h.node.frozen {
			h.node.backlog = append(h.node.backlog, event{who: h.node, boot: h.node.boots, do: doDeliver, what: &parcel{p.to, p.letters[i:]}})
			return
		}
		w.receive(h, &p.letters[i])
	}
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
