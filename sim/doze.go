package sim

import (
	"slices"
	"time"
)

// A node without flows of its own, all links of which are at rest, has a turn of its fast loop for each round of hellos, and
// each is a random number and some moments noted. So it dozes: nothing is done until its links have something to tell each
// other, or something touches it, and then it takes all those turns at once. What would have come between two of them did
// not, or it had been touched.

// doze lets a node doze that may.
func (w *World) doze(s *simNode) {
	if w.cfg.Stepwise || s.frozen {
		return
	}
	if until := s.reflex.Doze(); until.Sub(w.now) > w.cfg.Hello {
		s.dozes = true
		w.set(s, &s.dueReflex, doTurn, until)
	}
}

// catchUp takes the turns that a node that dozes has missed until now. At one moment turns are taken last, in the order of
// the nodes.
func (w *World) catchUp(s *simNode) {
	if !s.dozes {
		return
	}
	before := w.now
	if w.turner > s.index {
		before = before.Add(1)
	}
	last := s.reflex.CatchUp(before, time.Duration(tick))
	if last.IsZero() {
		return
	}
	at := int64(last.Sub(epoch))
	for i := range s.byLabel {
		l := &s.byLabel[i]
		if h := l.end.heardBy(at); h != 0 {
			s.reflex.HeardLate(l.label, epoch.Add(time.Duration(h)))
		}
	}
}

// wakeUp ends the doze of a node whose links have something to tell each other, in time for the turn in which they do.
func (w *World) wakeUp(s *simNode) {
	w.catchUp(s)
	s.dozes = false
	w.set(s, &s.dueReflex, doTurn, s.reflex.Deadline())
}

// awake ends the doze of both ends of a link.
func (w *World) awake(l *wireLink) {
	for _, e := range l.ends {
		w.catchUp(e.node)
		e.node.dozes = false
	}
}

// accompany has the neighbours of a node that takes a turn catch up with it where their links are at something: what one
// end of a link finds then is what the other has sent.
func (w *World) accompany(s *simNode) {
	for _, e := range s.ends {
		if l := e.link; l.steady != nil && e.other().node.dozes {
			if until := l.steady.Quiet(); !until.After(w.now) {
				w.catchUp(e.other().node)
			}
		}
	}
}

// hear notes that a frame came to a link end.
func (w *World) hear(e *wireEnd) {
	if e.node.dozes && e.heard != 0 {
		e.past = append(e.past, e.heard)
		n := 0 // a turn has been since all but the newest of those before two intervals
		for n+1 < len(e.past) && e.past[n+1] < w.at-2*int64(w.cfg.Hello) {
			n++
		}
		e.past = slices.Delete(e.past, 0, n)
	}
	e.heard = w.at
}

// heardBy returns when the last frame came before a turn, and forgets what came before it; zero if none did.
func (e *wireEnd) heardBy(at int64) (last int64) {
	for _, h := range e.past {
		if h <= at {
			last = h
		}
	}
	e.past = e.past[:0]
	if e.heard != 0 && e.heard <= at {
		last, e.heard = e.heard, 0
	}
	return last
}
