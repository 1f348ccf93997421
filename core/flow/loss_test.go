package flow

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"x0tta6bl4/mesh"
)

// The more a path loses the sooner it is left.
func TestLossyPathIsLeft(t *testing.T) {
	for _, c := range []struct {
		loss float64
		rate int
		most time.Duration
	}{
		{1, 100, 200 * time.Millisecond}, {1, 10, 300 * time.Millisecond}, {0.9, 100, 400 * time.Millisecond},
		{0.5, 1000, 400 * time.Millisecond}, {0.5, 100, 700 * time.Millisecond}, {0.5, 10, 2 * time.Second},
		{0.3, 1000, 400 * time.Millisecond}, {0.1, 1000, time.Second}, {0.1, 100, 6 * time.Second},
	} {
		t.Run(fmt.Sprint(c.loss, "at", c.rate), func(t *testing.T) {
			for seed := range uint64(20) {
				bad := &road{}
				b := newTrip(t, seed, c.rate, bad, &road{})
				b.drive(5 * time.Second)
				b.uses(1)
				bad.loss = c.loss
				b.until(2, c.most)
			}
		})
	}
}

// What ordinary paths lose, and short bursts of loss, are no reason to move.
func TestFairPathIsKept(t *testing.T) {
	for _, rate := range []int{10, 100, 1000} {
		bad := &road{loss: 0.01, back: 0.01}
		b := newTrip(t, uint64(rate), rate, bad, &road{})
		for range 30 {
			b.drive(5 * time.Second)
			bad.loss = 0.2
			b.drive(100 * time.Millisecond)
			bad.loss = 0.01
		}
		if b.moves > 0 {
			t.Errorf("at %d packets a second they moved %d times in two minutes and a half", rate, b.moves)
		}
	}
}

// A path that lost packets gets them back when it has lost none for the hold time, which doubles.
func TestLossyPathReturns(t *testing.T) {
	bad := &road{}
	b := newTrip(t, 1, 200, bad, &road{})
	b.drive(2 * time.Second)
	var last time.Duration
	for strike := range 5 {
		bad.loss = 0.5
		b.until(2, 2*time.Second)
		b.drive(time.Second)
		s := b.f.States()[0]
		if s.State == Active || s.State == Standby || !s.Measured {
			t.Errorf("%+v", s)
		}
		bad.loss = 0
		lost := b.lost
		back := b.until(1, 2*time.Minute)
		if hold := Hold << strike; back < hold || back < last && strike > 1 {
			t.Errorf("strike %d: back after %v, hold is %v", strike, back, hold)
		}
		if b.lost != lost {
			t.Errorf("%d packets were lost on the way back", b.lost-lost)
		}
		last = back
		b.drive(time.Second)
	}
}

// While one path loses, it costs little to find out whether it still does.
func TestTrialsAreRare(t *testing.T) {
	bad := &road{loss: 0.5}
	b := newTrip(t, 3, 100, bad, &road{})
	b.until(2, 2*time.Second)
	b.rate = 0
	b.probes = 0
	b.drive(10 * time.Minute)
	if b.probes < 60 || b.probes > 400 {
		t.Errorf("%d probes in ten minutes", b.probes)
	}
	b.uses(2)
}

// Loss that all paths share is borne: packets come to rest.
func TestSharedLossDoesNotFlap(t *testing.T) {
	for _, loss := range []float64{0.05, 0.1, 0.3, 0.7} {
		for seed := range uint64(2) {
			b := newTrip(t, seed, 100, &road{loss: loss}, &road{loss: loss}, &road{loss: loss})
			b.drive(5 * time.Minute)
			if b.moves > 20 {
				t.Errorf("%.2f, seed %d: %d moves in five minutes", loss, seed, b.moves)
			}
			if share := float64(b.lost) / (100 * 300); share > loss+0.02 {
				t.Errorf("%.2f, seed %d: %.3f lost", loss, seed, share)
			}
		}
	}
}

// The only path is used whatever it loses, also when nothing comes back.
func TestOnlyPathIsKept(t *testing.T) {
	for _, r := range []*road{{loss: 1}, {back: 1}, {loss: 0.8, back: 0.8}} {
		b := newTrip(t, 1, 100, r)
		for range 600 {
			b.drive(100 * time.Millisecond)
			b.uses(1)
		}
		s := b.f.States()[0]
		if !s.InUse || s.State != Suspect && (r.loss == 1 || r.back == 1) || s.Measured && (s.Loss < 0.6 || s.Loss > 0.95) {
			t.Errorf("%+v: %+v", *r, s)
		}
		*r = road{sent: r.sent, got: r.got}
		b.drive(time.Minute)
		b.states(Active)
	}
}

// Of paths that all lose, packets take one that loses clearly less, and the silent ones last.
func TestLeastLossIsTaken(t *testing.T) {
	for seed := range uint64(10) {
		b := newTrip(t, seed, 200, &road{loss: 0.4}, &road{loss: 1}, &road{loss: 0.12}, &road{loss: 0.5})
		b.drive(30 * time.Second)
		b.uses(3)
	}
}

// Small probes pass where large packets do not: the path is left, and stays left.
func TestLargePacketsAreLost(t *testing.T) {
	hole := &road{}
	b := newTrip(t, 2, 50, hole, &road{})
	b.drive(2 * time.Second)
	hole.large = true
	b.until(2, time.Second)
	b.moves = 0
	b.drive(5 * time.Minute)
	if b.moves > 0 {
		t.Errorf("%d moves although large packets are lost", b.moves)
	}
}

// A path that the topology takes away for a moment is no better when it is back.
func TestLossIsRemembered(t *testing.T) {
	bad := &road{loss: 0.5}
	b := newTrip(t, 4, 100, bad, &road{})
	b.until(2, 2*time.Second)
	b.f.SetPaths(b.now, []mesh.Path{way(2, 2000)})
	b.drive(time.Second)
	b.f.SetPaths(b.now, []mesh.Path{way(1, 1000), way(2, 2000)})
	b.moves = 0
	b.drive(5 * time.Second)
	b.uses(2)
	b.states(Suspect, Active)
	if b.moves > 0 {
		t.Errorf("%d moves", b.moves)
	}
	// Two minutes later it has its chance as any other.
	b.f.SetPaths(b.now, []mesh.Path{way(2, 2000)})
	b.drive(calm)
	bad.loss = 0
	b.f.SetPaths(b.now, []mesh.Path{way(1, 1000), way(2, 2000)})
	b.until(1, 2*Hold)
}

// Whoever sends nothing is not probed.
func TestIdleFlowRests(t *testing.T) {
	b := newTrip(t, 1, 100, &road{}, &road{})
	b.drive(time.Second)
	if b.probes < 15 || b.probes > 25 {
		t.Errorf("%d probes in a second of traffic", b.probes)
	}
	b.rate = 0
	b.drive(time.Second)
	b.probes = 0
	b.drive(time.Minute)
	if at := b.f.Deadline(); b.probes > 0 || !at.IsZero() {
		t.Errorf("%d probes of an idle flow, deadline %v", b.probes, at)
	}
}

// Silence says nothing when this process did not run.
func TestLateIsNoSilence(t *testing.T) {
	for _, late := range []bool{true, false} {
		b := newTrip(t, 1, 100, &road{}, &road{})
		b.drive(time.Second)
		b.rate = 0
		b.drive(watchPause)
		b.f.Sending(b.now, false)
		if len(b.f.Tick(b.now)) != 1 { // its answer waits
			t.Fatal("no probe")
		}
		b.now = b.now.Add(time.Second)
		if late {
			b.f.Late(b.now)
		}
		if missed := len(b.f.Tick(b.now)) > 0; missed == late {
			t.Errorf("late %v, one answer missed: %v", late, missed)
		}
		b.now = b.now.Add(minAnswer)
		if len(b.f.Tick(b.now)) != 1 {
			t.Error("what does not come after all is not missed")
		}
	}
}

// The meter takes nothing from counts that do not compare.
func TestMeterTakes(t *testing.T) {
	for _, c := range []struct {
		name       string
		from, to   Counts
		sent, lost float64
		ok         bool
	}{
		{"loss", Counts{true, 1, 10, 10}, Counts{true, 1, 30, 25}, 20, 5, true},
		{"none", Counts{true, 1, 10, 8}, Counts{true, 1, 30, 28}, 20, 0, true},
		{"more than was sent: some came late", Counts{true, 1, 10, 8}, Counts{true, 1, 12, 12}, 2, 0, true},
		{"over the end of the circle", Counts{true, 1, 1<<32 - 5, 1<<32 - 9}, Counts{true, 1, 5, 0}, 10, 1, true},
		{"another session", Counts{true, 1, 10, 10}, Counts{true, 2, 30, 25}, 0, 0, false},
		{"an older answer", Counts{true, 1, 30, 30}, Counts{true, 1, 25, 30}, 0, 0, false},
		{"the same answer", Counts{true, 1, 30, 30}, Counts{true, 1, 30, 30}, 0, 0, false},
		{"the other end forgot", Counts{true, 1, 30, 30}, Counts{true, 1, 35, 2}, 0, 0, false},
		{"the other end does not count", Counts{true, 1, 30, 30}, Counts{}, 0, 0, false},
		{"the first", Counts{}, Counts{true, 1, 35, 2}, 0, 0, false},
	} {
		var m meter
		if _, ok := m.take(c.from); ok {
			t.Errorf("%s: the first counts tell something", c.name)
		}
		got, ok := m.take(c.to)
		if want := (tally{c.sent, c.lost}); ok != c.ok || got != want {
			t.Errorf("%s: %+v, %v, want %+v, %v", c.name, got, ok, want, c.ok)
		}
	}
}

// Whatever the paths lose, packets end up on one that is not much worse than the best, and do not wander.
func TestChoiceIsNearTheBest(t *testing.T) {
	runs := uint64(24)
	if testing.Short() {
		runs = 10
	}
	for seed := range runs {
		r := rand.New(rand.NewPCG(seed, 2))
		var roads []*road
		best := 1.0
		for range 1 + r.IntN(4) {
			road := &road{loss: float64(r.IntN(11)) / 10, back: float64(r.IntN(6)) / 10}
			best = min(best, road.loss)
			roads = append(roads, road)
		}
		rate := 20 + r.IntN(200)
		b := newTrip(t, seed, rate, roads...)
		b.drive(time.Minute)
		if b.moves > 20 {
			t.Errorf("seed %d: %d moves in a minute", seed, b.moves)
		}
		sent, lost := float64(rate)*30, b.lost
		b.drive(30 * time.Second)
		if share := float64(b.lost-lost) / sent; share > best+0.15+3/math.Sqrt(sent) {
			t.Errorf("seed %d: %.3f lost, the best path loses %.1f: %+v", seed, share, best, b.f.States())
		}
	}
}
