package bench

import (
	"encoding/json"
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"

	"x0tta6bl4/api"
	"x0tta6bl4/lab"
	"x0tta6bl4/mesh"
	"x0tta6bl4/mesh/fault"
)

func TestParseStrikes(t *testing.T) {
	all, err := parseStrikes("")
	if err != nil || len(all) != 5 || all[4].kind != fault.Greydrop || all[4].param.P != 1 || all[4].name != "greydrop 1.0" {
		t.Errorf("%+v, %v", all, err)
	}
	if got, err := parseStrikes(" loss   10% ,kill"); err != nil || got[0].name != "loss 10%" || got[0].param.P != 0.1 || got[1].kind != fault.Kill {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := parseStrikes("loss"); err != nil || got[0].param != fault.Loss.Builtin() {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{",", "cut,", "quake", "clock 1h", "partition", "loss 2", "cut 1", "cut,cut", "loss 1 1"} {
		if got, err := parseStrikes(bad); !errors.Is(err, fault.ErrSyntax) {
			t.Errorf("%q: %+v, %v", bad, got, err)
		}
	}
}

func TestFailoverOptions(t *testing.T) {
	o, err := FailoverOptions{}.filled()
	if err != nil || o.trials(0) != DefaultTrials || o.trials(farIndex) != DefaultTrials {
		t.Errorf("%+v, %v", o, err)
	}
	if o, err = (FailoverOptions{Trials: 300, Far: 30}).filled(); err != nil || o.trials(0) != 300 || o.trials(farIndex) != 30 {
		t.Errorf("%+v, %v", o, err)
	}
	for want, o := range map[string]FailoverOptions{
		"-1 trials": {Trials: -1}, "5 trials": {Trials: 5, Far: -1}, "not a fault": {Faults: "x"}, "no such peer": {Peers: []string{"veth"}},
	} {
		if err := o.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", o, err, want)
		}
	}
}

func count(n int) *int { return &n }

// What the reference lost in a trial is taken off what protected flows lost in that trial, and never more.
func TestCellSumsUp(t *testing.T) {
	c := &Cell{Samples: []Trial{
		{There: 100, Back: 20, Lost: 120, Protected: count(3), Reference: count(1)},
		{There: 10, Back: 60, Lost: 70, Protected: count(0), Reference: count(5)},
		{There: 5, Back: 5, Lost: 0, Protected: count(4), Unhealed: true},
	}}
	c.sumUp(Noise{P50: 0.1, P99: 2})
	if c.Outage != (Quantiles{60, 100, 100, 100}) || c.There.Max != 100 || c.Back.Max != 60 {
		t.Errorf("outages %+v", c)
	}
	if c.Control != 190 || c.Lost != (LostRange{70, 120}) || *c.Protected != 6 || *c.Raw != 7 || *c.Reference != 6 || c.Unhealed != 1 || c.Trials != 3 {
		t.Errorf("lost: %+v, protected %d", c, *c.Protected)
	}
	if c.Scheduler != (Lateness{0.1, 2}) {
		t.Errorf("scheduler %+v", c.Scheduler)
	}
	bare := &Cell{Samples: []Trial{{There: 1}}}
	bare.sumUp(Noise{})
	if b, err := json.Marshal(bare); err != nil || !strings.Contains(string(b), `"protected_lost":null`) || !strings.Contains(string(b), `"control_lost":0`) {
		t.Errorf("%s, %v", b, err)
	}
}

func ids(names string) (out []mesh.NodeID) {
	for n := range strings.FieldsSeq(names) {
		out = append(out, mesh.MustNodeID(n))
	}
	return out
}

func TestPlacesOnPaths(t *testing.T) {
	p := api.Paths{Paths: api.List[api.Path]{
		{State: api.PathStandby, Nodes: ids("a d b")}, {State: api.PathActive, Nodes: ids("a c b")},
		{State: api.PathStandby, Nodes: ids("a c f b")}, {State: api.PathDead, Nodes: ids("a k l b")}, {State: api.PathStandby, Nodes: ids("a g h i b")},
	}}
	used := inUse(p)
	if names := ids("a c b"); len(used) != 3 || used[1] != names[1] {
		t.Errorf("in use %v", used)
	}
	// The first relay and the last of a living path that shares none with the one in use, and has two.
	if c, d := survivors(p, used); c.String() != "g" || d.String() != "i" {
		t.Errorf("survivors %s, %s", c, d)
	}
	if c, _ := survivors(api.Paths{}, used); !c.IsZero() {
		t.Errorf("%s survives on no path", c)
	}
	for target, want := range map[string]bool{"a-c": true, "c-a": false, "c-b": true, "c-": true, "d-": false, "b-": false} {
		a, b, _ := strings.Cut(target, "-")
		f := lab.Target{A: mesh.MustNodeID(a)}
		if b != "" {
			f.B = mesh.MustNodeID(b)
		}
		if on(used, f) != want {
			t.Errorf("%s on %v: %t", target, used, !want)
		}
	}
	for target, want := range map[string]bool{"a-c": true, "c-a": true, "a-b": false, "a-": true, "b-": true, "d-": false} {
		a, b, _ := strings.Cut(target, "-")
		f := lab.Target{A: mesh.MustNodeID(a)}
		if b != "" {
			f.B = mesh.MustNodeID(b)
		}
		if meets(used, f) != want {
			t.Errorf("%v meets %s: %t", used, target, !want)
		}
	}
	if len(inUse(api.Paths{})) != 0 || on(nil, lab.Target{}) {
		t.Error("something lies on no path")
	}
	there, back := lab.Fault{Target: lab.Target{A: used[0], B: used[1]}}, lab.Fault{Target: lab.Target{A: used[1], B: used[0]}}
	if placeKey(there) != placeKey(back) || placeKey(there) == placeKey(lab.Fault{Target: lab.Target{A: used[0]}}) {
		t.Error("the two directions of a link are different places, or a link and a node are the same")
	}
}

// failed is a report with one fault and three peers.
func failed() *FailoverReport {
	cell := func(ms float64) *Cell {
		c := &Cell{Samples: []Trial{{There: ms, Lost: 7}, {There: 2 * ms, Lost: 9, Unhealed: true}}}
		c.sumUp(Noise{P99: 1})
		return c
	}
	return &FailoverReport{Topology: failoverMap, Profile: "default", Hello: 50, Trials: 2, Version: "v1", Unprotected: "no key | of that name", Machine: thisMachine(),
		Notes: []string{"it rained"}, Faults: map[string]*Places{"blackhole": {cell(100), cell(150)}, "kill": {cell(90), nil}},
		Peers: map[string]*FailoverPeer{
			"tinc":     {Version: "1.0", Command: "tincd", Faults: map[string]*Places{"blackhole": {cell(50000), cell(40000)}}},
			"babeld":   {Unmeasured: "babeld is not installed", Faults: map[string]*Places{}},
			"bird-bfd": {Version: "2", Command: "bird", Unmeasured: "it broke off", Faults: map[string]*Places{"blackhole": {cell(700), nil}}},
		},
		kinds: []string{"blackhole", "kill"}, order: []string{"tinc", "babeld", "bird-bfd"}}
}

func TestFailoverReport(t *testing.T) {
	text := regexp.MustCompile(" +").ReplaceAllString(failed().Markdown(), " ")
	for _, want := range []string{"| blackhole | own | 100 | 200 | 200 | 200 | 100 | 200 | 2 | 1 |", "| tinc | blackhole | own | 50000 | 100000 | 2 | 1 |", "| babeld | not measured |",
		"- bird-bfd: not measured: it broke off", "protected traffic: not measured: no key / of that name"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

// The marks of failover are judged by percentiles of hundreds of trials, and by none lost.
func TestFailoverMarks(t *testing.T) {
	s := &spine{report: &Report{}, opt: Options{Progress: io.Discard}}
	c := &Cell{}
	for i := range marksTrials {
		c.Samples = append(c.Samples, Trial{There: float64(i % 100), Lost: 1, Protected: count(1), Reference: count(1)})
	}
	c.sumUp(Noise{P99: 3})
	s.struckBy(c, "blackhole", 95, true, outagesOf(c, Trial.worse)) // the p99 is 98, and 3 are added
	s.struckBy(c, "cut", 94.9, true, outagesOf(c, Trial.there))
	s.struckBy(c, "kill", 1000, false, outagesOf(c, Trial.back)[:10])
	s.guarded(&FailoverReport{Faults: map[string]*Places{"blackhole": {c, c}}}, "blackhole")
	want := map[string]bool{"failover: blackhole: outage, p99 (3 ms of the mark are the scheduler's own)": true, "failover: cut: outage, p99 (3 ms of the mark are the scheduler's own)": false,
		"failover: kill: outage, p99": false, "failover: blackhole: packets of the protected class lost in a trial, the most": true,
		"failover: blackhole: packets that the same traffic lost without protection, in all trials": true}
	for _, f := range s.report.Figures {
		met, known := want[f.Name]
		if !known || f.Met() != met {
			t.Errorf("%s: met %t, value %v, mark %v", f.Name, f.Met(), f.Value(), *f.Mark)
		}
		delete(want, f.Name)
	}
	if len(want) > 0 {
		t.Errorf("no figures %v", want)
	}
	c.Samples[7].Protected = count(2)
	s = &spine{report: &Report{}, opt: Options{Progress: io.Discard}}
	s.guarded(&FailoverReport{Unprotected: "why", Faults: map[string]*Places{"blackhole": {c, c}}}, "blackhole")
	s.struckBy(c, "cut", 94.5, true, outagesOf(c, Trial.worse))
	if missed := s.report.Figures.Missed(); len(missed) != 2 || len(s.report.Notes) != 1 {
		t.Errorf("one packet lost and 0.5 ms too late, and missed are %q, with the notes %q", missed, s.report.Notes)
	}
}

// Marks that must be reached are told from those that may be.
func TestThroughputMarks(t *testing.T) {
	s := &spine{report: &Report{}, opt: Options{Progress: io.Discard}}
	r := compared()
	r.Peers[rival].Samples = []Carry{{Gbps: 2, RTT: 200}, {Gbps: 2, RTT: 80}, {Gbps: 2, RTT: 90}}
	for range 2 { // six runs
		s.carried(r)
	}
	missed := s.report.Figures.Missed()
	if len(missed) != 0 {
		t.Errorf("missed %q", missed)
	}
	r.Peers[rival].Samples = []Carry{{Gbps: 6}, {Gbps: 6}, {Gbps: 6}}
	for range 4 {
		s.carried(r)
	}
	if missed := s.report.Figures.Missed(); len(missed) != 1 || !strings.HasSuffix(missed[0], "times wireguard-go") {
		t.Errorf("missed %q", missed)
	}
	if got := (&spine{opt: Options{Peers: []string{"babeld", "veth"}}}).known(ThroughputPeers()); len(got) != 1 || got[0] != "veth" {
		t.Errorf("peers of throughput: %q", got)
	}
	if got := (&spine{opt: Options{Peers: []string{"babeld"}}}).known(ThroughputPeers()); len(got) != 1 || got[0] != NoPeers {
		t.Errorf("peers of throughput: %q", got)
	}
}
