package flow

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"x0tta6bl4/mesh"
)

// pipe is a path with a queue before its thinnest link.
type pipe struct {
	rate      float64 // packets a second that it carries
	room      float64 // packets that its queue holds
	base      time.Duration
	jitter    time.Duration
	queued    float64
	sent, got float64
	losing    float64 // part of what comes now that finds no room
}

// take sends packets during a step, and returns how many found no room.
func (p *pipe) take(packets float64, step time.Duration) (lost float64) {
	p.queued = max(0, p.queued+packets-p.rate*step.Seconds())
	lost = max(0, p.queued-p.room)
	p.queued -= lost
	if p.losing = 0; packets > 0 {
		p.losing = lost / packets
	}
	p.sent, p.got = p.sent+packets, p.got+packets-lost
	return lost
}

func (p *pipe) roundTrip() time.Duration {
	return p.base + time.Duration(p.queued/p.rate*float64(time.Second))
}

// loaded is a flow whose packets fill queues: its load goes by the ways as their shares say.
type loaded struct {
	*bench
	pipes  map[mesh.Label]*pipe
	load   float64 // packets a second
	silent bool    // the other end does not count
	random *rand.Rand
	mail   []answer
	lost   float64
	sent   float64
	splits int // times that more than one way was begun to be used
	ways   int // now
	worst  time.Duration
}

func newLoaded(t *testing.T, seed uint64, cfg Config, capacity []mesh.BitsPerSecond, pipes ...*pipe) *loaded {
	b := &loaded{pipes: map[mesh.Label]*pipe{}, random: rand.New(rand.NewPCG(seed, 9))}
	var paths []mesh.Path
	for i, p := range pipes {
		l := mesh.Label(i + 1)
		b.pipes[l] = p
		w := way(l, mesh.Cost(1000+100*i))
		if capacity != nil {
			w.Capacity = capacity[i]
		}
		paths = append(paths, w)
	}
	b.bench = &bench{t, New(mesh.MustNodeID("d"), cfg), start}
	b.f.SetPaths(b.now, paths)
	return b
}

// drive lets time pass in steps of 5 ms.
func (b *loaded) drive(d time.Duration) {
	b.Helper()
	const step = 5 * time.Millisecond
	for i := 0; i < int(d/step); i++ {
		for len(b.mail) > 0 && !b.mail[0].at.After(b.now) {
			b.f.ProbeReply(b.now, b.mail[0].id, b.mail[0].c)
			b.mail = b.mail[1:]
		}
		b.packets(step)
		if i%10 == 0 && b.load > 0 {
			b.f.Sending(b.now, false)
		}
		for _, p := range b.f.Tick(b.now) {
			road := b.pipes[p.Path.Labels[0]]
			road.sent++
			if b.random.Float64() < road.losing {
				continue
			}
			road.got++
			c := Counts{Known: !b.silent, Series: 7, Sent: uint32(road.sent), Received: uint32(road.got)}
			at := b.now.Add(road.roundTrip() + time.Duration(b.random.Int64N(int64(road.jitter)+1)))
			b.mail = append(b.mail, answer{at, p.ID, c})
			slices.SortStableFunc(b.mail, func(x, y answer) int { return x.at.Compare(y.at) })
		}
		if err := b.f.valid(b.now); err != nil {
			b.Fatalf("after %v: %v", b.now.Sub(start), err)
		}
		b.now = b.now.Add(step)
	}
}

func (b *loaded) packets(step time.Duration) {
	ways, parts := carrying(b.f), uint32(0)
	for _, w := range ways {
		parts += w.Share
	}
	if len(ways) > 1 && b.ways <= 1 {
		b.splits++
	}
	b.ways = len(ways)
	carried := map[mesh.Label]float64{}
	for _, w := range ways {
		carried[w.Labels[0]] = b.load * step.Seconds() * float64(w.Share) / float64(parts)
	}
	for l := mesh.Label(1); int(l) <= len(b.pipes); l++ {
		b.lost += b.pipes[l].take(carried[l], step)
		b.sent += carried[l]
		b.worst = max(b.worst, b.pipes[l].roundTrip())
	}
}

// What one path cannot carry goes by two, and stays there while it is as much; when it is less one path does again.
func TestCongestedPathIsRelieved(t *testing.T) {
	for _, silent := range []bool{false, true} {
		b := newLoaded(t, 1, Config{}, nil, &pipe{rate: 1000, room: 200, base: 4 * time.Millisecond}, &pipe{rate: 1000, room: 200, base: 6 * time.Millisecond})
		b.silent = silent
		b.load = 500
		b.drive(20 * time.Second)
		if b.splits != 0 {
			t.Fatalf("a path that is half full was split")
		}
		b.load = 1500
		begin := b.now
		for b.ways < 2 {
			b.drive(50 * time.Millisecond)
			if b.now.Sub(begin) > 2*time.Second {
				t.Fatalf("silent %v: not split after %v: %+v", silent, b.now.Sub(begin), b.f.States())
			}
		}
		b.drive(time.Second)
		b.lost, b.worst = 0, 0
		b.drive(8 * time.Second)
		if b.lost > 0 || b.worst > 10*time.Millisecond {
			t.Errorf("silent %v: %.0f packets lost, round trip up to %v, although two paths have room", silent, b.lost, b.worst)
		}
		if silent {
			continue
		}
		b.drive(10 * time.Minute)
		if b.splits != 1 || b.lost > 0 {
			t.Errorf("a steady load was split %d times, %.0f packets lost", b.splits, b.lost)
		}
		b.load = 300
		for begin := b.now; b.ways > 1 && b.now.Sub(begin) < easyTime+5*time.Second; {
			b.drive(5 * time.Millisecond)
		}
		b.leaving(2)
		b.drive(5 * time.Second)
		if b.ways != 1 {
			t.Errorf("%d ways for what one path carries", b.ways)
		}
		b.leaving()
		b.load = 0
		b.drive(time.Minute)
		if at := b.f.Deadline(); !at.IsZero() {
			t.Errorf("an idle flow waits for %v", at)
		}
	}
}

// Where the other end does not count nobody knows how much is sent: one path is tried again, ever more rarely.
func TestSplitWithoutCountsIsTriedRarely(t *testing.T) {
	b := newLoaded(t, 1, Config{}, nil, &pipe{rate: 1000, room: 200, base: 4 * time.Millisecond}, &pipe{rate: 1000, room: 200, base: 6 * time.Millisecond})
	b.silent, b.load = true, 1500
	b.drive(20 * time.Minute)
	if b.splits < 2 || b.splits > 12 {
		t.Errorf("split %d times in 20 minutes", b.splits)
	}
	if share := b.lost / b.sent; share > 0.01 {
		t.Errorf("%.3f of the packets lost", share)
	}
}

// A queue that runs over before it is seen is relieved as well, rather than the path be left as a lossy one.
func TestShortQueueIsRelieved(t *testing.T) {
	b := newLoaded(t, 1, Config{}, nil, &pipe{rate: 1000, room: 20, base: 2 * time.Millisecond}, &pipe{rate: 1000, room: 20, base: 3 * time.Millisecond})
	b.load = 300
	b.drive(5 * time.Second)
	b.load = 1400
	b.drive(5 * time.Second)
	b.lost = 0
	b.drive(time.Minute)
	if b.ways != 2 || b.splits != 1 || b.lost > 0 {
		t.Errorf("%d ways, split %d times, %.0f lost: %+v", b.ways, b.splits, b.lost, b.f.States())
	}
}

// Streams that ran into a queue pause together, and so the answer that tells of what they lost may have found it empty: the path is
// relieved all the same.
func TestBurstsAreRelieved(t *testing.T) {
	b := &bench{t, New(mesh.MustNodeID("d"), Config{}), start}
	b.f.SetPaths(b.now, []mesh.Path{way(1, 1000), way(2, 1100)})
	c := Counts{Known: true, Series: 7}
	round := func(took time.Duration, lost uint32) {
		b.f.Sending(b.now, false)
		probes := b.f.Tick(b.now)
		c.Sent, c.Received = c.Sent+100, c.Received+100-lost
		b.now = b.now.Add(took)
		b.f.ProbeReply(b.now, probes[0].ID, c)
		b.now = b.now.Add(50*time.Millisecond - took)
	}
	for range 20 {
		round(time.Millisecond, 0)
	}
	for i := range 20 {
		took := time.Millisecond
		if i%5 == 0 {
			took = 25 * time.Millisecond
		}
		if round(took, 20); b.f.routes[0].lossy {
			t.Fatalf("answer %d: the path is left for what a queue had no room for", i)
		}
		if len(carrying(b.f)) == 2 {
			return
		}
	}
	t.Errorf("not spread: %+v", b.f.States())
}

// What is congested stays a way when another one becomes the preferred one, or was in doubt for a moment.
func TestCongestedWaysStay(t *testing.T) {
	b := newLoaded(t, 1, Config{}, nil, &pipe{rate: 1000, room: 200, base: 4 * time.Millisecond}, &pipe{rate: 1000, room: 200, base: 5 * time.Millisecond})
	b.load = 300
	b.drive(5 * time.Second)
	b.load = 2300
	b.drive(2 * time.Second)
	if b.ways != 2 {
		t.Fatalf("%d ways: %+v", b.ways, b.f.States())
	}
	again := func(what string, most int) {
		t.Helper()
		alone := 0
		for range 600 {
			b.drive(5 * time.Millisecond)
			if len(carrying(b.f)) < 2 {
				alone++
			}
		}
		if alone > most {
			t.Errorf("%s: one way for %d of 600 turns: %+v", what, alone, b.f.States())
		}
	}
	b.f.SetPaths(b.now, []mesh.Path{way(2, 1000), way(1, 2000)})
	again("the other one is preferred", 1)
	if b.f.current.path.Labels[0] != 2 {
		t.Errorf("preferred: %+v", b.f.States())
	}
	b.f.Link(b.now, 1, mesh.LinkSuspect)
	b.drive(250 * time.Millisecond)
	b.f.Link(b.now, 1, mesh.LinkUp)
	again("one was in doubt", 1)
}

// Shares follow capacity where it is announced; where it is not, the thinner path comes to carry less.
func TestSharesFollowCapacity(t *testing.T) {
	for _, capacity := range [][]mesh.BitsPerSecond{{80e6, 20e6}, nil} {
		b := newLoaded(t, 1, Config{}, capacity, &pipe{rate: 2000, room: 400, base: 4 * time.Millisecond}, &pipe{rate: 500, room: 100, base: 4 * time.Millisecond})
		b.load = 300
		b.drive(5 * time.Second)
		b.load = 2200
		b.drive(2 * time.Second)
		if w := carrying(b.f); capacity != nil && (len(w) != 2 || w[0].Share != 64 || w[1].Share != 16) {
			t.Errorf("ways %+v", w)
		}
		b.drive(30 * time.Second)
		b.lost = 0
		b.drive(time.Minute)
		w := carrying(b.f)
		if len(w) != 2 || b.lost > 0 || b.splits != 1 {
			t.Fatalf("capacity %v: %d ways, split %d times, %.0f lost: %+v", capacity, len(w), b.splits, b.lost, b.f.States())
		}
		if part := float64(w[1].Share) / float64(w[0].Share+w[1].Share); part < 0.08 || part > 0.23 {
			t.Errorf("capacity %v: the thin path carries %.2f", capacity, part)
		}
	}
}

// A path that is full whatever its share is left alone for a while, which doubles.
func TestUselessPathIsBenched(t *testing.T) {
	b := newLoaded(t, 1, Config{}, nil, &pipe{rate: 1000, room: 300, base: 4 * time.Millisecond}, &pipe{rate: 5, room: 50, base: 4 * time.Millisecond})
	b.load = 990
	b.drive(5 * time.Second)
	b.load = 1030
	b.drive(20 * time.Minute)
	if b.splits > 14 {
		t.Errorf("split %d times in 20 minutes", b.splits)
	}
}

func TestSpreadModes(t *testing.T) {
	pipes := func() []*pipe {
		return []*pipe{{rate: 1000, room: 200, base: 4 * time.Millisecond}, {rate: 1000, room: 200, base: 6 * time.Millisecond},
			{rate: 1000, room: 200, base: 9 * time.Millisecond}}
	}
	b := newLoaded(t, 1, Config{Spread: SpreadAlways}, nil, pipes()...)
	b.load = 10
	b.drive(time.Minute)
	if w := carrying(b.f); len(w) != 3 || w[0].Share != w[1].Share || w[1].Share != w[2].Share || b.splits != 1 {
		t.Errorf("always: %+v", w)
	}
	b.f.Link(b.now, 2, mesh.LinkDown)
	if w := carrying(b.f); len(w) != 2 || w[0].Labels[0] != 1 || w[1].Labels[0] != 3 {
		t.Errorf("one is down: %+v", w)
	}
	b.f.Link(b.now, 3, mesh.LinkSuspect)
	if w := carrying(b.f); len(w) != 2 || w[1].Labels[0] != 3 || !w[1].Copy.Same(w[0].Path) || w[0].Copy.Valid() {
		t.Errorf("one is in doubt: %+v", w)
	}
	b.drive(200 * time.Millisecond)
	if w := carrying(b.f); len(w) != 1 {
		t.Errorf("its doubt was not settled: %+v", w)
	}

	b = newLoaded(t, 1, Config{Spread: SpreadOff}, nil, pipes()...)
	b.load = 5000
	b.drive(time.Minute)
	if b.splits > 0 {
		t.Error("off: flows were spread")
	}
	for s, want := range map[Spread]string{SpreadAuto: "auto", SpreadAlways: "always", SpreadOff: "off", 9: "spread(9)"} {
		if s.String() != want {
			t.Errorf("%d is %s", s, s)
		}
	}
}

// Ways do not meet, cost at most twice as much as the preferred one or 5 ms more, and are four at most.
func TestWhichWaysAreUsed(t *testing.T) {
	for _, c := range []struct {
		unit mesh.Cost
		want string
	}{{100, "1 3 5 6 "}, {40, "1 3 4 5 "}} {
		f := New(mesh.MustNodeID("d"), Config{Spread: SpreadAlways})
		f.SetPaths(start, []mesh.Path{across(100*c.unit, 1, 9), across(110*c.unit, 2, 9), across(200*c.unit, 3), across(200*c.unit+1, 4),
			across(150*c.unit, 5), across(150*c.unit, 6), across(150*c.unit, 7)})
		got := ""
		for _, w := range f.Ways() {
			got += fmt.Sprint(w.Labels[0], " ")
		}
		if got != c.want {
			t.Errorf("%d: ways by %s, want %s", c.unit, got, c.want)
		}
	}
}

// Whatever the paths are like, flows do not go to and fro, and what is not congested is not split.
func TestSpreadDoesNotOscillate(t *testing.T) {
	runs := uint64(6)
	if testing.Short() {
		runs = 2
	}
	for seed := range runs {
		r := rand.New(rand.NewPCG(seed, 11))
		var pipes []*pipe
		total := 0.0
		for range 2 + r.IntN(3) {
			p := &pipe{rate: float64(200 + r.IntN(2000)), base: time.Duration(1+r.IntN(40)) * time.Millisecond, jitter: time.Duration(r.IntN(4)) * time.Millisecond}
			p.room = p.rate * (0.02 + 0.2*r.Float64())
			total += p.rate
			pipes = append(pipes, p)
		}
		b := newLoaded(t, seed, Config{}, nil, pipes...)
		b.silent = r.IntN(4) == 0
		b.load = 0.7 * pipes[0].rate
		b.drive(30 * time.Second)
		if b.splits > 0 {
			t.Errorf("seed %d: a path that has room was split: %+v", seed, b.f.States())
		}
		b.load = pipes[0].rate * (0.8 + r.Float64())
		moves, last := 0, b.f.current
		for range 1500 { // five minutes
			b.drive(200 * time.Millisecond)
			if b.f.current != last {
				moves, last = moves+1, b.f.current
			}
		}
		most := 12
		if b.load > 0.9*total { // more than fits: nothing helps
			most = 30
		}
		if b.splits > 6 || moves > most {
			t.Errorf("seed %d: split %d times, moved %d times in five minutes at %.0f of %.0f: %+v", seed, b.splits, moves, b.load, total, b.f.States())
		}
		if share := b.lost / b.sent; b.load < 0.8*total && share > 0.10 {
			t.Errorf("seed %d: %.3f lost at %.0f of %.0f", seed, share, b.load, total)
		}
	}
}
