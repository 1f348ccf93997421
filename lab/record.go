package lab

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"x0tta6bl4/mesh"
)

// recordPeriod is how often the daemons' use of the machine and the links that they see are noted, at the least.
const recordPeriod = 250 * time.Millisecond

// bucket is the time over which the page sums up probes.
const bucket = 100 * time.Millisecond

// Event is something that happened in a run.
type Event struct {
	At   float64 `json:"at_ms"` // after the start of the daemons
	What string  `json:"what"`  // start, converged, reached, probes, fault, mended or links
	Text string  `json:"text"`
}

// Use is what all daemons together used of the machine.
type Use struct {
	At  float64 `json:"at_ms"`
	CPU float64 `json:"cpu_cores"` // since the one before
	RSS int64   `json:"rss_bytes"`
}

// Delivery is one direction of a probed pair over time.
type Delivery struct {
	From    mesh.NodeID `json:"from"`
	To      mesh.NodeID `json:"to"`
	Begin   float64     `json:"begin_ms"`
	Step    float64     `json:"step_ms"`
	Sent    []int       `json:"sent"`
	Arrived []int       `json:"arrived"`
	Delay   []float64   `json:"delay_ms"` // one way, the median of those that arrived; 0 = none did
}

// Route is the path that packets of one direction took at a moment.
type Route struct {
	From mesh.NodeID   `json:"from"`
	To   mesh.NodeID   `json:"to"`
	At   float64       `json:"at_ms"`
	When string        `json:"when"` // before, or which fault held
	Path []mesh.NodeID `json:"path"`
}

// beforeAll as Route.When: nothing was broken yet.
const beforeAll = "before"

// recorder notes what a page shows beside the report. A nil one notes nothing.
type recorder struct {
	mu     sync.Mutex
	start  time.Time
	events []Event
	usage  []Use
	flows  []Delivery
	routes []Route
}

// since is a moment as the page counts.
func (r *recorder) since(t time.Time) float64 {
	if r.start.IsZero() {
		return 0
	}
	return millis(t.Sub(r.start))
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// begin sets the clock to zero: the daemons are about to be started.
func (r *recorder) begin() {
	if r == nil {
		return
	}
	r.mu.Lock()
	r.start, r.events, r.usage = time.Now(), nil, nil
	r.mu.Unlock()
	r.note(time.Now(), "start", "all daemons start at once")
}

func (r *recorder) note(at time.Time, what, format string, args ...any) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, Event{r.since(at), what, fmt.Sprintf(format, args...)})
}

// watch notes the machine's use and changes of the links that daemons see, until ctx ends.
func (r *recorder) watch(ctx context.Context, l *Lab) {
	if r == nil {
		return
	}
	tick := time.NewTicker(max(recordPeriod, statusPeriod(len(l.m.Nodes))))
	defer tick.Stop()
	up := map[mesh.NodeID]int{}
	last, _, was := l.use()
	for {
		cpu, rss, now := l.use()
		if gone := now.Sub(was); gone >= recordPeriod/2 {
			// A daemon that was killed takes its share with it: then there is no difference to show.
			r.mu.Lock()
			r.usage = append(r.usage, Use{r.since(now), min(max(0, float64(cpu-last)/float64(gone)), float64(runtime.NumCPU())), rss})
			r.mu.Unlock()
			last, was = cpu, now
		}
		r.links(ctx, l, up)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// use sums up what the daemons that run used since their start, and tells when that was: on a busy machine asking takes a
// while.
func (l *Lab) use() (cpu time.Duration, rss int64, at time.Time) {
	began := time.Now()
	for _, id := range l.m.Nodes {
		if u, err := l.Usage(id); err == nil {
			cpu, rss = cpu+u.CPU, rss+u.RSS
		}
	}
	return cpu, rss, began.Add(time.Since(began) / 2)
}

// links notes nodes that have another number of links up than before.
func (r *recorder) links(ctx context.Context, l *Lab, up map[mesh.NodeID]int) {
	ctx, cancel := context.WithTimeout(ctx, recordPeriod)
	defer cancel()
	for _, id := range l.m.Nodes {
		s, err := l.nodes[id].client.Status(ctx)
		if err != nil {
			continue // it is down or busy: its neighbours notice
		}
		if was, seen := up[id]; seen && was != s.LinksUp {
			r.note(time.Now(), "links", "%s: %d of %d links up, before %d", id, s.LinksUp, s.LinksTotal, was)
		}
		up[id] = s.LinksUp
	}
}

// paths notes the paths that pairs use now, in the direction in which they are named.
func (r *recorder) paths(ctx context.Context, l *Lab, when string, ps []pair) {
	if r == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	for _, q := range ps {
		if path, err := l.pathInUse(ctx, q.a, q.b); err == nil { // without one there is nothing to draw
			r.mu.Lock()
			r.routes = append(r.routes, Route{q.a, q.b, r.since(time.Now()), when, path})
			r.mu.Unlock()
		}
	}
}

// deliveries sums up flows of a prober that began at a moment of its clock.
func (r *recorder) deliveries(p *Prober, begin time.Duration, flows []*Flow) {
	if r == nil {
		return
	}
	for _, f := range flows {
		r.flows = append(r.flows, f.delivery(r.since(p.began.Add(begin)), begin))
	}
}

// delivery sums the flow up from a moment on, which is at on the page's clock.
func (f *Flow) delivery(at float64, begin time.Duration) Delivery {
	f.mu.Lock()
	defer f.mu.Unlock()
	d := Delivery{From: f.from, To: f.to, Begin: at, Step: millis(bucket), Sent: []int{}, Arrived: []int{}, Delay: []float64{}}
	var took [][]time.Duration
	for seq, sent := range f.sent {
		i := int((sent - begin) / bucket)
		if sent < begin {
			continue
		}
		for len(d.Sent) <= i {
			d.Sent, d.Arrived, took = append(d.Sent, 0), append(d.Arrived, 0), append(took, nil)
		}
		d.Sent[i]++
		if got := f.got[seq]; got != 0 {
			d.Arrived[i]++
			took[i] = append(took[i], got-sent)
		}
	}
	for _, t := range took {
		d.Delay = append(d.Delay, millis(percentile(t, 50)))
	}
	return d
}

// faults notes when faults began and ended.
func (r *recorder) faults(p *Prober, victims []*victim) {
	if r == nil {
		return
	}
	for _, v := range victims {
		r.note(p.began.Add(v.from), "fault", "%s %s", v.fault.Kind, v.fault.Where())
		r.note(p.began.Add(v.to), "mended", "end of %s %s", v.fault.Kind, v.fault.Where())
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	slices.SortStableFunc(r.events, func(a, b Event) int { return int(1000*a.At - 1000*b.At) })
}
