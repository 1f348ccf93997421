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
	Outage    float64  `json:"outage_ms"`    // the longest gap of any flow between deliveries while a way existed, less the packet interval
	Rejoin    float64  `json:"rejoin_ms"`    // the longest time of any flow from the return of a way, or of an end, to a delivery
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
	for _, f := range w.flows {
		f.service.settle(w.now, w.cfg.Packet)
		r.Outage, r.Rejoin = max(r.Outage, ms(f.service.outage)), max(r.Rejoin, ms(f.service.rejoin))
	}
	if s := w.now.Sub(epoch).Seconds(); s > 0 {
		r.ControlRate = float64(w.stats.Control) / s / float64(len(w.nodes))
	}
	return r
}
