package flow

import (
	"slices"
	"time"

	"x0tta6bl4/mesh"
)

// slanderLife is how long it is remembered of a path that it answered when it was accused.
const slanderLife = 10 * time.Second

// leastGain is by how much less than the one in use a lossy path must lose, beyond doubt, to take its place.
const leastGain = 0.05

// choose sets current, the rival and its time, and what follows from it: further ways, copies, the pair.
func (f *Flow) choose(now time.Time) {
	before := f.current // it may not be offered any more
	for _, r := range f.every() {
		r.expire(now)
	}
	best := f.preferred()
	var current *route
	if slices.Contains(f.routes, f.current) {
		current = f.current
	}
	best = f.unblamed(now, current, best)
	f.held = f.holds(now, current, best)
	switch {
	case f.held, current != nil && current.grade() == undecided && now.Before(current.decideAt):
		f.current, f.rival = current, nil
	case best == nil || current == nil || current.grade() > best.grade():
		if current != nil && current.grade() == undecided {
			current.strike(now) // or a link that is always in doubt would have packets come and go
		}
		f.current, f.rival = best, nil
	default:
		f.current = current
		f.contest(now, best)
	}
	if f.rival == nil {
		f.moveAt = time.Time{}
	}
	if before != nil && f.current != nil && !before.path.Same(f.current.path) {
		f.switches++
	}
	if f.current != current {
		f.moved = now
		if current != nil {
			current.over = 0 // it may be a further way now
		}
		if f.current != nil && f.current.watched() {
			f.current.forget() // what was missed before is old
		}
	}
	f.spreadOut(now)
	f.forsake(now)
	for _, r := range f.routes {
		carries := f.carries(r)
		if carries {
			r.copyTo = f.copyOf(r)
		} else {
			r.copyTo = nil
		}
		r.show(now, carries)
	}
	f.pairUp(now)
}

// holds reports whether packets stay on a path though an error speaks against it and another one is healthier: it was accused lately
// for nothing, as its answer showed, so was the other one, or something else speaks against that, and packets have just come. Who is on
// both paths and invents errors would else send them to and fro with each. They are copied meanwhile, and what there is no room to
// copy goes by the other path once the answer that would disprove the error is late (swapped); where that cannot be, because packets
// go by that path already, they leave then. Silence is no mere word.
func (f *Flow) holds(now time.Time, current, best *route) bool {
	return current != nil && best != nil && current.blamed(now) && best.grade() < current.grade() &&
		(best.slandered(now) || best.grade() > fit) && now.Before(f.moved.Add(Hold)) &&
		!(current.leans && f.carries(f.copyOf(current)))
}

// unblamed returns the path to leave for: where best was accused for nothing as the current one was, and there is one as healthy
// that was not, that one.
func (f *Flow) unblamed(now time.Time, current, best *route) *route {
	if current == nil || best == nil || !current.blamed(now) || !best.slandered(now) {
		return best
	}
	for _, r := range f.routes {
		if r.grade() == best.grade() && !r.slandered(now) {
			return r
		}
	}
	return best
}

// blamed reports whether only what relays say speaks against a path that was lately accused for nothing.
func (r *route) blamed(now time.Time) bool {
	g := r.grade()
	return (g == accused && !r.unheard || g == undecided && r.link == mesh.LinkUp) && r.slandered(now)
}

// slandered reports whether an answer has shown lately that an error about the path was false, or is no longer true.
func (r *route) slandered(now time.Time) bool {
	return !r.cleared.IsZero() && now.Sub(r.cleared) < slanderLife
}

// join begins the watch over a path that is to carry packets, unless there is one: what it missed before is old.
func (f *Flow) join(r *route) {
	if !f.watches(r) && r.watched() {
		r.forget()
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
		f.leave(now, f.current)
		f.current, f.rival = best, nil
	}
}

// copyOf returns the path to which packets by a path are copied while that is in doubt: the healthiest of those that are no
// worse, then the one that shares least with it, then the first in order. Where the own first link is silent none will do that
// begins with a link that is silent as well: then it may be this machine, and copies are no help. Nil: there is no doubt, or no
// such path.
func (f *Flow) copyOf(c *route) (best *route) {
	if !c.doubtful() {
		return nil
	}
	least := 0
	for _, r := range f.routes {
		if r == c || r.grade() > max(c.grade(), leaky) || c.link == mesh.LinkSuspect && r.link == mesh.LinkSuspect {
			continue
		}
		links, relays := overlap(c.path, r.path)
		if best == nil || r.grade() < best.grade() || r.grade() == best.grade() && links+relays < least {
			best, least = r, links+relays
		}
	}
	return best
}
