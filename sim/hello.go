package sim

import (
	"cmp"
	"slices"
	"time"

	"x0tta6bl4/core/node"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// arrival is a hello that comes to a link end at a time.
type arrival struct {
	at    int64 // ns since epoch
	to    *half
	hello wire.Hello
}

// greeting is an arrival that has an event of its own.
type greeting struct {
	arrival
	end *wireEnd
}

// sendHello sends a hello over a link. Most arrive at a link that is up, ask nothing, and so change nothing before the
// receiver's next turn: these go straight to where that turn finds them.
func (w *World) sendHello(s *simNode, h *node.SendHello) {
	size := max(h.Size, wire.HeaderLen+wire.HelloLen)
	w.count(kindHello, size)
	if hk := w.cfg.hooks.lose; hk != nil && hk(s, wire.TypeHello) {
		return
	}
	from := w.via(s, h.Label)
	if from == nil {
		return
	}
	w.stats.Frames++
	if !from.end.passes() && !w.cfg.hooks.leak {
		return
	}
	for _, at := range w.transit(from.end, size) {
		a := arrival{at: at, to: w.conn(from.other), hello: h.Hello}
		if a.to == nil {
			continue
		}
		far := from.end.other()
		if w.cfg.Stepwise || !w.calm(far, &a) {
			w.post(time.Duration(at-w.at), nil, doHello, &greeting{a, far})
			continue
		}
		far.expect(a)
		if h.Hello.Seq%tryEach == 0 {
			w.tired = append(w.tired, far.link)
		}
	}
}

// calm reports whether a hello needs no event of its own: whatever could change that before it arrives calls landAt.
func (w *World) calm(e *wireEnd, a *arrival) bool {
	return !a.hello.Probe && a.to.installed && !e.node.frozen && e.usable(a.to)
}

// usable reports whether the fast loop has the link of a connection up, or suspect.
func (e *wireEnd) usable(to *half) bool {
	l := e.node.link(to.label)
	return l != nil && l.Usable
}

// expect puts a hello where the turn at or after its time finds it.
func (e *wireEnd) expect(a arrival) {
	if n := len(e.inbox); n == 0 || e.inbox[n-1].at <= a.at {
		e.inbox = append(e.inbox, a)
		return
	}
	i, _ := slices.BinarySearchFunc(e.inbox, a.at+1, func(x arrival, at int64) int { return cmp.Compare(x.at, at) })
	e.inbox = slices.Insert(e.inbox, i, a)
}

// take moves the hellos that came before a time to where the fast loop reads them.
func (e *wireEnd) take(before int64, label mesh.Label, to []node.HelloHeard) []node.HelloHeard {
	n := 0
	for n < len(e.inbox) && e.inbox[n].at < before {
		a := &e.inbox[n]
		to = append(to, node.HelloHeard{Label: label, Hello: a.hello, At: epoch.Add(time.Duration(a.at))})
		n++
	}
	if n > 0 {
		e.inbox = e.inbox[:copy(e.inbox, e.inbox[n:])]
	}
	return to
}

// greet takes a hello at its time: for the next turn, or for one that it brings about. What has waited for a process that did
// not run has the time at which it came, as the kernel notes that.
func (w *World) greet(g *greeting) {
	h, s := g.to, g.end.node
	if h.gone || !s.alive || !h.installed || !g.end.other().passes() && !w.cfg.hooks.leak {
		return
	}
	if s.frozen {
		s.postpone(event{at: w.at, who: s, boot: s.boots, do: doHello, what: g})
		return
	}
	if !g.hello.Probe && g.end.usable(h) {
		g.end.expect(g.arrival)
		return
	}
	w.turn(s, node.HelloHeard{Label: h.label, Hello: g.hello, At: epoch.Add(time.Duration(g.at))})
}

// landAt gives every hello that is still on its way to a link end an event of its own: something has changed that may
// decide differently about it.
func (w *World) landAt(e *wireEnd) {
	w.rouse(e.link)
	n := 0
	for n < len(e.inbox) && e.inbox[n].at < w.at {
		n++
	}
	for _, a := range e.inbox[n:] {
		w.post(time.Duration(a.at-w.at), nil, doHello, &greeting{a, e})
	}
	e.inbox = e.inbox[:n]
}

// land does the same for all hellos on their way to and from a node.
func (w *World) land(s *simNode) {
	for _, e := range s.ends {
		w.landAt(e)
		w.landAt(e.other())
	}
}

// via returns the connection that frames of a link are sent by now; nil if there is none.
func (w *World) via(s *simNode, label mesh.Label) *half {
	l := s.link(label)
	if l == nil {
		return nil
	}
	h := w.conn(l.Session)
	if h == nil || h.node != s || !h.active {
		return nil
	}
	return h
}
