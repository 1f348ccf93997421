package campaign

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"slices"
	"testing"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/mesh/fault"
	"x0tta6bl4/mesh/topology"
	"x0tta6bl4/sim"
)

var seeds = flag.Uint64("campaign", 16, "seeds in TestPromisesAreKept")

// What flows are promised is kept on random maps, whatever breaks; and unprotected packets are lost meanwhile.
func TestPromisesAreKept(t *testing.T) {
	r, err := Run(t.Context(), Plan{First: 1, Seeds: *seeds, Shrinks: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d packets of the protected class; of %d others %d were lost; back after %.0f ms at most, %.0f %% of the bound; %d switches in %d changes",
		r.Guarded, r.Control, r.Lost, r.Gap, 100*r.Share, r.Switches, r.Changes)
	t.Logf("of the time of faults %.0f %% has a bound; of packets sent while one thing alone was bad %.0f %% had to arrive", 100*r.Bound/r.Faulty,
		100*float64(r.AloneHeld)/float64(r.Alone))
	for _, f := range r.Failures {
		t.Errorf("seed %d: %s\n%s\n%s\nx0t sim %s", f.Seed, f.Error, f.Map, f.Faults, f.Args)
	}
	if r.Guarded == 0 || r.Changes == 0 || r.Share < 0.5 {
		t.Errorf("%d packets were guarded, %d changes, and no bound was nearer than %.0f %%: this proves little", r.Guarded, r.Changes, 100*r.Share)
	}
	if r.Bound < 0.8*r.Faulty || float64(r.AloneHeld) < 0.7*float64(r.Alone) || r.Held < r.Struck/2 {
		t.Errorf("the promises are about too little of the time of faults: %+v", r.Cover)
	}
}

// A campaign is the same however many cases are run at a time, and a case the same by itself.
func TestSameCampaign(t *testing.T) {
	var all []string
	for _, workers := range []int{1, 4} {
		told := uint64(0)
		r, err := Run(t.Context(), Plan{First: 40, Seeds: 8, Workers: workers, Least: 4, Most: 6, Progress: func(done, _ uint64) { told = done }})
		if err != nil || told != 8 {
			t.Fatal(told, err)
		}
		b, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(b))
	}
	if all[0] != all[1] {
		t.Errorf("two results of one campaign:\n%s\n%s", all[0], all[1])
	}
	a, err1 := draw(43, 4, 6).run(t.Context())
	b, err2 := draw(43, 4, 6).run(t.Context())
	if err1 != nil || err2 != nil || a.TraceHash != b.TraceHash {
		t.Errorf("one case, twice: %v, %v, %+v, %+v", err1, err2, a, b)
	}
}

// On every map everything has two ways to everything, the faults can be, and all kinds of them are drawn.
func TestDrawnCases(t *testing.T) {
	met := map[fault.Kind]int{}
	liars, several := 0, 0
	for seed := range uint64(400) {
		c := draw(seed, 10, 20)
		if n := len(c.Map.Nodes); n < 6 || n > 20 {
			t.Errorf("seed %d: %d nodes", seed, n)
		}
		for i := range c.Map.Nodes {
			if !c.Map.Connected(topology.Broken{Nodes: []int{i}}) {
				t.Errorf("seed %d: the loss of %s parts %s", seed, c.Map.Nodes[i].ID, c.Map.Name)
			}
		}
		for i := range c.Map.Links {
			if !c.Map.Connected(topology.Broken{Links: []int{i}}) {
				t.Errorf("seed %d: the loss of link %d parts %s", seed, i, c.Map.Name)
			}
		}
		for _, f := range c.Faults {
			met[f.Kind]++
			if err := f.Check(); err != nil || f.At < first || f.At > last {
				t.Errorf("seed %d: %v: %v", seed, f, err)
			}
		}
		if _, err := sim.New(c.config()); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
		liars += min(len(c.Liars), 1)
		several += min(len(c.Faults)-1, 1)
	}
	for _, k := range kinds {
		if met[k] < 20 {
			t.Errorf("%d faults of kind %s in 400 cases", met[k], k)
		}
	}
	if liars < 20 || several < 100 || several > 300 {
		t.Errorf("of 400 cases %d have liars, %d several faults", liars, several)
	}
}

// A case that was written down is the same simulation when it is read back.
func TestCasesAreReadBack(t *testing.T) {
	for seed := range uint64(12) {
		c := draw(seed, 5, 8)
		c.Duration = 9 * time.Second
		want, err := c.run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var f Failure
		f.tell(c)
		d := *c
		if d.Map, err = topology.Parse("x.topo", []byte(f.Map)); err != nil {
			t.Fatal(err)
		}
		var names []mesh.NodeID
		for _, n := range d.Map.Nodes {
			names = append(names, n.ID)
		}
		if d.Faults, err = fault.Parse(f.Faults, names); err != nil {
			t.Fatal(err)
		}
		got, err := d.run(t.Context())
		if err != nil || got.TraceHash != want.TraceHash {
			t.Errorf("seed %d: read back it is another run: %v\n%s%s", seed, err, f.Map, f.Faults)
		}
	}
}

// A failure that needs one fault, one flow and one link becomes a case of hardly more than that, and still fails alike.
func TestShrinking(t *testing.T) {
	c := draw(7, 20, 20)
	c.Flows = []sim.Pair{{From: c.Map.Nodes[0].ID, To: c.Map.Nodes[1].ID}, {From: c.Map.Nodes[2].ID, To: c.Map.Nodes[3].ID}}
	link := c.Map.Links[len(c.Map.Links)/2]
	a, b := c.Map.Nodes[link.A].ID, c.Map.Nodes[link.B].ID
	needed := fault.Fault{Kind: fault.Cut, Target: fault.Target{A: a, B: b}, At: 9 * time.Second, For: 3 * time.Second}
	c.Faults = []fault.Fault{needed, needed, {Kind: fault.Kill, Target: fault.Target{A: a}, At: 9 * time.Second}, needed, needed}
	c.Liars = []mesh.NodeID{a, b}
	c.Faults[1].Kind, c.Faults[3].Kind, c.Faults[4].Kind = fault.Blackhole, fault.Oneway, fault.Flap
	runs, other := 0, 0
	s := &shrinker{ctx: t.Context(), best: c.clone(), what: "it fails", tries: 2000, run: func(_ context.Context, c *Case) error {
		runs++
		i, okA := c.Map.Find(a)
		j, okB := c.Map.Find(b)
		if !okA || !okB || len(c.Map.LinksBetween(i, j)) == 0 {
			return errors.New("such a case cannot be")
		}
		cut := slices.ContainsFunc(c.Faults, func(f fault.Fault) bool { return f.Kind == fault.Cut && f.For > 100*time.Millisecond })
		if !cut {
			other++
			return &sim.Violation{What: "it fails otherwise"}
		}
		return &sim.Violation{What: "it fails", At: 11 * time.Second}
	}}
	s.shrink()
	got := s.best
	if len(got.Faults) != 1 || got.Faults[0].Kind != fault.Cut || got.Faults[0].For > 200*time.Millisecond || got.Faults[0].At != first ||
		len(got.Liars) != 0 || len(got.Flows) != 1 || len(got.Map.Nodes) != 2 || len(got.Map.Links) != 1 {
		t.Errorf("made small: %v, liars %v, flows %v, %d nodes, %d links", got.Faults, got.Liars, got.Flows, len(got.Map.Nodes), len(got.Map.Links))
	}
	if other == 0 || len(c.Faults) != 5 || len(c.Map.Nodes) != 20 {
		t.Errorf("%d runs failed otherwise; the case itself has %d faults now", other, len(c.Faults))
	}
	t.Logf("%d runs", runs)
	s = &shrinker{ctx: t.Context(), best: c.clone(), what: "it fails", tries: 3, run: func(context.Context, *Case) error { runs = -runs; return nil }}
	if s.shrink(); s.tries != 0 {
		t.Errorf("%d tries are left", s.tries)
	}
}

func TestPlansThatCannotBe(t *testing.T) {
	for _, p := range []Plan{{}, {Seeds: MaxSeeds + 1}, {First: 1<<64 - 1, Seeds: 2}, {Seeds: 1, Least: 3, Most: 9}, {Seeds: 1, Least: 9, Most: 8}, {Seeds: 1, Least: 9, Most: MaxNodes + 1}} {
		if _, err := Run(t.Context(), p); !errors.Is(err, ErrPlan) {
			t.Errorf("%+v: %v", p, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Run(ctx, Plan{Seeds: 5}); !errors.Is(err, context.Canceled) {
		t.Errorf("a campaign that was given up: %v", err)
	}
}
