package sim

import (
	"slices"
	"time"
)

// Cover is how much of the time of faults the promises to flows are about. A fault lasts until everybody counts again on what it
// struck. Times are those of all flows together, in steps of lookEvery, while a way existed on which nothing was bad.
type Cover struct {
	Faulty    float64 `json:"fault_ms"`
	Bound     float64 `json:"fault_ms_bound"`     // of it, with a bound on how long packets may stay away
	Unsure    float64 `json:"fault_ms_new_way"`   // without: no way that everybody counts on yet
	Swallowed float64 `json:"fault_ms_swallowed"` // without: no path that the source has is whole, and something swallows

	Struck    uint64 `json:"fault_packets"`         // of the protected class, sent in that time
	Held      uint64 `json:"fault_packets_guarded"` // of them, that had to arrive
	LostElse  uint64 `json:"fault_packets_lost"`    // of the others, that did not
	TwinElse  uint64 `json:"fault_twins_lost"`      // of the unprotected twins of those others
	Alone     uint64 `json:"alone_packets"`         // sent while one link or relay alone was bad: see promise
	AloneHeld uint64 `json:"alone_packets_guarded"`
}

// add takes over what another run covered.
func (c *Cover) add(d *Cover) {
	c.Faulty, c.Bound, c.Unsure, c.Swallowed = c.Faulty+d.Faulty, c.Bound+d.Bound, c.Unsure+d.Unsure, c.Swallowed+d.Swallowed
	c.Struck, c.Held, c.LostElse, c.TwinElse = c.Struck+d.Struck, c.Held+d.Held, c.LostElse+d.LostElse, c.TwinElse+d.TwinElse
	c.Alone, c.AloneHeld = c.Alone+d.Alone, c.AloneHeld+d.AloneHeld
}

// faulty reports whether a fault lasts while a flow has a way on which nothing is bad.
func (p *promises) faulty(f *trafficFlow, now time.Duration) bool {
	return p.changes > 0 && f.promise.sound && (p.bad > 0 || now < p.known)
}

// alone reports whether one link or relay is bad and all else is counted on, and a flow had two ways before, or time to find one.
func (p *promises) alone(f *trafficFlow, now time.Duration) bool {
	return p.bad == 1 && now >= p.known && (f.promise.twice || now-p.change > knownAfter) &&
		p.one != part{true, f.from.index} && p.one != part{true, f.to.index}
}

// cover notes what the flows are promised now.
func (p *promises) cover(w *World, now time.Duration) {
	step := millis(lookEvery)
	for _, f := range w.flows {
		if !p.faulty(f, now) {
			continue
		}
		p.Faulty += step
		switch {
		case f.promise.within > 0:
			p.Bound += step
		case !p.reaches(w, f.from, f.to, now, nothing):
			p.Unsure += step
		case p.surveyed(w, f).whole == 0 && p.swallowing(w) > 0:
			p.Swallowed += step
		}
	}
}

// sentInFault notes a packet that is sent while a fault lasts.
func (p *promises) sentInFault(f *trafficFlow, k *packet, now time.Duration) {
	if !f.protected {
		return
	}
	p.Struck++
	p.Held += uint64(btoi(k.guarded)) // #nosec G115 -- 0 or 1
	if k.alone = p.alone(f, now); k.alone {
		p.Alone++
		p.AloneHeld += uint64(btoi(k.guarded)) // #nosec G115 -- 0 or 1
	}
}

// lostElse notes a packet that was lost without a guard, which one thing that is bad alone must not do.
func (p *promises) lostElse(w *World, f *trafficFlow, k *packet, sent time.Duration) {
	again := slices.ContainsFunc(p.times, func(at time.Duration) bool { return at >= sent && at <= sent+underWay })
	switch {
	case !k.struck:
	case !f.protected:
		p.TwinElse++
	default:
		p.LostElse++
		if k.alone && !again && len(w.cfg.Liars) < 2 {
			p.fail(w, f, k)
		}
	}
}
