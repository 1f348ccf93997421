package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"x0tta6bl4/api"
	"x0tta6bl4/mesh"
	"x0tta6bl4/mesh/fault"
)

// How a run goes.
const (
	defaultDuration = 10 * time.Second
	maxPairs        = 4   // probed for one fault
	backThreshold   = 0.9 // share of probes that must arrive again for service to have returned
	pollPaths       = 8   // path questions at once
)

// Run makes a lab, measures how it converges and reaches all pairs, injects opt.Faults while it probes, and takes the
// lab down again.
func Run(ctx context.Context, opt Options) (*Report, error) {
	if err := opt.checkFaults(); err != nil {
		return nil, err
	}
	began := time.Now()
	page, err := pageFile(opt.Page, opt.Map.Name, began)
	if err != nil {
		return nil, err
	}
	l, err := Up(ctx, opt)
	if err != nil {
		return nil, err
	}
	watching, stop := context.WithCancel(ctx)
	var watcher sync.WaitGroup
	watcher.Go(func() { l.record.watch(watching, l) })
	r, err := l.measure(ctx)
	stop()
	watcher.Wait()
	if err != nil {
		err = l.explain(err)
	} else if page != "" {
		r.Page = page
		err = l.page(r, began).write(page)
	}
	return r, errors.Join(err, l.Close())
}

// duration is how long the probes go on.
func (o Options) duration() time.Duration {
	if o.Duration == 0 && len(o.Faults) > 0 {
		return defaultDuration
	}
	return o.Duration
}

func (o Options) checkFaults() error {
	for _, f := range o.Faults {
		if f.At >= o.duration() {
			return fmt.Errorf("fault %q comes after the end of the run (%s): use a longer --duration", f, o.duration())
		}
		if !f.Sides.IsZero() || f.Target.Path || f.Kind.OnNode() {
			continue
		}
		if _, ok := o.Map.linkBetween(f.Target.A, f.Target.B); !ok {
			return fmt.Errorf("fault %q: map %s has no link between %s and %s", f, o.Map.Name, f.Target.A, f.Target.B)
		}
	}
	return nil
}

func (l *Lab) measure(ctx context.Context) (*Report, error) {
	n := len(l.m.Nodes)
	r := &Report{Topology: l.m.Name, Nodes: n, Links: len(l.m.Links), Pairs: n * (n - 1),
		Converged: api.Millis(l.Converged), Hello: api.Millis(l.opt.Hello), Faults: []FaultReport{}}
	p, err := l.Prober(ctx)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	if err := l.reach(ctx, p, r); err != nil {
		return nil, err
	}
	l.record.note(time.Now(), "reached", "%d of %d pairs reach each other", r.PairsReachable, r.Pairs)
	if l.opt.duration() == 0 {
		return r, nil
	}
	return r, l.strike(ctx, p, r)
}

// Prober opens probe sockets on all nodes.
func (l *Lab) Prober(ctx context.Context) (*Prober, error) {
	spaces, addrs := map[mesh.NodeID]*space{}, map[mesh.NodeID]netip.Addr{}
	for _, id := range l.m.Nodes {
		s, err := l.Status(ctx, id)
		if err != nil {
			return nil, fmt.Errorf("mesh address of %s: %w", id, err)
		}
		spaces[id], addrs[id] = l.nodes[id].space, s.Address
	}
	return newProber(spaces, addrs)
}

// victim is a fault together with the pairs that it is judged by.
type victim struct {
	fault    Fault
	pairs    []pair
	from, to time.Duration // of the fault, on the prober's clock
	existed  bool
	expected float64 // share of the probes that the best way left would deliver
	effect   Effect
}

// epoch is a time from which on something is broken.
type epoch struct {
	at     time.Duration
	damage damage
}

// strike probes for the duration of the run and injects the faults meanwhile.
func (l *Lab) strike(ctx context.Context, p *Prober, r *Report) error {
	victims, all, err := l.choosePairs(ctx)
	if err != nil {
		return err
	}
	var flows []*Flow
	for _, q := range all {
		flows = append(flows, p.Flow(q.a, q.b), p.Flow(q.b, q.a))
	}
	l.say("probes for %s between %v", l.opt.duration(), all)
	l.record.paths(ctx, l, beforeAll, all)
	probing, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	begin := p.Now()
	// Small packets pass a link that got thin: only large ones tell whether the mesh noticed.
	p.long.Store(slices.ContainsFunc(l.opt.Faults, func(f Fault) bool { return f.Kind == fault.MTU }))
	l.record.note(time.Now(), "probes", "probes begin between %s", joined(all))
	wg.Go(func() { p.Stream(probing, flows) })
	err = l.play(ctx, p, begin, victims)
	epochs := l.epochs(p, begin)
	stop()
	wg.Wait()
	if err != nil {
		return err
	}
	l.record.deliveries(p, begin, flows)
	l.record.faults(p, victims)
	for _, v := range victims {
		if v.effect, err = l.Effect(v.fault); err != nil {
			return err
		}
		r.Faults = append(r.Faults, v.judge(begin, firstFault(victims, p.Now()), flows))
	}
	r.Availability = l.available(flows, begin, epochs)
	return nil
}

// action is something that play does at a moment.
type action struct {
	at     time.Duration
	victim *victim
	mend   bool
}

// play injects and mends at the times of the script, until the end of the run.
func (l *Lab) play(ctx context.Context, p *Prober, begin time.Duration, victims []*victim) error {
	end := begin + l.opt.duration()
	var acts []action
	for _, v := range victims {
		v.from, v.to = begin+v.fault.At, end
		acts = append(acts, action{at: v.from, victim: v})
		if v.fault.For > 0 && v.from+v.fault.For < end {
			v.to = v.from + v.fault.For
			acts = append(acts, action{v.to, v, true})
		}
	}
	slices.SortStableFunc(acts, func(a, b action) int { return int(a.at - b.at) })
	for _, a := range acts {
		if err := p.sleep(ctx, a.at); err != nil {
			return err
		}
		if err := l.act(ctx, p, a); err != nil {
			return err
		}
	}
	if err := p.sleep(ctx, end); err != nil {
		return err
	}
	for _, v := range victims {
		if v.to == end {
			l.record.paths(ctx, l, "while "+v.fault.Now(), v.pairs)
		}
	}
	return nil
}

func (l *Lab) act(ctx context.Context, p *Prober, a action) error {
	v := a.victim
	if a.mend {
		l.record.paths(ctx, l, "while "+v.fault.Now(), v.pairs)
		l.say("end of %s %s", v.fault.Kind, v.fault.Where())
		return l.Mend(v.fault)
	}
	if err := l.resolve(ctx, &v.fault); err != nil {
		return err
	}
	v.from = p.Now()
	l.say("%s %s", v.fault.Kind, v.fault.Where())
	if err := l.Inject(v.fault); err != nil {
		return err
	}
	v.expected = l.expected(v.pairs)
	v.existed = v.expected > 0
	return nil
}

// sleep returns at a time of the prober's clock.
func (p *Prober) sleep(ctx context.Context, until time.Duration) error {
	return sleep(ctx, until-p.Now())
}

// resolve turns a path target into the middle link or relay of the path that is in use now.
func (l *Lab) resolve(ctx context.Context, f *Fault) error {
	if !f.Target.Path {
		return nil
	}
	path, err := l.pathInUse(ctx, f.Target.A, f.Target.B)
	if err != nil {
		return fmt.Errorf("fault %s: %w", f, err)
	}
	switch {
	case f.Kind == fault.Partition:
		f.Sides, f.Target = l.m.split(middleLink(path)), Target{}
		return nil
	case !f.Kind.OnNode():
		f.Target = middleLink(path)
		return nil
	}
	t, ok := middleRelay(path)
	if !ok {
		return fmt.Errorf("fault %s: the path in use, %s, has no relay", f, names(path))
	}
	f.Target = t
	return nil
}

// judge says what a fault did to its pairs. Service has returned if as much arrives at the end as the best way left would
// deliver, or as much as before anything was broken: where links lose packets by nature, which way the mesh takes is
// another question than whether it left the fault.
func (v *victim) judge(begin, first time.Duration, flows []*Flow) FaultReport {
	r := FaultReport{Kind: v.fault.Kind, Target: v.fault.Where(), At: api.Millis(v.from - begin), Best: v.expected, Before: 1, End: 1,
		For: api.Millis(v.to - v.from), PathExisted: v.existed, Recovered: v.existed, Pairs: []string{}, Effect: v.effect}
	for _, q := range v.pairs {
		r.Pairs = append(r.Pairs, q.String())
		for _, f := range flows {
			if !q.has(f) {
				continue
			}
			w, before := f.Look(v.from, v.to), 1.0
			if quiet := f.Look(begin, first); quiet.Sent >= quietProbes {
				before = 1 - float64(quiet.Lost)/float64(quiet.Sent)
			}
			r.Sent, r.Lost = r.Sent+w.Sent, r.Lost+w.Lost
			r.Outage = max(r.Outage, api.Millis(w.Outage))
			r.Before, r.End = min(r.Before, before), min(r.End, w.Tail)
			r.Recovered = r.Recovered && w.Tail >= backThreshold*min(v.expected, before)
		}
	}
	return r
}

// quietProbes is how many probes before the first fault tell what is normal.
const quietProbes = 200

// firstFault is when the first of victims was struck.
func firstFault(victims []*victim, end time.Duration) time.Duration {
	for _, v := range victims {
		end = min(end, v.from)
	}
	return end
}

func (q pair) has(f *Flow) bool {
	return f.from == q.a && f.to == q.b || f.from == q.b && f.to == q.a
}

// available counts probes over the whole run.
func (l *Lab) available(flows []*Flow, begin time.Duration, epochs []epoch) *Availability {
	a := &Availability{}
	for _, f := range flows {
		for i, e := range epochs {
			end := time.Duration(1<<63 - 1)
			if i+1 < len(epochs) {
				end = epochs[i+1].at
			}
			w := f.Look(max(begin, e.at), end)
			a.sent, a.lost = a.sent+w.Sent, a.lost+w.Lost
			if l.m.connected(f.from, f.to, e.damage) {
				a.sentPath, a.lostPath = a.sentPath+w.Sent, a.lostPath+w.Lost
			}
		}
	}
	a.share()
	return a
}
