package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"x0tta6bl4/mesh/fault"
)

// maxOutage is how long packets may stay away after one fault, where a way round it exists, at 5 ms links and 50 ms
// hellos.
const maxOutage = 500 * time.Millisecond

// The loss of any one link or relay of a grid, at a random phase of everything, is left within maxOutage.
func TestOutageIsBounded(t *testing.T) {
	t.Parallel()
	seeds := uint64(50)
	if testing.Short() {
		seeds = 8
	}
	for _, k := range []fault.Kind{fault.Cut, fault.Blackhole, fault.Oneway, fault.Kill} {
		t.Run(string(k), func(t *testing.T) {
			var outages []float64
			for seed := range seeds {
				r := rand.New(rand.NewPCG(seed, 7))
				at := 2*time.Second + time.Duration(r.IntN(1000))*time.Millisecond
				script := fmt.Sprintf("%s path:r1c1-r3c3 at %s", k, at)
				got := simulate(t, "grid:3x3", script, Config{Seed: seed, Duration: at + 1500*time.Millisecond, Packet: 10 * time.Millisecond, Traffic: 6})
				outages = append(outages, got.Outage)
				if got.Outage > float64(maxOutage.Milliseconds()) {
					t.Errorf("seed %d, %s: outage of %.0f ms, want at most %v", seed, script, got.Outage, maxOutage)
				}
			}
			slices.Sort(outages)
			at := func(share float64) float64 { return outages[int(share*float64(len(outages)-1)+0.5)] }
			t.Logf("outage of %d runs: p50 %.0f ms, p99 %.0f ms, max %.0f ms", len(outages), at(0.5), at(0.99), at(1))
		})
	}
}
