package flow

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"x0tta6bl4/mesh"
)

// road is a path as it is: what it does to frames, and what both ends have counted on it.
type road struct {
	loss  float64 // of what this node sends
	back  float64 // of answers
	large bool    // loses what is as long as a packet, whatever loss says
	sent  uint32
	got   uint32
}

const roundTrip = 10 * time.Millisecond

// trip is a flow whose packets travel on roads; the first label of a path names its road.
type trip struct {
	*bench
	roads   map[mesh.Label]*road
	random  *rand.Rand
	rate    int // packets a second; 0 = none
	mail    []answer
	moves   int
	probes  int
	lost    int // packets
	doubled int // packets that went by two paths
	steps   int

	protect  bool // as many protected packets are sent
	lostBoth int  // of them, those that came by neither path
}

type answer struct {
	at time.Time
	id uint64
	c  Counts
}

func newTrip(t *testing.T, seed uint64, rate int, roads ...*road) *trip {
	var paths []mesh.Path
	b := &trip{roads: map[mesh.Label]*road{}, random: rand.New(rand.NewPCG(seed, 1)), rate: rate}
	for i, r := range roads {
		l := mesh.Label(i + 1)
		b.roads[l] = r
		paths = append(paths, way(l, mesh.Cost(1000*(i+1))))
	}
	b.bench = newBench(t, paths...)
	return b
}

// frame sends one frame and reports whether it arrived.
func (b *trip) frame(r *road, large bool) bool {
	r.sent++
	if r.large && large || b.random.Float64() < r.loss {
		return false
	}
	r.got++
	return true
}

// drive lets time pass, in steps of 5 ms.
func (b *trip) drive(d time.Duration) {
	b.Helper()
	for end := b.now.Add(d); b.now.Before(end); b.now = b.now.Add(5 * time.Millisecond) {
		b.steps++
		before := b.f.current
		for len(b.mail) > 0 && !b.mail[0].at.After(b.now) {
			b.f.ProbeReply(b.now, b.mail[0].id, b.mail[0].c)
			b.mail = b.mail[1:]
		}
		b.packets()
		if at := b.f.Deadline(); b.rate > 0 || !at.IsZero() && !at.After(b.now) {
			for _, p := range b.f.Tick(b.now) {
				b.probes++
				r := b.roads[p.Path.Labels[0]]
				sent := r.sent + 1
				if b.frame(r, p.Full) && b.random.Float64() >= r.back {
					c := Counts{Known: true, Series: 7, Sent: sent, Received: r.got}
					b.mail = append(b.mail, answer{b.now.Add(roundTrip), p.ID, c})
				}
			}
		}
		if b.f.current != before {
			b.moves++
		}
		if err := b.f.valid(b.now); err != nil {
			b.Fatalf("after %v: %v", b.now.Sub(start), err)
		}
		if at := b.f.Deadline(); !at.IsZero() && !at.After(b.now) {
			b.Fatalf("after %v: the deadline %v is not after", b.now.Sub(start), at)
		}
	}
}

func (b *trip) packets() {
	ways := b.f.Ways()
	for range b.due() {
		if len(ways) == 0 {
			b.lost++
			continue
		}
		first := b.roads[ways[0].Labels[0]]
		arrived := b.frame(first, true)
		if c := ways[0].Copy; !arrived && c.Valid() {
			if r := b.roads[c.Labels[0]]; !r.large && b.random.Float64() >= r.loss {
				arrived = true
				first.got++ // a packet is counted for the first path, by whichever it came
			}
		}
		if ways[0].Copy.Valid() {
			b.doubled++
		}
		if !arrived {
			b.lost++
		}
	}
	b.protectedPackets()
	if b.rate > 0 && b.steps%10 == 0 {
		b.f.Sending(b.now, b.protect)
	}
}

// protectedPackets sends as many by both paths of the pair; they are not counted.
func (b *trip) protectedPackets() {
	pair := b.f.Pair()
	for range b.due() {
		if !b.protect || slices.ContainsFunc(pair, func(p mesh.Path) bool { return b.random.Float64() >= b.roads[p.Labels[0]].loss }) {
			continue
		}
		b.lostBoth++
	}
}

// due is how many packets belong to this step.
func (b *trip) due() int { return b.steps*b.rate/200 - (b.steps-1)*b.rate/200 }

// until drives on until packets go by this path, and returns how long that took.
func (b *trip) until(l mesh.Label, most time.Duration) time.Duration {
	b.Helper()
	for from := b.now; ; b.drive(5 * time.Millisecond) {
		if a := carrying(b.f); len(a) == 1 && a[0].Labels[0] == l {
			return b.now.Sub(from)
		}
		if b.now.Sub(from) > most {
			b.Fatalf("packets do not go by %d after %v: %+v", l, most, b.f.States())
		}
	}
}
