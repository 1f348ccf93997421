package link

import (
	"math/rand/v2"
	"testing"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

const ms = time.Millisecond

func TestFreshLinkComesUpInARoundTripOrTwo(t *testing.T) {
	for seed := range uint64(50) {
		p := newPair(t, seed, Config{}, Config{})
		p.delay = func(int, time.Time) time.Duration { return 10 * ms }
		took := p.until(mesh.LinkUp, time.Second)
		if max(took[0], took[1]) > 60*ms {
			t.Fatalf("seed %d: up after %v", seed, took)
		}
	}
}

func TestUpNeedsBothDirections(t *testing.T) {
	p := newPair(t, 1, Config{}, Config{})
	p.lose = func(from int, _ time.Time) float64 { return float64(from) } // 1 is never heard
	p.run(time.Minute)
	if p.state(0) != mesh.LinkDown || p.state(1) != mesh.LinkDown {
		t.Fatal("up over a link that carries one way only")
	}
	p.lose = func(int, time.Time) float64 { return 0 }
	if took := p.until(mesh.LinkUp, 5*time.Second); max(took[0], took[1]) > 2*time.Second {
		t.Fatalf("up %v after the other way opened", took)
	}
}

// The bound of the design: a dead link is down within 3 H, the burst, and one tick, on both ends.
func TestBlackholeIsDetected(t *testing.T) {
	cases := []struct {
		name         string
		hello, delay time.Duration
		jitter       time.Duration
		loss         float64
		suspect      time.Duration
		down         time.Duration
	}{
		{"lan", 50 * ms, ms / 2, ms / 10, 0, 80 * ms, 160 * ms},
		{"wan", 50 * ms, 20 * ms, 2 * ms, 0, 120 * ms, 240 * ms},
		{"lan 1 % loss", 50 * ms, ms / 2, ms / 10, 0.01, 80 * ms, 160 * ms},
		{"lan 10 % loss", 50 * ms, ms / 2, ms / 10, 0.1, 80 * ms, 180 * ms},
		{"radio 30 % loss", 200 * ms, 5 * ms, 3 * ms, 0.3, 350 * ms, 700 * ms},
		{"fast", 10 * ms, ms / 2, ms / 10, 0, 20 * ms, 60 * ms},
		{"satellite", 200 * ms, 300 * ms, 5 * ms, 0, 700 * ms, 2500 * ms},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var sumDown, worstDown, worstSuspect time.Duration
			n := 0
			for seed := range uint64(40) {
				p := newPair(t, seed, Config{Hello: c.hello}, Config{Hello: c.hello})
				cut := time.Time{}
				p.lose = func(_ int, at time.Time) float64 {
					if !cut.IsZero() {
						return 1
					}
					return c.loss
				}
				p.delay = func(int, time.Time) time.Duration {
					return c.delay + time.Duration(p.rand.Float64()*float64(c.jitter))
				}
				p.run(200 * c.hello)
				p.until(mesh.LinkUp, 100*c.hello)
				p.run(time.Duration(p.rand.Float64() * float64(c.hello)))
				cut = p.now
				var suspect [2]time.Time
				p.onEach = func(side int, o Output) {
					if p.state(side) == mesh.LinkSuspect && suspect[side].IsZero() {
						suspect[side] = p.now
					}
				}
				for _, d := range p.untilWatching(mesh.LinkDown, 10*time.Second) {
					sumDown += d
					n++
					worstDown = max(worstDown, d)
				}
				for _, s := range suspect {
					worstSuspect = max(worstSuspect, s.Sub(cut))
				}
			}
			t.Logf("suspect ≤ %v, down ≤ %v, mean %v", worstSuspect, worstDown, sumDown/time.Duration(n))
			if worstSuspect > c.suspect+c.delay || worstDown > c.down+c.delay {
				t.Errorf("slower than suspect %v, down %v", c.suspect, c.down)
			}
		})
	}
}

// untilWatching is until without taking the place of onEach.
func (p *pair) untilWatching(want mesh.LinkState, limit time.Duration) (took [2]time.Duration) {
	p.t.Helper()
	from, watch := p.now, p.onEach
	var at [2]time.Time
	p.onEach = func(side int, o Output) {
		watch(side, o)
		if o.Changed && p.state(side) == want {
			at[side] = p.now
		}
	}
	defer func() { p.onEach = watch }()
	for p.now.Sub(from) < limit && (at[0].IsZero() || at[1].IsZero()) {
		p.run(ms)
	}
	for i := range at {
		if at[i].IsZero() {
			p.t.Fatalf("side %d never was %v: %+v", i, want, p.m[i].Status())
		}
		took[i] = at[i].Sub(from)
	}
	return took
}

func TestOneWayDeathIsSeenByBothEnds(t *testing.T) {
	var worst [2]time.Duration
	for seed := range uint64(40) {
		p := newPair(t, seed, Config{}, Config{})
		p.run(5 * time.Second)
		p.lose = func(from int, _ time.Time) float64 { return float64(1 - from) } // what 0 sends is lost
		p.onEach = func(int, Output) {}
		took := p.untilWatching(mesh.LinkDown, 5*time.Second)
		for i := range took {
			worst[i] = max(worst[i], took[i])
		}
		p.run(time.Second)
		if s := p.m[0].Status(); s.LossOut < 0.5 && s.State != mesh.LinkDown {
			t.Fatalf("seed %d: the deaf end's neighbour believes %+v", seed, s)
		}
		p.run(30 * time.Second)
		if p.state(0) != mesh.LinkDown || p.state(1) != mesh.LinkDown {
			t.Fatalf("seed %d: came up one way", seed)
		}
	}
	t.Logf("down within %v at the sender, %v at the deaf end", worst[0], worst[1])
	if worst[0] > 250*ms || worst[1] > 160*ms {
		t.Errorf("too slow: %v", worst)
	}
}

func TestLossDoesNotTakeALinkDown(t *testing.T) {
	length := 2500 * time.Second // ten seeds of 10,000 s gave no false alarm either, up to 30 % loss
	if testing.Short() {
		length = 500 * time.Second
	}
	for _, loss := range []float64{0.01, 0.1, 0.2} {
		p := newPair(t, 7, Config{}, Config{})
		p.lose = func(int, time.Time) float64 { return loss }
		p.delay = func(int, time.Time) time.Duration { return 2*ms + time.Duration(p.rand.IntN(int(ms))) }
		p.until(mesh.LinkUp, time.Second)
		down, suspect, measured := 0, 0, 0
		p.onEach = func(side int, o Output) {
			if o.Changed && p.state(side) == mesh.LinkDown {
				down++
			}
			if o.Changed && p.state(side) == mesh.LinkSuspect {
				suspect++
			}
			if o.Measured {
				measured++
			}
		}
		p.run(length)
		s := p.m[0].Status()
		t.Logf("loss %v: %v down, %v suspicions, %v announcements in 2 × %v; %.1f hellos/s; measured in %.3f out %.3f",
			loss, down, suspect, measured, length, float64(p.sent[0]+p.sent[1])/2/length.Seconds(), s.LossIn, s.LossOut)
		if down > 0 {
			t.Errorf("loss %v: a live link was declared dead %d times", loss, down)
		}
	}
}

func TestMeasuresLossPerDirectionAndRTT(t *testing.T) {
	p := newPair(t, 3, Config{}, Config{Hello: 30 * ms})
	p.lose = func(from int, _ time.Time) float64 { return []float64{0.3, 0}[from] }
	p.delay = func(from int, _ time.Time) time.Duration { return []time.Duration{30 * ms, 10 * ms}[from] }
	var in, out float64
	n := 0
	p.run(5 * time.Second)
	for range 200 {
		p.run(time.Second)
		s := p.m[0].Status()
		in, out, n = in+s.LossIn, out+s.LossOut, n+1
	}
	in, out = in/float64(n), out/float64(n)
	s := p.m[0].Status()
	if in > 0.01 || out < 0.25 || out > 0.35 {
		t.Errorf("loss in %.3f out %.3f, want 0 and 0.3", in, out)
	}
	if s.RTT < 39*ms || s.RTT > 41*ms || s.MinRTT < 39*ms {
		t.Errorf("RTT %v, least %v, want 40ms", s.RTT, s.MinRTT)
	}
	if s.Quality != mesh.Fair && s.Quality != mesh.Good {
		t.Errorf("quality %v with 30 %% loss", s.Quality)
	}
	if want := mesh.Cost(20000 * 10 / 7); s.Cost < want*7/10 || s.Cost > want*14/10 {
		t.Errorf("cost %d, want about %d", s.Cost, want)
	}
}

func TestFlappingNeedsMoreProofEachTime(t *testing.T) {
	p := newPair(t, 5, Config{}, Config{})
	p.until(mesh.LinkUp, time.Second)
	var took []time.Duration
	for range 8 {
		p.lose = func(int, time.Time) float64 { return 1 }
		p.until(mesh.LinkDown, 5*time.Second)
		p.run(500 * ms)
		p.lose = func(int, time.Time) float64 { return 0 }
		d := p.until(mesh.LinkUp, 20*time.Second)
		took = append(took, max(d[0], d[1]))
	}
	t.Log(took)
	if took[0] > 250*ms {
		t.Errorf("the first return took %v", took[0])
	}
	if took[5] < 4*took[0] || took[7] > 15*time.Second {
		t.Errorf("returns took %v: want growing, and bounded", took)
	}
	p.run(5 * time.Minute)
	p.lose = func(int, time.Time) float64 { return 1 }
	p.until(mesh.LinkDown, 5*time.Second)
	p.lose = func(int, time.Time) float64 { return 0 }
	if d := p.until(mesh.LinkUp, 20*time.Second); max(d[0], d[1]) > 250*ms {
		t.Errorf("after five calm minutes the return still took %v", d)
	}
}

func TestDownLinkIsTriedSlowlyInTheEnd(t *testing.T) {
	p := newPair(t, 1, Config{}, Config{})
	p.until(mesh.LinkUp, time.Second)
	p.lose = func(int, time.Time) float64 { return 1 }
	p.until(mesh.LinkDown, time.Second)
	p.sent = [2]int{}
	p.run(9 * time.Second)
	if p.sent[0] < 150 {
		t.Errorf("%d hellos in the first 9 s, want the full rate", p.sent[0])
	}
	p.run(5 * time.Second)
	p.sent = [2]int{}
	p.run(100 * time.Second)
	if p.sent[0] > 120 || p.sent[0] < 80 {
		t.Errorf("%d hellos in 100 s, want one a second", p.sent[0])
	}
	p.lose = func(int, time.Time) float64 { return 0 }
	suspected := 0
	p.onEach = func(side int, o Output) {
		if p.state(side) == mesh.LinkSuspect {
			suspected++
		}
	}
	if d := p.untilWatching(mesh.LinkUp, 5*time.Second); max(d[0], d[1]) > 1500*ms {
		t.Errorf("up %v after the link came back", d)
	}
	p.run(5 * time.Second)
	if suspected > 0 {
		t.Error("the change from slow to quick hellos looked like silence")
	}
}

func TestDifferentIntervals(t *testing.T) {
	p := newPair(t, 11, Config{Hello: 10 * ms}, Config{Hello: time.Second})
	p.until(mesh.LinkUp, 3*time.Second)
	bad := 0
	p.onEach = func(side int, o Output) {
		if p.state(side) != mesh.LinkUp {
			bad++
		}
	}
	p.run(10 * time.Minute)
	if bad > 0 {
		t.Errorf("%d ticks in doubt on a perfect link", bad)
	}
	p.lose = func(int, time.Time) float64 { return 1 }
	d := p.untilWatching(mesh.LinkDown, 10*time.Second)
	t.Logf("down after %v", d)
	if d[1] > 100*ms || d[0] > 3200*ms {
		t.Errorf("down after %v: want the 3 H of the neighbour's interval", d)
	}
}

func TestOwnStallIsNotTheNeighboursFault(t *testing.T) {
	for _, told := range []bool{true, false} {
		p := newPair(t, 2, Config{}, Config{})
		p.run(5 * time.Second)
		var states []mesh.LinkState
		p.onEach = func(side int, o Output) {
			if side == 0 && o.Changed {
				states = append(states, p.state(0))
			}
		}
		freeze := 60 * ms
		p.frozen[0] = p.now.Add(freeze)
		p.run(freeze - 1)
		if told {
			p.m[0].Late(p.now, freeze)
		}
		// The worst case: the loop runs the timers before it has drained its socket, which held hellos of 60 ms.
		p.now = p.now.Add(30 * ms)
		p.tick(0)
		if suspect := len(states) > 0 && states[0] == mesh.LinkSuspect; suspect == told {
			t.Errorf("told of the stall: %v; suspected: %v", told, suspect)
		}
	}
}

func TestAnyFrameClearsSilence(t *testing.T) {
	p := newPair(t, 2, Config{}, Config{})
	p.run(5 * time.Second)
	p.lose = func(from int, _ time.Time) float64 { return float64(from) }
	for p.state(0) != mesh.LinkSuspect {
		p.run(ms)
	}
	at := p.now
	p.m[0].Heard(at.Add(-time.Second)) // older than what was heard: no news
	p.m[0].Tick(at)
	if p.state(0) != mesh.LinkSuspect {
		t.Fatal("an old frame cleared the suspicion")
	}
	p.m[0].Heard(at)
	if d := p.m[0].Deadline(); d.After(at) {
		t.Fatal("a frame that clears a suspicion does not call for a tick")
	}
	if o := p.m[0].Tick(at); !o.Changed || p.state(0) != mesh.LinkUp {
		t.Fatalf("a fresh frame left the link %v", p.state(0))
	}
}

func TestProbeIsAnsweredAtOnce(t *testing.T) {
	m := New(Config{}, rand.New(rand.NewPCG(1, 1)), epoch)
	m.Tick(epoch)
	at := epoch.Add(3 * ms)
	m.Hello(at, wire.Hello{Seq: 9, SentAt: 77, Interval: 50000, Probe: true})
	if m.Deadline().After(at) {
		t.Fatal("the answer to a probe waits")
	}
	o := m.Tick(at)
	if len(o.Send) != 1 || o.Send[0].Hello.EchoSeq != 9 || o.Send[0].Hello.EchoSentAt != 77 || o.Send[0].Hello.EchoDelay != 0 ||
		o.Send[0].Hello.Heard != 1 {
		t.Fatalf("answered %+v", o.Send)
	}
	if o := m.Tick(at); len(o.Send) != 0 {
		t.Fatal("answered twice")
	}
}

func TestNeighbourRestart(t *testing.T) {
	p := newPair(t, 4, Config{}, Config{})
	p.run(20 * time.Second)
	p.m[1] = New(Config{}, rand.New(rand.NewPCG(99, 9)), p.now)
	p.run(ms)
	p.until(mesh.LinkUp, time.Second)
	p.run(20 * time.Second)
	for i, m := range p.m {
		if s := m.Status(); s.LossIn > 0 || s.LossOut > 0 || s.Quality != mesh.Excellent {
			t.Errorf("side %d after the restart: %+v", i, s)
		}
	}
}

func TestHostileHellosDoNoHarm(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 8))
	m := New(Config{}, r, epoch)
	now := epoch
	for range 20000 {
		now = now.Add(time.Duration(r.IntN(int(100 * ms))))
		h := wire.Hello{Seq: r.Uint32(), SentAt: r.Uint64(), EchoSeq: r.Uint32(), EchoSentAt: r.Uint64(), EchoDelay: r.Uint32(),
			Heard: r.Uint32(), HeardFrom: r.Uint32(), Interval: r.Uint32(), Probe: r.IntN(2) == 0,
			Padded: r.IntN(20) > 0}
		if r.IntN(2) == 0 {
			h.EchoSeq, h.EchoSentAt = m.seq-uint32(r.IntN(3)), micros(now.Sub(epoch))-uint64(r.IntN(1000))
		}
		m.Hello(now, h)
		if o := m.Tick(now); len(o.Send) > 2 || len(o.Send) == 2 && o.Send[1].Size == 0 {
			t.Fatalf("%d hellos for one", len(o.Send))
		}
		checkInvariant(t, m)
		if m.Deadline().Sub(now) > 12*time.Second {
			t.Fatal("the machine fell asleep")
		}
	}
}

func TestCostHysteresis(t *testing.T) {
	p := newPair(t, 6, Config{}, Config{})
	delay := 10 * ms
	p.delay = func(int, time.Time) time.Duration { return delay }
	p.run(10 * time.Second)
	measured := 0
	p.onEach = func(side int, o Output) {
		if side == 0 && o.Measured {
			measured++
		}
	}
	delay = 11 * ms
	p.run(time.Minute)
	if measured != 0 {
		t.Errorf("a change of 10 %% was announced %d times", measured)
	}
	was := p.m[0].Status().Cost
	delay = 20 * ms
	p.run(900 * ms)
	if measured != 0 {
		t.Error("announced before it lasted a second")
	}
	p.run(time.Minute)
	if got := p.m[0].Status().Cost; measured == 0 || measured > 3 || got < was*17/10 {
		t.Errorf("%d announcements, cost %d → %d", measured, was, got)
	}
}

func TestNothingIsGivenUpDuringAStall(t *testing.T) {
	p := newPair(t, 2, Config{}, Config{})
	p.run(5 * time.Second)
	p.lose = func(from int, _ time.Time) float64 { return float64(from) }
	for p.state(0) != mesh.LinkSuspect {
		p.run(ms)
	}
	p.run(70 * ms)
	p.m[0].Late(p.now, 40*ms)
	stalled := p.now
	p.run(99 * ms)
	if p.state(0) == mesh.LinkDown {
		t.Fatal("given up within two intervals of a stall of our own")
	}
	p.until(mesh.LinkDown, time.Second)
	if d := p.now.Sub(stalled); d > 150*ms {
		t.Errorf("given up %v after the stall", d)
	}
}

func TestReportsAreComparedWithinOneCountOnly(t *testing.T) {
	r := reports{prior: priorLoss}
	for i := range uint32(50) {
		r.add(1000, 1000+i, i+1)
	}
	if lost, n := r.lost(); lost != 0 || n != 49 {
		t.Fatalf("%d of %d lost", lost, n)
	}
	if r.add(1000, 1049, 50) || r.add(1000, 1010, 11) {
		t.Error("an old statement is news")
	}
	r.add(1060, 1070, 11) // the neighbour was restarted, and nothing was lost since
	r.add(1060, 1080, 16)
	if lost, n := r.lost(); lost != 5 || n != 10 {
		t.Errorf("%d of %d lost, want 5 of 10", lost, n)
	}
}

func TestArrivals(t *testing.T) {
	var a arrivals
	for _, seq := range []uint32{1<<32 - 3, 1<<32 - 1, 1<<32 - 2, 2, 2, 1<<32 - 1} {
		a.add(seq) // across the end of the numbers, out of order, twice
	}
	if lost, n := a.lost(); lost != 2 || n != 6 || a.heard != 4 || a.from != 1<<32-3 {
		t.Errorf("%d of %d lost, %d heard from %d", lost, n, a.heard, a.from)
	}
	a.add(500)
	if lost, n := a.lost(); lost != windowLen-1 || n != windowLen {
		t.Errorf("after a gap %d of %d lost", lost, n)
	}
	a.add(100) // far back: the neighbour counts anew
	if lost, n := a.lost(); lost != 0 || n != 1 || a.heard != 1 || a.from != 100 {
		t.Errorf("after a restart %d of %d lost, %d heard from %d", lost, n, a.heard, a.from)
	}
}

// Hellos that now and then come late, because some machine is busy, are soon what is expected of the link; once they are in
// time again, so is the suspicion of silence.
func TestLateHellosAreExpected(t *testing.T) {
	p := newPair(t, 1, Config{}, Config{})
	late := func(int, time.Time) time.Duration {
		if p.rand.Float64() < 0.05 {
			return 45 * ms
		}
		return ms
	}
	p.until(mesh.LinkUp, time.Second)
	p.delay = late
	p.run(5 * time.Second)
	doubts := 0
	p.onEach = func(side int, o Output) {
		doubts += btoi(o.Changed && p.state(side) == mesh.LinkSuspect)
		if a := p.m[side].allowance(); a > p.m[side].peer {
			t.Fatalf("allowance %v", a)
		}
	}
	p.run(time.Minute)
	t.Logf("%d suspicions in a minute, in which some 120 hellos came 44 ms late", doubts)
	if doubts > 10 {
		t.Errorf("%d suspicions", doubts)
	}
	p.delay = func(int, time.Time) time.Duration { return ms }
	p.run(40 * time.Second)
	for i, m := range p.m {
		if m.late != 0 || m.suspectAfter() > m.peer*3/2+ms {
			t.Errorf("side %d: late %v, suspect after %v", i, m.late, m.suspectAfter())
		}
	}
}
