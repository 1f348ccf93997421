package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"x0tta6bl4/mesh"
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

// How long packets stay away after their own link, a link three hops away, or a relay is lost, at any phase of hellos and
// packets: never longer than is promised, which is what hellos of 50 ms, packets of 10 ms and links of 5 ms make of it: the way that is left has five.
func TestOutageIsWhatIsPromised(t *testing.T) {
	t.Parallel()
	seeds := uint64(60)
	if testing.Short() {
		seeds = 10
	}
	for _, c := range []struct {
		name, fault string
		most        float64 // ms
	}{
		{"own link", "blackhole link:n1-n2", 80 + 10 + 25 + 2},
		{"own link, cut", "cut link:n1-n2", 80 + 10 + 25 + 2},
		{"three hops away", "blackhole link:n4-n5", 80 + 20 + 50 + 2},
		{"a relay", "kill node:n3", 80 + 20 + 50 + 2},
		{"own link, there", "oneway link:n1-n2", 155 + 10 + 10 + 25 + 2},
		{"three hops away, there", "oneway link:n4-n5", 155 + 10 + 20 + 50 + 2},
		{"own link, back", "oneway link:n2-n1", 155 + 10 + 10 + 25 + 2},
		{"a relay that swallows", "greydrop node:n3 1", 152 + 60 + 400 + 80},
	} {
		t.Run(c.name, func(t *testing.T) {
			var gaps []float64
			for seed := range seeds {
				at := 8*time.Second + time.Duration(rand.New(rand.NewPCG(seed, 8)).IntN(1_000_000))*time.Microsecond
				cfg := Config{Seed: seed, Duration: at + 1500*time.Millisecond, Packet: 10 * time.Millisecond, Promises: true, Between: []Pair{{mesh.MustNodeID("n1"), mesh.MustNodeID("n5")}}}
				w := world(t, "ring:9", fmt.Sprintf("%s at %v", c.fault, at), cfg)
				r, err := w.Run()
				if err != nil {
					t.Fatal(err)
				}
				gaps = append(gaps, r.Promises.Gap)
				if r.Promises.Gap > c.most {
					t.Errorf("seed %d: packets stay away for %.1f ms, want %.1f", seed, r.Promises.Gap, c.most)
				}
			}
			slices.Sort(gaps)
			t.Logf("p50 %.1f ms, max %.1f ms of %.1f", gaps[len(gaps)/2], gaps[len(gaps)-1], c.most)
		})
	}
}
