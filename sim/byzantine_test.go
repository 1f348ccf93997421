package sim

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/mesh/topology"
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
	cfg := Config{Seed: seed, Duration: at + lasts, Packet: packet, Traffic: 1}
	for _, l := range a.liars {
		cfg.Liars = append(cfg.Liars, mesh.MustNodeID(l))
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

// A liar has to be a node of the map.
func TestLiarsAreOfTheMap(t *testing.T) {
	cfg := Config{Map: world(t, "ring:4", "", Config{}).cfg.Map, Liars: []mesh.NodeID{mesh.MustNodeID("n9")}}
	if _, err := New(cfg); !errors.Is(err, ErrLiar) {
		t.Errorf("a liar that is no node: %v", err)
	}
	cfg.Liars = nil
	for text, want := range map[string]bool{"n1:n2": true, "n1:n1": false, "n1": false, "n1:n9": false} {
		p, err := ParsePair(text)
		if err == nil {
			cfg.Between = []Pair{p}
			_, err = New(cfg)
		}
		if (err == nil) != want || err != nil && !errors.Is(err, ErrPair) {
			t.Errorf("a flow %q: %v", text, err)
		}
	}
}

// Errors that a liar invents about links which work cost nothing but the way by it: no packet is lost, and no stream stays away
// or swings.
func TestFalseErrors(t *testing.T) {
	for _, lies := range []bool{false, true} {
		cfg := Config{Seed: 1, Duration: 20 * time.Second, Packet: 10 * time.Millisecond, Protect: true, Promises: true,
			Between: []Pair{{mesh.MustNodeID("n1"), mesh.MustNodeID("n3")}}}
		if lies {
			cfg.Liars, cfg.Slander = []mesh.NodeID{mesh.MustNodeID("n2")}, 0.02
		}
		w := world(t, "ring:6", "", cfg)
		r, err := w.Run()
		if err != nil || r.Slandered > 0 != lies || r.Lost != 0 {
			t.Errorf("lies %v: %v, %d false errors, %d packets lost", lies, err, r.Slandered, r.Lost)
		}
		if past := w.flows[0].way.Nodes[1] == mesh.MustNodeID("n2"); past == lies {
			t.Errorf("lies %v: the way is %v", lies, w.flows[0].way.Nodes)
		}
	}
}

// A flow that has no way but by a slanderer moves once a second at most; that is checked. One that has another has all promises.
func TestSlanderedFlows(t *testing.T) {
	n := 0
	swing := func(f *trafficFlow, p mesh.Path) mesh.Path {
		n++
		if other, ok := f.from.other(f.to.id, p); ok && n%40 < 20 {
			return other
		}
		return p
	}
	for at, want := range map[string]bool{"n2": true, "n3": false, "n1": false} {
		cfg := Config{Seed: 1, Duration: 20 * time.Second, Packet: 10 * time.Millisecond, Promises: true, Liars: []mesh.NodeID{mesh.MustNodeID(at)}, Slander: 0.2,
			Between: []Pair{{mesh.MustNodeID("n1"), mesh.MustNodeID("n5")}}}
		m, err := topology.Parse("x.topo", []byte("link n1 n2\nlink n2 n3\nlink n2 n4\nlink n3 n5\nlink n4 n5\n"))
		if err != nil {
			t.Fatal(err)
		}
		cfg.Map = m
		w, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Run(); err != nil {
			t.Fatal(err)
		}
		if got := w.check.promises.slandered(w, w.flows[0]); got != want {
			t.Errorf("a liar %s: %v, want %v", at, got, want)
		}
		if driven := w.flows[0].promise.driven; (driven > 5) != want {
			t.Errorf("a liar %s: %d moves because of it", at, driven)
		}
		if !want {
			continue
		}
		if w, err = New(cfg); err != nil {
			t.Fatal(err)
		}
		w.cfg.hooks.detour = swing
		if _, err := w.Run(); err == nil || !strings.Contains(err.Error(), "because of what liars said") {
			t.Errorf("a flow that swings: %v", err)
		}
	}
}

// What a liar makes up has labels that none of its links has.
func TestLiesHaveLabelsOfTheirOwn(t *testing.T) {
	w := world(t, "ring:8", "", Config{Seed: 1})
	taken := mesh.Adjacency{Neighbour: w.nodes[1].id, Label: firstInvented + 3, Remote: 7, Cost: 5000, Quality: mesh.Excellent, MTU: 1452}
	l := wire.LSA{Origin: w.nodes[0].id, Boot: 1, Seq: 1, Time: epoch, Lifetime: time.Minute, Links: []mesh.Adjacency{taken}}
	if err := w.lie(w.nodes[0], l).Validate(); err != nil {
		t.Error(err)
	}
}
