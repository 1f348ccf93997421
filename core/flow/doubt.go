package flow

import (
	"time"

	"x0tta6bl4/mesh"
)

// How long a doubt may last.
const (
	// linkAnswer is how long a link in doubt may take to answer its probes, beyond the round trip of the whole path, and how much
	// later than that an accused path may answer. From then on it is likelier dead than alive: what there is no room to copy goes
	// by the other path.
	linkAnswer = 20 * time.Millisecond

	// hintLife is how long what a relay says of its link is believed. It says so again while the doubt lasts, and that the
	// link is down if it is. An answer to a probe settles nothing: the relay copies probes too.
	hintLife = 500 * time.Millisecond

	// doubtMost is how long packets stay on a path in doubt; then they leave for a better one alone.
	doubtMost = time.Second
)

// hint takes a relay's doubt. What is worse is known of a path that is suspected.
func (r *route) hint(now time.Time) {
	if r.health != alive {
		return
	}
	if !r.hinted {
		r.hinted, r.hintFrom = true, now
		if r.link != mesh.LinkSuspect {
			r.decideAt, r.leanAt = now.Add(doubtMost), time.Time{}
		}
	}
	if r.leanAt.IsZero() && now.Sub(r.hintFrom) >= r.rtt+linkAnswer {
		r.leanAt = now
	}
	r.hintEnd = now.Add(hintLife)
	r.asked = r.asked || now.Sub(r.probed) >= watchGap
}

// linkDoubt takes what the state of the first link says: it fell silent, or is no longer.
func (r *route) linkDoubt(now time.Time, silent bool) {
	switch {
	case silent:
		r.decideAt, r.leanAt = now.Add(doubtMost), now.Add(r.rtt+linkAnswer)
	case r.hinted:
		r.decideAt, r.leanAt = r.hintFrom.Add(doubtMost), time.Time{}
	default:
		r.leanAt = time.Time{}
	}
}

// expire ends a relay's doubt in time.
func (r *route) expire(now time.Time) {
	if r.hinted && (r.health != alive || !now.Before(r.hintEnd)) {
		r.hinted = false
		r.linkDoubt(now, r.link == mesh.LinkSuspect)
	}
	at := r.leansAt()
	r.leans = !at.IsZero() && !now.Before(at)
	r.lately = r.lately && now.Sub(r.lateAt) < lateLife
}

// leansAt returns from when on the path is likelier dead than alive; zero: never.
func (r *route) leansAt() time.Time {
	if r.health == suspected {
		return r.doubted.Add(r.rtt + linkAnswer)
	}
	return r.leanAt
}

// doubtful reports whether packets by this path are to be copied: it may be dead, and nobody knows. One that has been silent
// for long is not in doubt, but used for want of better.
func (r *route) doubtful() bool {
	switch g := r.grade(); {
	case g >= mute:
		return false
	case g >= undecided:
		return true
	}
	return r.silence > 0 && r.silence >= r.needed()/leastSilence
}
