package flow

import (
	"time"

	"x0tta6bl4/mesh"
)

// How long a doubt may last.
const (
	// linkAnswer is how long an own link that fell silent may take to answer its probes, beyond the round trip of the whole
	// path: then packets leave for a better path alone. They do not wait for the link to be given up, as not all of them need
	// have been copied.
	linkAnswer = 20 * time.Millisecond

	// hintLife is how long what a relay says of its link is believed. It says so again while the doubt lasts, and that the
	// link is down if it is. An answer to a probe settles nothing: the relay copies probes too.
	hintLife = 500 * time.Millisecond

	// hintMost is how long a path is kept of which that is said again and again.
	hintMost = time.Second
)

// hint takes a relay's doubt. What is worse is known of a path that is suspected.
func (r *route) hint(now time.Time) {
	if r.health != alive {
		return
	}
	if !r.hinted {
		r.hinted, r.hintFrom = true, now
		if r.link != mesh.LinkSuspect {
			r.decideAt = now.Add(hintMost)
		}
	}
	r.hintEnd = now.Add(hintLife)
	r.asked = r.asked || now.Sub(r.probed) >= watchGap
}

// expire ends a relay's doubt in time.
func (r *route) expire(now time.Time) {
	r.hinted = r.hinted && now.Before(r.hintEnd) && r.health == alive
}

// doubtful reports whether packets by this path are to be copied: it may be dead, and nobody knows. One that has been silent
// for long is not in doubt, but used for want of better.
func (r *route) doubtful() bool {
	switch g := r.grade(); {
	case g == mute || g == dead:
		return false
	case g >= undecided:
		return true
	}
	return r.silence >= max(1, r.needed()/leastSilence)
}
