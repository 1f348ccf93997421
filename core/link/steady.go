package link

import (
	"time"

	"x0tta6bl4/mesh"
)

// Steady takes the place of the two machines of a link that is at rest, for a simulator, which has both ends and knows what
// lies between them: nothing is lost, every hello takes the same time, and all that was found out of the link is what
// every further hello would find again. From then on a hello is a random number drawn and a moment noted. Wake makes the
// machines what they would be had they taken all of those hellos, to the bit, and says which are still on their way.
//
// That it is so is not assumed: Rest computes the state of both machines from the moments of their last hellos alone, and
// refuses unless it is the one that they have.
type Steady struct {
	zero  time.Time // of the times below, in ns
	delay int64     // of a hello
	hello int64     // the interval of both
	ends  [2]steadyEnd
}

// steadyEnd is one machine at rest.
type steadyEnd struct {
	m    *Machine
	log  *sendLog
	base int64 // the start of m
	tick int64 // the last Tick
	next int64 // when a hello is due

	pad     int64 // when the last padded hello was sent; 0 = none yet
	answer  int64 // when the answer to it comes; 0 = it has not been sent
	padNext int64 // when the next is due, as of the last answer taken in
	proven  bool  // an answer has been taken in
	raise   int64

	minute, was int64 // when the minute of the least round trip began, and the one before it
	minutes     int   // that have begun since the rest did

	first  uint64 // log.n when the rest began
	seq    uint32 // of the newest hello then
	newest uint32 // hello of the neighbour's then
	heard  uint32 // hellos of the neighbour's then
	sent   int    // since Take
	padded int
}

// Flight is a hello on its way.
type Flight struct {
	Outgoing
	At time.Time // when it comes
}

// logLen is how many moments are remembered: a window of reports reaches back by 101 hellos of ours, in which the
// neighbour sends up to 130.
const (
	logLen   = 256
	leastLog = 150 // what it takes to try
)

// sendLog is when the newest hellos were sent, in ns after the machine's start, whether a padded copy followed, and whether
// one answers what came at the same moment.
type sendLog struct {
	at [logLen]int64
	n  uint64
}

func (l *sendLog) add(at int64, padded, answer bool) {
	at <<= 2
	if padded {
		at |= 1
	}
	if answer {
		at |= 2
	}
	l.at[l.n%logLen] = at
	l.n++
}

// oldest returns the oldest hello that is remembered.
func (l *sendLog) oldest() uint64 { return max(l.n, logLen) - logLen }

// Remember has the machine note when it sends hellos, so that its link can be put to rest.
func (m *Machine) Remember() { m.log = &sendLog{} }

// sentAt returns when hello i of the log was sent.
func (x *steadyEnd) sentAt(i uint64) int64 { return x.log.at[i%logLen]>>2 + x.base }

// wroteAt returns the end of what hello i tells of: what had come before it, or at its moment if it is an answer.
func (x *steadyEnd) wroteAt(i uint64) int64 { return x.sentAt(i) + x.log.at[i%logLen]>>1&1 }

func (x *steadyEnd) isPadded(i uint64) bool { return x.log.at[i%logLen]&1 != 0 }

// stamp returns the SentAt of the newest copy of hello i.
func (x *steadyEnd) stamp(i uint64) uint64 {
	at := micros(time.Duration(x.log.at[i%logLen] >> 2))
	if x.isPadded(i) {
		at++
	}
	return at
}

func (x *steadyEnd) seqOf(i uint64) uint32 { return x.seq + uint32(i+1-x.first) } // #nosec G115 -- numbers wrap

// count returns how many hellos the machine had heard when the newest was seq.
func (x *steadyEnd) count(seq uint32) uint32 { return x.heard + (seq - x.newest) }

// before returns the newest hello that had come to the other end before a time.
func (s *Steady) before(x *steadyEnd, at int64) uint64 {
	i := x.log.n - 1
	for x.sentAt(i)+s.delay >= at {
		i--
	}
	return i
}

// Deadline returns when Tick is due at an end.
func (s *Steady) Deadline(side int) time.Time { return s.zero.Add(time.Duration(s.ends[side].next)) }

// Tick is that of the machine at one end. It reports whether something is about to happen that is not rest any more: then
// Wake is to be called at once.
func (s *Steady) Tick(side int, now time.Time) (stirs bool) {
	x, y := &s.ends[side], &s.ends[1-side]
	at := int64(now.Sub(s.zero))
	x.tick = at
	if x.answer != 0 && x.answer < at {
		x.settle()
	}
	if at < x.next-s.hello/early {
		return false
	}
	x.next = at + int64(x.m.beat.after(now, time.Duration(s.hello)))
	pad := at >= x.padNext && !x.unproven()
	if pad {
		x.pad = at
		x.padded++
	}
	last := x.sentAt(x.log.n - 1)
	x.log.add(at-x.base, pad, false)
	x.sent++
	if y.unproven() && y.answer == 0 || at+s.delay >= y.minute+int64(time.Minute) {
		stirs = s.echo(x, y, at, last)
	}
	return stirs || at >= x.raise
}

// unproven reports whether the answer to a padded hello has not been taken in.
func (x *steadyEnd) unproven() bool { return x.pad != 0 && x.pad >= x.padNext }

// settle takes the answer to a padded hello in.
func (x *steadyEnd) settle() {
	x.padNext, x.answer, x.proven = x.answer+int64(confirmEach), 0, true
}

// echo looks at what the hello that x sends at a time, the one before it being sent at last, tells y of y's.
func (s *Steady) echo(x, y *steadyEnd, at, last int64) (stirs bool) {
	i := s.before(y, at)
	if y.sentAt(i)+s.delay < last {
		return false // what the last one told
	}
	if y.isPadded(i) {
		y.answer = at + s.delay
		return false
	}
	if at+s.delay >= y.minute+int64(time.Minute) {
		y.was, y.minute = y.minute, at+s.delay
		y.minutes++
	}
	// A hello that came behind the padded one hides it: it will be sent again.
	return y.unproven() && y.answer == 0 && y.sentAt(i) > y.pad
}

// Take returns how many hellos an end has sent since the last call, and how many padded ones of which size beside them.
func (s *Steady) Take(side int) (sent, padded, size int) {
	x := &s.ends[side]
	sent, padded = x.sent, x.padded
	x.sent, x.padded = 0, 0
	return sent, padded, x.m.mtu.size
}

// Rest puts the link between two machines, each of which has just been ticked, to rest. A hello takes the delay in either
// direction, and flying are those on their way from each. It is nil if the link is not at rest.
func Rest(a, b *Machine, delay time.Duration, flying [2][]Flight) *Steady {
	if !a.calm(delay) || !b.calm(delay) || a.hello != b.hello {
		return nil
	}
	s := &Steady{zero: a.start, delay: int64(delay), hello: int64(a.hello)}
	for i, m := range [...]*Machine{a, b} {
		s.ends[i] = steadyEnd{
			m: m, log: m.log, base: int64(m.start.Sub(s.zero)), tick: int64(m.now.Sub(s.zero)), next: int64(m.nextSend.Sub(s.zero)),
			padNext: int64(m.mtu.next.Sub(s.zero)), raise: int64(m.mtu.raise.Add(-time.Second).Sub(s.zero)),
			minute: int64(m.rtt.minute.Sub(s.zero)),
			first:  m.log.n, seq: m.seq, newest: m.in.newest, heard: m.in.heard,
		}
		if s.ends[i].base%int64(time.Microsecond) != 0 {
			return nil
		}
	}
	for side := range s.ends {
		x := &s.ends[side]
		if x.newest != s.ends[1-side].seqOf(s.before(&s.ends[1-side], x.tick)) {
			return nil
		}
		copied := *x.m
		s.restore(side, &copied)
		if !alike(&copied, x.m) || !equal(s.flights(side), flying[side]) {
			return nil
		}
	}
	return s
}

// calm reports whether no further hello would tell the machine anything new, if all of them come and take the delay.
func (m *Machine) calm(delay time.Duration) bool {
	r, p := 2*delay, &m.mtu
	if m.log == nil || m.log.n < leastLog || m.seq < logLen || m.seq > 1<<32-1<<20 || m.wake || m.answer || m.cut || m.late > 0 {
		return false
	}
	if m.status.State != mesh.LinkUp || m.peer != m.hello || m.in.n != windowLen || m.in.seen != [2]uint64{1<<64 - 1, 1<<64 - 1} {
		return false
	}
	if p.phase != mtuComplete || p.waiting || p.tries > 0 || p.size != p.confirmed || p.raise.Sub(m.now) < 2*time.Second {
		return false
	}
	t := &m.rtt
	if t.n != settled || (r-t.smooth)/8 != 0 || ((t.smooth-r).Abs()-t.dev)/4 != 0 || t.least[0] > r {
		return false
	}
	if m.now.Sub(t.minute) >= time.Minute || delay%time.Microsecond != 0 || m.now.Sub(m.start)%time.Microsecond != 0 {
		return false
	}
	return m.worthStays(r)
}

// worthStays reports whether cost and class stay as they are while every round trip takes r, and after the minutes in
// which there was a shorter one.
func (m *Machine) worthStays(r time.Duration) bool {
	then := *m
	for range 3 {
		if then.measure(false) || then.announce != (announcement{}) || then.load != m.load {
			return false
		}
		then.rtt.least = [2]time.Duration{r, then.rtt.least[0]}
	}
	return true
}
