package node

import (
	"slices"
	"testing"
	"time"

	"x0tta6bl4/core/flow"
	"x0tta6bl4/mesh"
)

// How many paths are kept changes at once, for those in use and those asked about, and the fast loop hears of it behind them.
func TestRoutingChangesPaths(t *testing.T) {
	r, conn := neighbourhood(t, Config{})
	beta := mesh.MustNodeID("beta")
	other := r.linkUp(0, beta, addr(2), 17, 100)
	labels := map[mesh.NodeID]mesh.Label{}
	for _, l := range r.Links() {
		labels[l.Neighbour] = l.Label
		r.report(l.Label, mesh.LinkUp)
	}
	r.pass(time.Second)
	r.hear(conn, alpha, 100, adjacency(self, 7, labels[alpha]), adjacency(zeta, 8, 9))
	r.hear(other, beta, 100, adjacency(self, 17, labels[beta]), adjacency(zeta, 18, 19))
	r.hear(conn, zeta, 100, adjacency(alpha, 9, 8), adjacency(beta, 19, 18))
	r.pass(time.Second)
	r.do(Wanted{Addr: mesh.Addr(domain, zeta)})
	r.pass(time.Second)
	r.takeReflex()
	if n := len(r.PathsTo(zeta).Paths); n != 2 {
		t.Fatalf("%d paths to begin with", n)
	}
	for _, step := range []struct{ k, want int }{{1, 1}, {2, 2}, {1, 1}, {0, 2}} {
		r.do(Routing{Disjoint: step.k, Protect: true, Spread: flow.SpreadOff})
		events := r.takeReflex()
		set := slices.IndexFunc(events, func(e ReflexEvent) bool { p, ok := e.(PeerSet); return ok && len(p.Paths) == step.want })
		steer := slices.Index(events, ReflexEvent(Steering{true, flow.SpreadOff}))
		if set < 0 || steer < set || len(r.PathsTo(zeta).Paths) != step.want {
			t.Errorf("%d wanted: %d paths, told %+v", step.k, len(r.PathsTo(zeta).Paths), events)
		}
	}
}

// What the fast loop is told of protection and spreading holds for the flows that there are, and for those that come.
func TestSteering(t *testing.T) {
	f := newFast(t)
	for _, l := range []mesh.Label{1, 2} {
		f.do(LinkSet{Label: l, Neighbour: alpha, Session: mesh.ConnID(l), Remote: addr(int(l)), MTU: 1452})
	}
	f.pass(time.Second)
	paths := []mesh.Path{pathBy(1000, 1, 5), pathBy(1500, 2, 6)}
	check := func(n mesh.NodeID, ways, pair int) {
		t.Helper()
		if p, _ := f.table.Peer(n); len(p.Ways) != ways || len(p.Pair) != pair {
			t.Errorf("%s: %d ways, a pair of %d; want %d and %d", n, len(p.Ways), len(p.Pair), ways, pair)
		}
	}
	f.do(PeerSet{Node: zeta, Addr: mesh.Addr(domain, zeta), Session: 21, Paths: paths})
	check(zeta, 1, 0)
	f.do(Steering{Protect: true, Spread: flow.SpreadAlways})
	f.do(PeerSet{Node: alpha, Addr: mesh.Addr(domain, alpha), Session: 22, Paths: paths})
	check(zeta, 2, 2)
	check(alpha, 2, 2)
	f.do(Steering{Spread: flow.SpreadOff})
	f.pass(2 * time.Second) // ways that are left stay for a second
	check(zeta, 1, 0)
	check(alpha, 1, 0)
}
