package sim

import (
	"fmt"
	"testing"
	"time"

	"x0tta6bl4/mesh/topology"
)

// How fast the simulator is: ten simulated seconds from cold start.
func BenchmarkSimulate(b *testing.B) {
	const simulated = 10 * time.Second
	for _, n := range []int{100, 1000} {
		b.Run(fmt.Sprintf("geometric:%d", n), func(b *testing.B) {
			m, err := topology.Builtin(fmt.Sprintf("geometric:%d", n))
			if err != nil {
				b.Fatal(err)
			}
			events := uint64(0)
			for b.Loop() {
				w, err := New(Config{Map: m, Seed: 1, Duration: simulated})
				if err != nil {
					b.Fatal(err)
				}
				r, err := w.Run()
				if err != nil {
					b.Fatal(err)
				}
				events += r.Events
			}
			b.ReportMetric(float64(events)/b.Elapsed().Seconds(), "events/s")
			b.ReportMetric(float64(b.N)*simulated.Seconds()/b.Elapsed().Seconds(), "×real-time")
		})
	}
}
