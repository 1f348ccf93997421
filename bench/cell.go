package bench

import (
	"time"

	"x0tta6bl4/api"
)

// FailoverReport is what Failover found.
type FailoverReport struct {
	Faults map[string]*Places       `json:"faults"` // by kind; of x0t
	Peers  map[string]*FailoverPeer `json:"peers"`

	Topology    string    `json:"topology"`
	Profile     string    `json:"profile"`
	Hello       float64   `json:"hello_ms"`
	Trials      int       `json:"trials"`
	Version     string    `json:"version"`
	Unprotected string    `json:"protected_not_measured,omitempty"` // why protected_lost is null
	Machine     Machine   `json:"machine"`
	Noise       Noise     `json:"noise"`
	Began       time.Time `json:"began"`
	Took        float64   `json:"took_s"`
	Notes       []string  `json:"notes"`

	kinds, order []string // of faults and peers, as they were asked for
}

// FailoverPeer is what a peer did under the same faults.
type FailoverPeer struct {
	Version    string             `json:"version,omitempty"`
	Command    string             `json:"command,omitempty"`
	Unfair     string             `json:"unfair,omitempty"`
	Unmeasured string             `json:"not_measured,omitempty"` // why there is no figure, or not for all kinds
	Faults     map[string]*Places `json:"faults"`
}

// Places are those of a fault: the first link (or relay) of the path in use, and one three hops away.
type Places struct {
	Own    *Cell `json:"own"`
	Middle *Cell `json:"middle"`
}

// Cell is one kind of fault at one place.
type Cell struct {
	Trials    int       `json:"trials"`
	Outage    Quantiles `json:"outage_ms"` // the worse of both directions
	There     Quantiles `json:"outage_there_ms"`
	Back      Quantiles `json:"outage_back_ms"`
	Lost      LostRange `json:"lost"`           // probes of both directions, sent every ms
	Protected *int      `json:"protected_lost"` // in all trials, less those that the reference lost in the same trial; null = not measured
	Raw       *int      `json:"protected_lost_raw"`
	Reference *int      `json:"reference_lost"` // by a flow on the surviving path that no fault struck
	Control   int       `json:"control_lost"`   // in all trials, by the same traffic without protection
	Unhealed  int       `json:"unhealed"`       // trials in which traffic was not back in time; their outage is how long was waited
	Scheduler Lateness  `json:"scheduler_ms"`   // how late a timer of 1 ms fired meanwhile
	Samples   []Trial   `json:"samples"`
}

// Quantiles are nearest-rank ones.
type Quantiles struct {
	P50 float64 `json:"p50"`
	P95 float64 `json:"p95"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

// Lateness is that of timers, in milliseconds.
type Lateness struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
}

// LostRange tells how many probes one fault cost.
type LostRange struct {
	P50 int `json:"p50"`
	Max int `json:"max"`
}

// Trial is one fault.
type Trial struct {
	Target    string   `json:"target"`
	Pair      string   `json:"pair"`
	There     float64  `json:"there_ms"`
	Back      float64  `json:"back_ms"`
	Lost      int      `json:"lost"`
	Protected *int     `json:"protected_lost,omitempty"`
	Reference *int     `json:"reference_lost,omitempty"` // absent where no other pair of nodes lies on the surviving path
	Unhealed  bool     `json:"unhealed,omitempty"`
	Told      *Witness `json:"told,omitempty"` // where protected packets were lost
}

// Witness is what both ends said about their paths, there and back, when the fault struck and when traffic was back.
type Witness struct {
	Before [2]api.Paths `json:"before"`
	After  [2]api.Paths `json:"after"`
}

func quantiles(v []float64) Quantiles {
	if len(v) == 0 {
		return Quantiles{}
	}
	return Quantiles{percentile(v, 50), percentile(v, 95), percentile(v, 99), percentile(v, 100)}
}

// sumUp makes the figures of a cell from its trials.
func (c *Cell) sumUp(n Noise) {
	var outage, there, back, lost []float64
	protected, raw, reference, measured := 0, 0, 0, false
	for _, t := range c.Samples {
		outage, there, back = append(outage, t.worse()), append(there, t.There), append(back, t.Back)
		lost = append(lost, float64(t.Lost))
		c.Control += t.Lost
		if t.Unhealed {
			c.Unhealed++
		}
		if t.Protected == nil {
			continue
		}
		measured = true
		raw += *t.Protected
		if t.Reference != nil {
			reference += *t.Reference
		}
		net, _ := t.guarded()
		protected += net
	}
	c.Trials, c.Outage, c.There, c.Back = len(c.Samples), quantiles(outage), quantiles(there), quantiles(back)
	if len(lost) > 0 {
		c.Lost = LostRange{int(percentile(lost, 50)), int(percentile(lost, 100))}
	}
	if measured {
		c.Protected, c.Raw, c.Reference = &protected, &raw, &reference
	}
	c.Scheduler = Lateness{n.P50, n.P99}
}

// places of a fault on the path in use.
var places = []int{0, farIndex}

func (p *Places) at(place int) **Cell {
	if place == 0 {
		return &p.Own
	}
	return &p.Middle
}

func placeName(place int) string { return map[bool]string{true: "own", false: "middle"}[place == 0] }
