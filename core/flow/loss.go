package flow

import (
	"math"
	"time"
)

// Counts are what both ends counted of the frames on one path, in one direction, in one session, when a probe was
// answered. They go up by one for each frame, modulo 2^32.
type Counts struct {
	Known    bool   // false: the other end does not count
	Series   uint32 // names the session: counts of different ones do not compare
	Sent     uint32
	Received uint32
}

// Loss is judged by Page's test (CUSUM; E. S. Page, "Continuous inspection schemes", Biometrika 41, 1954): the logarithm
// of how much likelier the outcome is at a loss of badLoss than at one of fairLoss, never below zero. It grows where more
// than about 5 % is lost, by 0.8 a frame where half is. It is said of what goes on, not of a burst, such as a queue that ran
// over: in each burstTime a quarter of the proof can be had, and not all of it by one answer.
const (
	fairLoss  = 0.02
	badLoss   = 0.10
	proof     = 12
	burstTime = 50 * time.Millisecond

	// What is told of the loss of a path is that of its last mostRecent frames; in lossMemory it fades to a half.
	mostRecent = 500
	lossMemory = 20 * time.Second
)

var (
	ofLost    = math.Log(badLoss / fairLoss)
	ofArrived = math.Log((1 - badLoss) / (1 - fairLoss))
)

// tally is how many frames were sent, and how many of them did not arrive.
type tally struct{ sent, lost float64 }

func (t *tally) add(u tally) { t.sent, t.lost = t.sent+u.sent, t.lost+u.lost }

func (t *tally) share() float64 {
	if t.sent == 0 {
		return 0
	}
	return t.lost / t.sent
}

func (t *tally) scale(by float64) { t.sent, t.lost = t.sent*by, t.lost*by }

// atMost and atLeast are the bounds of the loss that the outcome came of, with 2 standard deviations on either side (E. B.
// Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22, 1927).
func (t *tally) atMost() float64  { return t.bound(2) }
func (t *tally) atLeast() float64 { return t.bound(-2) }

func (t *tally) bound(z float64) float64 {
	if t.sent == 0 {
		return (1 + z/2) / 2
	}
	n, p := t.sent, t.share()
	return (p + z*z/(2*n) + z*math.Sqrt(p*(1-p)/n+z*z/(4*n*n))) / (1 + z*z/n)
}

// meter measures the loss of one path.
type meter struct {
	last   Counts
	score  float64
	doubt  tally // since the score left zero
	recent tally // fading
	at     time.Time
}

// take returns what happened between two answers. It returns nothing for the first of a session, and where the answers
// came out of order.
func (m *meter) take(c Counts) (tally, bool) {
	last := m.last
	sent, received := c.Sent-last.Sent, c.Received-last.Received
	switch {
	case !c.Known:
		return tally{}, false
	case !last.Known || c.Series != last.Series || int32(received) < 0: // #nosec G115 -- a distance on a circle
		m.last = c
		return tally{}, false
	case int32(sent) <= 0: // #nosec G115 -- a distance on a circle
		return tally{}, false
	}
	m.last = c
	return tally{float64(sent), float64(sent - min(sent, received))}, true
}

// add takes an outcome and reports whether it proves loss.
func (m *meter) add(now time.Time, t tally) bool {
	took := now.Sub(m.at)
	m.recent.scale(math.Exp2(-took.Seconds() / lossMemory.Seconds()))
	m.recent.add(t)
	m.recent.scale(min(1, mostRecent/max(m.recent.sent, 1)))
	m.at = now
	m.doubt.add(t)
	most := min(max(float64(took)/float64(burstTime), 1), 3) * proof / 4
	m.score += min(t.lost*ofLost+(t.sent-t.lost)*ofArrived, most)
	switch {
	case m.score <= 0:
		m.score, m.doubt = 0, tally{}
	case m.score >= proof:
		m.score, m.recent, m.doubt = 0, m.doubt, tally{} // the loss is that since it began
		return true
	}
	return false
}
