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
)

// How a run goes.
const (
	defaultDuration = 10 * time.Second
	reachTime       = 10 * time.Second // for one pair
	knockPeriod     = time.Second
	knocksAtOnce    = 4                     // pairs, in labs with so many that one after the other would take too long
	manyNodes       = 16                    // from here on
	maxPairs        = 4                     // probed for one fault
	backThreshold   = 0.9                   // share of probes that must arrive again for service to have returned
	pollPaths       = 8                     // path questions at once
	firstPacketRTTs = 2.5                   // what the first packet may take …
	firstPacketSlop = 20 * time.Millisecond // … and this
)

// Run makes a lab, measures how it converges and reaches all pairs, injects opt.Faults while it probes, and takes the
// lab down again.
func Run(ctx context.Context, opt Options) (*Report, error) {
	if err := opt.checkFaults(); err != nil {
		return nil, err
	}
	l, err := Up(ctx, opt)
	if err != nil {
		return nil, err
	}
	r, err := l.measure(ctx)
	if err != nil {
		err = l.explain(err)
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
		if _, ok := o.Map.linkBetween(f.Target.A, f.Target.B); !ok && !f.Target.Path && !f.Kind.OnNode() {
			return fmt.Errorf("fault %q: map %s has no link between %s and %s", f, o.Map.Name, f.Target.A, f.Target.B)
		}
	}
	return nil
}

func (l *Lab) measure(ctx context.Context) (*Report, error) {
	n := len(l.m.Nodes)
	r := &Report{Topology: l.m.Name, Nodes: n, Links: len(l.m.Links), Pairs: n * (n - 1),
		Converged: api.Millis(l.Converged), Faults: []FaultReport{}}
	p, err := l.Prober(ctx)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	if err := l.reach(ctx, p, r); err != nil {
		return nil, err
	}
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

// pair is two nodes; probes go both ways between them.
type pair struct{ a, b mesh.NodeID }

func (p pair) String() string { return p.a.String() + "-" + p.b.String() }

// pairs lists every unordered pair once. Which of the two comes first alternates, so that no node always begins.
func (m *Map) pairs() []pair {
	var ps []pair
	for i, a := range m.Nodes {
		for k, b := range m.Nodes[i+1:] {
			if k%2 == 0 {
				ps = append(ps, pair{a, b})
			} else {
				ps = append(ps, pair{b, a})
			}
		}
	}
	return ps
}

// reach sends the first packets. Only the first direction of a pair finds it cold: both share the session.
func (l *Lab) reach(ctx context.Context, p *Prober, r *Report) error {
	l.say("first packets between %d pairs", r.Pairs)
	ps := l.m.pairs()
	atOnce := 1
	if len(l.m.Nodes) >= manyNodes {
		atOnce = knocksAtOnce
	}
	took := make([]time.Duration, len(ps))
	missing := make([][]string, len(ps))
	done := l.progress("pairs reached", len(ps))
	each(len(ps), atOnce, func(i int) {
		took[i], missing[i] = l.reachPair(ctx, p, ps[i])
		done()
	})
	var cold []time.Duration
	for i := range ps {
		r.Unreachable = append(r.Unreachable, missing[i]...)
		if took[i] == 0 {
			continue
		}
		cold = append(cold, took[i])
		rtt := 2 * l.m.distances(ps[i].a, damage{})[ps[i].b].delay
		if took[i] > time.Duration(firstPacketRTTs*float64(rtt))+firstPacketSlop {
			r.FirstPacket.Late++
		}
		if rtt > 0 {
			r.FirstPacket.Ratio = max(r.FirstPacket.Ratio, float64(took[i]-firstPacketSlop)/float64(rtt))
		}
	}
	r.PairsReachable = r.Pairs - len(r.Unreachable)
	r.FirstPacket.P50, r.FirstPacket.P99 = api.Millis(percentile(cold, 50)), api.Millis(percentile(cold, 99))
	return ctx.Err()
}

// reachPair returns how long the first packet took, 0 if none came through, and the directions that do not work.
func (l *Lab) reachPair(ctx context.Context, p *Prober, q pair) (took time.Duration, missing []string) {
	ctx, cancel := context.WithTimeout(ctx, 2*reachTime)
	defer cancel()
	there, cancelThere := context.WithTimeout(ctx, reachTime)
	defer cancelThere()
	took, err := p.Knock(there, q.a, q.b, knockPeriod)
	if err != nil {
		missing = append(missing, q.String())
	}
	if _, err := p.Knock(ctx, q.b, q.a, knockPeriod); err != nil {
		missing = append(missing, pair{q.b, q.a}.String())
	}
	return took, missing
}

// progressPeriod is how often a long step says how far it has come.
const progressPeriod = 5 * time.Second

// progress returns a function to be called after each of so many pieces of a step.
func (l *Lab) progress(what string, all int) func() {
	var mu sync.Mutex
	said, n := time.Now(), 0
	return func() {
		mu.Lock()
		defer mu.Unlock()
		if n++; time.Since(said) >= progressPeriod {
			said = time.Now()
			l.say("%d of %d %s", n, all, what)
		}
	}
}

// each calls f for 0 … n-1, some at once.
func each(n, atOnce int, f func(int)) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for i := range n {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			f(i)
		})
	}
	wg.Wait()
}

// victim is a fault together with the pairs that it is judged by.
type victim struct {
	fault    Fault
	pairs    []pair
	from, to time.Duration // of the fault, on the prober's clock
	existed  bool
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
	probing, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	begin := p.Now()
	wg.Go(func() { p.Stream(probing, flows) })
	epochs, err := l.play(ctx, p, begin, victims)
	stop()
	wg.Wait()
	if err != nil {
		return err
	}
	for _, v := range victims {
		r.Faults = append(r.Faults, v.judge(begin, flows))
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
func (l *Lab) play(ctx context.Context, p *Prober, begin time.Duration, victims []*victim) ([]epoch, error) {
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
	epochs := []epoch{{begin, l.broken()}}
	for _, a := range acts {
		if err := p.sleep(ctx, a.at); err != nil {
			return nil, err
		}
		if err := l.act(ctx, p, a); err != nil {
			return nil, err
		}
		epochs = append(epochs, epoch{p.Now(), l.broken()})
	}
	return epochs, p.sleep(ctx, end)
}

func (l *Lab) act(ctx context.Context, p *Prober, a action) error {
	v := a.victim
	if a.mend {
		l.say("end of %s %s", v.fault.Kind, v.fault.Target)
		return l.Mend(v.fault)
	}
	if err := l.resolve(ctx, &v.fault); err != nil {
		return err
	}
	v.from = p.Now()
	l.say("%s %s", v.fault.Kind, v.fault.Target)
	if err := l.Inject(v.fault); err != nil {
		return err
	}
	v.existed = true
	for _, q := range v.pairs {
		v.existed = v.existed && l.m.connected(q.a, q.b, l.broken())
	}
	return nil
}

// sleep returns at a time of the prober's clock.
func (p *Prober) sleep(ctx context.Context, until time.Duration) error {
	t := time.NewTimer(until - p.Now())
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
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
	if !f.Kind.OnNode() {
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

// judge says what a fault did to its pairs.
func (v *victim) judge(begin time.Duration, flows []*Flow) FaultReport {
	r := FaultReport{Kind: v.fault.Kind, Target: v.fault.Target.String(), At: api.Millis(v.from - begin),
		For: api.Millis(v.to - v.from), PathExisted: v.existed, Recovered: v.existed, Pairs: []string{}}
	for _, q := range v.pairs {
		r.Pairs = append(r.Pairs, q.String())
		for _, f := range flows {
			if !q.has(f) {
				continue
			}
			w := f.Look(v.from, v.to)
			r.Sent, r.Lost = r.Sent+w.Sent, r.Lost+w.Lost
			r.Outage = max(r.Outage, api.Millis(w.Outage))
			r.Recovered = r.Recovered && w.Tail >= backThreshold
		}
	}
	return r
}

func (q pair) has(f *Flow) bool {
	return f.from == q.a && f.to == q.b || f.from == q.b && f.to == q.a
}

// available counts probes over the whole run.
func (l *Lab) available(flows []*Flow, begin time.Duration, epochs []epoch) *Availability {
	var sent, lost, sentPath, lostPath int
	for _, f := range flows {
		for i, e := range epochs {
			end := time.Duration(1<<63 - 1)
			if i+1 < len(epochs) {
				end = epochs[i+1].at
			}
			w := f.Look(max(begin, e.at), end)
			sent, lost = sent+w.Sent, lost+w.Lost
			if l.m.connected(f.from, f.to, e.damage) {
				sentPath, lostPath = sentPath+w.Sent, lostPath+w.Lost
			}
		}
	}
	share := func(lost, sent int) float64 {
		if sent == 0 {
			return 1
		}
		return 1 - float64(lost)/float64(sent)
	}
	return &Availability{Raw: share(lost, sent), WithPath: share(lostPath, sentPath)}
}
