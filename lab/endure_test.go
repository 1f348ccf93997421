package lab

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"x0tta6bl4/api"
	"x0tta6bl4/mesh/fault"
)

// A short form of make soak's hour: faults under load; nothing that was not killed grows, and what was is not judged.
func TestEndure(t *testing.T) {
	opt := e2eOptions(t, "ring:6", "")
	opt.Hello = 100 * time.Millisecond // calm: other tests run beside this one
	told := 0
	r, err := Endure(t.Context(), EndureOptions{Lab: opt, Kinds: []Kind{fault.Cut, fault.Kill}, Seed: 1, For: 25 * time.Second, Load: 2e6,
		Tell: func(c Cell) {
			if c.Verdict != NotHere { // a kill of a node that is spared
				told++
			}
		}})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := r.Text(&b); err != nil {
		t.Fatal(err)
	}
	t.Logf("\n%s", b.String())
	if len(r.Misses) > 0 || r.All.Injected != told || r.All.Injected < 2 || r.All.Healed != r.All.Could || r.All.Could == 0 {
		t.Errorf("%+v of %d faults; misses %q", r.All, told, r.Misses)
	}
	if a := r.Availability; a.WithPath < 0.9 || a.WithPath >= 1 || a.sent == 0 {
		t.Errorf("availability %+v of %d probes, although links were cut", a, a.sent)
	}
	if r.Load == nil || r.Load.Goodput < 0.3*r.Load.Wanted || r.Load.Goodput > 1.2*r.Load.Wanted {
		t.Errorf("load %+v", r.Load)
	}
	if len(r.Growth) < spared {
		t.Errorf("%d nodes were judged, %d are never killed", len(r.Growth), spared)
	}
}

// What grows is told from what warms up, and a daemon that was started anew from one that ran on.
func TestGrowth(t *testing.T) {
	steady := func(int) Hold { return Hold{30 << 20, 40, 20} }
	for name, tt := range map[string]struct {
		at   func(i int) Hold
		want []string
	}{
		"steady":      {steady, []string{}},
		"warms up":    {func(i int) Hold { return Hold{int64(20+min(i, 20)) << 20, int64(10 + min(i, 25)), 20} }, []string{}},
		"memory":      {func(i int) Hold { return Hold{int64(30<<20 + i<<18), 40, 20} }, []string{"memory"}},
		"goroutines":  {func(i int) Hold { return Hold{30 << 20, int64(40 + i/3), 20} }, []string{"goroutines"}},
		"descriptors": {func(i int) Hold { return Hold{30 << 20, 40, int64(20 + i/5)} }, []string{"descriptors"}},
	} {
		g := &Growth{Grown: []string{}}
		for i := range 100 {
			g.add(tt.at(i), 7)
		}
		if g.judge(); !slices.Equal(g.Grown, tt.want) {
			t.Errorf("%s: %q grew, want %q; %+v to %+v", name, g.Grown, tt.want, g.Early, g.Late)
		}
	}
	l := newLedger(mapOf("a-b").Nodes)
	for i := range 100 {
		l.of[0].add(steady(i), 7)
		l.of[1].add(steady(i), i/40)
	}
	if got := l.judge(); len(got) != 1 || got[0].Node != id("a") {
		t.Errorf("judged: %+v", got)
	}
}

func TestGauge(t *testing.T) {
	text := []byte("# TYPE go_goroutines gauge\ngo_goroutines_max 9\ngo_goroutines 41\ngo_threads 7.0 1700000000\n")
	for name, want := range map[string]int64{"go_goroutines": 41, "go_threads": 7} {
		if got, err := gauge(text, name); got != want || err != nil {
			t.Errorf("%s: %d, %v", name, got, err)
		}
	}
	if _, err := gauge(text, "go_go"); !errors.Is(err, errNoGauge) {
		t.Errorf("a metric that is not there: %v", err)
	}
}

// The report counts what could be left and what was, and says what is missing.
func TestEnduranceJudges(t *testing.T) {
	r := &Endurance{}
	for i, v := range []Verdict{Healed, Healed, NoWay, Failed, NotHere} {
		r.add(Cell{Kind: "cut", Verdict: v, Outage: api.Millis(time.Duration(i+1) * time.Second), Target: "link:a-b"})
	}
	r.judge()
	k := r.All
	if k.Injected != 4 || k.Could != 3 || k.Healed != 2 || k.P50.Duration() != 2*time.Second || k.Max.Duration() != 4*time.Second || len(r.Faults) != 1 {
		t.Errorf("%+v of %d kinds", k, len(r.Faults))
	}
	if len(r.Misses) != 2 || !strings.Contains(r.Misses[0], "link:a-b") || !strings.Contains(r.Misses[1], "growth") {
		t.Errorf("misses %q", r.Misses)
	}
}
