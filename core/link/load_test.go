package link

import (
	"testing"
	"time"

	"x0tta6bl4/mesh"
)

// Two links to one neighbour, as good as each other, and traffic that fills the one that it takes: it always takes the
// cheaper, as core/flow does. Measured costs must not send it to and fro.
func TestTrafficDoesNotSwingBetweenTwoLinks(t *testing.T) {
	for _, c := range []struct{ way, queue time.Duration }{{5 * ms, 30 * ms}, {ms / 5, 20 * ms}, {50 * ms, 40 * ms}} {
		used, moves := 0, 0
		var links [2]*pair
		for i := range links {
			p := newPair(t, uint64(i), Config{}, Config{})
			p.delay = func(int, time.Time) time.Duration {
				d := c.way + time.Duration(p.rand.Int64N(int64(c.way/20)))
				if used == i {
					d += c.queue/2 + time.Duration(p.rand.Int64N(int64(c.queue/2)))
				}
				return d
			}
			p.until(mesh.LinkUp, 5*time.Second)
			links[i] = p
		}
		const length = 30 * time.Minute
		better := 0 // seconds that the other link was a tenth cheaper
		for range length / time.Second {
			for _, p := range links {
				p.run(time.Second)
			}
			mine, other := links[used].m[0].Status().Cost, links[1-used].m[0].Status().Cost
			if 10*other >= 9*mine {
				better = 0
			} else if better++; better > 1 {
				used, better = 1-used, 0
				moves++
			}
		}
		t.Logf("ways of %v, queues of %v: %d moves in %v", c.way, c.queue, moves, length)
		if moves > int(length/time.Minute) || moves == 0 {
			t.Errorf("ways of %v, queues of %v: %d moves in %v", c.way, c.queue, moves, length)
		}
	}
}

func TestLoadIsPartOfTheCost(t *testing.T) {
	p := newPair(t, 1, Config{}, Config{})
	queue := time.Duration(0)
	p.delay = func(int, time.Time) time.Duration { return 10*ms + queue }
	p.run(30 * time.Second)
	base := p.m[0].Status().Cost
	if base < 9900 || base > 10200 {
		t.Fatalf("cost %d of a way of 10 ms", base)
	}
	cost := func(q, after time.Duration) mesh.Cost {
		queue = q
		p.run(after)
		return p.m[0].Status().Cost
	}
	if got := cost(5*ms, 8*time.Second); got != base {
		t.Errorf("8 s of load made %d of %d", got, base)
	}
	if got := cost(5*ms, 6*time.Second); got < 14500 || got > 15500 {
		t.Errorf("cost %d with 5 ms of queues", got)
	}
	if got := cost(0, 90*time.Second); got < 14500 {
		t.Errorf("cost %d: the load was forgotten at once", got)
	}
	if got := cost(0, 60*time.Second); got > 10200 {
		t.Errorf("cost %d two minutes after the load", got)
	}
	if got := cost(300*ms, 15*time.Second); got > base+200 {
		t.Errorf("cost %d: changed twice in two minutes", got)
	}
	if got := cost(300*ms, 30*time.Second); got > 2*base+200 {
		t.Errorf("cost %d: more than twice the way", got)
	}
	// A queue that never ends is the way: in two minutes at most it is believed.
	if got := cost(300*ms, 2*time.Minute); got < 300000 {
		t.Errorf("cost %d of a way that has become 310 ms", got)
	}
}

// flap runs a link that is dead and alive by turns and returns how often one end said that it is up.
func flap(t *testing.T, cfg Config, dead, alive, length time.Duration) (ups int, last time.Duration) {
	p := newPair(t, 3, cfg, cfg)
	p.run(time.Minute)
	from := p.now
	p.onEach = func(side int, o Output) {
		if side == 0 && o.Changed && p.state(0) == mesh.LinkUp && p.m[0].damp.upSince.Equal(p.now) {
			ups, last = ups+1, p.now.Sub(from)
		}
	}
	for p.now.Sub(from) < length {
		p.lose = func(int, time.Time) float64 { return 1 }
		p.run(dead)
		p.lose = func(int, time.Time) float64 { return 0 }
		p.run(alive)
	}
	return ups, last
}

func TestFlappingLinkIsNotAnnouncedOverAndOver(t *testing.T) {
	hellos := []time.Duration{50 * ms, 10 * ms, 200 * ms}
	if testing.Short() {
		hellos = hellos[:1]
	}
	for _, hello := range hellos {
		for _, c := range []struct{ dead, alive time.Duration }{
			{300 * ms, 300 * ms}, {2 * time.Second, 2 * time.Second}, {10 * time.Second, 10 * time.Second}, {time.Second, 20 * time.Second},
		} {
			ups, last := flap(t, Config{Hello: hello}, c.dead, c.alive, 10*time.Minute)
			t.Logf("H %v, %v dead, %v alive: up %d times in 10 min, the last time after %v", hello, c.dead, c.alive, ups, last)
			if ups > 10 {
				t.Errorf("H %v, %v dead, %v alive: up %d times in 10 min", hello, c.dead, c.alive, ups)
			}
		}
	}
}

func TestLinkThatStoppedFlappingIsBackSoon(t *testing.T) {
	p := newPair(t, 3, Config{}, Config{})
	for range 60 {
		p.lose = func(int, time.Time) float64 { return 1 }
		p.run(10 * time.Second)
		p.lose = func(int, time.Time) float64 { return 0 }
		p.run(10 * time.Second)
	}
	if took := p.until(mesh.LinkUp, time.Minute); max(took[0], took[1]) > 30*time.Second {
		t.Errorf("back after %v", took)
	}
	p.run(6 * time.Minute)
	p.lose = func(int, time.Time) float64 { return 1 }
	p.until(mesh.LinkDown, time.Second)
	p.lose = func(int, time.Time) float64 { return 0 }
	if took := p.until(mesh.LinkUp, time.Minute); max(took[0], took[1]) > 250*ms {
		t.Errorf("after six calm minutes, back after %v", took)
	}
}
