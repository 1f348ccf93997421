package lab

import (
	"slices"
	"time"

	"x0tta6bl4/mesh"
)

// share is the part of what a sends to b, or b to a, that the best way left would deliver: 0 if no way is left. It is
// what the mesh is measured by while links lose packets: no choice of path can do better.
func (l *Lab) share(a, b mesh.NodeID, felt []Fault) float64 {
	return min(l.shareOneWay(a, b, felt), l.shareOneWay(b, a, felt))
}

func (l *Lab) shareOneWay(from, to mesh.NodeID, felt []Fault) float64 {
	d := l.harm(felt)
	passes := func(link int, n mesh.NodeID) float64 { // what n sends into a link comes out with this probability
		w := l.wires[link]
		s := w.natural()
		for _, f := range felt {
			s = w.worsen(s, f)
		}
		c := s.dir[w.from(n)]
		if n == from {
			c.Grey = 0
		}
		return (1 - c.Loss) * (1 - c.Grey) * fits(c.Rate)
	}
	if slices.Contains(d.nodes, from) {
		return 0
	}
	best := map[mesh.NodeID]float64{from: 1}
	for changed := true; changed; {
		changed = false
		for _, n := range l.m.Nodes {
			if best[n] == 0 || n != from && slices.Contains(d.ends, n) {
				continue
			}
			for i, o := range l.m.neighbours(n, d) {
				if next := best[n] * passes(i, n); next > best[o] {
					best[o], changed = next, true
				}
			}
		}
	}
	return best[to]
}

// fits is the share of a pair's probes that a rate leaves room for: 1 if it is none, or enough.
func fits(rate mesh.BitsPerSecond) float64 {
	if rate == 0 {
		return 1
	}
	return min(1, float64(rate)*probeInterval.Seconds()/(8*probeOnWire))
}

// expected is what share says now, for the worst of pairs.
func (l *Lab) expected(pairs []pair) float64 {
	l.injecting.Lock()
	felt := l.injector.now()
	l.injecting.Unlock()
	worst := 1.0
	for _, q := range pairs {
		worst = min(worst, l.share(q.a, q.b, felt))
	}
	return worst
}

// epochs are the times since begin, on the prober's clock, from which on something else was broken.
func (l *Lab) epochs(p *Prober, begin time.Duration) []epoch {
	var es []epoch
	for _, m := range l.breakages() {
		e := epoch{m.at.Sub(p.began), m.damage}
		if e.at <= begin {
			es = nil // what was before it does not count
			e.at = begin
		}
		es = append(es, e)
	}
	return es
}
