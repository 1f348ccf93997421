package node

import "time"

// Turn takes what links heard since the last step, each with the time at which it came, and then does what is due. It
// is a Step for each and one for the Tick, but for the ticks between them, which nothing tells from the last one.
func (r *Reflex) Turn(now time.Time, hellos []HelloHeard, heard []Heard) ReflexEffects {
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
	return r.Step(now, Tick{})
}
