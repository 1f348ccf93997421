package bench

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"x0tta6bl4/lab"
	"x0tta6bl4/mesh"
	"x0tta6bl4/mesh/fault"
	"x0tta6bl4/mesh/topology"
)

// peerKinds are the faults that peers are measured under: those of links, which strike whatever runs above them.
var peerKinds = map[fault.Kind]bool{fault.Blackhole: true, fault.Oneway: true, fault.Cut: true, fault.Loss: true}

// theirs measures the peers, each alone on links of its own.
func (f *failing) theirs(ctx context.Context) error {
	chosen, err := choosePeers(f.opt.Peers, FailoverPeers())
	if err != nil {
		return err
	}
	for _, p := range chosen {
		r := &FailoverPeer{Faults: map[string]*Places{}}
		f.report.Peers[p.name] = r
		f.report.order = append(f.report.order, p.name)
		if err := f.peer(ctx, p, r); err != nil {
			if ctx.Err() != nil {
				return err
			}
			r.Unmeasured = err.Error()
			f.say("%s is not measured: %v", p.name, err)
		}
	}
	return nil
}

// peer measures one of them. Its error means that not all was measured.
func (f *failing) peer(ctx context.Context, p peer, r *FailoverPeer) (err error) {
	dir, err := os.MkdirTemp("", "x0t-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	l, err := lab.Bare(f.labOptions())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	if p.kernel {
		if err := noBatman(ctx, l, l.Nodes()[0]); err != nil && !f.opt.guest {
			return f.inGuest(ctx, p, r)
		} else if err != nil {
			return err
		}
	}
	t := &theirsUp{failing: f, lab: l, site: &site{lab: l, m: f.m, dir: dir}, pace: p.slow}
	o, err := p.net(ctx, t.site)
	defer o.close()
	r.Version, r.Command, r.Unfair = o.version, o.command, o.unfair
	if err != nil {
		return err
	}
	return t.run(ctx, o, r)
}

// run takes all cells of an overlay that was started.
func (t *theirsUp) run(ctx context.Context, o *overlay, r *FailoverPeer) (err error) {
	ids := t.lab.Nodes()
	t.a, t.b = ids[0], ids[len(ids)/2-1] // the two ends of a row: only one way is the shortest
	if err := o.reaches(ctx, t.a, t.b); err != nil {
		return err
	}
	if t.prober, err = t.lab.ProberOn(map[mesh.NodeID]netip.Addr{t.a: o.addrs[t.a], t.b: o.addrs[t.b]}, controlPort); err != nil {
		return err
	}
	defer t.prober.Close()
	t.say("%s is up: %s", o.name, o.version)
	for _, s := range t.strikes {
		if !peerKinds[s.kind] {
			continue
		}
		r.Faults[s.name] = &Places{}
		for _, place := range places {
			cell, err := t.cell(ctx, o.name, s, place)
			*r.Faults[s.name].at(place) = cell
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// theirsUp is a peer that is struck again and again.
type theirsUp struct {
	*failing
	lab    *lab.Lab
	site   *site
	prober *lab.Prober
	pace   pace
	a, b   mesh.NodeID
}

func (t *theirsUp) cell(ctx context.Context, name string, s strike, place int) (*Cell, error) {
	c := &Cell{Samples: []Trial{}}
	noise := listenEvery(5 * time.Millisecond)
	var err error
	for len(c.Samples) < min(t.opt.trials(place), t.pace.trials) && err == nil {
		var one Trial
		if one, err = t.trial(ctx, s, place); err == nil {
			c.Samples = append(c.Samples, one)
		}
	}
	c.sumUp(noise.stop())
	if err != nil {
		return c, fmt.Errorf("%s, %s, trial %d: %w", s.name, placeName(place), len(c.Samples)+1, err)
	}
	t.tellPeer(name, s, place, c)
	return c, nil
}

func (f *failing) tellPeer(name string, s strike, place int, c *Cell) {
	f.say("%s: %s, %s: outage p50 %s, max %s ms in %d trials", name, s.name, placeName(place), number(c.Outage.P50), number(c.Outage.Max), c.Trials)
}

// trial strikes once, when traffic has gone its shortest way again.
func (t *theirsUp) trial(ctx context.Context, s strike, place int) (out Trial, err error) {
	flows := []*lab.Flow{t.prober.Flow(t.a, t.b), t.prober.Flow(t.b, t.a)}
	defer t.prober.Forget(flows...)
	probing, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { t.prober.Stream(probing, flows) })
	defer func() { stop(); wg.Wait() }()
	var path []mesh.NodeID
	for {
		if path, err = t.settled(ctx, flows, place); err != nil {
			return out, err
		}
		if err := sleep(ctx, time.Duration(t.random.Int64N(int64(time.Second)))); err != nil { // their hellos are up to seconds apart
			return out, err
		}
		if now, err := t.site.walk(ctx, t.a, t.b); err == nil && slices.Equal(now, path) {
			break
		}
	}
	hit := lab.Fault{Kind: s.kind, Param: s.param, Target: lab.Target{A: path[place], B: path[place+1]}}
	out = Trial{Target: hit.Where(), Pair: t.a.String() + "-" + t.b.String()}
	begin := t.prober.Now()
	if err := t.lab.Inject(hit); err != nil {
		return out, err
	}
	back, err := returned(ctx, t.prober, flows, begin, t.pace.limit)
	out.Unhealed = !back
	end := t.prober.Now()
	if err := errors.Join(err, t.lab.Mend(hit), sleep(ctx, underWay)); err != nil {
		return out, err
	}
	for i, ms := range []*float64{&out.There, &out.Back} {
		w := flows[i].Look(begin, end)
		*ms = millis(w.Outage)
		out.Lost += w.Lost
	}
	return out, nil
}

// settled waits until probes arrive by the shortest way, and returns it. A longer one will do when that does not happen.
func (t *theirsUp) settled(ctx context.Context, flows []*lab.Flow, place int) ([]mesh.NodeID, error) {
	i, _ := t.m.Find(t.a)
	j, _ := t.m.Find(t.b)
	shortest, _ := t.m.ShortestHops(i, j, topology.Broken{})
	began := time.Now()
	var last error
	for time.Since(began) < t.pace.limit+t.pace.settle {
		back, err := returned(ctx, t.prober, flows, t.prober.Now(), t.pace.limit)
		if err != nil {
			return nil, err
		}
		path, err := t.site.walk(ctx, t.a, t.b)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		last = err
		if back && err == nil && len(path) >= place+2 && (len(path) == shortest+1 || time.Since(began) > t.pace.settle) {
			return path, nil
		}
	}
	return nil, fmt.Errorf("traffic from %s to %s did not settle on a way within %s: %w", t.a, t.b, t.pace.limit+t.pace.settle, last)
}
