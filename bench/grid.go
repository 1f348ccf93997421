package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"x0tta6bl4/api"
	"x0tta6bl4/lab"
	"x0tta6bl4/mesh"
	"x0tta6bl4/mesh/fault"
	"x0tta6bl4/mesh/topology"
)

// The marks, and how the grid is measured.
const (
	gridSpec  = "grid:3x3"
	linkDelay = 5 * time.Millisecond // one way

	convergedMark = 5000 // ms
	outageMark    = 500  // ms
	shortMark     = 100  // ms, for a first packet where the path's round trip is at most shortRTT
	shortRTT      = 30 * time.Millisecond

	firstLimit   = 10 * time.Second // for one first packet
	firstPeriod  = time.Second      // another packet is sent after this, as an application would
	afterStart   = time.Second      // databases are equal, but an announcement of the last link's cost may still come
	beforeFault  = time.Second
	faultTime    = 3 * time.Second
	settleTime   = 30 * time.Second
	backAt       = 0.9 // share of the last probes of a fault that must arrive for service to have returned
	statusPeriod = 100 * time.Millisecond
	underWay     = 200 * time.Millisecond // by then what was sent before a repair has arrived, or never will
)

// firstBound is how long a first packet may take: two and a half round trips of the path (one and a half until the
// handshake is complete at the other end, half for its index, half for the packet) and 20 ms for the work.
func firstBound(rtt time.Duration) time.Duration { return rtt*5/2 + 20*time.Millisecond }

var gridFaults = []fault.Kind{fault.Cut, fault.Blackhole, fault.Kill}

// The names of the figures of the grid.
const (
	converged  = "grid 3×3: converged"
	firstP50   = "first packet, p50 of pairs"
	firstP99   = "first packet, p99 of pairs"
	firstShort = "first packet, p99 of pairs with RTT ≤ 30 ms"
	firstOver  = "first packet, p99 of excess over 2.5 RTT + 20 ms"
	firstLate  = "first packet, pairs of 36 over the bound"
	firstWork  = "first packet, p50 of excess over 2.5 RTT"
)

func outage(k fault.Kind) string { return "outage on " + string(k) }

// grid makes a fresh lab for every run: nobody in it has ever spoken with anybody.
func (s *spine) grid(ctx context.Context) error {
	m, err := topology.Builtin(gridSpec)
	if err != nil {
		return err
	}
	fs := s.figures()
	fs.mark(converged, "ms", convergedMark)
	fs.mark(firstOver, "ms", 0)
	fs.mark(firstShort, "ms", shortMark)
	for _, k := range gridFaults {
		fs.mark(outage(k), "ms", outageMark)
	}
	for run := range s.opt.Runs {
		s.say("%s, run %d of %d", gridSpec, run+1, s.opt.Runs)
		if err := s.gridRun(ctx, m); err != nil {
			return fmt.Errorf("%s, run %d: %w", gridSpec, run+1, err)
		}
	}
	return nil
}

func (s *spine) gridRun(ctx context.Context, m *topology.Map) (err error) {
	l, err := s.up(ctx, m, linkDelay, "grid")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	s.figures().add(converged, "ms", millis(l.Converged))
	p, err := l.Prober(ctx)
	if err != nil {
		return err
	}
	defer p.Close()
	if err := sleep(ctx, afterStart); err != nil {
		return err
	}
	if err := s.firstPackets(ctx, p, m); err != nil {
		return err
	}
	return s.outages(ctx, l, p, m)
}

// firstPackets sends one packet to every node that a node has never spoken with. The two directions of a pair share a
// session, so a pair is cold once only.
func (s *spine) firstPackets(ctx context.Context, p *lab.Prober, m *topology.Map) error {
	var all, short, excess, work []float64
	late := 0
	for i, a := range m.Nodes {
		hops := m.Hops(i, topology.Broken{})
		for j, b := range m.Nodes[i+1:] {
			from, to := a.ID, b.ID
			if j%2 == 1 {
				from, to = to, from // no node always begins
			}
			rtt := 2 * linkDelay * time.Duration(hops[i+1+j])
			took, err := s.knock(ctx, p, from, to)
			if err != nil {
				return err
			}
			all = append(all, millis(took))
			work = append(work, millis(took-rtt*5/2))
			excess = append(excess, millis(took-firstBound(rtt)))
			if rtt <= shortRTT {
				short = append(short, millis(took))
			}
			if took > firstBound(rtt) {
				late++
				s.say("first packet from %s to %s: %s, RTT %s", from, to, took.Round(time.Millisecond), rtt)
			}
		}
	}
	fs := s.figures()
	fs.add(firstP50, "ms", percentile(all, 50))
	fs.add(firstP99, "ms", percentile(all, 99))
	fs.add(firstShort, "ms", percentile(short, 99))
	fs.add(firstOver, "ms", percentile(excess, 99))
	fs.add(firstLate, "pairs", float64(late))
	fs.add(firstWork, "ms", percentile(work, 50))
	return nil
}

// knock returns how long the first packet took. One that never came counts as firstLimit.
func (s *spine) knock(ctx context.Context, p *lab.Prober, from, to mesh.NodeID) (time.Duration, error) {
	limited, cancel := context.WithTimeout(ctx, firstLimit)
	defer cancel()
	took, err := p.Knock(limited, from, to, firstPeriod)
	if err == nil || ctx.Err() != nil {
		return took, ctx.Err()
	}
	s.note("no packet from %s reached %s within %s", from, to, firstLimit)
	return firstLimit, nil
}

// outages breaks the middle of the path in use between the farthest nodes, in one way after the other, and mends it.
func (s *spine) outages(ctx context.Context, l *lab.Lab, p *lab.Prober, m *topology.Map) error {
	x, y, _ := m.FarthestPair()
	a, b := m.Nodes[x].ID, m.Nodes[y].ID
	flows := []*lab.Flow{p.Flow(a, b), p.Flow(b, a)}
	probing, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { p.Stream(probing, flows) })
	defer func() { stop(); wg.Wait() }()
	for _, k := range gridFaults {
		if err := settle(ctx, l, m); err != nil {
			return err
		}
		if err := sleep(ctx, beforeFault); err != nil {
			return err
		}
		if err := s.outage(ctx, l, p, flows, a, b, k); err != nil {
			return err
		}
	}
	return nil
}

func (s *spine) outage(ctx context.Context, l *lab.Lab, p *lab.Prober, flows []*lab.Flow, a, b mesh.NodeID, k fault.Kind) error {
	target, err := middle(ctx, l, a, b, k)
	if err != nil {
		return err
	}
	f := lab.Fault{Kind: k, Target: target}
	begin := p.Now()
	if err := l.Inject(f); err != nil {
		return err
	}
	if err := sleep(ctx, faultTime); err != nil {
		return err
	}
	end := p.Now()
	if err := l.Mend(f); err != nil {
		return err
	}
	if err := sleep(ctx, underWay); err != nil {
		return err
	}
	var worst time.Duration
	for _, flow := range flows {
		w := flow.Look(begin, end)
		worst = max(worst, w.Outage)
		if w.Tail < backAt {
			s.note("%s of %s: service had not returned after %s", k, target, faultTime)
		}
	}
	s.say("%s of %s: outage %s", k, target, worst.Round(time.Millisecond))
	s.figures().add(outage(k), "ms", millis(worst))
	return nil
}

// middle is the link, or relay, in the middle of the path that a sends to b by.
func middle(ctx context.Context, l *lab.Lab, a, b mesh.NodeID, k fault.Kind) (lab.Target, error) {
	ps, err := l.Client(a).Paths(ctx, b)
	if err != nil {
		return lab.Target{}, err
	}
	for _, p := range ps.Paths {
		if n := len(p.Nodes); p.State == api.PathActive && n > 2 {
			if k.OnNode() {
				return lab.Target{A: p.Nodes[n/2]}, nil
			}
			return lab.Target{A: p.Nodes[(n-2)/2], B: p.Nodes[(n-2)/2+1]}, nil
		}
	}
	return lab.Target{}, fmt.Errorf("%s has no active path with a relay to %s", a, b)
}

// settle waits until every link is up and all nodes hold the same topology.
func settle(whole context.Context, l *lab.Lab, m *topology.Map) error {
	ctx, cancel := context.WithTimeout(whole, settleTime)
	defer cancel()
	degrees := m.Neighbours(topology.Broken{})
	for {
		missing := ""
		digest := ""
		for i, n := range m.Nodes {
			st, err := l.Status(ctx, n.ID)
			switch {
			case err != nil:
				missing = err.Error()
			case st.LinksUp < len(degrees[i]):
				missing = fmt.Sprintf("%s has %d of %d links up", n.ID, st.LinksUp, len(degrees[i]))
			case digest != "" && st.LSDBDigest != digest:
				missing = fmt.Sprintf("%s holds another topology than %s", n.ID, m.Nodes[0].ID)
			}
			digest = st.LSDBDigest
		}
		if missing == "" {
			return nil
		}
		if err := sleep(ctx, statusPeriod); err != nil {
			if whole.Err() != nil {
				return whole.Err()
			}
			return fmt.Errorf("the mesh did not settle within %s of a repair: %s: %w", settleTime, missing, err)
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
