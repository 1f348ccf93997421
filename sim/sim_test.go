package sim

import (
	"testing"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/mesh/fault"
	"x0tta6bl4/mesh/topology"
)

func simulate(t *testing.T, spec string, seed uint64, d time.Duration, script string) *Report {
	t.Helper()
	m, err := topology.Builtin(spec)
	if err != nil {
		t.Fatal(err)
	}
	var names []mesh.NodeID
	for _, n := range m.Nodes {
		names = append(names, n.ID)
	}
	faults, err := fault.Parse(script, names)
	if err != nil {
		t.Fatal(err)
	}
	w, err := New(Config{Map: m, Seed: seed, Duration: d, Faults: faults})
	if err != nil {
		t.Fatal(err)
	}
	r, err := w.Run()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestGridConverges(t *testing.T) {
	r := simulate(t, "grid:3x3", 1, time.Minute, "")
	t.Logf("%+v converged %v", *r, r.Converged)
	if r.Converged == nil {
		t.Fatal("never converged")
	}
}

func TestFaultsHeal(t *testing.T) {
	for _, c := range []struct{ name, spec, script string }{
		{"cut", "grid:3x3", "cut link:r1c1-r1c2 at 10s for 10s"},
		{"blackhole", "grid:3x3", "blackhole link:r2c1-r2c2 at 10s"},
		{"oneway", "grid:3x3", "oneway link:r2c2-r2c3 at 10s for 20s"},
		{"kill", "grid:3x3", "kill node:r2c2 at 10s for 15s"},
		{"restart", "ring:6", "restart node:n3 at 10s"},
		{"many", "grid:3x3", "cut link:r1c1-r1c2 at 10s for 5s\nkill node:r2c2 at 12s for 8s\ncut link:r3c2-r3c3 at 14s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for seed := range uint64(5) {
				r := simulate(t, c.spec, seed, 75*time.Second, c.script)
				if r.Converged == nil {
					t.Error("never converged")
				}
				t.Logf("seed %d: converged %.0f ms, outage %.0f ms, lost %d of %d", seed, *r.Converged, r.Outage, r.Lost, r.Sent)
			}
		})
	}
}

// The same seed is the same run, to the bit: everything that happened is in the trace hash.
func TestSameSeedSameTrace(t *testing.T) {
	var first string
	for i := range 20 {
		r := simulate(t, "grid:3x3", 42, 20*time.Second, "cut link:r1c1-r1c2 at 5s for 5s\nrestart node:r2c2 at 8s")
		if i == 0 {
			first = r.TraceHash
		}
		if r.TraceHash != first {
			t.Fatalf("run %d has trace %s, the first had %s", i, r.TraceHash, first)
		}
	}
	if r := simulate(t, "grid:3x3", 43, 20*time.Second, ""); r.TraceHash == first {
		t.Error("another seed gives the same trace")
	}
}
