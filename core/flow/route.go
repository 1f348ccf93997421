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

// grade orders routes by how fit they are to carry packets, best first. An own link that is silent weighs less than
// an error frame, which says that a link is down.
type grade uint8

const (
	fit grade = iota
	linkSilent
	accused
	both
	dead
)

// route is one path and what is known of it.
type route struct {
	path   mesh.Path
	health health
	link   mesh.LinkState // of the path's first link
	rtt    time.Duration
	heard  bool // rtt was measured

	shown State
	since time.Time

	sent    []sent    // the newest probes, oldest first
	tries   int       // probes since the suspicion
	next    time.Time // when to probe next, or to give the path up; zero: not at all
	backoff time.Duration
	strikes int
	struck  time.Time // the last suspicion
}

type sent struct {
	id uint64
	at time.Time
}

func (r *route) grade() grade {
	silent := r.link == mesh.LinkSuspect
	switch {
	case r.link == mesh.LinkDown || r.health == lost:
		return dead
	case r.health == suspected && silent:
		return both
	case r.health == suspected:
		return accused
	case silent:
		return linkSilent
	}
	return fit
}

// show records the state that the CLI shows.
func (r *route) show(now time.Time, inUse bool) {
	state := Standby
	switch g := r.grade(); {
	case g == dead:
		state = Dead
	case g > fit:
		state = Suspect
	case inUse:
		state = Active
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
	if (was == mesh.LinkDown) == (state == mesh.LinkDown) {
		return
	}
	r.tries, r.backoff, r.next = 0, 0, time.Time{}
	if state != mesh.LinkDown && r.health != alive {
		r.next = now
	}
}

// accuse begins a suspicion; one under way goes on.
func (r *route) accuse(now time.Time) {
	if r.health != alive {
		return
	}
	r.decay(now)
	r.strikes = min(r.strikes+1, maxStrikes)
	r.struck = now
	r.health, r.tries = suspected, 0
	if r.link != mesh.LinkDown {
		r.next = now
	}
}

// hold is how long the path must be cheaper before packets move to it. A path that keeps failing real packets while it answers
// probes would otherwise win them back every second.
func (r *route) hold(now time.Time) time.Duration {
	r.decay(now)
	return Hold << max(r.strikes-1, 0)
}

func (r *route) decay(now time.Time) {
	if now.Sub(r.struck) >= calm {
		r.strikes = 0
	}
}

// timeout is how long an answer may take.
func (r *route) timeout() time.Duration {
	return min(max(3*r.rtt, minTimeout), maxTimeout)
}

// due advances the clock of the route and says whether a probe is to be sent now.
func (r *route) due(now time.Time) bool {
	if r.next.IsZero() || now.Before(r.next) {
		return false
	}
	if r.health == suspected && r.tries >= burst {
		r.health = lost
		r.backoff = minBackoff
		r.next = now.Add(r.backoff)
		return false
	}
	return true
}

// probe notes that a probe goes out, and when to act next: a suspect's burst is a quarter of the timeout apart, so that one
// lost packet does not decide, and ends with the last one's timeout.
func (r *route) probe(now time.Time, id uint64) {
	if len(r.sent) > burst {
		r.sent = append(r.sent[:0], r.sent[1:]...)
	}
	r.sent = append(r.sent, sent{id, now})
	if r.health == lost {
		r.backoff = min(max(2*r.backoff, minBackoff), maxBackoff)
		r.next = now.Add(max(r.backoff, r.timeout()))
		return
	}
	r.tries++
	r.next = now.Add(r.timeout() / 4)
	if r.tries == burst {
		r.next = now.Add(r.timeout())
	}
}

// answered clears the route if the probe was one of its own.
func (r *route) answered(now time.Time, id uint64) bool {
	for _, s := range r.sent {
		if s.id != id {
			continue
		}
		r.measure(now.Sub(s.at))
		r.health, r.tries, r.backoff, r.next = alive, 0, 0, time.Time{}
		r.sent = r.sent[:0]
		return true
	}
	return false
}

// measure smooths the round-trip time with the gain of RFC 6298 §2.
func (r *route) measure(rtt time.Duration) {
	if !r.heard {
		r.rtt, r.heard = rtt, true
		return
	}
	r.rtt += (rtt - r.rtt) / 8
}

func (r *route) deadline() time.Time { return r.next }
