package link

import (
	"math/rand/v2"
	"testing"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// thin returns a pair that is up over a way of 5 ms that loses frames larger than mtu.
func thin(t *testing.T, seed uint64, mtu int) *pair {
	t.Helper()
	p := newPair(t, seed, Config{}, Config{})
	p.delay = func(int, time.Time) time.Duration { return 5 * ms }
	p.mtu = mtu
	p.until(mesh.LinkUp, 5*time.Second)
	return p
}

// measured runs until both ends show this MTU and try nothing else.
func (p *pair) measured(mtu int, limit time.Duration) time.Duration {
	p.t.Helper()
	from := p.now
	settled := func(m *Machine) bool { return int(m.Status().MTU) == mtu && m.mtu.phase == mtuComplete }
	for !settled(p.m[0]) || !settled(p.m[1]) {
		if p.run(ms); p.now.Sub(from) > limit {
			p.t.Fatalf("not MTU %d after %v: %+v, %+v", mtu, limit, p.m[0].mtu, p.m[1].mtu)
		}
	}
	return p.now.Sub(from)
}

func TestMTUIsFound(t *testing.T) {
	for _, c := range []struct {
		mtu   int
		limit time.Duration
	}{{1500, 50 * ms}, {1452, 50 * ms}, {1451, 1200 * ms}, {1400, 1200 * ms}, {1280, 1200 * ms}, {1233, 1200 * ms}, {1232, 1200 * ms}} {
		var worst time.Duration
		for seed := range uint64(20) {
			p := thin(t, seed, c.mtu)
			p.onEach = func(side int, _ Output) {
				if p.state(side) != mesh.LinkUp {
					t.Fatalf("MTU %d: lost probes made the link %v", c.mtu, p.state(side))
				}
			}
			worst = max(worst, p.measured(min(c.mtu, wire.MaxFrame), c.limit))
			p.run(10 * time.Second)
			for i, m := range p.m {
				if s := m.Status(); s.LossIn > 0 || s.LossOut > 0 || s.Quality != mesh.Excellent {
					t.Errorf("MTU %d: side %d counts lost probes: %+v", c.mtu, i, s)
				}
			}
		}
		t.Logf("MTU %d is found %v after the link is up", c.mtu, worst)
	}
}

func TestMTUOfALossyLink(t *testing.T) {
	for _, loss := range []float64{0.05, 0.3} {
		exact := 0
		for seed := range uint64(20) {
			p := thin(t, seed, 1400)
			p.lose = func(int, time.Time) float64 { return loss }
			p.run(30 * time.Second)
			for _, m := range p.m {
				s := m.Status()
				if s.MTU > 1400 || s.Thin {
					t.Fatalf("loss %v: %+v", loss, s)
				}
				exact += btoi(s.MTU == 1400)
			}
		}
		t.Logf("loss %v: right after 30 s on %d of 40", loss, exact)
		if exact < 36 {
			t.Errorf("loss %v: right on %d of 40 only", loss, exact)
		}
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func TestMTUHoleIsFoundWhileTheLinkIsUp(t *testing.T) {
	var worst, again time.Duration
	for seed := range uint64(20) {
		p := thin(t, seed, 1452)
		p.measured(1452, time.Second)
		p.run(time.Duration(p.rand.Int64N(int64(10 * time.Second))))
		p.onEach = func(side int, _ Output) {
			if p.state(side) != mesh.LinkUp {
				t.Fatalf("small hellos pass, and the link is %v", p.state(side))
			}
		}
		p.mtu = 1300
		from := p.now
		for p.m[0].FrameMTU() > 1300 || p.m[1].FrameMTU() > 1300 {
			if p.run(ms); p.now.Sub(from) > 10*time.Second {
				t.Fatalf("hole not found: %+v", p.m[0].mtu)
			}
		}
		worst = max(worst, p.now.Sub(from))
		again = max(again, p.measured(1300, 3*time.Second))
	}
	t.Logf("hole found within %v, the new MTU %v later", worst, again)
	if worst > 5500*ms {
		t.Errorf("found after %v", worst)
	}
}

func TestMTUIsRaised(t *testing.T) {
	p := thin(t, 1, 1300)
	p.measured(1300, 3*time.Second)
	p.mtu = 0
	if took := p.measured(1452, 700*time.Second); took < 500*time.Second {
		t.Errorf("raised after %v: sooner than the timer", took)
	}
}

func TestTooThinALinkCarriesNothing(t *testing.T) {
	p := thin(t, 1, 1231)
	reported := [2]bool{}
	p.onEach = func(side int, o Output) {
		if s := p.m[side].Status(); s.Thin && !s.Usable() && s.MTU == 0 {
			reported[side] = reported[side] || o.Measured
		}
	}
	p.run(time.Second)
	if reported != [2]bool{true, true} || p.state(0) != mesh.LinkUp {
		t.Fatalf("reported %v, %+v", reported, p.m[0].Status())
	}
	p.mtu = 1232
	took := p.measured(1232, 7*time.Second)
	t.Logf("usable again after %v", took)
	if !p.m[0].Status().Usable() {
		t.Errorf("%+v", p.m[0].Status())
	}
}

func TestTooBigToSendIsALostProbe(t *testing.T) {
	p := thin(t, 1, 1300)
	told := 0
	refuse := func(side int, o Output) {
		for _, h := range o.Send {
			if h.Size > 1300 {
				p.m[side].TooBig(h.Size)
				told++
			}
		}
	}
	p.onEach = refuse
	quick := p.measured(1300, 3*time.Second)
	if told > 20 || quick > 200*ms {
		t.Errorf("took %v and %d refused probes", quick, told)
	}
	// A data frame that no longer leaves.
	p.mtu = 1260
	p.m[0].TooBig(1300)
	p.m[0].Tick(p.now)
	if got := p.m[0].FrameMTU(); got != wire.MinLinkMTU {
		t.Errorf("frames of %d bytes after one of 1300 was refused", got)
	}
	p.onEach = nil
	p.run(time.Second)
	if got := p.m[0].FrameMTU(); got != 1260 {
		t.Errorf("then %d", got)
	}
}

func TestMTUOfASlowLink(t *testing.T) {
	for _, c := range []struct {
		rate, least int // bit/s, bytes
	}{{64_000, 1232}, {256_000, 1452}, {1_000_000, 1452}} {
		p := newPair(t, 1, Config{}, Config{})
		p.delay = func(int, time.Time) time.Duration { return 5 * ms }
		p.slow = 8 * time.Second / time.Duration(c.rate)
		p.until(mesh.LinkUp, time.Second)
		p.onEach = func(side int, _ Output) {
			if p.m[side].Status().Thin {
				t.Fatalf("%d bit/s: slow, and taken for thin", c.rate)
			}
		}
		p.run(10 * time.Second)
		for i, m := range p.m {
			if s := m.Status(); int(s.MTU) < c.least {
				t.Errorf("%d bit/s: side %d: MTU %d", c.rate, i, s.MTU)
			}
		}
	}
}

func TestNeighbourThatDoesNotEchoPaddedHellos(t *testing.T) {
	m := New(Config{MaxMTU: 1400}, rand.New(rand.NewPCG(1, 1)), epoch)
	now := epoch
	seq := uint32(0)
	for range 400 {
		for _, h := range m.Tick(now).Send {
			if h.Size > 0 {
				t.Fatal("probed a neighbour that cannot answer")
			}
			now = now.Add(5 * ms)
			seq++
			m.Hello(now, wire.Hello{Seq: seq, SentAt: uint64(seq), EchoSeq: h.Hello.Seq, EchoSentAt: h.Hello.SentAt, Heard: h.Hello.Seq,
				Interval: 50000})
		}
		now = later(now, m.Deadline())
	}
	if s := m.Status(); s.State != mesh.LinkUp || s.Thin || s.MTU != 0 || m.FrameMTU() != 1400 {
		t.Errorf("%+v, frames of %d bytes", s, m.FrameMTU())
	}
}

func TestMTUBoundOfKernelAndNeighbour(t *testing.T) {
	p := thin(t, 1, 0)
	p.measured(1452, time.Second)
	p.m[0].SetMaxMTU(1380)
	p.m[0].Tick(p.now)
	if got := p.m[0].FrameMTU(); got != 1380 {
		t.Errorf("%d", got)
	}
	p.m[0].SetMaxMTU(1452)
	p.measured(1452, time.Second)
	p.m[0].SetMaxMTU(600) // a kernel may be told anything by ICMP
	p.m[0].Tick(p.now)
	if got := p.m[0].FrameMTU(); got != wire.MinLinkMTU {
		t.Errorf("%d", got)
	}
}

func TestOutageSaysNothingOfSizes(t *testing.T) {
	p := thin(t, 1, 1452)
	p.measured(1452, time.Second)
	for range 200 { // short outages that take no link down
		p.lose = func(int, time.Time) float64 { return 1 }
		p.run(60 * ms)
		p.lose = func(int, time.Time) float64 { return 0 }
		p.run(time.Duration(100+p.rand.IntN(300)) * ms)
		for i, m := range p.m {
			if s := m.Status(); s.State != mesh.LinkDown && s.MTU != 1452 && s.MTU != 0 {
				t.Fatalf("side %d: %+v", i, s)
			}
		}
	}
}

// A stream that fills the queues costs the link some probes of whatever length, and not its MTU: frames in parts would only
// fill them more.
func TestFullQueueIsNoHole(t *testing.T) {
	p := thin(t, 1, 1452)
	p.measured(1452, time.Second)
	lost := 0
	p.onEach = func(side int, _ Output) {
		if s := p.m[side].Status(); s.MTU != 1452 || s.Thin {
			t.Fatalf("side %d: %+v, %+v", side, s, p.m[side].mtu)
		}
		lost = max(lost, btoi(p.m[side].mtu.phase == mtuBase))
	}
	for range 200 {
		p.full = true
		p.run(150 * ms)
		p.full = false
		p.run(time.Duration(100+p.rand.IntN(300)) * ms)
	}
	if lost == 0 {
		t.Error("the MTU was never in doubt: this test shows nothing")
	}
}

func TestKeepingTheMTUIsCheap(t *testing.T) {
	p := thin(t, 1, 1452)
	p.measured(1452, time.Second)
	ticks := 0
	p.onEach = func(int, Output) { ticks++ }
	p.sent, p.padded = [2]int{}, [2]int{}
	p.run(500 * time.Second)
	t.Logf("in 500 s %v hellos, %v padded, %d ticks", p.sent, p.padded, ticks)
	for side := range 2 {
		if p.padded[side] < 90 || p.padded[side] > 120 {
			t.Errorf("%d padded hellos in 500 s, want about one each five seconds", p.padded[side])
		}
		if p.sent[side] > 11500 {
			t.Errorf("%d hellos in 500 s", p.sent[side])
		}
	}
	m, now := p.m[0], p.now
	if n := testing.AllocsPerRun(1000, func() { now = now.Add(ms); m.Heard(now); m.Tick(now) }); n > 0 {
		t.Errorf("a tick allocates %v times", n)
	}
}

func TestNewPathIsMeasuredAnew(t *testing.T) {
	p := newPair(t, 1, Config{}, Config{})
	delay := 300 * ms
	p.delay = func(int, time.Time) time.Duration { return delay }
	p.run(30 * time.Second)
	p.measured(1452, 10*time.Second)
	p.onEach = func(side int, _ Output) {
		if p.state(side) == mesh.LinkDown {
			t.Fatal("down for a change of address")
		}
	}
	delay, p.mtu = 290*ms, 1400
	for _, m := range p.m {
		m.NewPath()
	}
	if p.run(ms); p.m[0].FrameMTU() != wire.MinLinkMTU {
		t.Errorf("frames of %d bytes on a way that nobody measured", p.m[0].FrameMTU())
	}
	p.measured(1400, 60*time.Second)
	delay = 20 * ms
	for _, m := range p.m {
		m.NewPath()
	}
	p.run(15 * time.Second)
	if s := p.m[0].Status(); s.MinRTT > 41*ms || s.Cost > 20500 {
		t.Errorf("%+v", s)
	}
}
