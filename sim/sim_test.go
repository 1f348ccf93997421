package sim

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/mesh/fault"
	"x0tta6bl4/mesh/topology"
)

// world builds a simulation of a built-in map.
func world(t *testing.T, spec, script string, cfg Config) *World {
	t.Helper()
	m, err := topology.Builtin(spec)
	if err != nil {
		t.Fatal(err)
	}
	var names []mesh.NodeID
	for _, n := range m.Nodes {
		names = append(names, n.ID)
	}
	if cfg.Faults, err = fault.Parse(script, names); err != nil {
		t.Fatal(err)
	}
	cfg.Map = m
	w, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func simulate(t *testing.T, spec, script string, cfg Config) *Report {
	t.Helper()
	r, err := world(t, spec, script, cfg).Run()
	if err != nil {
		t.Fatalf("%s, %q: %v", spec, script, err)
	}
	if r.Converged == nil {
		t.Fatalf("%s, seed %d: never converged", spec, cfg.Seed)
	}
	return r
}

func TestGridConverges(t *testing.T) {
	r := simulate(t, "grid:3x3", "", Config{Seed: 1, Duration: 40 * time.Second})
	if *r.Converged > 5000 {
		t.Errorf("converged after %.0f ms", *r.Converged)
	}
	if r.Lost != 0 || r.Delivered == 0 || r.Outage != 0 {
		t.Errorf("nothing was broken: %d of %d packets lost, outage %.0f ms", r.Lost, r.Sent, r.Outage)
	}
}

// Every kind of fault on every map heals, comes back when it ends, and breaks no invariant on the way.
func TestFaultsHeal(t *testing.T) {
	maps := []struct{ spec, link, node string }{
		{"line:4", "link:n2-n3", "node:n2"},
		{"ring:5", "link:n2-n3", "node:n3"},
		{"diamond", "", ""},
		{"grid:3x3", "link:r2c1-r2c2", "node:r2c2"},
		{"demo", "", ""},
		{"geometric:30", "", ""},
	}
	kinds := []fault.Kind{fault.Cut, fault.Blackhole, fault.Oneway, fault.Kill, fault.Restart}
	for _, m := range maps {
		t.Run(m.spec, func(t *testing.T) {
			t.Parallel()
			for i, k := range kinds {
				target := m.link
				if k.OnNode() {
					target = m.node
				}
				script := fmt.Sprintf("%s %s at 4s for 10s", k, target)
				if target == "" {
					script = "builtin:" + string(k)
				}
				cfg := Config{Seed: uint64(i + 1), Duration: 38 * time.Second, Packet: 50 * time.Millisecond, Traffic: 8}
				if target == "" {
					cfg.Duration = 33 * time.Second // builtin faults last
				}
				r := simulate(t, m.spec, script, cfg)
				t.Logf("%-9s converged %4.0f ms, outage %4.0f ms, rejoined within %4.0f ms, lost %d of %d, %d looped",
					k, *r.Converged, r.Outage, r.Rejoin, r.Lost, r.Sent, r.Looped)
			}
		})
	}
}

// Several things break at once and one after the other.
func TestManyFaultsHeal(t *testing.T) {
	for seed := range uint64(3) {
		simulate(t, "grid:3x3", "cut link:r1c1-r1c2 at 5s for 5s\nkill node:r2c2 at 6s for 4s\ncut link:r3c2-r3c3 at 7s\noneway link:r2c1-r3c1 at 7s for 3s\nrestart node:r1c3 at 8s",
			Config{Seed: seed, Duration: 36 * time.Second, Packet: 50 * time.Millisecond})
	}
}

// The same seed is the same run, to the bit: everything that happened is in the trace hash.
func TestSameSeedSameTrace(t *testing.T) {
	t.Parallel()
	const script = "cut link:r1c1-r1c2 at 3s for 2s\nrestart node:r2c2 at 4s\ncut path:r3c1-r1c3 at 5s"
	var hashes []string
	for range 20 {
		r := simulate(t, "grid:3x3", script, Config{Seed: 42, Duration: 8 * time.Second, Packet: 50 * time.Millisecond})
		hashes = append(hashes, r.TraceHash)
	}
	if got := slices.Compact(hashes); len(got) != 1 {
		t.Errorf("20 runs have %d different traces", len(got))
	}
	if r := simulate(t, "grid:3x3", script, Config{Seed: 43, Duration: 8 * time.Second, Packet: 50 * time.Millisecond}); r.TraceHash == hashes[0] {
		t.Error("another seed gives the same trace")
	}
}
