package link

import (
	"math"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// The path MTU of a link is measured as RFC 8899 has it (DPLPMTUD), with padded hellos as probes. Everything is in bytes
// of UDP payload: wire.MinLinkMTU is the RFC's BASE_PLPMTU and, as no link may be thinner, its MIN_PLPMTU too.
//
//	            base answered             nothing left to try
//	disabled ─► base ────────► search ───────────────────────► complete
//	             │  ▲            ▲        ten minutes are over    │
//	       not   │  │            └────────────────────────────────┤
//	   answered  ▼  └─────────────────────────────────────────────┘
//	           error ─► search   the confirmed size no longer passes
//
// A queue that is full drops long frames sooner than short ones, which looks like a hole. So what was confirmed is used on
// until the base passed and the larger size, tried once more right behind it, did not.
//
// A probe is lost when its time is over and the small hello that went right before it was answered (§4.3): a way that
// loses everything says nothing of sizes. A hello is no data, so a lost probe is no sign of congestion (§3, item 8), and it
// has no number of its own, so that it is no lost hello either.
type mtuPhase uint8

const (
	mtuDisabled mtuPhase = iota // the link is not up, or the neighbour does not echo padded hellos
	mtuBase
	mtuSearch
	mtuComplete
	mtuError
)

const (
	baseProbes  = 5                     // of the base size, with which nobody knows yet how long a large frame takes
	maxProbes   = 3                     // RFC 8899 §5.1.2 MAX_PROBES, on a link without loss
	mostProbes  = 16                    // on one that loses much
	probeSlack  = 20 * time.Millisecond // what a large frame may take beyond a small one
	raiseEvery  = 600 * time.Second     // §5.1.1 PMTU_RAISE_TIMER
	confirmEach = 5 * time.Second       // §5.1.1 CONFIRMATION_TIMER; in error, the wait before the base is tried again
	falseLoss   = 1e-3                  // the chance that all probes of a size that passes are lost
)

// pathMTU is the search. Invariants: confirmed is 0 or was answered; confirmed < tooBig ≤ max+1; size is what is tried.
type pathMTU struct {
	phase     mtuPhase
	echoes    bool // the neighbour echoes padded hellos
	max       int
	confirmed int // PLPMTU
	tooBig    int // the least size known not to pass, or the first that is not to be tried
	size      int // that is tried now
	tries     int // probes of that size that were sent (§5.1.3 PROBE_COUNT)
	waiting   bool
	stamps    [4]uint64 // SentAt of the last tries
	sentAt    time.Time // of the hello before the last one
	took      time.Duration
	next      time.Time // complete, error: when to try again
	raise     time.Time // complete: when to look for more; zero until something passed
}

func clampMTU(n int) int {
	if n == 0 {
		n = wire.MaxFrame
	}
	return min(max(n, wire.MinLinkMTU), wire.MaxFrame)
}

// reset forgets what was found.
func (p *pathMTU) reset() { *p = pathMTU{max: p.max, echoes: p.echoes} }

// able takes what a hello says of the neighbour.
func (p *pathMTU) able(echoes bool) {
	if p.echoes && !echoes {
		p.reset() // an older program took its place
	}
	p.echoes = echoes
}

// FrameMTU returns how many bytes of UDP payload a frame may have now: what was measured; while that lasts, the least that
// every link carries; where the neighbour cannot help to measure, what the kernel says.
func (m *Machine) FrameMTU() int {
	switch {
	case m.status.MTU > 0:
		return int(m.status.MTU)
	case !m.mtu.echoes:
		return m.mtu.max
	}
	return wire.MinLinkMTU
}

// SetMaxMTU says what kernel and neighbour know now: larger frames are not tried, and not sent from here on.
func (m *Machine) SetMaxMTU(n int) {
	p := &m.mtu
	n = clampMTU(n)
	if n == p.max {
		return
	}
	p.max = n
	m.wake = true
	if p.confirmed == 0 {
		return
	}
	p.confirmed = min(p.confirmed, n)
	p.search(n + 1)
}

// TooBig says that a frame of size bytes did not leave this machine because it was too large for the interface or the way,
// as far as the kernel knows (RFC 8899 §4.6: a validated PTB message).
func (m *Machine) TooBig(size int) {
	p := &m.mtu
	switch {
	case p.phase == mtuDisabled:
		return
	case p.waiting && size <= p.size && p.size > p.confirmed || size <= wire.MinLinkMTU:
		p.waiting, p.tries = false, mostProbes
	case size <= p.confirmed:
		p.base(min(p.tooBig, size))
	default:
		return
	}
	m.wake = true
}

// stepMTU brings the search to the time now and reports whether Status was changed by it.
func (m *Machine) stepMTU() bool {
	p := &m.mtu
	switch {
	case m.status.State == mesh.LinkDown:
		return false
	case m.status.State == mesh.LinkSuspect:
		p.waiting = false // whatever is lost now says nothing
		return false
	case p.phase == mtuDisabled && p.echoes:
		p.base(p.max + 1)
	case p.waiting && p.overdue(m):
		p.waiting = false
	case p.phase == mtuComplete && !m.now.Before(p.raise):
		p.raise = m.now.Add(raiseEvery)
		p.search(p.max + 1) // a route may have become better (§4.1, §5.3.1)
	}
	if !p.waiting && p.tries >= p.limit(m.status.LossIn, m.status.LossOut) {
		p.lost(m.now)
	}
	return m.showMTU()
}

// showMTU puts the outcome into Status: not each step of a search, which would be news to the whole mesh.
func (m *Machine) showMTU() bool {
	p, s := &m.mtu, &m.status
	was := *s
	s.Thin = p.phase == mtuError
	switch {
	case p.phase == mtuError || p.phase == mtuDisabled:
		s.MTU = 0
	case p.phase == mtuComplete:
		s.MTU = uint16(p.confirmed) // #nosec G115 -- at most wire.MaxFrame
	case p.phase == mtuSearch && was.MTU == 0, was.MTU > 0 && p.raise.IsZero(), int(was.MTU) >= p.tooBig:
		s.MTU = uint16(max(p.confirmed, wire.MinLinkMTU)) // #nosec G115 -- at most wire.MaxFrame
	}
	return s.MTU != was.MTU || s.Thin != was.Thin
}

// base begins at the size that every link must carry; nothing from tooBig on is tried afterwards (§5.2, Base).
func (p *pathMTU) base(tooBig int) {
	p.phase, p.confirmed, p.tooBig = mtuBase, 0, tooBig
	p.try(wire.MinLinkMTU)
}

// search looks for the largest size below tooBig (§5.2, Search): that one first, as most ways carry it, then by halves.
func (p *pathMTU) search(tooBig int) {
	p.phase, p.tooBig = mtuSearch, min(tooBig, p.max+1)
	if p.tooBig <= p.confirmed+1 {
		p.phase = mtuComplete
		p.try(p.confirmed)
		return
	}
	p.try(p.tooBig - 1)
}

func (p *pathMTU) try(size int) {
	p.size, p.tries, p.waiting, p.stamps, p.next = size, 0, false, [4]uint64{}, time.Time{}
}

// rest ends the search until what was found is to be confirmed.
func (p *pathMTU) rest(now time.Time) {
	p.phase = mtuComplete
	p.try(p.confirmed)
	p.next = now.Add(confirmEach)
}

// wanted returns the size of the padded hello to send behind the next hello, and whether that has to go now. A first
// confirmation of what passes rides with a regular hello and wakes nobody.
func (p *pathMTU) wanted(now time.Time, regular bool) (size int, urgent bool) {
	switch {
	case p.phase == mtuDisabled || p.waiting || p.next.After(now) && p.tries == 0:
		return 0, false
	case p.phase == mtuComplete && p.tries == 0:
		if !regular {
			return 0, false
		}
		return p.size, false
	}
	return p.size, true
}

// sent notes a probe and when the hello before it was sent.
func (p *pathMTU) sent(at time.Time, stamp uint64) {
	p.stamps[p.tries%len(p.stamps)] = stamp
	p.tries++
	p.sentAt, p.waiting = at, true
}

// answered takes an echo. It reports whether it was that of a probe of the size that is tried, late ones included.
func (p *pathMTU) answered(now time.Time, stamp uint64, took time.Duration) bool {
	if p.phase == mtuDisabled || stamp == 0 {
		return false
	}
	for _, s := range p.stamps {
		if s == stamp {
			p.took = took
			p.passed(now)
			return true
		}
	}
	return false
}

func (p *pathMTU) passed(now time.Time) {
	switch p.phase {
	case mtuBase, mtuError:
		p.confirmed = p.size
		p.raise = now.Add(raiseEvery)
		p.search(p.tooBig)
	case mtuSearch:
		p.confirmed = p.size
		p.halve(now)
	case mtuComplete:
		p.rest(now)
	}
}

// lost is called when every probe of a size was.
func (p *pathMTU) lost(now time.Time) {
	switch p.phase {
	case mtuBase, mtuError:
		p.phase, p.next = mtuError, now.Add(confirmEach)
		p.tries, p.waiting = 0, false // the stamps stay: an answer that is only late still counts
		p.tooBig = p.max + 1
	case mtuSearch:
		p.tooBig = p.size
		p.halve(now)
	case mtuComplete:
		p.base(p.max + 1) // §4.3: a black hole
	}
}

// halve goes on between what passes and what does not.
func (p *pathMTU) halve(now time.Time) {
	if p.confirmed+1 < p.tooBig {
		p.try((p.confirmed + p.tooBig) / 2)
		return
	}
	p.rest(now)
}

// limit returns how many probes of one size have to be lost before it is believed not to pass.
func (p *pathMTU) limit(in, out float64) int {
	loss := 1 - (1-in)*(1-out)
	least := maxProbes
	if p.phase == mtuBase || p.phase == mtuError {
		least = baseProbes
	}
	if loss <= 0.1 {
		return least
	}
	return min(max(int(math.Ceil(math.Log(falseLoss)/math.Log(min(loss, 0.99)))), least), mostProbes)
}

// timer returns how long the answer to a probe may take. RFC 8899 §5.1.1 wants a second at least where the round trip is
// not known; here it is known, and so is what the last probe took. The first ones of a link, of which nothing is known,
// are given twice as much time each try, for the sake of links so slow that a large frame takes long.
func (p *pathMTU) timer(m *Machine) time.Duration {
	t := max(m.rtt.smooth+4*m.rtt.dev, 2*p.took) + probeSlack
	if p.phase == mtuBase || p.phase == mtuError {
		t <<= min(max(p.tries-1, 0), 6)
	}
	return t
}

// overdue reports whether the probe that is out is lost: its time is over, and what was sent with it was answered.
func (p *pathMTU) overdue(m *Machine) bool {
	return !m.life.confirmed.Before(p.sentAt) && !m.now.Before(p.sentAt.Add(p.timer(m)))
}

// deadline returns when the search has something to do while the link is up; zero = when something is heard, or with the
// next regular hello.
func (p *pathMTU) deadline(m *Machine) time.Time {
	switch {
	case p.phase == mtuDisabled:
		return time.Time{}
	case p.waiting && m.life.confirmed.Before(p.sentAt):
		return time.Time{}
	case p.waiting:
		return p.sentAt.Add(p.timer(m))
	case p.phase == mtuComplete && p.tries == 0:
		return time.Time{}
	case p.next.After(m.now) && p.tries == 0:
		return p.next
	}
	return m.now
}
