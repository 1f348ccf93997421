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
