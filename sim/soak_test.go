package sim

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"x0tta6bl4/mesh/fault"
	"x0tta6bl4/mesh/topology"
)

var soak = flag.Int("soak", 2, "seeds for each map in TestRandomFaults")

// randomFaults is a script of one to five faults of any kind, anywhere, that overlap as they like, all over after 24 s.
func randomFaults(m *topology.Map, r *rand.Rand) string {
	kinds := []fault.Kind{fault.Cut, fault.Blackhole, fault.Oneway, fault.Kill, fault.Restart}
	var script strings.Builder
	for range 1 + r.IntN(5) {
		k := kinds[r.IntN(len(kinds))]
		l := m.Links[r.IntN(len(m.Links))]
		target := fmt.Sprintf("link:%s-%s", m.Nodes[l.A].ID, m.Nodes[l.B].ID)
		if k.OnNode() {
			target = "node:" + m.Nodes[r.IntN(len(m.Nodes))].ID.String()
		}
		fmt.Fprintf(&script, "%s %s at %dms for %dms\n", k, target, r.IntN(12000), 1+r.IntN(12000))
	}
	return script.String()
}

// Whatever breaks, in whatever order, the mesh heals and keeps every invariant; where a way exists packets are back
// within seconds.
func TestRandomFaults(t *testing.T) {
	for _, spec := range []string{"line:5", "ring:6", "diamond", "grid:3x3", "demo", "geometric:30"} {
		t.Run(spec, func(t *testing.T) {
			t.Parallel()
			outage, rejoin := 0.0, 0.0
			for seed := range uint64(*soak) {
				m, err := topology.Builtin(spec)
				if err != nil {
					t.Fatal(err)
				}
				script := randomFaults(m, rand.New(rand.NewPCG(seed, 99)))
				w := world(t, spec, script, Config{Seed: seed, Duration: 48 * time.Second, Packet: 50 * time.Millisecond, Traffic: 8})
				r, err := w.Run()
				if err != nil {
					t.Errorf("%v, with\n%s", err, script)
					continue
				}
				outage, rejoin = max(outage, r.Outage), max(rejoin, r.Rejoin)
				if r.Outage > 1000 || r.Rejoin > 6000 {
					t.Errorf("seed %d: outage of %.0f ms, rejoined after %.0f ms, with\n%s", seed, r.Outage, r.Rejoin, script)
				}
			}
			t.Logf("worst of %d: outage %.0f ms, rejoined after %.0f ms", *soak, outage, rejoin)
		})
	}
}
