package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"x0tta6bl4/core/path"
	"x0tta6bl4/mesh"
	"x0tta6bl4/mesh/fault"
	"x0tta6bl4/mesh/topology"
)

// line is one line of a trace.
type line struct {
	kind byte
	at   int64
	who  int
	what []uint64
}

func (l line) String() string {
	return fmt.Sprintf("%v %c node %d %v", time.Duration(l.at), l.kind, l.who, l.what)
}

// traced simulates and returns the trace as it was written.
func traced(t *testing.T, spec, script string, cfg Config) (*World, *Report, []line) {
	t.Helper()
	var lines []line
	cfg.hooks.note = func(kind byte, at int64, who int, what []uint64) { lines = append(lines, line{kind, at, who, what}) }
	w := world(t, spec, script, cfg)
	r, err := w.Run()
	if err != nil {
		t.Fatalf("%s, stepwise %v, %q: %v", spec, cfg.Stepwise, script, err)
	}
	return w, r, lines
}

// same compares a run that takes short cuts with one that takes none: every line of the trace (messages, announcements,
// states of links, published paths, data frames, deliveries), every count but that of events, every database, and every table.
func same(t *testing.T, spec, script string, cfg Config) {
	t.Helper()
	cfg.Stepwise = true
	ws, rs, slow := traced(t, spec, script, cfg)
	cfg.Stepwise = false
	wf, rf, fast := traced(t, spec, script, cfg)
	for i := range min(len(slow), len(fast)) {
		if a, b := slow[i], fast[i]; a.kind != b.kind || a.at != b.at || a.who != b.who || !slices.Equal(a.what, b.what) {
			t.Fatalf("%s, seed %d, %q: line %d of the trace is %v step by step, and %v with short cuts", spec, cfg.Seed, script, i, a, b)
		}
	}
	if rs.TraceHash != rf.TraceHash || len(slow) != len(fast) {
		t.Fatalf("%s, seed %d, %q: %d lines step by step, %d with short cuts", spec, cfg.Seed, script, len(slow), len(fast))
	}
	rs.Events, rf.Events = 0, 0
	if a, b := fmt.Sprintf("%+v", rs), fmt.Sprintf("%+v", rf); a[strings.Index(a, "Outage"):] != b[strings.Index(b, "Outage"):] {
		t.Errorf("%s, seed %d, %q: reports\n%s\n%s", spec, cfg.Seed, script, a, b)
	}
	for i := range ws.nodes {
		a, b := ws.nodes[i], wf.nodes[i]
		if a.alive != b.alive || a.alive && a.control.Database().Digest() != b.control.Database().Digest() {
			t.Errorf("%s, seed %d, %q: the databases of %v differ", spec, cfg.Seed, script, a.id)
		}
		if x, y := fmt.Sprintf("%+v", a.table), fmt.Sprintf("%+v", b.table); x != y {
			t.Errorf("%s, seed %d, %q: the tables of %v differ:\n%s\n%s", spec, cfg.Seed, script, a.id, x, y)
		}
	}
}

// Short cuts change nothing, whatever breaks.
func TestShortCutsChangeNothing(t *testing.T) {
	for _, k := range fault.Kinds() {
		t.Run(string(k), func(t *testing.T) {
			t.Parallel()
			same(t, "grid:3x3", "builtin:"+string(k), Config{Seed: 3, Duration: 16 * time.Second, Packet: 50 * time.Millisecond, Traffic: 4, Protect: true})
		})
	}
	t.Run("liars", func(t *testing.T) {
		t.Parallel()
		same(t, "grid:3x3", "greydrop node:r2c2 1 at 5s\ncut link:r1c1-r1c2 at 6s", Config{Seed: 3, Duration: 16 * time.Second, Packet: 50 * time.Millisecond,
			Traffic: 4, Protect: true, Liars: []mesh.NodeID{mesh.MustNodeID("r2c2"), mesh.MustNodeID("r1c3")}})
	})
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("random", seed), func(t *testing.T) {
			t.Parallel()
			m, err := topology.Builtin("geo:25:7")
			if err != nil {
				t.Fatal(err)
			}
			script := randomFaults(m, rand.New(rand.NewPCG(seed, 5)))
			same(t, "geo:25:7", script, Config{Seed: seed, Duration: 26 * time.Second, Packet: 50 * time.Millisecond, Traffic: 8, Protect: true,
				Churn: Churn{Links: 1, Nodes: 0.2, Least: time.Millisecond, Most: 4 * time.Second, From: 3 * time.Second}})
		})
	}
}

// What is measured is as long as what would be sent: a run that encodes every message counts the same bytes.
func TestControlTrafficIsCounted(t *testing.T) {
	_, r, _ := traced(t, "ring:4", "", Config{Seed: 1, Duration: 30 * time.Second, Traffic: 2})
	names := map[string]KindCount{}
	total := uint64(0)
	for _, k := range r.Kinds {
		names[k.Kind] = k
		total += k.Bytes
	}
	for _, want := range []string{"hello", "lsa", "record", "digest", "link_open", "peer_open"} {
		if names[want].Number == 0 || names[want].Bytes == 0 {
			t.Errorf("no %s was counted: %+v", want, r.Kinds)
		}
	}
	if total != r.Control {
		t.Errorf("the kinds are %d bytes together, not %d", total, r.Control)
	}
	// Two links, 20 hellos a second each, of 61 bytes.
	if h := names["hello"].Rate; h < 2000 || h > 3200 {
		t.Errorf("a node with two links says hello in %.0f bytes a second", h)
	}
}

// Churn comes at its rate, heals, and is the same for the same seed.
func TestChurn(t *testing.T) {
	cfg := Config{Seed: 2, Duration: 70 * time.Second, Packet: 100 * time.Millisecond, Traffic: 8, Protect: true,
		Churn: Churn{Links: 1, Nodes: 0.1, Least: time.Second, Most: 3 * time.Second, From: 10 * time.Second}}
	r := simulate(t, "geo:30:1", "", cfg)
	if r.Changes < 40 || r.Changes > 95 {
		t.Errorf("%d changes in 60 s at 1.1 a second", r.Changes)
	}
	if again := simulate(t, "geo:30:1", "", cfg); again.TraceHash != r.TraceHash {
		t.Error("the same churn twice gives two traces")
	}
	if r.Outages.Number == 0 || r.Outages.P50 > r.Outages.Max || r.Outages.Max > r.Outage {
		t.Errorf("outages %+v, the longest %v", r.Outages, r.Outage)
	}
	for _, bad := range []string{"links=-1", "links=NaN", "links=1e9", "rain=1", "for=3s-1s,links=1", "for=x", "nodes=", "links=1,from=-1s"} {
		if c, err := ParseChurn(bad); err == nil {
			t.Errorf("%q was read as %v", bad, c)
		}
	}
	c, err := ParseChurn("links=2,nodes=0.5,for=1s-2s,from=3s")
	if back, err2 := ParseChurn(c.String()); err != nil || err2 != nil || back != c || c.Links != 2 || c.Most != 2*time.Second || c.From != 3*time.Second {
		t.Errorf("%+v, %v, %v", c, err, err2)
	}
}

// A way of more links than a frame has labels for carries nothing, and is said to be too far; one of as many carries.
func TestTooFar(t *testing.T) {
	for _, c := range []struct{ nodes, far int }{{path.MaxLongHops + 1, 0}, {path.MaxLongHops + 2, 2}} {
		w := world(t, fmt.Sprintf("line:%d", c.nodes), "", Config{Seed: 1, Duration: 5 * time.Second, Traffic: 1})
		w.flows = w.flows[:0]
		w.addFlow(w.nodes[0], w.nodes[c.nodes-1])
		w.addFlow(w.nodes[c.nodes-1], w.nodes[0])
		r, err := w.Run()
		if err != nil || r.TooFar != c.far || (r.Delivered == 0) != (c.far > 0) {
			t.Errorf("line of %d nodes: %d flows too far, %d delivered, %v", c.nodes, r.TooFar, r.Delivered, err)
		}
	}
}

// How many events a second of rest takes is the same on every machine: a guard against losing a short cut.
func TestEventsAtRest(t *testing.T) {
	events := func(d time.Duration) uint64 {
		return simulate(t, "geo:40:1", "", Config{Seed: 1, Duration: d, Traffic: 1, Packet: time.Second}).Events
	}
	if rate := (events(20*time.Second) - events(10*time.Second)) / 10; rate > 15*40 {
		t.Errorf("%d events a second for 40 nodes at rest", rate)
	}
}
