package sim

import "time"

// Report is what came of a run. Times are simulated unless said otherwise.
type Report struct {
	Map       string   `json:"map"`
	Seed      uint64   `json:"seed"`
	Nodes     int      `json:"nodes"`
	Links     int      `json:"links"`
	Simulated float64  `json:"simulated_ms"`
	Converged *float64 `json:"converged_ms"` // first process start to equal databases everywhere with all links up; null = never
	Longest   float64  `json:"outage_ms"`    // the longest gap of any flow between two deliveries, less the packet interval
	Faults    int      `json:"faults"`
	Flows     int      `json:"flows"`
	Stats
	ControlRate float64 `json:"control_bytes_per_second_per_node"`
	TraceHash   string  `json:"trace_hash"`
}

func (w *World) report() *Report {
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	r := &Report{
		Map: w.cfg.Map.Name, Seed: w.cfg.Seed, Nodes: len(w.nodes), Links: len(w.wires), Simulated: ms(w.now.Sub(epoch)),
		Faults: len(w.cfg.Faults), Flows: len(w.flows), Stats: w.stats, TraceHash: w.TraceHash(),
	}
	if w.check.converged >= 0 {
		c := ms(w.check.converged)
		r.Converged = &c
	}
	for _, g := range w.check.gaps {
		r.Longest = max(r.Longest, ms(g.longest))
	}
	if s := w.now.Sub(epoch).Seconds(); s > 0 {
		r.ControlRate = float64(w.stats.Control) / s / float64(len(w.nodes))
	}
	return r
}
