package link

import (
	"math"
	"time"
)

const (
	burst     = 5                    // probes that a suspicion sends at least
	burstMax  = 64                   // and at most, however much the link loses
	probeGap  = 5 * time.Millisecond // least time between two probes
	reaction  = 5 * time.Millisecond // what the neighbour may take to answer beyond the usual
	leastLate = time.Millisecond     // what is less late is in time
	lateFades = 128                  // the part by which lateness fades with each hello
	leastLoss = 0.001                // no link is believed to lose less than this
)

// falseDown is the chance that one suspicion may have of declaring a live link dead by losses that fall
// together. At 20 hellos a second a lossy link gives some 10^5 occasions a day, so 10^-6 each would already mean
// a false alarm every week or so per link; the hundredfold costs two more probes.
const falseDown = 1e-8

// suspicion is one doubt about a link, from Up → Suspect until it is settled.
type suspicion struct {
	lossTrip float64 // chance that a probe or its answer is lost on the live link
	lossIn   float64 // chance that a hello of the neighbour's is
	gap      time.Duration
	probes   int
	last     time.Time // when the last probe went
}

func (m *Machine) newSuspicion() suspicion {
	in, out := max(m.in.expected(), leastLoss), max(m.out.expected(), leastLoss)
	return suspicion{
		lossTrip: 1 - (1-in)*(1-out),
		lossIn:   in,
		gap:      max(probeGap, m.rtt.smooth/4),
	}
}

func (s *suspicion) sent(now time.Time) {
	s.probes++
	s.last = now
}

// allowance is the delay beyond H that the way and the machines at its ends may add to a hello, by what they lately did.
func (m *Machine) allowance() time.Duration { return min(max(4*m.rtt.dev, 3*m.late/2), m.peer) }

// The silence after which the link is suspect, and the least after which it is down.
func (m *Machine) suspectAfter() time.Duration { return m.peer*3/2 + m.allowance() }
func (m *Machine) downAfter() time.Duration    { return 3 * m.peer }

// The age of the newest echoed hello after which we doubt that ours arrive. On a link without loss it reaches
// one interval of ours, one of the neighbour's and a round trip; this leaves half an interval of each.
func (m *Machine) unechoedAfter() time.Duration {
	return (m.hello+m.peer)*3/2 + m.rtt.smooth + m.allowance()
}

func (m *Machine) silent() bool   { return m.now.Sub(m.life.heard) >= m.suspectAfter() }
func (m *Machine) unechoed() bool { return m.now.Sub(m.life.confirmed) >= m.unechoedAfter() }

func (m *Machine) suspectAt() time.Time {
	return doubtAt(m.life.heard.Add(m.suspectAfter()), m.life.confirmed.Add(m.unechoedAfter()), m.life.graceEnd)
}

// doubtAt returns when a link is suspect: when it is silent or unechoed, but not before its grace ends.
func doubtAt(silent, unechoed, graceEnd time.Time) time.Time {
	return later(earlier(silent, unechoed), graceEnd)
}

// probeDue reports whether the burst goes on: it does until its silence would be proof, or the answers to what
// was sent have had their time.
func (m *Machine) probeDue() bool {
	return !m.burstSent() && !m.now.Before(m.doubt.last.Add(m.doubt.gap))
}

func (m *Machine) burstSent() bool {
	n := m.doubt.probes
	return n >= burstMax || n >= burst && m.proof(n) <= math.Log(falseDown)
}

// proof is the logarithm of the chance that all of n probes and the hellos due meanwhile were lost on a live
// link, losses being independent (docs/protocol.md, Liveness: the count grows until p^N is small).
func (m *Machine) proof(n int) float64 {
	p := float64(n) * math.Log(m.doubt.lossTrip)
	if m.silent() {
		since := m.now.Sub(later(m.life.heard, m.life.stalled))
		p += float64(since*10/(m.peer*11)) * math.Log(m.doubt.lossIn)
	}
	return p
}

// settledAt is when the answer to the last probe is overdue.
func (m *Machine) settledAt() time.Time {
	return m.doubt.last.Add(m.rtt.smooth + 4*m.rtt.dev + reaction)
}

// dead reports whether the doubt is proven. Unechoed hellos alone are as fatal as silence: the neighbour is heard,
// but the probes, which it answers at once, do not reach it.
func (m *Machine) dead() bool {
	return m.burstSent() && !m.now.Before(m.verdictAt())
}

// verdictAt is when something is to be done about the doubt next: a probe sent, or the link given up.
func (m *Machine) verdictAt() time.Time {
	if !m.burstSent() {
		return m.doubt.last.Add(m.doubt.gap)
	}
	at := later(m.settledAt(), m.life.graceEnd)
	if m.silent() {
		return later(at, m.life.heard.Add(m.downAfter()))
	}
	return at // unechoed for 3 H already
}

// damping counts how often the link fell, and what it has to show before it is believed again.
type damping struct {
	confirmed int // hellos of ours that were echoed soon, since the link went down
	need      int
	since     time.Time     // of the first of them
	hold      time.Duration // least time from there on
	falls     int
	upSince   time.Time
}

const (
	calm      = 30 * time.Second       // up for this long makes up for one fall
	maxFalls  = 9                      // so the longest probation is 25.6 s
	probation = 100 * time.Millisecond // after the first fall; it doubles with each further one
)

// confirm counts an echo.
func (d *damping) confirm(now time.Time) {
	if d.confirmed == 0 {
		d.since = now
	}
	d.confirmed++
}

// passed reports whether the probation is over.
func (d *damping) passed(now time.Time) bool {
	return d.confirmed >= d.need && now.Sub(d.since) >= d.hold
}

// fell notes a fall after the link was up for a time. Silence starts the probation again, so a link that never stays for
// as long as it stops announcing itself after a few falls; what is lost is told at once each time. The penalty does not
// decay while the link is down, as that of RFC 2439 does: a link that came back and stays is needed sooner than that.
func (d *damping) fell(up, hello time.Duration) {
	d.falls = max(d.falls-int(up/calm), 0)
	d.falls = min(d.falls+1, maxFalls)
	hold := probation << (d.falls - 1)
	d.need = max(2, int(hold/hello))
	d.hold = hold - probation // after the first fall the two hellos do
}
