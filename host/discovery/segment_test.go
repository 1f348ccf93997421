package discovery

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"x0tta6bl4/wire"
)

var (
	ours   = spiffeid.RequireTrustDomainFromString("example.mesh")
	theirs = spiffeid.RequireTrustDomainFromString("other.mesh")
	t0     = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
)

const (
	ownNonce = 1000 << 16
	process  = 1 << 16 // between the nonces of two processes
)

func newTest() *segment {
	return newSegment(ownNonce, ours, &counters{}, func(d time.Duration) time.Duration { return d })
}

func (s *segment) valid(t *testing.T) {
	t.Helper()
	if len(s.sources) > maxSources {
		t.Fatalf("%d sources", len(s.sources))
	}
}

func from(last byte) netip.AddrPort {
	a := netip.MustParseAddr("fe80::").As16()
	a[15] = last
	return netip.AddrPortFrom(netip.AddrFrom16(a), Port)
}

func beacon(domain spiffeid.TrustDomain, nonce uint64, answer bool) []byte {
	b := wire.Beacon{Answer: answer, Port: 7420, Nonce: nonce, Salt: [16]byte{1}}
	b.Hash = wire.DomainHash(b.Salt, domain)
	return b.Append(nil)
}

func nobody(netip.AddrPort) bool { return false }

func link(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr(), 7420) }

// step hears a datagram as port.take does.
func (s *segment) step(now time.Time, a netip.AddrPort, p []byte, linked func(netip.AddrPort) bool) verdict {
	v := s.hear(now, a, p)
	if v.arm.IsValid() && !linked(v.arm) {
		s.arm(now, v.arm.Addr(), v.first)
	}
	return v
}

func TestQuickAtFirst(t *testing.T) {
	s := newTest()
	s.hurry(t0)
	var at []time.Duration
	now := t0
	for i := range 7 {
		now = s.deadline()
		s.sent(now, i != 1) // the second cannot be sent
		at = append(at, now.Sub(t0))
	}
	want := []time.Duration{0, rushPause, 2 * rushPause, 3 * rushPause, 3*rushPause + pause, 3*rushPause + 2*pause}
	for i, w := range want {
		if at[i] != w {
			t.Errorf("beacon %d at %s, want %s", i, at[i], w)
		}
	}
	if s.hurry(now); !s.deadline().Equal(now) {
		t.Error("hurry does not hurry")
	}
}

// The smaller nonce dials at once, the greater waits, and does not if it is linked by then.
func TestWhoDials(t *testing.T) {
	for _, tc := range []struct {
		nonce uint64
		after time.Duration
	}{{ownNonce + process, 0}, {ownNonce - process, yieldTo}} {
		s := newTest()
		s.sent(t0, true)
		if v := s.step(t0, from(1), beacon(ours, tc.nonce, false), nobody); !v.answer {
			t.Error("not answered")
		}
		if d := s.deadline(); !d.Equal(t0.Add(tc.after)) {
			t.Errorf("nonce %d: due after %s, want %s", tc.nonce, d.Sub(t0), tc.after)
		}
		if tc.after > 0 {
			if as := s.due(t0.Add(tc.after-1), nobody); len(as) != 0 {
				t.Errorf("too early: %v", as)
			}
		}
		linked := newTest()
		*linked.source(t0, from(1).Addr()) = *s.sources[from(1).Addr()]
		if as := linked.due(t0.Add(tc.after), func(netip.AddrPort) bool { return true }); len(as) != 0 {
			t.Errorf("handed on although linked: %v", as)
		}
		if as := s.due(t0.Add(tc.after), nobody); len(as) != 1 || as[0] != link(from(1)) {
			t.Errorf("got %v", as)
		}
	}
}

// An address that leads to no link is handed on ever less often, and not for ever without beacons.
func TestHandedOnAgain(t *testing.T) {
	s := newTest()
	s.step(t0, from(1), beacon(ours, ownNonce+process, false), nobody)
	var times []time.Duration
	for d := time.Duration(0); d < 5*time.Minute; d += firstAgain {
		now := t0.Add(d)
		if d%pause == 0 && d < 2*time.Minute {
			s.step(now, from(1), beacon(ours, ownNonce+process, false), nobody)
		}
		if len(s.due(now, nobody)) > 0 {
			times = append(times, d)
		}
	}
	if n := len(times); n < 9 || n > 14 || times[1] != firstAgain || times[n-1] > 2*time.Minute+forgetting {
		t.Errorf("handed on at %v", times)
	}
	if len(s.sources) != 0 {
		t.Error("not forgotten")
	}
	// Another process at the same address begins anew.
	s.step(t0, from(1), beacon(ours, ownNonce+process, false), nobody)
	s.due(t0, nobody)
	s.step(t0.Add(time.Millisecond), from(1), beacon(ours, ownNonce+2*process, false), nobody)
	if as := s.due(t0.Add(time.Millisecond), nobody); len(as) != 1 {
		t.Errorf("after a restart: %v", as)
	}
}

func TestAnswers(t *testing.T) {
	s := newTest()
	if v := s.hear(t0, from(1), beacon(ours, 1, true)); v.answer || !v.arm.IsValid() {
		t.Errorf("an answer: %+v", v)
	}
	if v := s.hear(t0, from(2), beacon(ours, 1, false)); !v.answer {
		t.Error("a beacon is not answered")
	}
	if v := s.hear(t0.Add(answerPause-1), from(2), beacon(ours, 1, false)); v.answer {
		t.Error("answered twice at once")
	}
	if v := s.hear(t0.Add(answerPause), from(2), beacon(ours, 1, false)); !v.answer {
		t.Error("not answered again")
	}
	answers := 0
	now := t0.Add(answerPause)
	for range quickAnswers {
		now = now.Add(answerPause)
		for i := range 50 {
			answers += btoi(s.hear(now, from(byte(3+i)), beacon(ours, 1, false)).answer)
		}
	}
	if most := answerBurst + int(now.Sub(t0).Seconds()*answerRate) + 1; answers > most || s.count.answersLimited.Load() == 0 {
		t.Errorf("%d answers at once, %d not sent", answers, s.count.answersLimited.Load())
	}
	if n := len(beacon(ours, 1, true)); n > len(beacon(ours, 1, false)) {
		t.Errorf("an answer has %d bytes, more than its cause", n)
	}
}

// A process is answered a few times, and from then on now and then; a new one at the same address begins anew.
func TestAnswersBecomeRare(t *testing.T) {
	s := newTest()
	count := func(from_, to time.Duration, nonce uint64) (n int) {
		for d := from_; d < to; d += pause / 10 {
			n += btoi(s.hear(t0.Add(d), from(1), beacon(ours, nonce, false)).answer)
		}
		return n
	}
	if n := count(0, pause, 1); n != quickAnswers {
		t.Errorf("%d answers at first", n)
	}
	if n := count(pause, 11*pause, 1); n != 7 {
		t.Errorf("%d answers in ten pauses", n)
	}
	if n := count(11*pause, 12*pause, 2); n != quickAnswers {
		t.Errorf("%d answers to a new process", n)
	}
	if got := s.count.answersSpared.Load(); got != 120-7-2*quickAnswers {
		t.Errorf("%d answers were spared", got)
	}
}

// On a segment of many members all start at once. What each sends, and how many answers one beacon causes, stay bounded;
// and everybody is heard by somebody who answers.
func TestCrowd(t *testing.T) {
	const members = 4 * crowd
	all := make([]*segment, members)
	for i := range all {
		all[i] = newSegment(rand.New(rand.NewPCG(uint64(i), 9)).Uint64(), ours, &counters{}, func(d time.Duration) time.Duration { return d })
		all[i].hurry(t0.Add(time.Duration(i) * time.Millisecond))
	}
	address := func(i int) netip.AddrPort { return netip.AddrPortFrom(from(byte(i+1)).Addr(), Port) }
	beacons, answers, answered := 0, 0, make([]int, members)
	run := func(from, to time.Duration) {
		beacons, answers = 0, 0
		for d := from; d < to; d += time.Millisecond {
			now := t0.Add(d)
			for i, s := range all {
				if now.Before(s.next) {
					continue
				}
				s.sent(now, true)
				beacons++
				for j, o := range all {
					if j != i && o.hear(now, address(i), beacon(ours, s.nonce, false)).answer {
						answers++
						answered[i]++
						s.hear(now, address(j), beacon(ours, o.nonce, true))
					}
				}
			}
		}
	}
	run(0, 3*time.Second)
	t.Logf("start: %d beacons, %d answers", beacons, answers)
	if most := members * rushBeacons * 2 * crowd; answers > most {
		t.Errorf("%d answers when all start, want at most %d", answers, most)
	}
	for i, n := range answered {
		if n == 0 {
			t.Errorf("nobody answered member %d", i)
		}
	}
	scale := time.Duration(members / crowd)
	run(3*time.Second, 3*time.Second+10*pause*scale)
	perSecond := float64(beacons+answers) / (10 * pause * scale).Seconds()
	t.Logf("later: %d beacons, %d answers, %.0f datagrams a second on the segment", beacons, answers, perSecond)
	if perSecond > 100 {
		t.Errorf("%.0f datagrams a second on the segment", perSecond)
	}
	for i, s := range all {
		if s.due(t0.Add(3*time.Second+10*pause*scale), nobody); len(s.sources) < members-1 {
			t.Fatalf("member %d has forgotten some: knows %d", i, len(s.sources))
		}
	}
}

// Everything that is dropped has a counter of its own, and nothing comes of it.
func TestDropped(t *testing.T) {
	good := beacon(ours, 1, false)
	bad := func(i int, v byte) []byte { b := beacon(ours, 1, false); b[i] = v; return b }
	for _, tc := range []struct {
		name string
		from netip.AddrPort
		b    []byte
		get  func(*counters) uint64
	}{
		{"short", from(1), good[:wire.BeaconLen-1], func(c *counters) uint64 { return c.malformed.Load() }},
		{"no beacon", from(1), bad(0, 'X'), func(c *counters) uint64 { return c.malformed.Load() }},
		{"later version", from(1), bad(4, 2), func(c *counters) uint64 { return c.version.Load() }},
		{"global source", netip.MustParseAddrPort("[2001:db8::1]:7421"), good, func(c *counters) uint64 { return c.notLinkLocal.Load() }},
		{"IPv4 source", netip.MustParseAddrPort("169.254.0.1:7421"), good, func(c *counters) uint64 { return c.notLinkLocal.Load() }},
		{"other port", netip.AddrPortFrom(from(1).Addr(), 53), good, func(c *counters) uint64 { return c.wrongPort.Load() }},
		{"own", from(1), beacon(ours, ownNonce, false), func(c *counters) uint64 { return c.own.Load() }},
		{"own, of another interface", from(1), beacon(ours, ownNonce+1, false), func(c *counters) uint64 { return c.own.Load() }},
		{"other domain", from(1), beacon(theirs, 1, false), func(c *counters) uint64 { return c.foreign.Load() }},
		{"changed hash", from(1), bad(47, 0), func(c *counters) uint64 { return c.foreign.Load() }},
	} {
		s := newTest()
		if v := s.hear(t0, tc.from, tc.b); v != (verdict{}) {
			t.Errorf("%s: %+v", tc.name, v)
		}
		if tc.get(s.count) != 1 || s.count.member.Load() != 0 {
			t.Errorf("%s is not counted as it should be", tc.name)
		}
		if as := s.due(t0.Add(time.Second), nobody); len(as) != 0 {
			t.Errorf("%s: %v handed on", tc.name, as)
		}
	}
	if v := newTest().hear(t0, from(1), good); !v.answer || !v.arm.IsValid() {
		t.Errorf("the good one: %+v", v) // so that each case above shows its one defect
	}
}

// A flood of 100,000 beacons a second from as many addresses, all with the right hash, costs bounded memory, answers and
// hints, and once it is over a neighbour is found as ever.
func TestFlood(t *testing.T) {
	s := newTest()
	r := rand.New(rand.NewPCG(1, 2))
	b := beacon(ours, ownNonce+process, false)
	answers, hints, flooded := 0, 0, 0
	const seconds, rate = 3, 100_000
	for i := range seconds * rate {
		now := t0.Add(time.Duration(i) * time.Second / rate)
		a := netip.MustParseAddr("fe80::").As16()
		for j := range 8 {
			a[8+j] = byte(r.Uint32())
		}
		v := s.step(now, netip.AddrPortFrom(netip.AddrFrom16(a), Port), b, nobody)
		answers += btoi(v.answer)
		flooded += btoi(v.flooded)
		if i%1000 == 0 {
			s.valid(t)
			hints += len(s.due(now, nobody))
		}
	}
	s.valid(t)
	if most := answerBurst + seconds*answerRate + 1; answers > most {
		t.Errorf("%d answers, at most %d", answers, most)
	}
	if most := foundBurst + seconds*foundRate + 1; hints > most || hints == 0 {
		t.Errorf("%d hints, at most %d", hints, most)
	}
	if passed := seconds*rate - flooded; passed > heardBurst+seconds*heardRate+1 {
		t.Errorf("%d looked at", passed)
	}
	if got := s.count.limited.Load(); int(got) != flooded || s.count.evicted.Load() == 0 || s.count.foundLimited.Load() == 0 {
		t.Errorf("counted %d of %d; %d evicted, %d hints kept back", got, flooded, s.count.evicted.Load(), s.count.foundLimited.Load())
	}
	later := t0.Add((seconds + 2) * time.Second)
	answers = 0
	for i := range uint64(8 * maxSources / crowd) { // of a crowd, as this still seems to be, each answers some
		answers += btoi(s.step(later, from(byte(1+i)), beacon(ours, ownNonce+(1+i)*process, false), nobody).answer)
	}
	if answers == 0 {
		t.Error("nobody is answered after the flood")
	}
	// Those of the flood that are remembered are tried too; the honest one is among those handed on within seconds.
	for d := time.Duration(0); d < 20*time.Second; d += 50 * time.Millisecond {
		for _, a := range s.due(later.Add(d), nobody) {
			if a == link(from(1)) {
				return
			}
		}
	}
	t.Error("not found after the flood")
}

// One loud address does not keep the others from being heard.
func TestLoudSource(t *testing.T) {
	s := newTest()
	for i := range 100 {
		s.hear(t0.Add(time.Duration(i)*time.Millisecond), from(1), beacon(ours, 1, false))
	}
	if got := s.count.sourceLimited.Load(); got < 100-sourceBurst-1 {
		t.Errorf("%d of the loud one's dropped", got)
	}
	if v := s.hear(t0.Add(100*time.Millisecond), from(2), beacon(ours, 1, false)); !v.answer {
		t.Error("the other is not heard")
	}
}

// Members are forgotten after the foreign.
func TestEviction(t *testing.T) {
	s := newTest()
	s.hear(t0, from(1), beacon(ours, 1, false))
	for i := range 3 * maxSources {
		a := netip.MustParseAddr("fe80::1:0:0").As16()
		a[14], a[15] = byte(i>>8), byte(i)
		s.hear(t0.Add(time.Duration(i+1)*time.Millisecond*2), netip.AddrPortFrom(netip.AddrFrom16(a), Port), beacon(theirs, 1, false))
		s.valid(t)
	}
	if s.sources[from(1).Addr()] == nil {
		t.Error("the member was forgotten for foreigners")
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func BenchmarkHearForeign(b *testing.B) {
	s := newTest()
	p := beacon(theirs, 1, false)
	now := t0
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		now = now.Add(10 * time.Millisecond)
		s.hear(now, from(byte(i)), p)
	}
}
