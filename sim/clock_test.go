package sim

import (
	"testing"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/mesh/fault"
	"x0tta6bl4/mesh/topology"
)

// Clocks must agree to within a minute. One that is wrong by less disturbs nothing; from a node whose clock is wrong by more
// nothing is expected, but what it relays goes on.
func TestWrongClock(t *testing.T) {
	for _, ahead := range []time.Duration{50 * time.Second, -50 * time.Second, time.Hour, -time.Hour} {
		m, err := topology.Builtin("ring:6")
		if err != nil {
			t.Fatal(err)
		}
		w, err := New(Config{Map: m, Seed: 1, Duration: 20 * time.Second, Traffic: 30, Faults: []fault.Fault{
			{Kind: fault.Clock, Param: fault.Param{D: ahead}, Target: fault.Target{A: mesh.MustNodeID("n2")}, At: 5 * time.Second}}})
		if err != nil {
			t.Fatal(err)
		}
		r, err := w.Run()
		if err != nil {
			t.Fatal(err)
		}
		idle, apart := 0, ahead.Abs() > time.Minute
		for _, f := range w.flows {
			if f.joined == (apart && (f.from.clock != f.to.clock)) {
				t.Errorf("%v: %v to %v joined: %v", ahead, f.from.id, f.to.id, f.joined)
			}
			if !f.joined {
				idle++
			}
		}
		if r.Outage > 200 || (idle > 0) != apart {
			t.Errorf("%v: outage %.0f ms, %d flows of which nothing is expected", ahead, r.Outage, idle)
		}
	}
}
