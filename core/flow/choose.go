package flow

import "time"

// leastGain is by how much less than the one in use a lossy path must lose, beyond doubt, to take its place.
const leastGain = 0.05

// choose sets current, and the rival and its time.
func (f *Flow) choose(now time.Time) {
	best := f.preferred()
	var current *route
	if f.current != nil {
		current = find(f.routes, f.current.path)
	}
	switch {
	case best == nil || current == nil || current.grade() > best.grade():
		f.current, f.rival = best, nil
	default:
		f.current = current
		f.contest(now, best)
	}
	if f.rival == nil {
		f.moveAt = time.Time{}
	}
	if f.current != current {
		f.moved = now
		if f.current != nil && f.current.watched() {
			f.current.forget() // what was missed before is old
		}
	}
	for _, r := range f.routes {
		r.show(now, r == f.current)
	}
}

// preferred returns the first of the healthiest paths, of lossy ones that which loses least; nil if all are dead.
func (f *Flow) preferred() *route {
	var best *route
	for _, r := range f.routes {
		switch g := r.grade(); {
		case g == dead:
		case best == nil || g < best.grade():
			best = r
		case g == leaky && best.grade() == leaky && r.loss.recent.atMost() < best.loss.recent.atMost():
			best = r
		}
	}
	return best
}

// contest moves packets to a path as healthy as the current one that has been cheaper for its hold time, or loses
// clearly less.
func (f *Flow) contest(now time.Time, best *route) {
	if best.grade() == leaky {
		f.rival = nil
		if gain := f.current.loss.recent.atLeast() - best.loss.recent.atMost(); gain > leastGain && now.Sub(f.moved) >= best.hold(now) {
			f.current = best
		}
		return
	}
	if best == f.current || 10*uint64(best.path.Cost) >= 9*uint64(f.current.path.Cost) {
		f.rival = nil
		return
	}
	if f.rival != best {
		f.rival, f.moveAt = best, now.Add(best.hold(now))
	}
	if !now.Before(f.moveAt) {
		f.current, f.rival = best, nil
	}
}
