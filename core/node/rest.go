package node

import (
	"time"

	"x0tta6bl4/core/link"
	"x0tta6bl4/mesh"
)

// LinkEnd is a link of a node as a simulator sees it, which has both ends.
type LinkEnd struct {
	Reflex *Reflex
	Label  mesh.Label
}

// Rest puts a link to rest if it is: see link.Steady. Until the simulator wakes it the two machines must be given no event
// of that link but Late and Heard, and their effects have no hellos for it. Both must have been ticked last by themselves.
func Rest(a, b LinkEnd, delay time.Duration, flying [2][]link.Flight) *link.Steady {
	x, y := a.Reflex.link(a.Label), b.Reflex.link(b.Label)
	if x == nil || y == nil || x.rest != nil || y.rest != nil {
		return nil
	}
	s := link.Rest(x.live, y.live, delay, flying)
	if s != nil {
		x.rest, x.side, y.rest, y.side = s, 0, s, 1
	}
	return s
}

// Wake gives both ends of a link their machines back, and returns the hellos on their way from each.
func Wake(s *link.Steady, a, b LinkEnd) (flying [2][]link.Flight) {
	flying = s.Wake()
	for _, e := range [...]LinkEnd{a, b} {
		if l := e.Reflex.link(e.Label); l != nil {
			l.rest = nil
		}
	}
	return flying
}

// Doze returns until when all turns of a fast machine that has no destinations do nothing but say hello over links at rest, so
// that CatchUp may take them later; zero if there is more to do.
func (r *Reflex) Doze() (until time.Time) {
	if len(r.peers) > 0 {
		return time.Time{}
	}
	for _, l := range r.links {
		if l.rest == nil {
			return time.Time{}
		}
		quiet := l.rest.Quiet()
		if quiet.IsZero() {
			return quiet
		}
		until = sooner(until, quiet)
	}
	return until
}

// CatchUp takes the turns that fell due before a time, each at the first moment of a clock of this grain, and returns when
// the last of them was; zero if there was none. Doze must have said that they can wait.
func (r *Reflex) CatchUp(before time.Time, grain time.Duration) (last time.Time) {
	for {
		at := r.Deadline()
		if whole := at.Truncate(grain); whole.Before(at) {
			at = whole.Add(grain)
		}
		if at.IsZero() || !at.Before(before) {
			return last
		}
		for _, l := range r.links {
			l.rest.Tick(l.side, at)
		}
		last = at
	}
}

// HeardLate tells of a frame that came over a link before the last turn that CatchUp took.
func (r *Reflex) HeardLate(label mesh.Label, at time.Time) {
	if l := r.link(label); l != nil {
		l.live.Heard(at)
	}
}
