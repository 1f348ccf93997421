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
		w.turn(s, node.ProbeAnswered{Node: from.node.id, Conn: mine.id, ID: number, Counts: countsOf(b)})
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
