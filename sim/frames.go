package sim

import (
	"slices"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// carriage is one datagram of an end-to-end connection on its way through the mesh as a handshake frame.
type carriage struct {
	done    bool
	arrived func(wayBack)
}

// wayBack is the way that a frame came, from its end.
type wayBack struct {
	first   mesh.Label // the link that it came in by; 0 = there is none
	labels  []mesh.Label
	detours int // of which relays made it, at most
}

// back returns the way that a frame came which came in by a link.
func (g *flight) back(in mesh.Label) wayBack {
	return wayBack{in, wire.ReversedPrefix(g.frame, nil), g.detours}
}

// sendBack sends a frame by the way that another one came.
func (w *World) sendBack(s *simNode, way wayBack, t wire.FrameType, payload []byte) {
	w.launch(s, way.first, &flight{
		trail: make([]int, 0, usualHops), detours: way.detours, frame: wire.AppendFrame(nil, t, 0, way.labels, payload),
	})
}

// carry sends a datagram of h to its other half and repeats it until it arrives or the deadline has passed. That
// the sender knows at once whether it arrived stands for QUIC's acknowledgements.
func (w *World) carry(h *half, deadline time.Time, arrived func(wayBack), failed func()) {
	w.seq++
	id := w.seq
	c := &carriage{arrived: arrived}
	w.check.carriages[id] = c
	boot := h.node.boots
	var try func()
	try = func() {
		if c.done {
			delete(w.check.carriages, id)
			return
		}
		if !h.node.alive || h.node.boots != boot || !w.now.Before(deadline) {
			delete(w.check.carriages, id)
			if h.node.alive && h.node.boots == boot {
				failed()
			}
			return
		}
		payload := wire.Handshake{FromInitiator: h.id < h.other, Conversation: id, Datagram: []byte{0}}.Append(nil)
		if p, ok := h.node.table.Peer(h.peer.id); ok && len(p.Ways) > 0 {
			w.sendFrame(h.node, p.Ways[0].Labels[0], wire.AppendFrame(nil, wire.TypeHandshake, 0, p.Ways[0].Labels[1:], payload))
		} else if h.back.first != 0 {
			w.sendBack(h.node, h.back, wire.TypeHandshake, payload)
		}
		w.after(retransmit, try)
	}
	try()
}

// flight is a frame between the two ends of a link. The trail names the nodes that it has met before. Both are its own: a relay
// changes them.
type flight struct {
	to      mesh.ConnID
	trail   []int
	frame   []byte
	detours int // how many relays made of its way, at most
}

// usualHops is how long a trail is made at first.
const usualHops = 20

// clone returns a flight of the same frame that shares nothing.
func (g *flight) clone() *flight {
	return &flight{g.to, slices.Clone(g.trail), slices.Clone(g.frame), g.detours}
}

// sendFrame sends a frame of a node's own by one of its links.
func (w *World) sendFrame(s *simNode, label mesh.Label, frame []byte) {
	w.launch(s, label, &flight{trail: make([]int, 0, usualHops), frame: frame})
}

// launch sends what came, or is a node's own, by one of its links.
func (w *World) launch(s *simNode, label mesh.Label, g *flight) {
	frame := g.frame
	if h := w.cfg.hooks.lose; h != nil && h(s, wire.FrameType(frame[0]&0x0f)) {
		return
	}
	h := w.via(s, label)
	if h == nil {
		return
	}
	w.stats.Frames++
	w.check.crossing(w, h.end, frame)
	if !h.end.passes() && !w.cfg.hooks.passes(frame[0]) {
		return
	}
	g.to, g.trail = h.other, append(g.trail, s.index)
	for i, at := range w.transit(h.end, len(frame)) {
		if i > 0 {
			g = g.clone()
		}
		w.post(time.Duration(at-w.at), nil, doArrive, g)
	}
}

// arrive takes a frame at the far end of a link: for this node, or to be relayed.
func (w *World) arrive(g *flight) {
	h, b := w.conn(g.to), g.frame
	if h == nil || !h.node.alive || !h.installed || !h.end.other().passes() && !w.cfg.hooks.passes(b[0]) {
		return
	}
	s := h.node
	if s.frozen {
		s.postpone(event{who: s, boot: s.boots, do: doArrive, what: g})
		return
	}
	f, err := wire.ParseFrame(b)
	if err != nil {
		w.check.fail("frame that cannot be parsed at %v: %v", s.id, err)
		return
	}
	w.hear(h.end)
	w.note('f', s.index, uint64(f.Type), uint64(h.label), uint64(f.Hop))
	w.check.met(w, s, g)
	if int(f.Hop) < len(f.Labels)/2 {
		w.relay(s, h.label, g, f)
		return
	}
	switch f.Type {
	case wire.TypeHandshake:
		hs, err := wire.ParseHandshake(f.Payload)
		if c := w.check.carriages[hs.Conversation]; err == nil && c != nil && !c.done {
			c.done = true
			c.arrived(g.back(h.label))
		}
	case wire.TypeData:
		w.deliver(s, h.label, g, f)
	case wire.TypeError:
		w.errorArrived(s, h.label, f.Payload)
	}
}

func (w *World) relay(s *simNode, in mesh.Label, g *flight, f wire.Frame) {
	b := g.frame
	out := wire.LabelAt(b, int(f.Hop))
	l := s.link(out)
	switch {
	case l == nil:
		w.sendError(s, g.back(in), &f, wire.ErrorFrame{Code: wire.ErrorNoLabel, Hop: f.Hop, Label: out, Quote: wire.QuoteOf(f.Payload)})
	case out == in && f.Type != wire.TypeError:
		w.sendError(s, g.back(in), &f, wire.ErrorFrame{Code: wire.ErrorUTurn, Hop: f.Hop, Label: out, Quote: wire.QuoteOf(f.Payload)})
	case f.Type == wire.TypeData && w.chance(s.drops):
	case !l.Usable:
		w.repair(s, in, g, &f, l)
	default:
		if l.Suspect {
			w.double(s, in, g, &f, l)
		}
		w.slander(s, in, g, &f, out)
		if _, err := wire.SwapLabel(b, in); err == nil {
			w.launch(s, out, g)
		}
	}
}

// sendError answers a frame by the way it came.
func (w *World) sendError(s *simNode, back wayBack, f *wire.Frame, e wire.ErrorFrame) {
	if f.Type != wire.TypeError {
		w.sendBack(s, back, wire.TypeError, e.Append(nil))
	}
}
