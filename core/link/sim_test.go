package link

import (
	"container/heap"
	"math/rand/v2"
	"testing"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

var epoch = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

// pair is two machines over a channel whose loss and delay may change with time.
type pair struct {
	t      *testing.T
	m      [2]*Machine
	now    time.Time
	rand   *rand.Rand
	queue  deliveries
	frozen [2]time.Time // the machine's loop does not run before this
	lose   func(from int, at time.Time) float64
	delay  func(from int, at time.Time) time.Duration
	onEach func(side int, o Output)
	sent   [2]int
	padded [2]int
	count  int           // hellos sent
	mtu    int           // larger frames are lost; 0 = none is
	full   bool          // a queue in which only small hellos find room
	slow   time.Duration // what each byte takes
	busy   [2]time.Time  // until when a side's line is taken
}

type delivery struct {
	at    time.Time
	to    int
	hello wire.Hello
	order int
}

type deliveries []delivery

func (d deliveries) Len() int { return len(d) }
func (d deliveries) Less(i, j int) bool {
	return d[i].at.Before(d[j].at) || d[i].at.Equal(d[j].at) && d[i].order < d[j].order
}
func (d deliveries) Swap(i, j int) { d[i], d[j] = d[j], d[i] }
func (d *deliveries) Push(x any)   { *d = append(*d, x.(delivery)) }
func (d *deliveries) Pop() any {
	o := *d
	x := o[len(o)-1]
	*d = o[:len(o)-1]
	return x
}

func newPair(t *testing.T, seed uint64, a, b Config) *pair {
	r := rand.New(rand.NewPCG(seed, 1))
	p := &pair{t: t, now: epoch, rand: r}
	p.m[0] = New(a, rand.New(rand.NewPCG(seed, 2)), epoch)
	p.m[1] = New(b, rand.New(rand.NewPCG(seed, 3)), epoch)
	p.lose = func(int, time.Time) float64 { return 0 }
	p.delay = func(int, time.Time) time.Duration { return time.Millisecond }
	return p
}

func (p *pair) run(d time.Duration) {
	end := p.now.Add(d)
	for {
		at, side := end, -1
		for i, m := range p.m {
			if x := later(m.Deadline(), p.frozen[i]); x.Before(at) {
				at, side = later(x, p.now), i
			}
		}
		if len(p.queue) > 0 && !p.queue[0].at.After(at) && p.queue[0].at.Before(end) {
			e := heap.Pop(&p.queue).(delivery)
			p.now = later(p.now, e.at)
			if p.now.Before(p.frozen[e.to]) {
				e.at = p.frozen[e.to].Add(time.Microsecond) // waits in the socket
				heap.Push(&p.queue, e)
				continue
			}
			p.m[e.to].Hello(p.now, e.hello)
			continue
		}
		if side < 0 {
			p.now = end
			return
		}
		p.now = at
		p.tick(side)
	}
}

func (p *pair) tick(side int) {
	o := p.m[side].Tick(p.now)
	checkInvariant(p.t, p.m[side])
	if d := p.m[side].Deadline(); !d.After(p.now) {
		p.t.Fatalf("deadline %v is not after the tick at %v", d.Sub(epoch), p.now.Sub(epoch))
	}
	for _, h := range o.Send {
		if h.Size == 0 {
			p.sent[side]++
		} else {
			p.padded[side]++
		}
		p.busy[side] = later(p.busy[side], p.now).Add(p.slow * time.Duration(max(h.Size, wire.HeaderLen+wire.HelloLen)))
		if p.rand.Float64() < p.lose(side, p.now) || p.mtu > 0 && h.Size > p.mtu || p.full && h.Size > 0 {
			continue
		}
		heap.Push(&p.queue, delivery{p.busy[side].Add(p.delay(side, p.now)), 1 - side, h.Hello, p.count})
		p.count++
	}
	if p.onEach != nil {
		p.onEach(side, o)
	}
}

func checkInvariant(t *testing.T, m *Machine) {
	t.Helper()
	s := m.Status()
	if s.State != mesh.LinkDown && (m.life.heard.IsZero() || m.life.confirmed.IsZero()) {
		t.Fatalf("%v without ever being heard and echoed", s.State)
	}
	if p := &m.mtu; p.confirmed >= p.tooBig && p.phase != mtuDisabled || p.tooBig > p.max+1 || s.MTU > 0 && int(s.MTU) > p.max ||
		s.Thin != (p.phase == mtuError) || s.MTU > 0 && s.MTU < wire.MinLinkMTU {
		t.Fatalf("impossible MTU %d of search %+v", s.MTU, p)
	}
	if s.Cost < 1 || s.Cost > mesh.MaxCost || s.LossIn < 0 || s.LossIn > 1 || s.LossOut < 0 || s.LossOut > 1 {
		t.Fatalf("impossible status %+v", s)
	}
}

func (p *pair) state(side int) mesh.LinkState { return p.m[side].Status().State }

// until runs in small steps until both machines are in a state, and returns how long each took.
func (p *pair) until(want mesh.LinkState, limit time.Duration) (took [2]time.Duration) {
	p.t.Helper()
	from := p.now
	var at [2]time.Time
	old := p.onEach
	p.onEach = func(side int, o Output) {
		if o.Changed && p.state(side) == want {
			at[side] = p.now
		}
	}
	for i := range at {
		if p.state(i) == want {
			at[i] = p.now
		}
	}
	for p.now.Sub(from) < limit && (at[0].IsZero() || at[1].IsZero() || p.state(0) != want || p.state(1) != want) {
		p.run(time.Millisecond)
	}
	p.onEach = old
	for i := range at {
		if p.state(i) != want {
			p.t.Fatalf("side %d is %v, not %v, after %v: %+v", i, p.state(i), want, limit, p.m[i].Status())
		}
		took[i] = at[i].Sub(from)
	}
	return took
}
