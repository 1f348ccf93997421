package link

import (
	"math"
	"time"

	"x0tta6bl4/wire"
)

// Wake gives the machines back, as of their last Ticks, and the hellos on their way from each. The Steady is void then.
func (s *Steady) Wake() (flying [2][]Flight) {
	for side := range s.ends {
		if x := &s.ends[side]; x.answer != 0 && x.answer < x.tick {
			x.settle()
		}
		flying[side] = s.flights(side)
	}
	for side := range s.ends {
		s.restore(side, s.ends[side].m)
	}
	return flying
}

// Quiet returns until when neither end has anything to tell the other: a Tick before it is a random number drawn and a moment
// noted, whenever the other end has its own. It is zero if they are at something now.
func (s *Steady) Quiet() time.Time {
	until := int64(math.MaxInt64)
	for side := range s.ends {
		x := &s.ends[side]
		if x.answer != 0 || x.unproven() {
			return time.Time{}
		}
		until = min(until, x.padNext, x.raise, x.minute+int64(time.Minute)-s.delay)
	}
	return s.zero.Add(time.Duration(until))
}

// flights returns the hellos of one end that the other has not taken in.
func (s *Steady) flights(side int) (out []Flight) {
	x, y := &s.ends[side], &s.ends[1-side]
	for i := s.before(x, y.tick) + 1; i < x.log.n; i++ {
		at := x.sentAt(i)
		e := s.before(y, x.wroteAt(i))
		h := wire.Hello{
			Seq: x.seqOf(i), SentAt: micros(time.Duration(x.log.at[i%logLen] >> 2)),
			Heard: x.count(y.seqOf(e)), HeardFrom: x.m.in.from,
			EchoSeq: y.seqOf(e), EchoSentAt: y.stamp(e), EchoDelay: uint32(micros(time.Duration(at - y.sentAt(e) - s.delay))), // #nosec G115 -- short
			Interval: uint32(micros(time.Duration(s.hello))), Padded: true, // #nosec G115 -- at most MaxHello
		}
		come := s.zero.Add(time.Duration(at + s.delay))
		out = append(out, Flight{Outgoing{Hello: h}, come})
		if x.isPadded(i) {
			h.SentAt++
			out = append(out, Flight{Outgoing{h, x.m.mtu.size}, come})
		}
	}
	return out
}

// restore makes m, which is the machine of an end as it was when the rest began, what it is now.
func (s *Steady) restore(side int, m *Machine) {
	x, y := &s.ends[side], &s.ends[1-side]
	m.now, m.nextSend = s.zero.Add(time.Duration(x.tick)), s.zero.Add(time.Duration(x.next))
	m.seq, m.stamp = x.seqOf(x.log.n-1), x.stamp(x.log.n-1)
	c := s.before(y, x.tick)
	come := s.zero.Add(time.Duration(y.sentAt(c) + s.delay))
	m.in.newest, m.in.heard = y.seqOf(c), x.count(y.seqOf(c))
	m.echo = echo{seq: y.seqOf(c), sentAt: y.stamp(c), at: come}
	m.life.heard = later(m.life.heard, come)
	m.slowAt = later(m.slowAt, come.Add(quickTime))
	s.restoreReports(x, y, m, c)
	s.restoreMTU(x, m)
	minute, n := x.minute, x.minutes
	if n > 0 && minute >= x.tick {
		minute, n = x.was, n-1 // the first round trip of the newest has not been taken in
	}
	for range min(n, 2) {
		m.rtt.minute = s.zero.Add(time.Duration(minute))
		m.rtt.least = [2]time.Duration{time.Duration(2 * s.delay), m.rtt.least[0]}
	}
	m.measure(false)
}

// restoreReports makes the window of what the neighbour said, up to its hello c.
func (s *Steady) restoreReports(x, y *steadyEnd, m *Machine, c uint64) {
	out := reports{prior: m.out.prior}
	i, told := x.log.oldest(), uint64(0)
	for j := max(c, 226) - 226; j <= c; j++ {
		at := y.wroteAt(j)
		for i+1 < x.log.n && x.sentAt(i+1)+s.delay < at {
			i++
		}
		if i != told && x.sentAt(i)+s.delay < at {
			told = i
			out.add(y.m.in.from, x.seqOf(i), y.count(x.seqOf(i)))
		}
	}
	m.out = out
	m.life.confirmed = m.start.Add(time.Duration(x.stamp(told)) * time.Microsecond) // #nosec G115 -- our own clock
}

func (s *Steady) restoreMTU(x *steadyEnd, m *Machine) {
	p := &m.mtu
	if x.pad == 0 {
		return
	}
	if x.proven {
		p.took = time.Duration(2*s.delay) - time.Microsecond // its clock is that much later than the hello that it follows
		p.next = s.zero.Add(time.Duration(x.padNext))
	}
	p.sentAt = s.zero.Add(time.Duration(x.pad))
	if x.unproven() {
		p.tries, p.waiting = 1, true
		p.stamps = [4]uint64{micros(time.Duration(x.pad-x.base)) + 1}
	}
}

// alike reports whether two machines are in the same state, as far as it has consequences while they are up.
func alike(a, b *Machine) bool {
	x, y := *a, *b
	if x.out.n != y.out.n || x.out.from != y.out.from || x.out.prior != y.out.prior {
		return false
	}
	for i := range x.out.n {
		if x.out.at(i) != y.out.at(i) {
			return false
		}
	}
	x.out, x.sends = y.out, y.sends
	return x == y
}

func equal(a, b []Flight) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].Hello != b[i].Hello || !a[i].At.Equal(b[i].At) {
			return false
		}
	}
	return true
}
