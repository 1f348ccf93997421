package discovery

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"x0tta6bl4/wire"
)

// When beacons are sent: three within a second, so that one that is lost costs little, then now and then.
const (
	rushBeacons = 3
	rushPause   = 350 * time.Millisecond
	pause       = 10 * time.Second
)

// A segment with more members than these is a crowd: beacons become rarer by as much as it is larger, and of all members
// about so many answer a newcomer. Else what a segment carries would grow with the square of its members, or the cube when
// they all start together.
const crowd = 32

// When an address is handed on. Of two that hear each other the one with the smaller nonce dials at once, and the other
// only if no link is there after a while. An address that led to no link is handed on again, ever less often, for as long
// as beacons come from there.
const (
	yieldTo    = 500 * time.Millisecond
	firstAgain = 250 * time.Millisecond
	lastAgain  = 30 * time.Second
	forgetting = 3 * pause // after its last beacon; longer in a crowd
)

// What one segment may cost. Beacons are unauthenticated, so anybody there can send as many as fit.
const (
	maxSources   = 256
	heardRate    = 1000 // beacons looked at, a second
	heardBurst   = 200
	sourceRate   = 5 // of them from one address
	sourceBurst  = 8
	answerRate   = 100
	answerBurst  = 100
	answerPause  = 200 * time.Millisecond // between two answers to one address
	quickAnswers = rushBeacons            // to one process; whoever is there for longer knows us, or soon will
	answerAgain  = pause + pause/2        // so it is answered now and then only, in case it does not hear our beacons
	foundRate    = 20                     // addresses handed on
	foundBurst   = 32
	floodedPause = 20 * time.Millisecond // for which the reader rests when there are more: the kernel drops them for nothing
)

// openings are the bits of a nonce that tell the times when a process began to send: who comes back after its interface was
// gone is answered like a newcomer. The others are the process.
const openings = 0xffff

// segment is what is known of one interface's neighbourhood. It is pure: time goes in, what to do comes out.
// Invariant: at most maxSources sources.
type segment struct {
	nonce   uint64
	domain  spiffeid.TrustDomain
	count   *counters
	jitter  func(time.Duration) time.Duration
	sources map[netip.Addr]*source

	all, answers, founds bucket

	rush int // beacons left of the quick ones
	next time.Time
}

// source is one link-local address that beacons came from.
type source struct {
	heard    time.Time
	answered time.Time
	answers  int // since it began
	few      bucket
	member   bool // its last beacon was of our domain
	nonce    uint64
	port     uint16
	due      time.Time // when to hand it on; zero = not
	wait     time.Duration
	armed    time.Time // when it was to be handed on for the first time
}

// verdict is what to do about a datagram.
type verdict struct {
	flooded bool           // rest before the next is read
	answer  bool           // send a beacon back
	arm     netip.AddrPort // valid: a member's link address, to be handed on (arm) unless it is linked
	first   time.Duration  // when at the earliest
}

func newSegment(nonce uint64, domain spiffeid.TrustDomain, c *counters, jitter func(time.Duration) time.Duration) *segment {
	return &segment{
		nonce: nonce, domain: domain, count: c, jitter: jitter, sources: map[netip.Addr]*source{},
		all: bucket{rate: heardRate, burst: heardBurst}, answers: bucket{rate: answerRate, burst: answerBurst},
		founds: bucket{rate: foundRate, burst: foundBurst},
	}
}

// hurry has beacons sent in quick succession from now on.
func (s *segment) hurry(now time.Time) { s.rush, s.next = rushBeacons, now }

// sent notes that a beacon was sent, or that it could not be, which costs a quick one nothing.
func (s *segment) sent(now time.Time, ok bool) {
	if ok && s.rush > 0 {
		s.rush--
	}
	if s.rush > 0 {
		s.next = now.Add(s.jitter(rushPause))
		return
	}
	s.next = now.Add(s.jitter(pause * s.scale()))
}

// scale returns by how much the segment is more than a crowd, at least 1.
func (s *segment) scale() time.Duration {
	members := 0
	for _, src := range s.sources {
		if src.member {
			members++
		}
	}
	return time.Duration(max(1, members/crowd))
}

// hear takes a datagram and the address it came from, without zone. It allocates for new sources only.
func (s *segment) hear(now time.Time, from netip.AddrPort, p []byte) (v verdict) {
	s.count.heard.Add(1)
	if !s.all.take(now) {
		s.count.limited.Add(1)
		return verdict{flooded: true}
	}
	b, ok := s.read(from, p)
	if !ok {
		return verdict{}
	}
	src := s.source(now, from.Addr())
	if !src.few.take(now) {
		s.count.sourceLimited.Add(1)
		return verdict{}
	}
	if src.member = b.Of(s.domain); !src.member {
		s.count.foreign.Add(1)
		return verdict{}
	}
	s.count.member.Add(1)
	if src.nonce != b.Nonce || src.port != b.Port {
		src.nonce, src.port, src.due, src.wait = b.Nonce, b.Port, time.Time{}, 0 // another process than before
		src.answers = 0
	}
	v.answer = !b.Answer && s.answer(now, src)
	if src.due.IsZero() {
		v.arm = netip.AddrPortFrom(from.Addr(), b.Port)
		if s.nonce > b.Nonce {
			v.first = yieldTo
		}
	}
	return v
}

// answer reports whether a member's beacon is to be answered.
func (s *segment) answer(now time.Time, src *source) bool {
	scale, since := s.scale(), now.Sub(src.answered)
	const odd = 0x9e3779b97f4a7c15                         // spreads the nonces over the members
	ours := (s.nonce^src.nonce)*odd>>32%uint64(scale) == 0 // #nosec G115 -- at least 1
	switch {
	case since < answerPause:
		return false
	case !ours, src.answers >= quickAnswers && since < answerAgain*scale:
		s.count.answersSpared.Add(1)
		return false
	case !s.answers.take(now):
		s.count.answersLimited.Add(1)
		return false
	}
	src.answered = now
	src.answers++
	return true
}

// read checks all that costs nothing to check.
func (s *segment) read(from netip.AddrPort, p []byte) (wire.Beacon, bool) {
	why := &s.count.malformed
	b, err := wire.ParseBeacon(p)
	switch a := from.Addr(); {
	case !a.Is6() || a.Is4In6() || !a.IsLinkLocalUnicast():
		why = &s.count.notLinkLocal
	case from.Port() != Port:
		why = &s.count.wrongPort
	case err == wire.ErrVersion:
		why = &s.count.version
	case err != nil:
	case b.Nonce&^openings == s.nonce&^openings:
		why = &s.count.own
	default:
		return b, true
	}
	why.Add(1)
	return wire.Beacon{}, false
}

// source returns what is known of an address. If there is no room, whoever was silent longest is forgotten, those that
// are of other domains first.
func (s *segment) source(now time.Time, a netip.Addr) *source {
	if src := s.sources[a]; src != nil {
		src.heard = now
		return src
	}
	if len(s.sources) >= maxSources {
		var worst netip.Addr
		var w *source
		for at, src := range s.sources {
			if w == nil || w.member && !src.member || w.member == src.member && src.heard.Before(w.heard) {
				worst, w = at, src
			}
		}
		delete(s.sources, worst)
		s.count.evicted.Add(1)
	}
	src := &source{heard: now, few: bucket{rate: sourceRate, burst: sourceBurst}}
	s.sources[a] = src
	return src
}

// arm has an address handed on after a time.
func (s *segment) arm(now time.Time, a netip.Addr, first time.Duration) {
	if src := s.sources[a]; src != nil {
		src.due, src.wait, src.armed = now.Add(first), firstAgain, now
	}
}

// due returns the addresses to be handed on now. Those that linked says are linked are not, until they are heard again.
func (s *segment) due(now time.Time, linked func(netip.AddrPort) bool) (as []netip.AddrPort) {
	for _, a := range s.waiting(now) {
		src := s.sources[a]
		to := netip.AddrPortFrom(a, src.port)
		switch {
		case !src.member || linked(to):
			src.due = time.Time{}
		case s.founds.take(now):
			s.count.found.Add(1)
			as = append(as, to)
			src.due = now.Add(s.jitter(src.wait))
			src.wait = min(2*src.wait, lastAgain)
		default:
			s.count.foundLimited.Add(1)
			src.due = now.Add(s.jitter(firstAgain))
		}
	}
	return as
}

// waiting forgets who has been silent for long, and returns the addresses whose time has come: those that were handed on
// least before the others, and of them those that wait for longest. So nobody is kept waiting by more of others than there
// is room for.
func (s *segment) waiting(now time.Time) (as []netip.Addr) {
	scale := s.scale()
	for a, src := range s.sources {
		switch {
		case now.Sub(src.heard) > forgetting*scale:
			delete(s.sources, a)
		case !src.due.IsZero() && !now.Before(src.due):
			as = append(as, a)
		}
	}
	slices.SortFunc(as, func(a, b netip.Addr) int {
		x, y := s.sources[a], s.sources[b]
		return cmp.Or(cmp.Compare(x.wait, y.wait), x.armed.Compare(y.armed), a.Compare(b))
	})
	return as
}

// deadline returns when there is something to do at the earliest.
func (s *segment) deadline() time.Time {
	at := s.next
	for _, src := range s.sources {
		if !src.due.IsZero() && src.due.Before(at) {
			at = src.due
		}
	}
	return at
}

// bucket allows burst events at once and rate a second. The zero time is full.
type bucket struct {
	rate, burst float64
	tokens      float64
	last        time.Time
}

func (b *bucket) take(now time.Time) bool {
	if b.last.IsZero() {
		b.tokens = b.burst
	} else if since := now.Sub(b.last); since > 0 {
		b.tokens = min(b.burst, b.tokens+b.rate*since.Seconds())
	}
	b.last = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}
