package lab

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"x0tta6bl4/api"
)

// Report is what a run measured. Times are milliseconds in JSON.
type Report struct {
	Topology       string     `json:"topology"`
	Nodes          int        `json:"nodes"`
	Links          int        `json:"links"`
	Pairs          int        `json:"pairs"` // ordered
	PairsReachable int        `json:"pairs_reachable"`
	Unreachable    []string   `json:"unreachable,omitempty"` // "a-b": no packet of a's reached b
	Converged      api.Millis `json:"converged_ms"`
	Hello          api.Millis `json:"hello_ms"` // between two hellos on a link, as the lab configured it; 0 = the daemon's default
	FirstPacket    FirstHand  `json:"first_packet_ms"`

	Faults       []FaultReport `json:"faults"`
	Availability *Availability `json:"availability,omitempty"` // absent if nothing was probed over time

	Page string `json:"page,omitempty"` // file of the report page
}

// FirstHand is how long the first packet to a node took that was never spoken with.
type FirstHand struct {
	P50 api.Millis `json:"p50"`
	P99 api.Millis `json:"p99"`
	// Late counts those that took longer than 2.5 round trips of the shortest path plus 20 ms, or never came.
	Late int `json:"late"`
	// Ratio is the largest of (time less 20 ms) / round trip; 0 if the links have no delay.
	Ratio float64 `json:"worst_rtts"`

	all []time.Duration // for the chart of the report page
}

// FaultReport is what one fault did to the pairs whose path used its target.
type FaultReport struct {
	Kind        Kind       `json:"kind"`
	Target      string     `json:"target"`
	At          api.Millis `json:"at_ms"`  // after the probes began
	For         api.Millis `json:"for_ms"` // until it ended
	Pairs       []string   `json:"pairs"`  // probed, both ways
	Outage      api.Millis `json:"outage_ms"`
	Lost        int        `json:"lost"`
	Sent        int        `json:"sent"`
	Recovered   bool       `json:"recovered"`    // service returned while the cause was there and a path existed
	PathExisted bool       `json:"path_existed"` // physically, for all pairs
	Before      float64    `json:"share_before"` // of the probes that arrived before the first fault, of the worst direction
	End         float64    `json:"share_at_end"` // the same at the end of the fault
	Best        float64    `json:"share_best"`   // what the best way left would deliver, as links lose
	Effect                 // engine and packets
}

// Availability is the share of probes that arrived.
type Availability struct {
	Raw      float64 `json:"raw"`
	WithPath float64 `json:"with_path"` // of those that were sent while a physical path existed

	sent, lost, sentPath, lostPath int
}

// add counts other probes in.
func (a *Availability) add(b *Availability) {
	a.sent, a.lost, a.sentPath, a.lostPath = a.sent+b.sent, a.lost+b.lost, a.sentPath+b.sentPath, a.lostPath+b.lostPath
	a.share()
}

func (a *Availability) share() {
	a.Raw, a.WithPath = 1, 1
	if a.sent > 0 {
		a.Raw = 1 - float64(a.lost)/float64(a.sent)
	}
	if a.sentPath > 0 {
		a.WithPath = 1 - float64(a.lostPath)/float64(a.sentPath)
	}
}

// percentile is the nearest-rank one; p is between 0 and 100.
func percentile(ds []time.Duration, p float64) time.Duration {
	if len(ds) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(ds))
	return s[max(0, int(math.Ceil(p/100*float64(len(s))))-1)]
}

// Text writes the report for people.
func (r *Report) Text(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "topology\t%s: %d nodes, %d links\n", r.Topology, r.Nodes, r.Links)
	fmt.Fprintf(t, "converged\t%s\n", ms(r.Converged))
	fmt.Fprintf(t, "pairs reachable\t%d of %d\n", r.PairsReachable, r.Pairs)
	fmt.Fprintf(t, "first packet\tp50 %s, p99 %s, %d late\n", ms(r.FirstPacket.P50), ms(r.FirstPacket.P99), r.FirstPacket.Late)
	if r.Page != "" {
		fmt.Fprintf(t, "page\t%s\n", r.Page)
	}
	if r.Availability != nil {
		fmt.Fprintf(t, "availability\t%.4f (%.4f while a path existed)\n", r.Availability.Raw, r.Availability.WithPath)
	}
	if len(r.Faults) > 0 {
		fmt.Fprintf(t, "\nFAULT\tTARGET\tAT\tFOR\tPAIRS\tOUTAGE\tLOST\tSENT\tRECOVERED\n")
	}
	for _, f := range r.Faults {
		verdict := "no"
		switch {
		case f.Recovered:
			verdict = "yes"
		case !f.PathExisted:
			verdict = "no path was left"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t%d\t%s\n", f.Kind, f.Target, ms(f.At), ms(f.For), strings.Join(f.Pairs, " "),
			ms(f.Outage), f.Lost, f.Sent, verdict)
	}
	return t.Flush()
}

func ms(m api.Millis) string {
	d := m.Duration()
	if d < 10*time.Millisecond {
		return fmt.Sprintf("%.2f ms", float64(d)/float64(time.Millisecond))
	}
	return fmt.Sprintf("%d ms", d.Round(time.Millisecond).Milliseconds())
}
