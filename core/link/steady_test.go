package link

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// calmPair is a link between two nodes whose loops turn when their own hellos are due, or a doubt is, on a clock of
// microseconds. It may be put to rest.
type calmPair struct {
	m      [2]*Machine
	now    time.Time
	delay  time.Duration
	inbox  [2][]Flight // on their way to a side, or waiting for it
	rest   bool
	steady *Steady
	rests  int
	stirs  int
	turns  int
	lose   func(from int, at time.Time) bool
}

func newCalmPair(seed uint64, delay time.Duration, rest bool) *calmPair {
	p := &calmPair{now: epoch, delay: delay, rest: rest}
	for i := range p.m {
		p.m[i] = New(Config{}, rand.New(rand.NewPCG(seed, uint64(i))), epoch.Add(time.Duration(i)*time.Millisecond))
		p.m[i].Remember()
	}
	return p
}

// due returns when a side's turn is, in whole microseconds.
func (p *calmPair) due(side int) time.Time {
	at := time.Time{}
	if p.steady != nil {
		at = p.steady.Deadline(side)
	} else {
		w := p.m[side].Watch()
		for i := range p.inbox[side] {
			if f := &p.inbox[side][i]; f.At.Before(p.now) {
				w.Hello(f.At, &f.Hello)
			}
		}
		at = w.Deadline()
	}
	if odd := at.Sub(epoch) % time.Microsecond; odd > 0 {
		at = at.Add(time.Microsecond - odd)
	}
	return later(at, p.now)
}

// run goes on until a time. A deadline that a hello put off meanwhile is looked at again, as a loop does.
func (p *calmPair) run(until time.Time) {
	for {
		side := 0
		if p.due(1).Before(p.due(0)) {
			side = 1
		}
		at := p.due(side)
		if at.After(until) {
			return
		}
		p.now = at
		if p.due(side).After(at) {
			continue
		}
		p.turn(side)
	}
}

func (p *calmPair) turn(side int) {
	p.turns++
	if p.steady != nil {
		if p.steady.Tick(side, p.now) {
			p.stirs++
			p.wake()
		}
		return
	}
	n := 0
	for n < len(p.inbox[side]) && p.inbox[side][n].At.Before(p.now) {
		p.m[side].Hello(p.inbox[side][n].At, p.inbox[side][n].Hello)
		n++
	}
	p.inbox[side] = slices.Delete(p.inbox[side], 0, n)
	for _, o := range p.m[side].Tick(p.now).Send {
		if p.lose == nil || !p.lose(side, p.now) {
			p.inbox[1-side] = append(p.inbox[1-side], Flight{o, p.now.Add(p.delay)})
		}
	}
	if p.rest {
		if p.steady = Rest(p.m[0], p.m[1], p.delay, [2][]Flight{p.inbox[1], p.inbox[0]}); p.steady != nil {
			p.rests++
			p.inbox = [2][]Flight{}
		}
	}
}

func (p *calmPair) wake() {
	if p.steady != nil {
		flying := p.steady.Wake()
		p.inbox = [2][]Flight{flying[1], flying[0]}
		p.steady = nil
	}
}

// Whenever a link at rest is woken, both machines and the hellos under way are what they would be without the rest; also
// after minutes, in which the least round trips and the path MTU are confirmed; and so is what happens next.
func TestRestChangesNothing(t *testing.T) {
	for seed := range uint64(6) {
		delay := []time.Duration{0, 7 * time.Microsecond, time.Millisecond, 13 * time.Millisecond, 60 * time.Millisecond, 200 * time.Millisecond}[seed]
		awake, asleep := newCalmPair(seed, delay, false), newCalmPair(seed, delay, true)
		draw := rand.New(rand.NewPCG(seed, 9))
		for at := epoch; at.Before(epoch.Add(5 * time.Minute)); {
			at = at.Add(time.Duration(draw.Int64N(int64(20 * time.Second))))
			awake.run(at)
			asleep.run(at)
			asleep.wake()
			for side := range awake.m {
				if a, b := awake.m[side], asleep.m[side]; !twins(a, b) {
					t.Fatalf("delay %v, %v: side %d is\n%+v, without a rest\n%+v", delay, at.Sub(epoch), side, b, a)
				}
				if !equal(awake.inbox[side], asleep.inbox[side]) {
					t.Fatalf("delay %v, %v: on the way to %d are %+v, without a rest %+v", delay, at.Sub(epoch), side, asleep.inbox[side], awake.inbox[side])
				}
			}
		}
		if awake.turns != asleep.turns || asleep.rests < 10 {
			t.Errorf("delay %v: %d turns and %d rests, without them %d turns", delay, asleep.turns, asleep.rests, awake.turns)
		}
	}
}

// twins is alike of machines that live apart: their beats are two, in the same state.
func twins(a, b *Machine) bool {
	x, y := *a, *b
	x.beat, x.log, x.damp = y.beat, y.log, y.damp
	return alike(&x, &y)
}

// A link that loses anything, or whose delay is not the one that is said, is not at rest.
func TestNoRest(t *testing.T) {
	p := newCalmPair(1, time.Millisecond, true)
	p.lose = func(from int, at time.Time) bool { return from == 0 && at.UnixMicro()%50 == 0 }
	p.run(epoch.Add(time.Minute))
	if p.rests > 0 {
		t.Error("a link that loses one hello in fifty was put to rest")
	}
	p.lose = nil
	p.run(epoch.Add(2 * time.Minute))
	if p.rests == 0 {
		t.Error("the link was not put to rest when it lost nothing any more")
	}
	p.wake()
	if p.m[0].Status().State != mesh.LinkUp || Rest(p.m[0], p.m[1], 2*time.Millisecond, [2][]Flight{p.inbox[1], p.inbox[0]}) != nil {
		t.Error("it was put to rest with the wrong delay")
	}
}

// Waiting hellos put off the doubt that a loop would have to wake up for between any two of its own hellos.
func TestWatchPutsDoubtOff(t *testing.T) {
	p := newCalmPair(1, time.Millisecond, false)
	p.run(epoch.Add(10 * time.Second))
	before := p.turns
	p.run(epoch.Add(20 * time.Second))
	if turns := p.turns - before; turns > 2*10*20*11/10 {
		t.Errorf("%d turns of two ends in 10 s with hellos every 50 ms", turns)
	}
	m := p.m[0]
	w := m.Watch()
	doubt := earlier(w.heard.Add(w.silence), w.confirmed.Add(w.unechoed))
	h := wire.Hello{Interval: w.peer, EchoSeq: m.seq, EchoSentAt: m.stamp}
	w.other = doubt.Add(time.Hour)
	if w.Deadline() != doubt {
		t.Fatalf("deadline %v, the link is doubtful from %v on", w.Deadline(), doubt)
	}
	for _, bad := range []wire.Hello{{Interval: 2 * w.peer, EchoSeq: m.seq, EchoSentAt: m.stamp}, {Interval: w.peer, EchoSeq: m.seq + 1}, {Interval: w.peer}} {
		x := w
		if x.Hello(m.now.Add(time.Millisecond), &bad); x.confirmed != w.confirmed {
			t.Errorf("%+v is taken for an echo of ours", bad)
		}
	}
	if w.Hello(m.now.Add(time.Millisecond), &h); !w.Deadline().After(doubt) {
		t.Error("a hello that waits does not put the doubt off")
	}
}
