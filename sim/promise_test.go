package sim

import (
	"strings"
	"testing"
	"time"

	"x0tta6bl4/mesh"
)

// Each promise is checked: it holds, and is seen to be broken if the protocol is broken on purpose.
func TestPromisesAreChecked(t *testing.T) {
	for _, c := range []struct {
		name, script string
		sabotage     func(w *World)
		want         string
	}{
		{"a source that stays on a dead path", "cut path:n1-n4 at 8s", func(w *World) {
			held := map[int]*mesh.Forwarding{}
			w.cfg.hooks.publish = func(s *simNode, t *mesh.Forwarding) *mesh.Forwarding {
				if w.at < int64(8*time.Second) {
					held[s.index] = t
				}
				return held[s.index]
			}
		}, "have not arrived for"},
		{"a pair of one", "kill path:n1-n4 at 8s for 2s", func(w *World) {
			w.publishAlso(func(_ *simNode, t *mesh.Forwarding) {
				for i := range t.Peers {
					t.Peers[i].Pair = nil
				}
			})
		}, "of the protected class"},
		{"a flow that swings", "cut path:n1-n4 at 8s for 1s", func(w *World) {
			n := 0
			w.cfg.hooks.detour = func(f *trafficFlow, p mesh.Path) mesh.Path {
				n++
				if other, ok := f.from.other(f.to.id, p); ok && n%40 < 20 {
					return other
				}
				return p
			}
		}, "has taken another path"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cfg := Config{Seed: 1, Duration: 13 * time.Second, Packet: 10 * time.Millisecond, Protect: true, Promises: true,
				Between: []Pair{{mesh.MustNodeID("n1"), mesh.MustNodeID("n4")}}}
			r, err := world(t, "ring:6", c.script, cfg).Run()
			if err != nil {
				t.Fatalf("unbroken: %v", err)
			}
			if p := r.Promises; p.Guarded < 500 || p.Control < 500 || p.Lost == 0 || p.Share == 0 || p.Share > 1 || p.Changes == 0 {
				t.Errorf("unbroken: %+v", p)
			}
			w := world(t, "ring:6", c.script, cfg)
			c.sabotage(w)
			if _, err := w.Run(); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("broken on purpose: %v, want an error about %q", err, c.want)
			}
		})
	}
}

// A flow that was parted, or that two things struck, has its promises again afterwards, whatever it received meanwhile.
func TestPromisesComeBack(t *testing.T) {
	for _, c := range []struct {
		name, script string
		from, to     time.Duration // while packets go by the path past n2
		want         string
	}{
		{"a source that does not come back", "cut link:n1-n2 at 8s for 1s\ncut link:n1-n6 at 8s for 1s\ncut link:n2-n3 at 8s", 8500 * time.Millisecond, time.Minute, "have not arrived for"},
		{"packets that go by what alone is broken", "greydrop node:n3 1 at 8s\ncut link:n1-n6 at 8s for 1s", 12100 * time.Millisecond, 12240 * time.Millisecond, "of the protected class"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cfg := Config{Seed: 1, Duration: 16 * time.Second, Packet: 10 * time.Millisecond, Protect: true, Promises: true,
				Between: []Pair{{mesh.MustNodeID("n1"), mesh.MustNodeID("n4")}}}
			r, err := world(t, "ring:6", c.script, cfg).Run()
			if err != nil {
				t.Fatalf("unbroken: %v", err)
			}
			if p := r.Promises; p.Unsure == 0 || p.Bound == 0 || p.Bound+p.Unsure+p.Swallowed > p.Faulty || p.Held == 0 || p.Held > p.Struck || p.AloneHeld == 0 || p.AloneHeld > p.Alone {
				t.Errorf("unbroken: %+v", p)
			}
			w := world(t, "ring:6", c.script, cfg)
			w.publishAlso(func(_ *simNode, f *mesh.Forwarding) {
				for i := range f.Peers {
					f.Peers[i].Pair = nil
				}
			})
			var past mesh.Path
			w.cfg.hooks.detour = func(f *trafficFlow, p mesh.Path) mesh.Path {
				if p.Nodes[1] == mesh.MustNodeID("n2") {
					past = p
				} else if other, ok := f.from.other(f.to.id, p); ok && past.Labels == nil {
					past = other
				}
				if at := time.Duration(w.at); at < c.from || at >= c.to {
					return p
				}
				return past
			}
			if _, err := w.Run(); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("broken on purpose: %v, want an error about %q", err, c.want)
			}
		})
	}
}

// What can be counted on: from the beginning, not while it is bad, and only some time after it works again.
func TestElements(t *testing.T) {
	w := world(t, "ring:4", "", Config{Promises: true})
	x := &w.check.promises.elements
	at := func(d time.Duration) { w.at = int64(d) }
	reach := func() [2]bool {
		n1, n3 := w.nodes[0], w.nodes[2]
		return [2]bool{x.reaches(w, n1, n3, time.Duration(w.at), nothing), x.twice(w, n1, n3, time.Duration(w.at))}
	}
	step := func(name string, d time.Duration, want [2]bool, struck int) {
		t.Helper()
		at(d)
		hit, _ := x.update(w)
		if got := reach(); got != want || len(hit) != struck {
			t.Errorf("%s: a way, and two: %v, %d struck; want %v, %d", name, got, len(hit), want, struck)
		}
	}
	step("while the mesh comes together", startTime-1, [2]bool{}, 0)
	step("then", startTime, [2]bool{true, true}, 0)
	w.wires[0].down++
	step("a link is cut", 6*time.Second, [2]bool{true, false}, 1)
	step("it stays cut", 7*time.Second, [2]bool{true, false}, 0)
	w.wires[0].down--
	step("it works again", 8*time.Second, [2]bool{true, false}, 0)
	step("all know", 8*time.Second+knownAfter+2*probation, [2]bool{true, true}, 0)
	w.nodes[1].boots, w.nodes[1].alive = 1, false
	step("a relay dies", 20*time.Second, [2]bool{true, false}, 1)
	w.nodes[3].drops = 0.5
	step("the other swallows", 21*time.Second, [2]bool{}, 1)
	w.nodes[3].drops = 0
	w.nodes[1].alive = true
	step("both are well", 22*time.Second, [2]bool{}, 0)
	step("the one that lived is counted on first", 22*time.Second+knownAfter+2*probation, [2]bool{true, false}, 0)
	step("then the other", 22*time.Second+redialAfter, [2]bool{true, true}, 0)
	w.nodes[0].frozen = true
	step("an end stands still", 60*time.Second, [2]bool{}, 1)
}
