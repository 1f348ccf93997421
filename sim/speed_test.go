package sim

import (
	"fmt"
	"runtime"
	"syscall"
	"testing"
	"time"

	"x0tta6bl4/mesh/topology"
)

// cpu returns the processor time that this process has taken.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// How fast the simulator is, in simulated seconds for a second of processor time: while a mesh starts (5 s), at rest (5
// s), and under churn (20 s in which each second one link is cut and every tenth second one node killed, each for 1 to 10 s,
// while 32 pairs send a packet every 100 ms).
func BenchmarkSimulate(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		b.Run(fmt.Sprintf("geo:%d:1", n), func(b *testing.B) {
			m, err := topology.Builtin(fmt.Sprintf("geo:%d:1", n))
			if err != nil {
				b.Fatal(err)
			}
			marks := []time.Duration{0, 5 * time.Second, 10 * time.Second, 30 * time.Second}
			spent := make([]time.Duration, len(marks))
			peak := uint64(0)
			for b.Loop() {
				cfg := Config{Map: m, Seed: 1, Duration: marks[3], Packet: 100 * time.Millisecond,
					Churn: Churn{Links: 1, Nodes: 0.1, Least: time.Second, Most: 10 * time.Second, From: marks[2]}}
				next, last := 1, cpu()
				cfg.Progress = func(at time.Duration) error {
					if at >= marks[next]-100*time.Millisecond && next < len(marks)-1 {
						now := cpu()
						spent[next] += now - last
						last = now
						next++
						var ms runtime.MemStats
						runtime.ReadMemStats(&ms)
						peak = max(peak, ms.Sys)
					}
					return nil
				}
				w, err := New(cfg)
				if err != nil {
					b.Fatal(err)
				}
				r, err := w.Run()
				if err != nil {
					b.Fatal(err)
				}
				spent[next] += cpu() - last
				if testing.Verbose() && r.Converged != nil {
					b.Logf("converged %v ms, events %d, %+v", *r.Converged, r.Events, r.Outage)
				}
			}
			for i, name := range []string{"", "start", "rest", "churn"} {
				if i > 0 {
					b.ReportMetric(float64(b.N)*(marks[i]-marks[i-1]).Seconds()/spent[i].Seconds(), name+"-×cpu")
				}
			}
			b.ReportMetric(float64(peak)/1e6, "peak-MB")
		})
	}
}
