package flow

import "time"

// A lossy path is tried from time to time. A trial is probes, trialGap apart, for the hold time; it ends with the first
// that shows loss, and the next trial begins after a pause, which doubles. While the path in use is lossy too, a trial goes
// on for compareLeast frames, so that it tells which of them loses less.
const (
	trialGap     = 40 * time.Millisecond
	trialLeast   = 60 // frames that a trial takes: a path that loses a tenth passes few of a hundred
	compareLeast = 20
	trialLoss    = 0.02 // share of them that may be lost
	fullEvery    = 8    // of the probes of a trial one is as long as the longest packet: small ones may pass where those do not
	minPause     = 500 * time.Millisecond
	maxPause     = 10 * time.Second
)

// condemn begins the time of a path as a lossy one.
func (r *route) condemn(now time.Time) {
	if r.lossy {
		return
	}
	r.strike(now)
	r.lossy, r.pause, r.trialFrom = true, minPause, time.Time{}
	if r.health == alive {
		r.next = now.Add(r.pause)
	}
}

// sound has a path tried before it is fit.
func (r *route) sound(now time.Time) {
	if r.lossy || r.health != alive {
		return
	}
	r.lossy, r.untried, r.pause, r.trialFrom, r.next = true, true, minPause, time.Time{}, now
}

// counted takes what both ends counted.
func (r *route) counted(now time.Time, c Counts) {
	t, ok := r.loss.take(c)
	if !ok {
		return
	}
	proven := r.loss.add(now, t)
	r.passed(now, t.sent)
	switch {
	case r.lossy:
		r.try(now, t)
	case proven && r.crowded():
		r.over = max(r.over, congestedAfter)
	case proven:
		r.condemn(now)
		r.proven = true
	}
}

// try takes an outcome into the trial. The first tells of a time before it.
func (r *route) try(now time.Time, t tally) {
	if r.trialFrom.IsZero() {
		r.trialFrom, r.trial = now, tally{}
		r.proven = r.proven || t.lost > trialLoss*t.sent
		return
	}
	r.trial.add(t)
	switch {
	case r.trial.lost > trialLoss*r.trial.sent && (!r.compared || r.trial.sent >= compareLeast):
		r.fail(now)
	case r.trial.sent >= trialLeast && now.Sub(r.trialFrom) >= r.hold(now):
		r.absolve(now)
	}
}

func (r *route) fail(now time.Time) {
	r.trialFrom, r.untried, r.proven = time.Time{}, false, true
	r.pause = min(2*r.pause, maxPause)
	if r.health == alive {
		r.next = now.Add(r.pause)
	}
}

// absolve ends the time as a lossy path. It counts as struck now: only quiet from here on shortens its next trial.
func (r *route) absolve(now time.Time) {
	r.lossy, r.untried, r.proven, r.struck = false, false, false, now
	r.loss.score, r.loss.recent, r.loss.doubt = proof/2, r.trial, tally{} // half convicted: chance may have helped it
	if r.health == alive {
		r.next = time.Time{}
	}
}

func (r *route) nextOfTrial(now time.Time) time.Time {
	return now.Add(max(trialGap, r.hold(now)/100, r.answerTime()/8))
}
