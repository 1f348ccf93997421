package flow

import (
	"fmt"
	"slices"
	"time"

	"x0tta6bl4/mesh"
)

// Spread says when flows go by several paths. The zero value is SpreadAuto.
type Spread uint8

// The modes.
const (
	SpreadAuto   Spread = iota // while the path in use is congested
	SpreadAlways               // whenever there are several that are fit
	SpreadOff                  // never
)

func (s Spread) String() string {
	switch s {
	case SpreadAuto:
		return "auto"
	case SpreadAlways:
		return "always"
	case SpreadOff:
		return "off"
	}
	return fmt.Sprintf("spread(%d)", uint8(s))
}

const (
	maxWays   = 4
	dearest   = 2  // times as much as the preferred path a further one may cost
	fullPart  = 64 // the share of a way, of the one with the greatest capacity
	leastPart = 4

	easyTime = 10 * time.Second // without congestion, after which one path may do
	mostEasy = 10 * time.Minute // it doubles with each time that it did not
	easyRate = 0.75             // of the frames a second at which one path was congested
	settling = time.Second      // from one change of shares to the next
	benching = 10 * time.Second // for which a way is left that is congested whatever its share; it doubles, too
)

// spreading is how the flows are spread. Invariant: extra are fit, or in doubt for no longer than that may last.
type spreading struct {
	on    bool
	extra []*route // ways besides the current one, in the order of routes
	load  float64  // frames a second when it began
	easy  time.Duration
	calm  time.Time // since when no way is congested
	check time.Time // when to look whether one path will do
	ended time.Time
	moved time.Time // when shares last changed
}

// carries reports whether packets go by a path.
func (f *Flow) carries(r *route) bool { return r == f.current || slices.Contains(f.spread.extra, r) }

// ways returns the paths that carry packets, the preferred one first.
func (f *Flow) ways() []*route {
	if f.current == nil {
		return nil
	}
	return append([]*route{f.current}, f.spread.extra...)
}

// spreadOut decides which paths carry flows besides the current one, and which part each has.
func (f *Flow) spreadOut(now time.Time) {
	s := &f.spread
	s.extra = slices.DeleteFunc(s.extra, func(r *route) bool {
		if r.grade() > fit && r.grade() != undecided {
			r.rest(now)
		}
		gone := r == f.current || !slices.Contains(f.routes, r) || !r.serves()
		if gone && r != f.current {
			r.over = 0 // what carries nothing is not congested
		}
		return gone
	})
	if f.cfg.Spread == SpreadOff || f.current == nil {
		s.on, s.extra, s.check = false, nil, time.Time{}
		return
	}
	var more []*route
	if s.on = s.on || f.cfg.Spread == SpreadAlways; s.on || f.current.lately {
		more = f.furtherWays(now)
	}
	if !s.on && f.current.congested() && len(more) > 0 {
		f.begin(now)
	}
	for _, r := range f.routes {
		r.eased = s.on || r == f.current && len(more) > 0
	}
	if !s.on {
		return
	}
	for _, r := range more {
		r.part, r.over = 0, 0
		f.join(r)
		s.extra = append(s.extra, r)
	}
	slices.SortFunc(s.extra, func(a, b *route) int { return slices.Index(f.routes, a) - slices.Index(f.routes, b) })
	f.divide(now)
	if f.cfg.Spread == SpreadAuto {
		f.end(now)
	}
}

// rest keeps a path from being a further way for a while, which doubles each time.
func (r *route) rest(now time.Time) {
	r.bench = min(max(2*r.bench, benching), mostEasy)
	r.benched = now.Add(r.bench)
}

// serves reports whether a further way goes on carrying flows.
func (r *route) serves() bool { return r.grade() == fit || r.grade() == undecided && !r.leans }

// furtherWays returns the paths that may carry flows too: fit, not congested, and apart from all others.
func (f *Flow) furtherWays(now time.Time) (more []*route) {
	for _, r := range f.routes {
		if r == f.current || r.grade() != fit || r.congested() || now.Before(r.benched) || f.tooDear(r) {
			continue
		}
		meets := func(o *route) bool { links, relays := overlap(r.path, o.path); return o == r || links+relays > 0 }
		all := append(f.ways(), more...)
		if len(all) < maxWays && !slices.ContainsFunc(all, meets) {
			more = append(more, r)
		}
	}
	return more
}

// tooDear reports whether a path takes so much longer than the preferred one that the queue there is better.
func (f *Flow) tooDear(r *route) bool {
	own, cost := uint64(f.current.path.Cost), uint64(r.path.Cost)
	return cost > dearest*own && cost > own+uint64(leastQueue/time.Microsecond)
}

func (f *Flow) begin(now time.Time) {
	s := &f.spread
	if s.easy == 0 || now.Sub(s.ended) > 2*s.easy {
		s.easy = easyTime
	} else {
		s.easy = min(2*s.easy, mostEasy) // one path did not do
	}
	s.on, s.load, s.calm, s.moved = true, f.current.sentRate(now), now, now
	s.check = now.Add(s.easy)
	f.current.over = 0
}

// end gives the flows back to one path when nothing has been congested for long, and no more is sent than one path carried.
func (f *Flow) end(now time.Time) {
	s := &f.spread
	total := 0.0
	for _, r := range f.ways() {
		if r.congested() {
			s.calm = now
		}
		total += r.sentRate(now)
	}
	if len(s.extra) > 0 {
		if s.check = later(s.check, s.calm.Add(s.easy)); now.Before(s.check) {
			return
		}
		if s.load > 0 && total > easyRate*s.load {
			s.check = now.Add(settling)
			return
		}
	}
	f.gather(now)
}

// gather has all flows go by the current path again.
func (f *Flow) gather(now time.Time) {
	s := &f.spread
	if !s.on {
		return
	}
	for _, r := range s.extra {
		r.bench = 0
		f.leave(now, r)
	}
	s.on, s.extra, s.ended, s.check = false, nil, now, time.Time{}
	if f.current != nil {
		f.current.part = 0
	}
}

// divide gives new ways their part, by capacity if all announce one, else each the same, and takes from what is congested
// while another is not.
func (f *Flow) divide(now time.Time) {
	s, all := &f.spread, f.ways()
	if slices.ContainsFunc(all, func(r *route) bool { return r.part == 0 }) {
		s.moved = now
		most, known := mesh.BitsPerSecond(0), true
		for _, r := range all {
			most, known = max(most, r.path.Capacity), known && r.path.Capacity > 0
		}
		for _, r := range all {
			r.part = fullPart
			if known {
				r.part = max(leastPart, uint32(fullPart*float64(r.path.Capacity)/float64(most)))
			}
		}
		return
	}
	if now.Sub(s.moved) < settling || !slices.ContainsFunc(all, func(r *route) bool { return !r.congested() }) {
		return
	}
	for _, r := range all {
		if !r.congested() {
			continue
		}
		s.moved, r.over = now, 0
		switch {
		case r.part > leastPart:
			r.part = max(leastPart, r.part*3/4)
		case r == f.current:
			r.condemn(now)
		default:
			r.rest(now)
			f.leave(now, r)
			s.extra = slices.DeleteFunc(s.extra, func(o *route) bool { return o == r })
		}
	}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
