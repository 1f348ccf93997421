package link

import (
	"math/rand/v2"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// Hello takes an authenticated, fresh hello of the neighbour's that came at now.
func (m *Machine) Hello(now time.Time, h wire.Hello) {
	m.Heard(now)
	m.wake = true
	m.peer = min(max(time.Duration(h.Interval)*time.Microsecond, MinHello), MaxHello)
	m.slowAt = later(m.slowAt, now.Add(quickTime)) // somebody is there: worth the full rate
	m.punctual(now, h.Seq)
	if m.in.add(h.Seq) || h.Seq == m.echo.seq && h.SentAt > m.echo.sentAt { // new, or the padded copy of the newest
		m.echo = echo{seq: h.Seq, sentAt: h.SentAt, at: now}
	}
	m.mtu.able(h.Padded)
	m.answer = m.answer || h.Probe
	m.nextSend = earlier(m.nextSend, now.Add(2*m.hello)) // in case we were slow; else the turn that it shares stays
	m.echoed(now, h)
}

// punctual learns from two hellos in a row how much later than due the second came: because the neighbour's machine is
// busy, or the way there, or ours. The worst is remembered and fades with the hellos that follow it.
func (m *Machine) punctual(now time.Time, seq uint32) {
	if m.in.n == 0 || seq != m.in.newest+1 {
		return
	}
	late := now.Sub(m.echo.at) - m.peer*11/10
	if m.late = max(late, m.late-m.late/lateFades); m.late < leastLate {
		m.late = 0
	}
}

// echoed learns from what the neighbour says of our hellos.
func (m *Machine) echoed(now time.Time, h wire.Hello) {
	sent, ok := sentAt(m.start, m.seq, now, &h)
	if !ok {
		return
	}
	held := time.Duration(h.EchoDelay) * time.Microsecond
	sample := now.Sub(sent) - held
	padded := m.mtu.answered(now, h.EchoSentAt, sample)
	m.wake = m.wake || padded
	if !m.out.add(h.HeardFrom, h.EchoSeq, h.Heard) {
		return // an echo that we have seen: it says nothing new
	}
	m.life.confirmed = later(m.life.confirmed, sent)
	// A large frame may take longer than those that the round trip is of, and while our own loop stood still answers waited.
	waited := sent.Before(m.life.stalled) && sample > m.rtt.smooth+m.hello
	if sample >= 0 && !padded && !waited {
		m.rtt.add(now, sample)
	}
	// A hello that the neighbour held for several of our intervals is its last sign of us, not a recent one.
	if held <= 3*m.interval() {
		m.damp.confirm(now)
	}
}

// sentAt returns when we sent the hello that one which came at now echoes, if it is of ours: with a clock that began at
// start, and seq the newest.
func sentAt(start time.Time, seq uint32, now time.Time, h *wire.Hello) (time.Time, bool) {
	sent := start.Add(time.Duration(min(h.EchoSentAt, 1<<53)) * time.Microsecond) // #nosec G115 -- bounded
	if h.EchoSeq == 0 || int32(seq-h.EchoSeq) < 0 || int32(seq-h.EchoSeq) > 1<<20 || sent.After(now) {
		return time.Time{}, false // nothing heard of ours yet, or of the machine that held this link before us
	}
	return sent, true
}

// A hello goes out this part of an interval early if there is a Tick then, and the next one counts from it. So the
// hellos of one node's links, which walk at random by their jitter, soon meet; and as all that go out at one moment draw the
// same jitter, they stay together: they share a turn of its loop, of which a node at rest has hardly any others. The part is
// no less than the jitter's span.
const early = 5

// Beat is the jitter of the hellos of one node's links: ±10 %, so that the hellos of many nodes do not fall into step.
type Beat struct {
	rand  *rand.Rand
	at    time.Time
	share float64
}

// NewBeat returns a beat that draws from r.
func NewBeat(r *rand.Rand) *Beat { return &Beat{rand: r} }

// after returns when the hello after one that goes out now is due.
func (b *Beat) after(now time.Time, interval time.Duration) time.Duration {
	if b.share == 0 || !b.at.Equal(now) {
		b.at, b.share = now, 0.9+0.2*b.rand.Float64()
	}
	return time.Duration(float64(interval) * b.share)
}

// interval returns the time between our hellos now.
func (m *Machine) interval() time.Duration {
	if m.status.State == mesh.LinkDown && !m.now.Before(m.slowAt) {
		return max(m.hello, slowHello)
	}
	return m.hello
}

// due returns what to send now: a hello if the regular one is due, or an answer to a probe, or a probe of our own. One
// hello serves all three; behind it goes its padded copy if a frame size is to be tried.
func (m *Machine) due() []Outgoing {
	regular := !m.now.Before(m.nextSend.Add(-m.interval() / early))
	probe := m.status.State == mesh.LinkSuspect && m.probeDue()
	size, urgent := 0, false
	if m.status.State == mesh.LinkUp {
		size, urgent = m.mtu.wanted(m.now, regular)
	}
	if !regular && !probe && !m.answer && !urgent {
		return nil
	}
	m.answer = false
	if regular {
		m.nextSend = m.now.Add(m.beat.after(m.now, m.interval()))
	}
	if probe {
		m.doubt.sent(m.now)
	}
	// While the link is down every regular hello asks for an answer: two ends then find each other in one round trip.
	h := m.next(probe || urgent || regular && m.status.State == mesh.LinkDown)
	if m.log != nil {
		m.log.add(int64(m.now.Sub(m.start)), size > 0, m.echo.at.Equal(m.now))
	}
	out := append(m.sends[:0], Outgoing{Hello: h})
	if size > 0 {
		before := m.start.Add(time.Duration(h.SentAt) * time.Microsecond) // #nosec G115 -- our own clock
		h.SentAt, h.Probe = m.clock(), urgent
		m.mtu.sent(before, h.SentAt)
		out = append(out, Outgoing{h, size})
	}
	return out
}

func (m *Machine) next(probe bool) wire.Hello {
	if m.seq++; m.seq == 0 {
		m.seq = 1 // 0 in an echo means that nothing was heard
	}
	h := wire.Hello{
		Seq: m.seq, SentAt: m.clock(), Heard: m.in.heard, HeardFrom: m.in.from,
		Interval: uint32(micros(m.interval())), Probe: probe, Padded: true,
	}
	if m.echo.seq != 0 {
		h.EchoSeq, h.EchoSentAt = m.echo.seq, m.echo.sentAt
		h.EchoDelay = uint32(min(micros(m.now.Sub(m.echo.at)), 1<<32-1))
	}
	return h
}

// clock returns the SentAt of the next hello: the time, and never the same twice, since the echo of it is all that tells a
// padded hello from the one before it.
func (m *Machine) clock() uint64 {
	m.stamp = max(micros(m.now.Sub(m.start)), m.stamp+1)
	return m.stamp
}

func micros(d time.Duration) uint64 { return uint64(max(d, 0) / time.Microsecond) }
