package sim

import (
	"encoding/binary"
	"slices"
	"time"

	"x0tta6bl4/core/node"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// carriage is one datagram of an end-to-end connection on its way through the mesh as a handshake frame.
type carriage struct {
	done    bool
	arrived func(in mesh.Label, back []mesh.Label)
}

// carry sends a datagram of h to its other half and repeats it until it arrives or the deadline has passed. That
// the sender knows at once whether it arrived stands for QUIC's acknowledgements.
func (w *World) carry(h *half, deadline time.Time, arrived func(mesh.Label, []mesh.Label), failed func()) {
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
		if p, ok := h.node.table.Peer(h.peer.id); ok && len(p.Paths) > 0 {
			w.sendFrame(h.node, p.Paths[0].Labels[0], nil, wire.AppendFrame(nil, wire.TypeHandshake, 0, p.Paths[0].Labels[1:], payload))
		} else if h.first != 0 {
			w.sendFrame(h.node, h.first, nil, wire.AppendFrame(nil, wire.TypeHandshake, 0, h.back, payload))
		}
		w.after(retransmit, try)
	}
	try()
}

// flight is a frame between the two ends of a link. The trail names the nodes that it has met before.
type flight struct {
	to    mesh.ConnID
	trail []int
	frame []byte
}

// sendFrame sends a frame by one of a node's links.
func (w *World) sendFrame(s *simNode, label mesh.Label, trail []int, frame []byte) {
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
	trail = append(trail[:len(trail):len(trail)], s.index)
	for _, at := range w.transit(h.end, len(frame)) {
		w.post(time.Duration(at-w.at), nil, doArrive, &flight{h.other, trail, frame})
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
	h.end.heard = w.at
	w.note('f', s.index, uint64(f.Type), uint64(h.label), uint64(f.Hop))
	if slices.Contains(g.trail, s.index) {
		w.check.loop(w, s, g.trail)
	}
	if int(f.Hop) < len(f.Labels)/2 {
		w.relay(s, h.label, g.trail, b, f)
		return
	}
	switch f.Type {
	case wire.TypeHandshake:
		hs, err := wire.ParseHandshake(f.Payload)
		if c := w.check.carriages[hs.Conversation]; err == nil && c != nil && !c.done {
			c.done = true
			c.arrived(h.label, wire.ReversedPrefix(b, nil))
		}
	case wire.TypeData:
		w.deliver(s, h.label, b, f)
	case wire.TypeError:
		w.errorArrived(s, f.Payload)
	}
}

func (w *World) relay(s *simNode, in mesh.Label, trail []int, b []byte, f wire.Frame) {
	out := wire.LabelAt(b, int(f.Hop))
	l, ok := s.table.Link(out)
	code := wire.ErrorLinkDown
	switch {
	case !ok:
		code = wire.ErrorNoLabel
	case out == in && f.Type != wire.TypeError:
		code = wire.ErrorUTurn
	case l.Usable && f.Type == wire.TypeData && w.chance(s.drops):
		return
	case l.Usable:
		b = slices.Clone(b)
		if _, err := wire.SwapLabel(b, in); err == nil {
			w.sendFrame(s, out, trail, b)
		}
		return
	}
	w.sendError(s, in, b, wire.ErrorFrame{Code: code, Hop: f.Hop, Label: out, Quote: wire.QuoteOf(f.Payload)})
}

// sendError answers a frame by the way it came.
func (w *World) sendError(s *simNode, in mesh.Label, b []byte, e wire.ErrorFrame) {
	if wire.FrameType(b[0]&0x0f) == wire.TypeError {
		return
	}
	w.sendFrame(s, in, nil, wire.AppendFrame(nil, wire.TypeError, 0, wire.ReversedPrefix(b, nil), e.Append(nil)))
}

// What the payload of a simulated data frame is.
const (
	kindPacket = iota
	kindProbe
	kindReply
)

// dataPayload stands for the sealed payload: 16 bytes that an error quotes, and the session of the sender.
func dataPayload(kind byte, who int, number uint64, session mesh.ConnID) []byte {
	b := make([]byte, 24)
	b[0] = kind
	binary.BigEndian.PutUint32(b[4:], uint32(who)) // #nosec G115 -- an index
	binary.BigEndian.PutUint64(b[8:], number)
	binary.BigEndian.PutUint64(b[16:], uint64(session))
	return b
}

func (w *World) sendData(s *simNode, p mesh.Path, payload []byte) {
	w.sendFrame(s, p.Labels[0], nil, wire.AppendFrame(nil, wire.TypeData, 0, p.Labels[1:], payload))
}

func (w *World) sendProbe(s *simNode, p node.SendProbe) {
	f, ok := s.table.Peer(p.Node)
	if !ok || f.Session == 0 {
		return
	}
	w.sendData(s, p.Path, dataPayload(kindProbe, s.index, p.ID, f.Session))
}

// deliver takes a data frame at its destination, if its session's keys are there.
func (w *World) deliver(s *simNode, in mesh.Label, frame []byte, f wire.Frame) {
	b := f.Payload
	if len(b) < 24 {
		return
	}
	who, number := int(binary.BigEndian.Uint32(b[4:])), binary.BigEndian.Uint64(b[8:])
	from := w.conn(mesh.ConnID(binary.BigEndian.Uint64(b[16:])))
	if from == nil {
		return // its sender has closed it meanwhile, and needs no error
	}
	mine := w.conn(from.other)
	if mine == nil || mine.node != s || !mine.installed {
		w.sendError(s, in, frame, wire.ErrorFrame{Code: wire.ErrorNoSession, Hop: f.Hop, Quote: wire.QuoteOf(b)})
		return
	}
	switch b[0] {
	case kindPacket:
		w.flows[who].delivered(w, number)
	case kindProbe:
		if p, ok := s.table.Peer(from.node.id); ok && p.Session != 0 && len(p.Paths) > 0 {
			w.sendData(s, p.Paths[0], dataPayload(kindReply, s.index, number, p.Session))
		}
	case kindReply:
		w.turn(s, node.ProbeAnswered{Node: from.node.id, ID: number})
	}
}

func (w *World) errorArrived(s *simNode, payload []byte) {
	e, err := wire.ParseErrorFrame(payload)
	if err != nil || e.Quote[0] != kindPacket {
		return
	}
	who, number := int(binary.BigEndian.Uint32(e.Quote[4:])), binary.BigEndian.Uint64(e.Quote[8:])
	if who >= len(w.flows) || w.flows[who].from != s {
		return
	}
	if p, ok := w.flows[who].sentBy(number); ok {
		w.turn(s, node.PathError{Node: w.flows[who].to.id, Path: p, Code: e.Code})
	}
}
