package sim

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// attack is a ring of six in which some members announce that their links cost next to nothing, that everything crosses
// them and that they lead everywhere, and from 5 s on lose all that they should forward.
type attack struct {
	liars    []string
	from, to int // of the one flow, as places in the ring
}

// run returns how long after the attack began the last packet was lost, and how many were; and what the far end of the
// ring takes the liars' links to cost at the least.
func (a attack) run(t *testing.T, seed uint64) (last time.Duration, lost int, cheapest mesh.Cost) {
	t.Helper()
	const at, lasts, packet = 5 * time.Second, 15 * time.Second, 10 * time.Millisecond
	lies := func(id mesh.NodeID) bool { return slices.Contains(a.liars, id.String()) }
	cfg := Config{Seed: seed, Duration: at + lasts, Packet: packet, Traffic: 1, Stepwise: true}
	cfg.hooks.announce = func(s *simNode, l wire.LSA) wire.LSA {
		if !lies(s.id) {
			return l
		}
		l.Links = slices.Clone(l.Links)
		for i := range l.Links {
			l.Links[i].Cost, l.Links[i].MTU, l.Links[i].Quality, l.Links[i].Capacity = 1, 65535, mesh.Excellent, 1<<50
		}
		for i := range 6 { // links that nobody else knows of
			if n := mesh.MustNodeID(fmt.Sprintf("n%d", i+1)); n != s.id {
				l.Links = append(l.Links, mesh.Adjacency{Neighbour: n, Label: mesh.Label(65000 + i), Remote: 1, Cost: 1, Quality: mesh.Excellent}) // #nosec G115 -- small
			}
		}
		slices.SortFunc(l.Links, func(x, y mesh.Adjacency) int { return int(x.Label) - int(y.Label) })
		return l
	}
	script := ""
	for _, l := range a.liars {
		script += fmt.Sprintf("greydrop node:%s 1 at %v\n", l, at)
	}
	w := world(t, "ring:6", script, cfg)
	w.cfg.hooks.note = func(kind byte, now int64, _ int, _ []uint64) {
		if kind == 'l' {
			lost++
			last = max(last, time.Duration(now)-at-patience)
		}
	}
	w.flows = w.flows[:0]
	w.addFlow(w.nodes[a.from], w.nodes[a.to])
	w.after(at-time.Millisecond, func() {
		for _, e := range w.nodes[a.from].control.Database().Edges() {
			if lies(e.From) && !lies(e.To) && (cheapest == 0 || e.Cost < cheapest) {
				cheapest = e.Cost
			}
		}
	})
	if _, err := w.Run(); err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	return last, lost, cheapest
}

// A member that lies about the cost of its links moves nobody's packets to them: the other ends say what they cost. Where
// its links are the honest way, or two in league make them seem so, what it swallows is missed by the two ends of the
// flow, which leave it within half a second.
func TestLiarsDoNotDrawTrafficForLong(t *testing.T) {
	for _, c := range []struct {
		name string
		attack
		most time.Duration // 0 = nothing may be lost
	}{
		{"one, on the longer way", attack{[]string{"n5"}, 0, 2}, 0},
		{"one, on the shorter way", attack{[]string{"n2"}, 0, 2}, 500 * time.Millisecond},
		{"two in league, on a way that stays longer", attack{[]string{"n4", "n5"}, 0, 2}, 0},
		{"two in league, on a way that their lie makes shorter", attack{[]string{"n5", "n6"}, 0, 3}, 500 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(6) {
				last, lost, cheapest := c.run(t, seed)
				t.Logf("seed %d: %d packets of 1,500 lost, the last %v after the attack began; the liars' links cost %d at the least", seed, lost, last, cheapest)
				if last > c.most || (c.most > 0) != (lost > 0) {
					t.Errorf("seed %d: the last of %d packets is lost after %v, want %v", seed, lost, last, c.most)
				}
				if cheapest < 1000 {
					t.Errorf("seed %d: a lie made a link cost %d", seed, cheapest)
				}
			}
		})
	}
}
