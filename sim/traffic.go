package sim

import (
	"fmt"
	"time"

	"x0tta6bl4/core/node"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// patience is how long a packet may be under way before it counts as lost; also how long one waits for a session.
const patience = 2 * time.Second

// trafficFlow is a stream of numbered packets from one node to another.
type trafficFlow struct {
	index    int
	from, to *simNode
	number   uint64
	pending  map[uint64]*packet
	service  service
	joined   bool      // both ends run, their clocks agree, and a physical way joins them that a frame has labels enough for
	told     time.Time // when Control was last told that packets pass

	protected bool      // its packets are of the protected class
	way       mesh.Path // of the last packet
	sent      int64     // when that was, ns since epoch
	moveAt    int64     // when it takes another way even in the middle of a burst; 0 = it does not
	promise   promise
}

type packet struct {
	number uint64
	sent   time.Time
	paths  [2]mesh.Path // by which it went; the second has no labels if it went by one
	calm   bool         // nothing had been broken or repaired for long enough that it must arrive

	guarded bool // it must arrive if it is of the protected class, whatever single thing breaks
	struck  bool // something was bad when it was sent, or not counted on yet
	alone   bool // one link or relay alone was
}

// usedEvery is how often the slow loop is told that packets pass.
const usedEvery = time.Second

// addFlows makes the flows that are wanted, or draws who talks to whom.
func (w *World) addFlows() error {
	for _, p := range w.cfg.Between {
		a, b := w.byID[p.From], w.byID[p.To]
		if a == nil || b == nil || a == b {
			return fmt.Errorf("%w: a flow %s: the ends are two nodes of the map", ErrPair, p)
		}
		w.addPair(a, b)
	}
	if len(w.cfg.Between) > 0 {
		return nil
	}
	for range w.cfg.Traffic {
		a := w.rng.IntN(len(w.nodes))
		b := w.rng.IntN(len(w.nodes) - 1)
		if b >= a {
			b++
		}
		w.addPair(w.nodes[a], w.nodes[b])
	}
	return nil
}

// addPair adds a flow, and its twin if there is to be one.
func (w *World) addPair(a, b *simNode) {
	w.addFlow(a, b)
	if w.cfg.Protect {
		w.addFlow(a, b)
		w.flows[len(w.flows)-1].protected = true
	}
}

func (w *World) addFlow(a, b *simNode) {
	w.flows = append(w.flows, &trafficFlow{index: len(w.flows), from: a, to: b, pending: map[uint64]*packet{}})
}

// startTraffic starts the flows when the nodes have had a second.
func (w *World) startTraffic() {
	for _, f := range w.flows {
		w.after(time.Second+time.Duration(w.rng.Int64N(int64(w.cfg.Packet))), func() { w.sendPacket(f) })
	}
}

func (w *World) sendPacket(f *trafficFlow) {
	w.after(w.cfg.Packet, func() { w.sendPacket(f) })
	if !f.from.runs() || !f.to.alive {
		return
	}
	p, ok := f.from.table.Peer(f.to.id)
	if !ok || p.Session == 0 {
		w.stats.NoSession++
		w.check.waiting(w, f)
		w.control(f.from, node.Wanted{Addr: mesh.Addr(domain, f.to.id)})
		return
	}
	f.number++
	w.stats.Sent++
	if w.now.Sub(f.told) >= usedEvery {
		f.told = w.now
		w.control(f.from, node.Used{Node: f.to.id, At: w.now})
	}
	k := &packet{number: f.number, sent: w.now, calm: w.check.calm(w, f)}
	f.pending[k.number] = k
	w.after(patience, func() { w.overdue(f, k) })
	f.route(w, &p, k)
	w.check.promises.sent(w, f, k)
	if len(k.paths[0].Labels) == 0 {
		return
	}
	w.check.session(w, f)
	w.emit(f, k, p.Session)
	w.sending(f, p.Session)
}

// emit sends a packet, and its copy if it has two paths.
func (w *World) emit(f *trafficFlow, k *packet, session mesh.ConnID) {
	number, fl := k.paths[0].Number, wire.Flags(0)
	if f.protected {
		number, fl = 0, wire.FlagProtected // counted for neither path
	}
	payload := w.dataPayload(kindPacket, number, f.index, k.number, session)
	for i := range k.paths {
		if len(k.paths[i].Labels) > 0 {
			w.sendData(f.from, k.paths[i], fl, payload)
		}
	}
}

func (w *World) overdue(f *trafficFlow, k *packet) {
	if f.pending[k.number] == nil {
		return
	}
	delete(f.pending, k.number)
	w.stats.Lost++
	w.note('l', f.index, k.number)
	w.check.promises.lost(w, f, k)
	if k.calm && w.check.stillCalm(w, k.sent) {
		w.check.fail("packet %d from %v to %v sent by %v was lost although a path existed and nothing had changed for %v",
			k.number, f.from.id, f.to.id, k.paths[0].Nodes, settled)
	}
}

func (f *trafficFlow) delivered(w *World, number uint64) {
	if f.pending[number] == nil {
		return
	}
	delete(f.pending, number)
	w.stats.Delivered++
	w.note('d', f.index, number)
	f.service.delivered(w.now, f.joined, w.cfg.Packet)
	w.check.promises.delivered(w, f)
}

// sentBy returns the path of a packet still under way that an error which came in by a link is about: it left by that link, and
// the place that the error names lies on it.
func (f *trafficFlow) sentBy(number uint64, in mesh.Label, e *wire.ErrorFrame) (mesh.Path, bool) {
	k := f.pending[number]
	if k == nil {
		return mesh.Path{}, false
	}
	for _, p := range k.paths {
		if liesOn(e, in, p.Labels) {
			return p, true
		}
	}
	return mesh.Path{}, false
}

// liesOn reports whether an error is about a place on the path with these labels: who met the frame at hop h had labels[h+1] to
// look up, and its destination none.
func liesOn(e *wire.ErrorFrame, in mesh.Label, labels []mesh.Label) bool {
	at := int(e.Hop) + 1
	switch {
	case len(labels) < at || labels[0] != in:
		return false
	case len(labels) == at || e.Code == wire.ErrorNoSession:
		return len(labels) == at && e.Code == wire.ErrorNoSession
	}
	return labels[at] == e.Label
}
