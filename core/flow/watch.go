package flow

import (
	"math"
	"slices"
	"time"

	"x0tta6bl4/mesh"
)

// How the path in use is watched.
const (
	watchPause = 40 * time.Millisecond // the least between two probes that packets bring about
	watchGap   = 20 * time.Millisecond // the least between two probes because one was not answered
	minAnswer  = 40 * time.Millisecond // the least time that an answer has

	graceAgain = 500 * time.Millisecond // the least from one grace to the next

	leastSilence = 3
	mostSilence  = 30
	byChance     = 1e-4
	maxSent      = 32 // probes under way that are remembered
)

// sent is a probe under way.
type sent struct {
	id     uint64
	at     time.Time
	missed bool // not answered in time
}

// answerTime is how long an answer takes at most, as RFC 6298 §2 has it but for the floor.
func (r *route) answerTime() time.Duration {
	if !r.heard {
		return r.timeout()
	}
	return min(max(r.rtt+4*r.dev, minAnswer), maxTimeout)
}

// missedAt is when a probe counts as not answered.
func (r *route) missedAt(s sent) time.Time {
	at := s.at.Add(r.answerTime())
	if at.Before(r.grace) {
		return r.grace
	}
	return at
}

// sending says that packets go by this path.
func (r *route) sending(now time.Time) {
	r.asked = r.asked || now.Sub(r.probed) >= max(watchPause, r.answerTime()/8)
}

// forget lets the probes under way tell nothing.
func (r *route) forget() { r.sent, r.silence, r.asked = r.sent[:0], 0, false }

// watched reports whether the answers to probes are waited for here. A suspect's burst judges by itself, and what the
// first link does is judged by that link's own hellos.
func (r *route) watched() bool { return r.health == alive && r.link == mesh.LinkUp }

// enough is how many probes in a row must stay without an answer to mean anything: so many that a path of this loss
// does it by chance once in 10,000 times.
func (r *route) enough() int {
	if r.missing <= 0.04 {
		return leastSilence // what follows says so too; this is asked of every path at every turn
	}
	n := int(math.Ceil(math.Log(byChance) / math.Log(max(r.missing, 0.04))))
	return min(max(n, leastSilence), mostSilence)
}

// needed is how many probes in a row must stay without an answer for the path to be left. Where a queue may have lost them it
// takes more.
func (r *route) needed() int {
	if r.crowded() {
		return min(3*r.enough(), mostSilence)
	}
	return r.enough()
}

// judge counts probes that were not answered in time. Silence makes the path in use suspect, and ends the trial of
// another.
func (r *route) judge(now time.Time, inUse bool) {
	if !r.watched() {
		return
	}
	for i := range r.sent {
		if s := &r.sent[i]; !s.missed && !now.Before(r.missedAt(*s)) {
			s.missed = true
			r.silence++
		}
	}
	if r.crowded() && r.silence >= r.enough() {
		r.over = max(r.over, congestedAfter)
	}
	switch {
	case inUse && r.silence > 0 && r.silence >= r.needed():
		r.condemn(now)
		r.doubt(now)
		r.unheard = true
	case !inUse && r.lossy && (r.silence >= leastSilence && !r.compared || r.silence >= compareLeast):
		r.forget()
		r.fail(now)
	}
}

// follows reports whether the path in use wants more probes because of those that were not answered.
func (r *route) follows() bool {
	return r.watched() && r.silence > 0 && len(r.sent) < r.needed()
}

func (r *route) followAt() time.Time { return r.probed.Add(max(watchGap, r.rtt/4)) }

// watchAt is when judge or follows has something to do; zero if never.
func (r *route) watchAt(inUse bool) (at time.Time) {
	if !r.watched() || !inUse && !r.lossy {
		return at
	}
	for _, s := range r.sent {
		if t := r.missedAt(s); !s.missed && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	if t := r.followAt(); inUse && r.follows() && (at.IsZero() || t.Before(at)) {
		at = t
	}
	return at
}

// note remembers a probe.
func (r *route) note(now time.Time, id uint64) {
	if len(r.sent) == maxSent {
		r.sent = append(r.sent[:0], r.sent[1:]...)
	}
	r.sent = append(r.sent, sent{id: id, at: now})
	r.probed, r.asked = now, false
}

// take removes the probe that was answered and those before it, and learns from them how many miss their answer.
func (r *route) take(now time.Time, id uint64) bool {
	i := slices.IndexFunc(r.sent, func(s sent) bool { return s.id == id })
	if i < 0 {
		return false
	}
	if took := now.Sub(r.sent[i].at); took <= r.timeout() || !r.heard && took <= maxTimeout || !r.sent[i].at.Before(r.ran) {
		r.measure(took)
		r.took(now, took)
	}
	for _, s := range r.sent[:i] {
		if s.missed {
			r.missing += (1 - r.missing) / 16
		}
	}
	r.missing -= r.missing / 16
	r.sent = append(r.sent[:0], r.sent[i+1:]...)
	r.silence = 0
	for _, s := range r.sent {
		if s.missed {
			r.silence++
		}
	}
	return true
}

// measure smooths the round-trip time and its deviation with the gains of RFC 6298 §2.
func (r *route) measure(rtt time.Duration) {
	if !r.heard {
		r.rtt, r.dev, r.heard = rtt, rtt/2, true
		return
	}
	r.dev += ((rtt - r.rtt).Abs() - r.dev) / 4
	r.rtt += (rtt - r.rtt) / 8
}
