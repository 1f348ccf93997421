package bench

import (
	"math"
	"time"
)

// ThroughputReport is what a comparison found. The figures on top are those of x0t.
type ThroughputReport struct {
	Carried
	Peers map[string]*Carried `json:"peers"`
	Ratio map[string]float64  `json:"ratio"` // x0t's rate over the peer's, the median of the runs

	Hops       int       `json:"hops"`
	Offload    bool      `json:"offload"`
	Runs       int       `json:"runs"`
	StreamTime float64   `json:"stream_s"`
	Streams    int       `json:"streams"`
	Tools      []string  `json:"tools"` // that measured
	TCP        string    `json:"tcp"`   // how the ends' TCP is set
	Machine    Machine   `json:"machine"`
	Noise      Noise     `json:"noise"` // ms that a timer of 1 ms fired late
	Began      time.Time `json:"began"`
	Took       float64   `json:"took_s"`
	Notes      []string  `json:"notes"`

	order []string // of the peers
}

// Carried is what one contender did: medians of its runs, and all of them.
type Carried struct {
	Version    string `json:"version,omitempty"`
	Command    string `json:"command,omitempty"`
	MTU        int    `json:"mtu,omitempty"`
	Device     string `json:"device,omitempty"` // that packets leave by at the first node, and its queue
	Unfair     string `json:"unfair,omitempty"`
	Unmeasured string `json:"not_measured,omitempty"` // why there is no figure

	Gbps      *float64 `json:"gbps"`        // that the TCP streams delivered
	RTT       *float64 `json:"rtt_us"`      // of pings while nothing else is sent
	RTTLoad   *float64 `json:"rtt_load_ms"` // of pings beside the TCP streams
	CPU       *float64 `json:"cpu_cores"`   // of all daemons together, under load; what the kernel does for them in its own time is not in it
	RSS       *float64 `json:"rss_mb"`      // of the largest daemon, after the load
	RelayCost *float64 `json:"relay_share"` // CPU of one relay over that of both ends together; null without a relay

	Min     *Carry  `json:"min,omitempty"`
	Max     *Carry  `json:"max,omitempty"`
	Samples []Carry `json:"samples"`
}

// Carry is one run of one contender.
type Carry struct {
	Gbps      float64 `json:"gbps"`
	RTT       float64 `json:"rtt_us"`
	RTTLoad   float64 `json:"rtt_load_ms"`
	CPU       float64 `json:"cpu_cores"`
	Ends      float64 `json:"ends_cores"`   // of that, at both ends
	Relays    float64 `json:"relays_cores"` // and on the nodes between them
	RelayCost float64 `json:"relay_share"`
	RSS       float64 `json:"rss_mb"`
}

// fields of a run, in the order of Carried.
func (c *Carry) fields() []*float64 {
	return []*float64{&c.Gbps, &c.RTT, &c.RTTLoad, &c.CPU, &c.RSS, &c.RelayCost, &c.Ends, &c.Relays}
}

// sumUp makes medians, least and greatest of the samples.
func (c *Carried) sumUp(relays bool) {
	if len(c.Samples) == 0 {
		return
	}
	medians := Carry{}
	c.Min, c.Max = &Carry{}, &Carry{}
	for i := range medians.fields() {
		var values []float64
		for k := range c.Samples {
			values = append(values, *c.Samples[k].fields()[i])
		}
		*medians.fields()[i] = percentile(values, 50)
		*c.Min.fields()[i], *c.Max.fields()[i] = percentile(values, 0), percentile(values, 100)
	}
	c.Gbps, c.RTT, c.RTTLoad, c.CPU, c.RSS = &medians.Gbps, &medians.RTT, &medians.RTTLoad, &medians.CPU, &medians.RSS
	if relays && medians.CPU > 0 {
		c.RelayCost = &medians.RelayCost
	}
}

// ratios returns by how much one contender carried more than another, run by run.
func ratios(mine, theirs []Carry) (out []float64) {
	for i := range min(len(mine), len(theirs)) {
		if theirs[i].Gbps > 0 {
			out = append(out, mine[i].Gbps/theirs[i].Gbps)
		}
	}
	return out
}

// value is a figure that may be missing.
func value(f *float64) float64 {
	if f == nil {
		return math.NaN()
	}
	return *f
}
