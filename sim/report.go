package sim

import (
	"math"
	"slices"
	"time"

	"x0tta6bl4/wire"
)

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
	Outages   Spread   `json:"outages_ms"`   // all gaps of more than a packet interval in which a way existed
	Rejoins   Spread   `json:"rejoins_ms"`
	Faults    int      `json:"faults"`
	Changes   int      `json:"churn_changes"` // cuts and kills
	Flows     int      `json:"flows"`
	TooFar    int      `json:"flows_too_far"` // at the end: joined physically, but by no way that a frame has labels enough for
	Stats
	ControlRate float64     `json:"control_bytes_per_second_per_node"`
	Kinds       []KindCount `json:"control"`
	Promises    *Promised   `json:"promises,omitempty"` // if they were checked
	TraceHash   string      `json:"trace_hash"`
}

// Spread is how some times are spread.
type Spread struct {
	Number int     `json:"number"`
	P50    float64 `json:"p50"`
	P95    float64 `json:"p95"`
	P99    float64 `json:"p99"`
	Max    float64 `json:"max"`
}

// KindCount is the control traffic of one kind: hellos as frames, with header and MAC and without IP and UDP; the others
// as control messages, with their lengths and without QUIC.
type KindCount struct {
	Kind   string  `json:"kind"`
	Number uint64  `json:"number"`
	Bytes  uint64  `json:"bytes"`
	Rate   float64 `json:"bytes_per_second_per_node"` // from ten seconds after the mesh had converged; of all the time after it, or of the whole run, if there was no more
}

func (w *World) report() *Report {
	w.settleAll()
	r := &Report{
		Map: w.cfg.Map.Name, Seed: w.cfg.Seed, Nodes: len(w.nodes), Links: len(w.wires), Simulated: millis(w.now.Sub(epoch)),
		Faults: len(w.cfg.Faults), Changes: w.churn.done, Flows: len(w.flows), Stats: w.stats, TraceHash: w.TraceHash(),
	}
	if w.cfg.Promises {
		r.Promises = &w.check.promises.Promised
	}
	if w.check.converged >= 0 {
		c := millis(w.check.converged)
		r.Converged = &c
	}
	var outages, rejoins []time.Duration
	for _, f := range w.flows {
		f.service.settle(w.now, w.cfg.Packet)
		outages, rejoins = append(outages, f.service.outages...), append(rejoins, f.service.rejoins...)
		r.Outage, r.Rejoin = max(r.Outage, millis(f.service.outage)), max(r.Rejoin, millis(f.service.rejoin))
		if !f.joined && w.check.reach.hops(w, f.from.index, f.to.index) >= 0 {
			r.TooFar++
		}
	}
	r.Outages, r.Rejoins = spread(outages), spread(rejoins)
	seconds, total := time.Duration(w.at-w.stats.marked).Seconds(), uint64(0)
	for k, t := range w.stats.kinds {
		if t.number == 0 {
			continue
		}
		name := "hello"
		if k != kindHello {
			name = wire.KindName(k)
		}
		after := t.bytes - w.stats.before[k].bytes
		total += after
		r.Kinds = append(r.Kinds, KindCount{name, t.number, t.bytes, perNode(after, seconds, len(w.nodes))})
	}
	r.ControlRate = perNode(total, seconds, len(w.nodes))
	return r
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func perNode(bytes uint64, seconds float64, nodes int) float64 {
	if seconds <= 0 {
		return 0
	}
	return math.Round(float64(bytes)/seconds/float64(nodes)*10) / 10
}

// spread sorts ds.
func spread(ds []time.Duration) Spread {
	if len(ds) == 0 {
		return Spread{}
	}
	slices.Sort(ds)
	at := func(share float64) float64 { return millis(ds[int(share*float64(len(ds)-1)+0.5)]) }
	return Spread{Number: len(ds), P50: at(0.5), P95: at(0.95), P99: at(0.99), Max: at(1)}
}
