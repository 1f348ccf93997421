package dataplane

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// quotes notes what a relay that sees a's data frames to a node could quote of them.
func (n *testNet) quotes(a *testNode, by string) *[][wire.QuoteLen]byte {
	seen := new([][wire.QuoteLen]byte)
	n.tap = func(from, to *testNode, b []byte) int {
		if f, err := wire.ParseFrame(b); err == nil && from == a && f.Type == wire.TypeData && to == n.nodes[by] {
			*seen = append(*seen, wire.QuoteOf(f.Payload))
		}
		return 1
	}
	return seen
}

// tell has a neighbour of a's send it an error.
func (n *testNet) tell(from string, by mesh.Label, e wire.ErrorFrame) {
	p := n.nodes[from].plane
	p.emit(p.view.Load().links[by], wire.AppendFrame(nil, wire.TypeError, 0, nil, e.Append(nil)))
}

// However many packets were sent since, an error is matched, at 450,000 packets a second and a round trip of 100 ms too.
func TestErrorsMatchAtFullSpeed(t *testing.T) {
	n, a, d := diamond(t)
	seen := n.quotes(a, "b")
	a.sendTo(d, 100)
	n.tap = func(_, _ *testNode, _ []byte) int { return 0 }
	for range 45_000/40 + 1 {
		a.sendLarge(largeTCP(a, d, 40*1000, 1000))
		n.now = n.now.Add(100 * time.Millisecond / (45_000 / 40))
	}
	n.tap = func(_, _ *testNode, _ []byte) int { return 1 }
	n.tell("b", 2, wire.ErrorFrame{Code: wire.ErrorLinkDown, Label: 5, Quote: (*seen)[0]})
	if len(a.matches) != 1 || !a.matches[0].Path.Same(a.entry(d).Ways[0].Path) {
		t.Fatalf("matches %v", a.matches)
	}
}

// What may be quoted is recent, whether or not something was sent since.
func TestOldSendsAreNotMatched(t *testing.T) {
	for name, busy := range map[string]bool{"idle since": false, "busy since": true} {
		for age, want := range map[time.Duration]int{quoteAge: 1, 2*quoteAge - time.Millisecond: 1, 2*quoteAge + time.Millisecond: 0, time.Hour: 0} {
			n, a, d := diamond(t)
			seen := n.quotes(a, "b")
			a.sendTo(d, 100)
			first := (*seen)[0]
			for begin := n.now; n.now.Sub(begin) < age; {
				n.now = n.now.Add(min(100*time.Millisecond, age-n.now.Sub(begin)))
				if busy && n.now.Sub(begin) < 10*time.Second {
					a.sendTo(d, 100)
				}
			}
			n.tell("b", 2, wire.ErrorFrame{Code: wire.ErrorLinkDown, Label: 5, Quote: first})
			if len(a.matches) != want {
				t.Errorf("%s: %d errors believed after %v, want %d", name, len(a.matches), age, want)
			}
		}
	}
}

// What is yet to be sent cannot be quoted, even by who knows how it will be sealed.
func TestFutureSendsAreNotMatched(t *testing.T) {
	n, a, d := diamond(t)
	s := a.plane.view.Load().byNode[d.id].session
	header := wire.Inner{Path: 1}.Append(nil)
	for _, ahead := range []uint64{0, 1, 1 << 30} {
		a.sendTo(d, 100)
		c := s.counter.Load()
		e := wire.ErrorFrame{Code: wire.ErrorLinkDown, Label: 5, Quote: wire.QuoteOf(wire.SealData(nil, s.seal.sealing(c, 1), s.tx.value(), c+ahead, header))}
		n.tell("b", 2, e)
		a.wantCount("error_received", 0)
	}
}

// A copy, and a protected packet, can be quoted by both paths, by each for itself; what went by one only cannot by the
// other.
func TestErrorsMatchThePathThatCarried(t *testing.T) {
	byB := wire.ErrorFrame{Code: wire.ErrorLinkDown, Label: 5}
	byC := wire.ErrorFrame{Code: wire.ErrorLinkSuspect, Label: 9, Hop: 1}
	for _, tt := range []struct {
		name    string
		prepare func(a, d *testNode)
		want    int // of the errors by b and by c
	}{
		{"one path", func(a, d *testNode) { x, _ := twoWays(a, d); a.shares(d, x) }, 1},
		{"a copy", func(a, d *testNode) { a.doubtWay(d) }, 2},
		{"protected", func(a, d *testNode) { a.protect(d); a.withRules("all") }, 2},
		{"spread", func(a, d *testNode) { x, y := twoWays(a, d); y.Share = 0; a.shares(d, x, y) }, 1},
	} {
		n, a, d := diamond(t)
		tt.prepare(a, d)
		seen := n.quotes(a, "b")
		a.sendTo(d, 100)
		byB.Quote, byC.Quote = (*seen)[0], (*seen)[0]
		for range 2 {
			n.tell("b", 2, byB)
			n.tell("c", 4, byC)
		}
		if len(a.matches) != tt.want {
			t.Errorf("%s: %d errors believed, want %d", tt.name, len(a.matches), tt.want)
		}
		for i, m := range a.matches {
			if by := []mesh.Label{1, 3}[i]; m.Path.Labels[0] != by || m.Node != d.id {
				t.Errorf("%s: error %d is about %v", tt.name, i, m.Path.Labels)
			}
		}
	}
}

// A path that packets have left can be named as long as what it carried can be quoted.
func TestErrorsAboutThePathBefore(t *testing.T) {
	n, a, d := diamond(t)
	x, y := twoWays(a, d)
	y.Number = x.Number // as it may be by the next
	a.shares(d, x)
	seen := n.quotes(a, "b")
	a.sendTo(d, 100)
	a.shares(d, y)
	n.tell("b", 2, wire.ErrorFrame{Code: wire.ErrorLinkDown, Label: 5, Quote: (*seen)[0]})
	if len(a.matches) != 1 || !a.matches[0].Path.Same(x.Path) {
		t.Errorf("matches %v", a.matches)
	}
	n.now = n.now.Add(2 * quoteAge)
	seen = n.quotes(a, "c")
	a.sendTo(d, 100)
	n.tell("b", 2, wire.ErrorFrame{Code: wire.ErrorLinkDown, Label: 5, Quote: (*seen)[0]})
	if len(a.matches) != 1 {
		t.Error("a path is remembered for ever")
	}
}

// An error about a probe is matched, though nothing else goes by its path.
func TestErrorsAboutProbesMatch(t *testing.T) {
	n, a, d := diamond(t)
	x, y := twoWays(a, d)
	a.shares(d, x)
	n.now = n.now.Add(2 * quoteAge)
	seen := n.quotes(a, "c")
	if err := a.plane.SendProbe(d.id, y.Path, wire.Probe{ID: 1}, false); err != nil {
		t.Fatal(err)
	}
	n.tell("c", 4, wire.ErrorFrame{Code: wire.ErrorLinkDown, Label: 7, Quote: (*seen)[0]})
	if len(a.matches) != 1 || !a.matches[0].Path.Same(y.Path) {
		t.Errorf("matches %v", a.matches)
	}
	// A probe by a path of the table does not have it forgotten.
	if err := a.plane.SendProbe(d.id, x.Path, wire.Probe{ID: 2}, false); err != nil {
		t.Fatal(err)
	}
	n.now = n.now.Add(time.Minute)
	seen = n.quotes(a, "b")
	a.sendTo(d, 100)
	n.tell("b", 2, wire.ErrorFrame{Code: wire.ErrorLinkDown, Label: 5, Quote: (*seen)[0]})
	a.wantCount("error_received", 2)
}

// A relay that knows index and counters, but has not seen what it quotes, is not believed; how often it may guess is bounded, and
// who quotes for another session is heard meanwhile.
func TestGuessedQuotesAreNotBelieved(t *testing.T) {
	n, a, d := diamond(t)
	b := n.nodes["b"]
	n.session("a", "b")
	n.route("a", 1, "b")
	seen := n.quotes(a, "b")
	a.sendTo(b, 100)
	a.sendTo(d, 100)
	toB, toD := (*seen)[0], (*seen)[1]
	n.tap = func(_, _ *testNode, _ []byte) int { return 1 }
	r := rand.New(rand.NewPCG(5, 6))
	e := wire.ErrorFrame{Code: wire.ErrorLinkDown, Label: 5, Quote: toD}
	const guesses = 100_000
	for range guesses {
		binary.BigEndian.PutUint32(e.Quote[12:], r.Uint32())
		n.tell("b", 2, e)
	}
	a.wantCount("error_received", 0)
	a.wantCount("error_unmatched", toldBurst)
	a.wantCount("error_flood", guesses-toldBurst)
	n.tell("b", 2, wire.ErrorFrame{Code: wire.ErrorNoSession, Quote: toB})
	a.wantCount("error_received", 1)
	n.now = n.now.Add(time.Second)
	e.Quote = toD
	n.tell("b", 2, e)
	a.wantCount("error_received", 2)
}

// Whatever tables and probes come, so many paths are remembered, and those of the table among them.
func TestRecallIsBounded(t *testing.T) {
	n, a, d := diamond(t)
	x, y := twoWays(a, d)
	n.tap = func(_, _ *testNode, _ []byte) int { return 0 }
	for i := range 1000 {
		p := x.Path
		p.Nodes, p.Labels = append(p.Nodes[:2:2], d.id), []mesh.Label{1, mesh.Label(1000 + i)}
		a.shares(d, mesh.Way{Path: p})
		q := p
		q.Labels = []mesh.Label{1, mesh.Label(5000 + i)}
		if err := a.plane.SendProbe(d.id, q, wire.Probe{ID: 1}, false); err != nil {
			t.Fatal(err)
		}
	}
	a.shares(d, x, y)
	r := &a.plane.view.Load().peerStates[d.id].recall
	kept := map[mesh.Label]bool{}
	for _, u := range r.used {
		if u.until == 0 {
			kept[u.path.Labels[0]] = true
		}
	}
	if len(r.used) > usedPaths || len(kept) != 2 {
		t.Errorf("%d paths, of the table %v", len(r.used), kept)
	}
	n.now = n.now.Add(time.Minute)
	a.shares(d, x)
	seen := n.quotes(a, "b")
	a.sendTo(d, 100)
	n.tell("b", 2, wire.ErrorFrame{Code: wire.ErrorLinkDown, Label: 5, Quote: (*seen)[0]})
	a.wantCount("error_received", 1)
}
