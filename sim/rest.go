package sim

import (
	"slices"
	"time"

	"x0tta6bl4/core/link"
	"x0tta6bl4/core/node"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// A link at rest, nearly all of them nearly always, sends no hellos here: link.Steady keeps it until something happens to
// it. Whatever could be such a thing calls rouse before it does it.

// tryEach is how many hellos pass between two attempts to put a link to rest.
const tryEach = 4

// retire puts links to rest that look like it.
func (w *World) retire() {
	for _, l := range w.tired {
		w.rest(l)
	}
	w.tired = w.tired[:0]
}

// rest puts a link to rest if it is.
func (w *World) rest(l *wireLink) {
	if l.steady != nil || w.cfg.hooks.lose != nil || w.cfg.hooks.leak || !l.even() {
		return
	}
	var ends [2]node.LinkEnd
	var flying [2][]link.Flight
	for side, e := range l.ends {
		label := e.node.labelOf(e)
		h := w.via(e.node, label)
		if h == nil || h.end != e || !e.usable(h) {
			return
		}
		far := w.conn(h.other)
		if far == nil || !far.installed || !far.end.usable(far) {
			return
		}
		l.by[side] = far
		ends[side] = node.LinkEnd{Reflex: e.node.reflex, Label: label}
		for _, a := range l.ends[1-side].inbox {
			flying[side] = append(flying[side], link.Flight{Outgoing: link.Outgoing{Hello: a.hello}, At: epoch.Add(time.Duration(a.at))})
		}
	}
	delay := time.Duration(ceil(int64(l.delay + l.extra.delay)))
	if l.steady = node.Rest(ends[0], ends[1], delay, flying); l.steady != nil {
		l.ends[0].inbox, l.ends[1].inbox = l.ends[0].inbox[:0], l.ends[1].inbox[:0]
		w.remind(l)
	}
}

// even reports whether every hello that enters a link comes out of it once, after the same time.
func (l *wireLink) even() bool {
	x := &l.extra
	return l.down == 0 && l.block == [2]int{} && !l.loses() && l.rate == 0 && x.jitter == 0 && x.reorder == 0 && x.duplicate == 0 &&
		l.ends[0].node.runs() && l.ends[1].node.runs()
}

// labelOf returns the label that an end has at its node; 0 if it has none.
func (s *simNode) labelOf(e *wireEnd) mesh.Label {
	if i := slices.IndexFunc(s.byLabel, func(x labelled) bool { return x.end == e }); i >= 0 {
		return s.byLabel[i].label
	}
	return 0
}

// rouse ends the rest of a link.
func (w *World) rouse(l *wireLink) {
	if l.steady == nil {
		return
	}
	w.awake(l)
	w.settle(l)
	var ends [2]node.LinkEnd
	for side, e := range l.ends {
		ends[side] = node.LinkEnd{Reflex: e.node.reflex, Label: e.node.labelOf(e)}
	}
	flying := node.Wake(l.steady, ends[0], ends[1])
	l.steady = nil
	for side := range l.ends {
		for _, f := range flying[side] {
			l.ends[1-side].expect(arrival{at: int64(f.At.Sub(epoch)), to: l.by[side], hello: f.Hello})
		}
	}
	w.remind(l)
}

// remind sets the alarms of both ends of a link anew.
func (w *World) remind(l *wireLink) {
	for _, e := range l.ends {
		w.set(e.node, &e.node.dueReflex, doTurn, e.node.reflex.Deadline())
	}
}

// rouseFor ends the rest of the links that an event for a fast loop is about.
func (w *World) rouseFor(s *simNode, ev node.ReflexEvent) {
	label := mesh.Label(0)
	switch ev := ev.(type) {
	case node.LinkSet:
		label = ev.Label
	case node.LinkGone:
		label = ev.Label
	case node.LinkCut:
		label = ev.Label
	case node.TooBig:
		label = ev.Label
	case node.HelloHeard:
		label = ev.Label
	case node.Nudge:
		for _, e := range s.ends {
			w.rouse(e.link)
		}
	}
	if label != 0 {
		w.rouseLabel(s, label)
	}
}

func (w *World) rouseLabel(s *simNode, label mesh.Label) {
	if i := slices.IndexFunc(s.byLabel, func(x labelled) bool { return x.label == label }); i >= 0 {
		w.rouse(s.byLabel[i].end.link)
	}
}

// settle counts what a link at rest has sent.
func (w *World) settle(l *wireLink) {
	if l.steady == nil {
		return
	}
	for side := range l.ends {
		sent, padded, size := l.steady.Take(side)
		w.countMany(kindHello, sent, sent*(wire.HeaderLen+wire.HelloLen))
		w.countMany(kindHello, padded, padded*size)
		w.stats.Frames += uint64(sent + padded) // #nosec G115 -- counts
	}
}

// settleAll counts what all links at rest have sent.
func (w *World) settleAll() {
	for _, s := range w.nodes {
		w.catchUp(s)
	}
	for _, l := range w.wires {
		w.settle(l)
	}
}
