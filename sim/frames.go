package sim

import (
	"encoding/binary"
	"slices"
	"time"

	"x0tta6bl4/core/flow"
	"x0tta6bl4/core/node"
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
	l, ok := s.table.Link(out)
	switch {
	case !ok:
		w.sendError(s, g.back(in), &f, wire.ErrorFrame{Code: wire.ErrorNoLabel, Hop: f.Hop, Label: out, Quote: wire.QuoteOf(f.Payload)})
	case out == in && f.Type != wire.TypeError:
		w.sendError(s, g.back(in), &f, wire.ErrorFrame{Code: wire.ErrorUTurn, Hop: f.Hop, Label: out, Quote: wire.QuoteOf(f.Payload)})
	case f.Type == wire.TypeData && w.chance(s.drops):
	case !l.Usable:
		w.repair(s, in, g, &f, &l)
	default:
		if l.Suspect {
			w.double(s, in, g, &f, &l)
		}
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

// What the payload of a simulated data frame is.
const (
	kindPacket = iota
	kindProbe
	kindReply
)

// dataLen is the length of a simulated payload: 16 bytes that an error quotes, the session of the sender, the counts of a
// probe and the session that they are of, and the session's counter.
const dataLen = 48

// dataPayload stands for the sealed payload, and counts it for its path. All its copies are the same bytes.
func (w *World) dataPayload(kind byte, path uint8, who int, number uint64, session mesh.ConnID) []byte {
	b := make([]byte, dataLen)
	b[0], b[1] = kind, path
	binary.BigEndian.PutUint32(b[4:], uint32(who)) // #nosec G115 -- an index
	binary.BigEndian.PutUint64(b[8:], number)
	binary.BigEndian.PutUint64(b[16:], uint64(session))
	if h := w.conn(session); h != nil {
		h.sent[path]++
		binary.BigEndian.PutUint32(b[24:], h.sent[path])
		binary.BigEndian.PutUint64(b[40:], h.counter)
		h.counter++
	}
	return b
}

// sendingPause is how often the fast loop is told that packets are sent to a node.
const sendingPause = 50 * time.Millisecond

func (w *World) sending(f *trafficFlow, session mesh.ConnID) {
	h := w.conn(session)
	if h == nil {
		return
	}
	h.protects = h.protects || f.protected
	if h.told == 0 || w.at-h.told >= int64(sendingPause) {
		told := node.Sending{Node: f.to.id, Protected: h.protects}
		h.told, h.protects = w.at, false
		w.turn(f.from, told)
	}
}

func (w *World) sendData(s *simNode, p mesh.Path, fl wire.Flags, payload []byte) {
	w.sendFrame(s, p.Labels[0], wire.AppendFrame(nil, wire.TypeData, fl, p.Labels[1:], payload))
}

func (w *World) sendProbe(s *simNode, p node.SendProbe) {
	f, ok := s.table.Peer(p.Node)
	if !ok || f.Session == 0 {
		return
	}
	w.sendData(s, p.Path, 0, w.dataPayload(kindProbe, p.Path.Number, s.index, p.ID, f.Session))
}

// answerProbe sends the answer to a probe that came in by a link, by the way that it came and by the path in use, if
// that is another.
func (w *World) answerProbe(s *simNode, back wayBack, probe []byte, mine, from *half) {
	session, path := mine.id, mesh.Path{}
	if p, ok := s.table.Peer(from.node.id); ok && p.Session != 0 {
		session = p.Session
		if len(p.Ways) > 0 {
			path = p.Ways[0].Path
		}
	}
	b := w.dataPayload(kindReply, 0, s.index, binary.BigEndian.Uint64(probe[8:]), session)
	copy(b[24:28], probe[24:28])
	binary.BigEndian.PutUint32(b[28:], mine.got[probe[1]])
	binary.BigEndian.PutUint64(b[32:], uint64(from.id))
	w.sendBack(s, back, wire.TypeData, b)
	if len(path.Labels) > 0 && (path.Labels[0] != back.first || !slices.Equal(path.Labels[1:], back.labels)) {
		w.sendData(s, path, 0, b)
	}
}

func countsOf(reply []byte) flow.Counts {
	return flow.Counts{
		Known: true, Series: uint32(binary.BigEndian.Uint64(reply[32:])), // #nosec G115 -- few connections
		Sent: binary.BigEndian.Uint32(reply[24:]), Received: binary.BigEndian.Uint32(reply[28:]),
	}
}

// deliver takes a data frame at its destination, if its session's keys are there.
func (w *World) deliver(s *simNode, in mesh.Label, g *flight, f wire.Frame) {
	b := f.Payload
	if len(b) < dataLen {
		return
	}
	who, number := int(binary.BigEndian.Uint32(b[4:])), binary.BigEndian.Uint64(b[8:])
	from := w.conn(mesh.ConnID(binary.BigEndian.Uint64(b[16:])))
	if from == nil {
		return // its sender has closed it meanwhile, and needs no error
	}
	mine := w.conn(from.other)
	if mine == nil || mine.node != s || !mine.installed {
		w.sendError(s, g.back(in), &f, wire.ErrorFrame{Code: wire.ErrorNoSession, Hop: f.Hop, Quote: wire.QuoteOf(b)})
		return
	}
	if !mine.fresh(binary.BigEndian.Uint64(b[40:])) {
		return // the second copy
	}
	mine.got[b[1]]++
	switch b[0] {
	case kindPacket:
		w.flows[who].delivered(w, number)
	case kindProbe:
		w.answerProbe(s, g.back(in), b, mine, from)
	case kindReply:
		w.turn(s, node.ProbeAnswered{Node: from.node.id, ID: number, Counts: countsOf(b)})
	}
}

func (w *World) errorArrived(s *simNode, in mesh.Label, payload []byte) {
	e, err := wire.ParseErrorFrame(payload)
	if err != nil || e.Quote[0] != kindPacket {
		return
	}
	who, number := int(binary.BigEndian.Uint32(e.Quote[4:])), binary.BigEndian.Uint64(e.Quote[8:])
	if who >= len(w.flows) || w.flows[who].from != s {
		return
	}
	if p, ok := w.flows[who].sentBy(number, in, &e); ok {
		w.turn(s, node.PathError{Node: w.flows[who].to.id, Path: p, Code: e.Code})
	}
}
