package bench

import (
	"context"
	"fmt"
)

// The marks of failover: what the p99 of the outage may be, in milliseconds, when the first link or relay of the path fails.
// Where lateness counts, what the scheduler itself was late by is added.
const (
	marksTrials  = 300
	farTrials    = 30 // where there is no mark three hops away
	ownMedian    = 100
	fastOwnMark  = 50
	farBlackhole = 200
)

var ownMarks = []struct {
	strike string
	p99    float64
	late   bool
}{
	{"blackhole", 150, true}, {"oneway", 150, false}, {"cut", 50, false}, {"kill", 150, false}, {"greydrop 1.0", 300, false},
}

// failover takes the outages that have marks, and the peers' beside those of a blackhole.
func (s *spine) failover(ctx context.Context) error {
	trials := orElse(s.opt.Trials, marksTrials)
	for _, m := range ownMarks {
		opt := FailoverOptions{Faults: m.strike, Trials: trials, Far: min(trials, farTrials), Peers: []string{NoPeers}}
		if m.strike == "blackhole" {
			opt.Far, opt.Peers = 0, s.known(FailoverPeers())
		}
		r, err := s.fail(ctx, opt, "failover-"+m.strike[:min(len(m.strike), 8)])
		if err != nil {
			return err
		}
		own, middle := r.Faults[m.strike].Own, r.Faults[m.strike].Middle
		far := 0.0
		if m.strike == "blackhole" { // for what comes back by it, the link is that of the relay and far away
			far = farBlackhole
			there, back := outagesOf(own, Trial.there), outagesOf(own, Trial.back)
			s.markRank("failover: blackhole of the own link: outage, p50", 50, ownMedian, there)
			s.struckBy(own, "blackhole of the own link", m.p99, m.late, there)
			s.struckBy(own, "blackhole of the own link, of what comes back", far, m.late, back)
		} else {
			s.struckBy(own, m.strike+" of the own link or first relay", m.p99, m.late, outagesOf(own, Trial.worse))
		}
		s.struckBy(middle, m.strike+" three hops away", far, true, outagesOf(middle, Trial.worse))
		s.guarded(r, m.strike)
	}
	r, err := s.fail(ctx, FailoverOptions{Faults: "blackhole", Trials: trials, Far: min(trials, farTrials), Fast: true, Peers: []string{NoPeers}}, "failover-fast")
	if err != nil {
		return err
	}
	own := r.Faults["blackhole"].Own
	s.struckBy(own, "blackhole of the own link, hellos of 10 ms", fastOwnMark, false, outagesOf(own, Trial.there))
	s.struckBy(own, "blackhole of the own link, hellos of 10 ms, of what comes back", 0, false, outagesOf(own, Trial.back))
	return nil
}

func (s *spine) fail(ctx context.Context, opt FailoverOptions, name string) (*FailoverReport, error) {
	opt.Binary, opt.Progress, opt.Seed = s.opt.Binary, s.opt.Progress, 1
	r, err := Failover(ctx, opt)
	if err != nil {
		return r, err
	}
	return r, s.keep(name, r)
}

// struckBy adds outages of one cell, judged by their p99; a mark of 0 is none.
func (s *spine) struckBy(c *Cell, what string, p99 float64, late bool, samples []float64) {
	name := "failover: " + what + ": outage, p99"
	if late && p99 > 0 {
		p99 += c.Scheduler.P99
		name += fmt.Sprintf(" (%s ms of the mark are the scheduler's own)", number(c.Scheduler.P99))
	}
	s.markRank(name, 99, p99, samples)
	if c.Unhealed > 0 {
		s.note("%s: in %d of %d trials traffic was not back in time", name, c.Unhealed, c.Trials)
	}
}

// markRank names a figure of which a percentile is judged, in milliseconds; a mark of 0 is none.
func (s *spine) markRank(name string, rank, most float64, samples []float64) {
	f := s.figures().find(name, "ms")
	f.Rank, f.Needs = rank, marksTrials
	if most > 0 {
		f.Mark = &most
	}
	f.Samples = append(f.Samples, samples...)
}

func outagesOf(c *Cell, of func(Trial) float64) (out []float64) {
	for _, t := range c.Samples {
		out = append(out, of(t))
	}
	return out
}

// there and back are the outages of the two directions, worse the longer of them.
func (t Trial) there() float64 { return t.There }
func (t Trial) back() float64  { return t.Back }
func (t Trial) worse() float64 { return max(t.There, t.Back) }

// guarded adds what protected flows lost in each trial, none of which may lose anything, and what the control did.
func (s *spine) guarded(r *FailoverReport, strike string) {
	name := "failover: " + strike + ": packets of the protected class lost in a trial, the most"
	f := s.figures().find(name, "packets")
	f.Rank, f.Needs, f.Mark = 100, marksTrials, new(float64)
	control := "failover: " + strike + ": packets that the same traffic lost without protection, in all trials"
	s.figures().markLeast(control, "packets", 1)
	s.figures().find(control, "").Needs = 1
	lost := 0
	for _, c := range []*Cell{r.Faults[strike].Own, r.Faults[strike].Middle} {
		lost += c.Control
		for _, t := range c.Samples {
			if n, ok := t.guarded(); ok {
				f.Samples = append(f.Samples, float64(n))
			}
		}
	}
	s.figures().add(control, "packets", float64(lost))
	if r.Unprotected != "" {
		s.note("failover: protected traffic was not measured: %s", r.Unprotected)
	}
}

// guarded is what protected flows lost beyond what the reference did; ok is false where that was not measured.
func (t Trial) guarded() (lost int, ok bool) {
	if t.Protected == nil {
		return 0, false
	}
	lost = *t.Protected
	if t.Reference != nil {
		lost -= *t.Reference
	}
	return max(0, lost), true
}
