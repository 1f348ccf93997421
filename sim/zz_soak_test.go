package sim

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"x0tta6bl4/mesh/fault"
	"x0tta6bl4/mesh/topology"
)

func TestZZSoak(t *testing.T) {
	n, _ := strconv.Atoi(os.Getenv("SOAK"))
	if n == 0 {
		t.Skip()
	}
	kinds := []fault.Kind{fault.Cut, fault.Blackhole, fault.Oneway, fault.Kill, fault.Restart}
	worst := 0.0
	for _, spec := range []string{"line:5", "ring:6", "diamond", "grid:3x3", "demo", "geometric:30"} {
		m, _ := topology.Builtin(spec)
		for seed := range uint64(n) {
			r := rand.New(rand.NewPCG(seed, 99))
			script := ""
			for range 1 + r.IntN(5) {
				k := kinds[r.IntN(len(kinds))]
				l := m.Links[r.IntN(len(m.Links))]
				target := fmt.Sprintf("link:%s-%s", m.Nodes[l.A].ID, m.Nodes[l.B].ID)
				if k.OnNode() {
					target = "node:" + m.Nodes[r.IntN(len(m.Nodes))].ID.String()
				}
				script += fmt.Sprintf("%s %s at %dms for %dms\n", k, target, r.IntN(12000), 1+r.IntN(12000))
			}
			w := world(t, spec, script, Config{Seed: seed, Duration: 50 * time.Second, Packet: 50 * time.Millisecond, Traffic: 8})
			rep, err := w.Run()
			if err != nil {
				t.Errorf("%s seed %d\n%s%v", spec, seed, script, err)
				continue
			}
			worst = max(worst, rep.Outage)
			if rep.Outage > 1000 || rep.Rejoin > 6000 {
				t.Logf("%s seed %d outage %.0f rejoin %.0f\n%s", spec, seed, rep.Outage, rep.Rejoin, script)
			}
		}
	}
	t.Log("worst", worst)
}
