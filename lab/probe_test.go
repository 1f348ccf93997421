package lab

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"x0tta6bl4/api"
	"x0tta6bl4/mesh/fault"
)

const tick = time.Millisecond

// flowOf is a flow that sends every millisecond; fate returns when a probe arrives, 0 = never.
func flowOf(n int, fate func(seq int, sent time.Duration) time.Duration) *Flow {
	f := &Flow{from: id("a"), to: id("b")}
	for i := range n {
		sent := time.Duration(i+1) * tick
		f.sent, f.got = append(f.sent, sent), append(f.got, fate(i, sent))
	}
	return f
}

func TestLook(t *testing.T) {
	const latency = 10 * tick
	fine := func(_ int, sent time.Duration) time.Duration { return sent + latency }
	hole := func(from, to int) func(int, time.Duration) time.Duration {
		return func(seq int, sent time.Duration) time.Duration {
			if seq >= from && seq < to {
				return 0
			}
			return sent + latency
		}
	}
	for name, c := range map[string]struct {
		f    *Flow
		want Window
	}{
		"nothing lost":   {flowOf(3000, fine), Window{2000, 0, 0, 1}},
		"100 lost":       {flowOf(3000, hole(1500, 1600)), Window{2000, 100, 100 * tick, 1}},
		"never again":    {flowOf(3000, hole(1500, 3000)), Window{2000, 1500, 1488 * tick, 0}},
		"from the start": {flowOf(3000, hole(999, 1100)), Window{2000, 101, 101 * tick, 1}},
		"before it":      {flowOf(3000, hole(500, 600)), Window{2000, 0, 0, 1}},
		"a slower path":  {flowOf(3000, func(q int, s time.Duration) time.Duration { return s + latency + time.Duration(q/2000)*30*tick }), Window{2000, 0, 30 * tick, 1}},
		"a frozen relay": {flowOf(3000, func(q int, s time.Duration) time.Duration {
			if q >= 1500 {
				return max(s, 3000*tick) + latency
			}
			return s + latency
		}), Window{2000, 0, 1489 * tick, 0}},
		"held until it was mended": {flowOf(3000, func(q int, s time.Duration) time.Duration {
			if q >= 1500 && q < 1503 {
				return 3050 * tick
			}
			return s + latency
		}), Window{2000, 0, 3 * tick, 1}},
		// What waited in a frozen relay comes when it wakes, long after the mesh left it: the gap is until it was left.
		"a relay left after 150 ms": {flowOf(3000, func(q int, s time.Duration) time.Duration {
			if q >= 1500 && q < 1650 {
				return 3000*tick + latency
			}
			return s + latency
		}), Window{2000, 0, 150 * tick, 1}},
		"frozen as the window began": {flowOf(3000, func(q int, s time.Duration) time.Duration {
			if q >= 980 && q < 1150 {
				return 3000*tick + latency
			}
			return s + latency
		}), Window{2000, 0, 160 * tick, 1}},
		"half of the end": {flowOf(3000, hole(2750, 3000)), Window{2000, 250, 238 * tick, 0.5}},
	} {
		got := c.f.Look(1000*tick, 3000*tick)
		if got.Sent != c.want.Sent || got.Lost > c.want.Lost || got.Lost < c.want.Lost-10 || got.Outage != c.want.Outage ||
			got.Tail < c.want.Tail-0.01 || got.Tail > c.want.Tail+0.01 {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

func TestReturned(t *testing.T) {
	lost := func(from, to int) *Flow {
		return flowOf(3000, func(seq int, sent time.Duration) time.Duration {
			if seq >= from && seq < to {
				return 0
			}
			return sent + tick
		})
	}
	for f, want := range map[*Flow]bool{lost(0, 0): true, lost(1000, 3000): false, lost(1000, 1100): true, lost(1000, 1600): true,
		lost(1000, 2400): true, lost(1000, 2600): false} {
		if f.returned(1000*tick, 3000*tick) != want {
			t.Errorf("%d of %d: %v", len(f.got), len(f.sent), !want)
		}
	}
}

func TestDuplicatesCountOnce(t *testing.T) {
	f := flowOf(3, func(int, time.Duration) time.Duration { return 0 })
	f.first = make(chan struct{})
	f.arrived(1, 5*tick)
	f.arrived(1, 9*tick)
	f.arrived(7, 9*tick)
	if f.got[1] != 5*tick || f.latency() != 4*tick {
		t.Errorf("%v, latency %s", f.got, f.latency())
	}
}

func TestJudgeAndAvailability(t *testing.T) {
	l := &Lab{m: mapOf("a-b", "b-c", "c-a")}
	lost := func(from, to int) *Flow {
		return flowOf(4000, func(seq int, sent time.Duration) time.Duration {
			if seq >= from && seq < to {
				return 0
			}
			return sent + tick
		})
	}
	there, back := lost(1000, 1200), lost(1000, 1100)
	back.from, back.to = there.to, there.from
	v := victim{fault: Fault{Kind: fault.Cut, Target: Target{A: id("a"), B: id("b")}}, pairs: []pair{{id("a"), id("b")}},
		from: 1000 * tick, to: 4000 * tick, existed: true, expected: 1}
	r := v.judge(0, 0, []*Flow{there, back})
	if !r.Recovered || r.Lost != 300 || r.Sent != 6000 || r.Outage.Duration() != 200*tick || r.At.Duration() != time.Second {
		t.Errorf("%+v", r)
	}
	v.existed = false
	if r := v.judge(0, 0, []*Flow{there, back}); r.Recovered || r.PathExisted {
		t.Errorf("without a path: %+v", r)
	}
	epochs := []epoch{{0, damage{}}, {1001 * tick, damage{links: []int{0, 2}}}, {1201 * tick, damage{links: []int{0}}}}
	a := l.available([]*Flow{there, back}, 0, epochs)
	if a.WithPath != 1 || a.Raw < 0.962 || a.Raw > 0.963 {
		t.Errorf("availability %+v", a)
	}
}

func TestReportNamesAreStable(t *testing.T) {
	r := Report{Topology: "x", Nodes: 9, Links: 12, Pairs: 72, PairsReachable: 72, Converged: api.Millis(1234567 * time.Microsecond),
		FirstPacket: FirstHand{P50: api.Millis(50 * tick), P99: api.Millis(90 * tick)},
		Faults:      []FaultReport{{Kind: fault.Cut, Target: "link:a-b", Outage: api.Millis(80 * tick), Lost: 80, Sent: 16000, Recovered: true, PathExisted: true}}}
	b, err := json.Marshal(&r)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"nodes":9`, `"links":12`, `"pairs":72`, `"pairs_reachable":72`, `"converged_ms":1234.567`,
		`"first_packet_ms":{"p50":50,"p99":90`, `"kind":"cut","target":"link:a-b"`, `"outage_ms":80,"lost":80,"sent":16000,"recovered":true,"path_existed":true`} {
		if !strings.Contains(string(b), want) {
			t.Errorf("%s lacks %s", b, want)
		}
	}
	var out bytes.Buffer
	if err := r.Text(&out); err != nil || !strings.Contains(out.String(), "72 of 72") || !strings.Contains(out.String(), "80 ms") {
		t.Errorf("%v: %s", err, out.String())
	}
}

func TestPercentile(t *testing.T) {
	ds := []time.Duration{5, 1, 4, 2, 3}
	for p, want := range map[float64]time.Duration{50: 3, 99: 5, 20: 1, 0: 1} {
		if got := percentile(ds, p); got != want {
			t.Errorf("p%v = %d, want %d", p, got, want)
		}
	}
	if percentile(nil, 50) != 0 {
		t.Error("of nothing")
	}
}

func TestView(t *testing.T) {
	var out bytes.Buffer
	v := &view{out: &out, began: time.Now()}
	v.draw([]string{"block"})
	if _, err := v.Write([]byte("lab: one\nlab: two\n")); err != nil {
		t.Fatal(err)
	}
	if s := out.String(); strings.Contains(s, "block") || strings.Contains(s, "\x1b") || strings.Count(s, "\n") != 2 || strings.Contains(s, "lab:") {
		t.Errorf("without a terminal: %q", s)
	}
	out.Reset()
	v.tty = true
	v.draw([]string{"one", "two"})
	v.say("line")
	if s := out.String(); !strings.Contains(s, "two\n\x1b[2F\x1b[J") || !strings.HasSuffix(s, "line\n") {
		t.Errorf("on a terminal: %q", s)
	}
	if got := clip("\x1b[31mabcdef\x1b[0mgh", 3); got != "\x1b[31mabc\x1b[0m" {
		t.Errorf("clipped to %q", got)
	}
	if bar(0.5, 4) != "[##--]" || bar(9, 2) != "[##]" {
		t.Error("bar")
	}
}
