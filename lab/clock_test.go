package lab

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/mesh/fault"
)

// A node whose clock is wrong by an hour, in either direction, keeps its links and its neighbours' packets, while its
// announcements are refused and said to be; and when the clock is right again all is as before, without a restart.
func TestWrongClock(t *testing.T) {
	opt := e2eOptions(t, "line:3", "")
	l, err := Up(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	up := l.logSizes()
	ids := l.Nodes()
	middle := ids[1]
	p, err := l.Prober(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for _, far := range ids[1:] {
		if _, err := reached(p, ids[0], far, 10*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	for refused, by := range map[string]time.Duration{"lsdb_future": time.Hour, "lsdb_expired": -time.Hour} {
		f := Fault{Kind: fault.Clock, Target: Target{A: middle}, Param: fault.Param{D: by}}
		if err := l.Inject(f); err != nil {
			t.Fatal(err)
		}
		for _, n := range []mesh.NodeID{ids[0], ids[2]} {
			awaitCount(t, l, n, refused)
		}
		if _, err := reached(p, ids[0], middle, 5*time.Second); err != nil {
			t.Errorf("the neighbour whose clock is off by %s: %v", by, err)
		}
		if e, err := l.Effect(f); err != nil || e.Engine != engineClock {
			t.Errorf("%+v, %v", e, err)
		}
		if err := l.Mend(f); err != nil {
			t.Fatal(err)
		}
		if err := l.settle(t.Context(), ids); err != nil {
			t.Fatalf("after the clock was off by %s: %v", by, err)
		}
		if _, err := reached(p, ids[0], ids[2], 10*time.Second); err != nil {
			t.Errorf("after the clock was off by %s: %v", by, err)
		}
	}
	for _, n := range ids {
		log, err := os.ReadFile(l.nodes[n].logPath)
		if err != nil || !strings.Contains(string(log), "LAB ONLY") || strings.Contains(string(log[up[n]:]), `"link down"`) {
			t.Errorf("%s: links went down, or the log does not warn of the lab's clock: %v\n%s", n, err, log)
		}
	}
}

// A daemon that is started again finds its clock as wrong as the script has it.
func TestWrongClockOutlivesARestart(t *testing.T) {
	opt := e2eOptions(t, "line:2", "")
	l, err := Up(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	n := l.Nodes()[1]
	wrong := Fault{Kind: fault.Clock, Target: Target{A: n}, Param: fault.Param{D: time.Hour}}
	for _, step := range []func() error{
		func() error { return l.Inject(wrong) },
		func() error { return l.Inject(Fault{Kind: fault.Restart, Target: Target{A: n}}) },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	log, err := os.ReadFile(l.nodes[n].logPath)
	if err != nil || strings.Count(string(log), "ahead=1h0m0s") != 2 {
		t.Errorf("%v: the clock was not made wrong twice:\n%s", err, log)
	}
	if err := l.Mend(wrong); err != nil {
		t.Error(err)
	}
	if err := l.settle(t.Context(), l.Nodes()); err != nil {
		t.Error(err)
	}
}

// awaitCount waits until a counter of a node is more than it was.
func awaitCount(t *testing.T, l *Lab, n mesh.NodeID, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		c, err := l.Client(n).Counters(ctx)
		if err == nil && c[name] > 0 {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s: %s stays %d: %v", n, name, c[name], err)
		}
	}
}
