package flow

import (
	"time"

	"x0tta6bl4/mesh"
)

// health is the end-to-end judgement of a path.
type health uint8

const (
	alive health = iota
	suspected
	lost
)

// grade orders routes by how fit they are to carry packets, best first. A link that is silent weighs less than an error frame
// which says that one is down. What only silence and errors speak against is better than nothing.
type grade uint8

const (
	fit grade = iota
	leaky
	undecided // its first link is silent, or a relay doubts its own
	accused
	both
	mute    // dead by silence alone
	refused // and by an error
	dead    // its first link is down
)

// route is one path and what is known of it.
type route struct {
	path   mesh.Path
	byway  bool // it is offered besides the set
	health health
	link   mesh.LinkState // of the path's first link
	rtt    time.Duration
	dev    time.Duration // its mean deviation
	heard  bool          // both were measured

	shown State
	since time.Time

	sent    []sent    // the probes since the last one answered, oldest first
	silence int       // how many of them have missed their time
	missing float64   // share of probes that did, while the path worked
	probed  time.Time // the last probe
	asked   bool      // packets want one
	grace   time.Time // nothing is missed before: this process did not run
	ran     time.Time // since when it runs again

	tries   int       // probes since the suspicion
	doubted time.Time // the beginning of the suspicion
	unheard bool      // it came of silence alone
	cleared time.Time // when an answer last ended a suspicion that an error began
	next    time.Time // when to probe next, or to give the path up; zero: not at all
	backoff time.Duration
	dear    bool // packets are sent, and no path is known to deliver them
	strikes int
	struck  time.Time // the last suspicion

	hinted   bool      // a relay doubts its next link
	hintFrom time.Time // since when, without a break
	hintEnd  time.Time
	decideAt time.Time // when an undecided path is left for a better one
	leanAt   time.Time // from when on the doubt makes it likelier dead than alive; zero: never
	leans    bool      // it is, by doubt or accusation

	copyTo  *route // where its packets are copied to; nil: nowhere
	part    uint32 // of the flows, beside other ways; 0: none was given yet
	eased   bool   // flows go by another path too, or could
	bench   time.Duration
	benched time.Time // until when it is no further way
	fresh   bool      // no probe was answered since it joined the pair

	queue
	loss      meter
	lossy     bool
	untried   bool          // it counts as lossy until its first trial is over
	proven    bool          // and packets were lost: it was not only late
	pause     time.Duration // before the next trial
	trial     tally
	trialFrom time.Time
	trialNo   int  // probes
	compared  bool // the path in use is lossy too
}

func (r *route) grade() grade {
	silent := r.link == mesh.LinkSuspect || r.hinted
	switch {
	case r.link == mesh.LinkDown:
		return dead
	case r.health == lost && r.unheard:
		return mute
	case r.health == lost:
		return refused
	case r.health == suspected && silent:
		return both
	case r.health == suspected:
		return accused
	case silent:
		return undecided
	case r.lossy:
		return leaky
	}
	return fit
}

// show records the state that the CLI shows.
func (r *route) show(now time.Time, inUse bool) {
	state := Standby
	switch g := r.grade(); {
	case g == dead, g >= mute && !inUse:
		state = Dead
	case g <= leaky && inUse:
		state = Active
	case g > fit:
		state = Suspect
	}
	if state != r.shown {
		r.shown, r.since = state, now
	}
}

// setLink takes the state of the first link. While that is down probes tell nothing; when it is back, a judgement
// that was pending starts again.
func (r *route) setLink(now time.Time, state mesh.LinkState) {
	was := r.link
	r.link = state
	if was != state && r.health == alive {
		r.forget()
	}
	if was != state {
		r.linkDoubt(now, state == mesh.LinkSuspect)
	}
	if (was == mesh.LinkDown) == (state == mesh.LinkDown) {
		return
	}
	r.tries, r.backoff, r.next = 0, 0, time.Time{}
	switch {
	case state == mesh.LinkDown:
	case r.health != alive:
		r.next = now
	case r.lossy:
		r.next = now.Add(r.pause)
	}
}

// accuse takes an error frame: it begins a suspicion, or is a reason for one that silence alone began.
func (r *route) accuse(now time.Time) {
	r.unheard = false
	if r.health != alive {
		return
	}
	r.strike(now)
	r.doubt(now)
}

func (r *route) strike(now time.Time) {
	r.decay(now)
	r.strikes = min(r.strikes+1, maxStrikes)
	r.struck = now
}

// doubt begins a suspicion.
func (r *route) doubt(now time.Time) {
	r.health, r.tries, r.doubted = suspected, 0, now
	if r.link != mesh.LinkDown {
		r.next = now
	}
}

// hold is how long the path must be cheaper before packets move to it, or without loss before it counts as fit. A path that
// keeps failing real packets while it answers probes would otherwise win them back every second.
func (r *route) hold(now time.Time) time.Duration {
	r.decay(now)
	return Hold << max(r.strikes-1, 0)
}

func (r *route) decay(now time.Time) {
	if !r.lossy && now.Sub(r.struck) >= calm {
		r.strikes = 0
	}
}

// timeout is how long an answer may take.
func (r *route) timeout() time.Duration {
	most := maxTimeout
	if !r.heard {
		most = firstTimeout
	}
	return min(max(3*r.rtt, minTimeout), most)
}

// due advances the clock of the route and says whether a probe is to be sent now.
func (r *route) due(now time.Time, inUse bool) bool {
	switch {
	case !r.scheduled(now):
	case r.health == suspected && r.tries >= r.enough():
		r.health = lost
		r.backoff = minBackoff
		r.next = now.Add(r.backoff)
	default:
		return true
	}
	return inUse && r.link == mesh.LinkUp && (r.asked || r.follows() && !now.Before(r.followAt()))
}

func (r *route) scheduled(now time.Time) bool { return !r.next.IsZero() && !now.Before(r.next) }

// probe notes that a probe goes out, and when to act next: a suspect's burst is a quarter of the timeout apart, so that one
// lost packet does not decide, and ends with the last one's timeout.
func (r *route) probe(now time.Time, id uint64) (full bool) {
	r.note(now, id)
	switch {
	case !r.scheduled(now):
	case r.health == lost:
		r.backoff = min(max(2*r.backoff, minBackoff), r.mostBackoff())
		r.next = now.Add(max(r.backoff, r.timeout()))
	case r.health == suspected:
		r.tries++
		r.next = now.Add(r.timeout() / 4)
		if r.tries == r.enough() {
			r.next = now.Add(r.timeout())
		}
	case r.lossy:
		r.next = r.nextOfTrial(now)
		r.trialNo++
		return r.trialNo%fullEvery == 0
	}
	return false
}

func (r *route) mostBackoff() time.Duration {
	if r.dear {
		return dearBackoff
	}
	return maxBackoff
}

// hurry says whether packets are sent that no path is known to deliver: then a dead one is not left alone for long.
func (r *route) hurry(now time.Time, dear bool) {
	r.dear = dear
	if at := now.Add(max(dearBackoff, r.timeout())); dear && r.health == lost && r.next.After(at) {
		r.next = at
	}
}

// failing reports whether a path does not do what the topology offers it for, as far as packets and probes tell: it is silent, or
// loses some. Where answers were only late, as they all are while the other end has no time, it does; so it does when a trial has gone
// well for a while, though that is not over.
func (r *route) failing() bool {
	mends := !r.trialFrom.IsZero() && r.trial.sent >= compareLeast
	return r.link != mesh.LinkDown && (r.lossy && r.proven && !mends || r.health == lost || r.health == suspected && r.unheard)
}

// answered clears the route if the probe was one of its own.
func (r *route) answered(now time.Time, id uint64, c Counts) bool {
	if !r.take(now, id) {
		return false
	}
	if r.health != alive {
		r.forget()
		if r.health == suspected && !r.unheard {
			r.cleared = now
		}
		r.health, r.tries, r.backoff, r.unheard, r.next = alive, 0, 0, false, time.Time{}
		if r.lossy {
			r.next = now.Add(trialGap)
		}
	}
	r.fresh = false
	r.counted(now, c)
	return true
}

// deadline returns when due or judge has something to do next; zero if nothing is pending.
func (r *route) deadline(inUse bool) time.Time {
	at := sooner(r.watchAt(inUse), r.next)
	if r.hinted {
		at = sooner(at, r.hintEnd)
	}
	return at
}
