package node

import (
	"cmp"
	"slices"
	"time"

	"x0tta6bl4/core/link"
	"x0tta6bl4/mesh"
)

// Turn takes what links heard since the last step, each with the time at which it came, and other events in their order, and
// then does what is due. It is a Step for each and one for the Tick, but for the ticks between them, which nothing tells
// from the last one, and but for all tables but the last.
func (r *Reflex) Turn(now time.Time, hellos []HelloHeard, heard []Heard, others ...ReflexEvent) ReflexEffects {
	for i := range hellos {
		if l := r.link(hellos[i].Label); l != nil {
			l.live.Hello(hellos[i].At, hellos[i].Hello)
		}
	}
	for i := range heard {
		if l := r.link(heard[i].Label); l != nil {
			l.live.Heard(heard[i].At)
		}
	}
	for _, ev := range others {
		r.take(now, ev)
	}
	return r.settle(now)
}

// Waits is when a fast machine is due, for who lets hellos wait for its next turn: such a hello puts off the doubt that
// its link would fall into without it. So a node at rest takes one turn for each round of hellos that it sends.
type Waits struct {
	other time.Time // zero = nothing is pending
	links []waiting // ascending by label
}

type waiting struct {
	label mesh.Label
	watch link.Watch
}

// Waits makes w that of the machine as it is now.
func (r *Reflex) Waits(w *Waits) {
	w.other, w.links = time.Time{}, w.links[:0]
	for _, l := range r.links {
		if l.rest != nil {
			w.other = sooner(w.other, l.rest.Deadline(l.side))
			continue
		}
		w.links = append(w.links, waiting{l.Label, l.live.Watch()})
	}
	for _, p := range r.peers {
		w.other = sooner(w.other, p.flow.Deadline())
	}
}

// Hello takes notice of a hello that waits.
func (w *Waits) Hello(ev *HelloHeard) {
	by := func(x waiting, l mesh.Label) int { return cmp.Compare(x.label, l) }
	if i, ok := slices.BinarySearchFunc(w.links, ev.Label, by); ok {
		w.links[i].watch.Hello(ev.At, &ev.Hello)
	}
}

// Deadline returns when the machine must be called at the latest; zero when nothing is pending.
func (w *Waits) Deadline() time.Time {
	at := w.other
	for i := range w.links {
		at = sooner(at, w.links[i].watch.Deadline())
	}
	return at
}

// patience is how long hellos may wait for a turn, and so how long a turn may be away.
const patience = 100 * time.Millisecond

// Patient reports whether hellos that ask for nothing can wait for the machine's next turn unseen: its own hellos bring one
// soon, and until then none of them changes anything.
func (r *Reflex) Patient() bool {
	up := false
	for _, l := range r.links {
		if l.Hello > patience || l.rest == nil && !l.live.Patient() {
			return false
		}
		up = up || l.live.Status().State == mesh.LinkUp
	}
	return up
}
