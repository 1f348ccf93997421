package node

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"x0tta6bl4/core/flow"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// twoRows is a node that wants zeta, which it has two ways to, alpha-gamma and beta-delta; alpha is linked with delta too, and
// beta with gamma.
func twoRows(t *testing.T) (r *scene, conn mesh.ConnID) {
	t.Helper()
	r = newScene(t, Config{})
	alpha, beta := mesh.MustNodeID("alpha"), mesh.MustNodeID("beta")
	gamma, delta := mesh.MustNodeID("gamma"), mesh.MustNodeID("delta")
	conn = r.linkUp(0, alpha, addr(1), 11, 1)
	r.linkUp(0, beta, addr(2), 21, 1)
	labels := map[mesh.NodeID]mesh.Label{}
	for _, l := range r.links {
		labels[l.neighbour] = l.label
		r.report(l.label, mesh.LinkUp)
	}
	r.hear(conn, alpha, 1, adjacency(self, 11, labels[alpha]), adjacency(gamma, 12, 31), adjacency(delta, 13, 41))
	r.hear(conn, beta, 1, adjacency(self, 21, labels[beta]), adjacency(gamma, 22, 32), adjacency(delta, 23, 42))
	r.hear(conn, gamma, 1, adjacency(alpha, 31, 12), adjacency(beta, 32, 22), adjacency(zeta, 33, 51))
	r.hear(conn, delta, 1, adjacency(alpha, 41, 13), adjacency(beta, 42, 23), adjacency(zeta, 43, 52))
	r.hear(conn, zeta, 1, adjacency(gamma, 51, 33), adjacency(delta, 52, 43))
	r.pass(time.Second)
	r.do(Wanted{Addr: mesh.Addr(domain, zeta)})
	if set := r.offered(); len(set.Paths) != 2 || len(set.Byways) != 0 {
		t.Fatalf("offered %+v", set)
	}
	return r, conn
}

// offered returns what the fast loop was told last of the paths to zeta, the zero value if nothing since the last call.
func (r *scene) offered() (set PeerSet) {
	for _, ev := range r.takeReflex() {
		if p, ok := ev.(PeerSet); ok && p.Node == zeta {
			set = p
		}
	}
	return set
}

func (r *scene) fail(paths ...mesh.Path) {
	r.Helper()
	r.do(PathsFail{Node: zeta, Paths: paths})
}

// When all paths fail, and not before, a byway is offered that is none of them; when it fails too, another one. They go when a
// path of the set has done for two minutes.
func TestBywaysComeAndGo(t *testing.T) {
	r, _ := twoRows(t)
	set := r.peer(zeta).paths
	r.fail(set[0])
	if got := r.offered(); got.Node == zeta {
		t.Fatalf("told %+v though a path does", got)
	}
	r.fail(set...)
	r.pass(bywayAfter - time.Millisecond)
	r.fail(set[1]) // the other end had no time
	r.fail(set...)
	r.pass(bywayAfter - time.Millisecond)
	if got := r.offered(); got.Node == zeta {
		t.Fatalf("told %+v at once", got)
	}
	r.pass(time.Millisecond)
	first := r.offered()
	if len(first.Paths) != 2 || len(first.Byways) != 1 || slices.ContainsFunc(set, first.Byways[0].Same) || len(first.Byways[0].Nodes) != 4 {
		t.Fatalf("offered %+v", first)
	}
	r.fail(append(slices.Clone(set), first.Byways[0])...)
	second := r.offered()
	if len(second.Byways) != 2 || !second.Byways[0].Same(first.Byways[0]) || second.Byways[1].Same(first.Byways[0]) {
		t.Fatalf("offered %+v", second)
	}
	r.fail(set[1], first.Byways[0])
	r.pass(failedLife - time.Second)
	if got := r.offered(); got.Node == zeta {
		t.Fatalf("told %+v before the time", got)
	}
	r.pass(2 * time.Second)
	if got := r.offered(); got.Node != zeta || len(got.Byways) != 0 || len(got.Paths) != 2 {
		t.Errorf("offered %+v when the time was over", got)
	}
	if b := r.peer(zeta).byways; len(b.failed)+len(b.failing) != 0 {
		t.Errorf("remembered %+v", b)
	}
}

// A path of the set that fails again keeps the byways.
func TestBywaysStayWhileTheSetIsUnsteady(t *testing.T) {
	r, _ := twoRows(t)
	set := r.peer(zeta).paths
	r.fail(set...)
	r.pass(bywayAfter)
	r.offered()
	for range 10 {
		r.do(Wanted{Addr: mesh.Addr(domain, zeta)})
		r.fail(set[0])
		r.pass(failedLife * 3 / 4)
		r.fail(set...)
		r.pass(time.Second)
	}
	if got := r.offered(); got.Node == zeta {
		t.Errorf("told %+v", got)
	}
	if b := r.peer(zeta).byways; len(b.paths) != 1 {
		t.Errorf("byways %+v", b.paths)
	}
}

// However much fails, two byways are offered at most, some at once and then fewer and fewer.
func TestBywaysAreBounded(t *testing.T) {
	r := newScene(t, Config{})
	conn := r.linkUp(0, alpha, addr(1), 99, 1)
	own := r.links[0].label
	r.report(own, mesh.LinkUp)
	const relays = 40
	fromAlpha, fromZeta := []mesh.Adjacency{adjacency(self, 99, own)}, []mesh.Adjacency{}
	for i := mesh.Label(1); i <= relays; i++ {
		n := mesh.MustNodeID(fmt.Sprint("relay", i))
		r.hear(conn, n, 1, adjacency(alpha, 1, i), adjacency(zeta, 2, i))
		fromAlpha, fromZeta = append(fromAlpha, adjacency(n, i, 1)), append(fromZeta, adjacency(n, i, 2))
	}
	r.hear(conn, alpha, 1, fromAlpha...)
	r.hear(conn, zeta, 1, fromZeta...)
	r.pass(time.Second)
	r.do(Wanted{Addr: mesh.Addr(domain, zeta)})
	r.offered()
	var told []int // in each minute
	for range 10 {
		told = append(told, 0)
		for range 600 {
			p := r.peer(zeta)
			r.fail(p.offered()...)
			r.do(Wanted{Addr: mesh.Addr(domain, zeta)})
			r.pass(100 * time.Millisecond)
			if got := r.offered(); got.Node == zeta {
				told[len(told)-1]++
			}
			if n := len(p.byways.paths); n > maxByways || len(p.byways.failed) > maxFailed {
				t.Fatalf("%d byways, %d failed paths remembered", n, len(p.byways.failed))
			}
		}
	}
	t.Logf("byways in each minute: %v", told)
	if told[0] < quickByways || told[0] > quickByways+8 || slices.Max(told[2:]) > 2 || slices.Max(told[2:]) == 0 {
		t.Errorf("byways in each minute: %v", told)
	}
}

// A byway whose link goes away goes with it, and one that the set comes to have is no byway any more.
func TestBywaysFollowTheTopology(t *testing.T) {
	r, conn := twoRows(t)
	set := r.peer(zeta).paths
	r.fail(set...)
	r.pass(bywayAfter)
	byway := r.offered().Byways[0]
	first, second := byway.Nodes[1], byway.Nodes[2]
	var links []mesh.Adjacency
	for _, a := range r.lastHeard(first) {
		if a.Neighbour != second {
			links = append(links, a)
		}
	}
	r.hear(conn, first, 1, links...)
	r.pass(spfPause)
	got := r.offered()
	if got.Node != zeta || slices.ContainsFunc(got.Byways, byway.Same) {
		t.Errorf("offered %+v without the link from %v to %v", got, first, second)
	}
	if len(got.Byways) != 1 {
		t.Errorf("%d byways: all other paths fail as before", len(got.Byways))
	}
}

// lastHeard returns the links that a node announced last.
func (r *scene) lastHeard(n mesh.NodeID) (links []mesh.Adjacency) {
	for _, e := range r.charted.edges {
		if e.From == n {
			links = append(links, adjacency(e.To, e.Label, e.Remote))
		}
	}
	return links
}

// What the fast loop says of a destination that is not in use any more is nothing.
func TestPathsOfNobodyFail(t *testing.T) {
	r, _ := twoRows(t)
	r.do(PathsFail{Node: mesh.MustNodeID("alpha"), Paths: r.peer(zeta).paths})
	if got := r.offered(); got.Node == zeta {
		t.Errorf("told %+v", got)
	}
}

// The fast loop says which paths fail when that changes, and offers byways to the flow.
func TestReflexTellsWhatFails(t *testing.T) {
	f := newFast(t)
	f.do(linkSet(1, alpha, 11))
	f.do(linkSet(2, beta, 12))
	set := PeerSet{Node: zeta, Addr: mesh.Addr(domain, zeta), Session: 21, Paths: []mesh.Path{pathBy(1000, 1, 5)}}
	f.do(set)
	f.pass(time.Second)
	f.reports = nil
	for range 20 {
		f.do(Sending{Node: zeta})
		f.pass(50 * time.Millisecond)
	}
	said := func() (n int, last PathsFail) {
		for _, ev := range f.reports {
			if p, ok := ev.(PathsFail); ok {
				n, last = n+1, p
			}
		}
		return n, last
	}
	if n, last := said(); n != 1 || last.Node != zeta || len(last.Paths) != 1 || !last.Paths[0].Same(set.Paths[0]) {
		t.Fatalf("said %d times, last %+v", n, last)
	}
	set.Byways = []mesh.Path{pathBy(3000, 2, 6)}
	f.do(set)
	if f.inUse() != 2 {
		t.Errorf("packets leave by %d", f.inUse())
	}
	f.do(PathError{Node: zeta, Path: set.Byways[0], Code: wire.ErrorLinkDown})
	if n, _ := said(); n != 1 {
		t.Error("an error frame alone is told")
	}
}

// While all paths to all destinations fail by all own links byways wait for a second, once in ten; if it was a stall none is looked for.
func TestBywaysWaitWhereAllFails(t *testing.T) {
	r, _ := twoRows(t)
	set := r.peer(zeta).paths
	want := func(n int, what string) {
		t.Helper()
		if got := r.searched(zeta); got != n {
			t.Fatalf("%d searches %s, want %d", got, what, n)
		}
	}
	r.do(AllFail{true})
	r.fail(set...)
	r.pass(sunkWait - 2*time.Millisecond)
	want(0, "in a stall")
	r.do(AllFail{false})
	r.pass(bywayAfter - time.Millisecond)
	r.fail()
	r.pass(time.Minute)
	want(0, "after a stall")
	r.do(Wanted{Addr: mesh.Addr(domain, zeta)})
	r.do(AllFail{true})
	r.fail(set...)
	r.pass(sunkWait - 2*time.Millisecond)
	want(0, "in another stall")
	r.do(AllFail{false}) // other destinations are reached, this one is not
	r.pass(bywayAfter)
	want(1, "when it was no stall")
	r.do(AllFail{true}) // again, at once
	r.fail(r.peer(zeta).offered()...)
	want(2, "in what goes on for long")
	r, _ = twoRows(t)
	r.do(AllFail{true})
	r.fail(r.peer(zeta).paths...)
	r.pass(sunkWait)
	want(1, "after a second")
}

// The one uplink stalls, and loses what was sent: all destinations fail at once, for a moment. It is told, and when it is over; not so
// where one of them is reached, or where there is a link that carries nothing.
func TestReflexTellsWhenAllFails(t *testing.T) {
	other := pathBy(1000, 1, 6)
	other.Nodes = []mesh.NodeID{self, alpha, beta}
	for _, tt := range []struct {
		name     string
		reached  bool
		idleLink bool
		want     []ControlEvent
	}{
		{"a stall", false, false, []ControlEvent{AllFail{true}, AllFail{false}}},
		{"one is reached", true, false, nil},
		{"another link", false, true, nil},
	} {
		f := newFast(t)
		f.do(linkSet(1, alpha, 11))
		if tt.idleLink {
			f.do(linkSet(2, beta, 12))
		}
		f.do(PeerSet{Node: zeta, Session: 21, Paths: []mesh.Path{pathBy(1000, 1, 5)}})
		f.do(PeerSet{Node: beta, Session: 22, Paths: []mesh.Path{other}})
		f.pass(time.Second)
		var sent, lost uint32
		var said []ControlEvent
		for i := range 100 {
			stalls := i >= 20 && i < 26
			f.probes, f.reports = nil, nil
			f.do(Sending{Node: zeta})
			f.do(Sending{Node: beta})
			if sent += 10; stalls {
				lost += 10
			}
			f.pass(50 * time.Millisecond)
			for _, p := range f.probes {
				n := lost
				if tt.reached && p.Node == beta {
					n = 0
				} else if stalls {
					continue
				}
				f.do(ProbeAnswered{Node: p.Node, ID: p.ID, Counts: flow.Counts{Known: true, Series: 1, Sent: sent, Received: sent - n}})
			}
			for _, ev := range f.reports {
				if a, ok := ev.(AllFail); ok {
					said = append(said, a)
				}
			}
		}
		if !slices.Equal(said, tt.want) {
			t.Errorf("%s: said %v, want %v", tt.name, said, tt.want)
		}
	}
}

// searched returns how many byways were looked for since the last one that was found for a destination, and how many were found.
func (r *scene) searched(n mesh.NodeID) int {
	b := r.peer(n).byways
	return b.found + b.none
}

// Where the topology changes each second, and there is no byway, it is looked for as rarely as if it did not: at first after
// seconds, then once a minute.
func TestBywaysAreBoundedWhereTheTopologyChanges(t *testing.T) {
	r := newScene(t, Config{})
	conn := r.linkUp(0, alpha, addr(1), 99, 1)
	own := r.links[0].label
	r.report(own, mesh.LinkUp)
	r.hear(conn, alpha, 1, adjacency(self, 99, own), adjacency(zeta, 1, 1))
	r.hear(conn, zeta, 1, adjacency(alpha, 1, 1))
	r.pass(time.Second)
	r.do(Wanted{Addr: mesh.Addr(domain, zeta)})
	var made []int // in each minute
	for minute := range 6 {
		before := r.searched(zeta)
		for second := range 60 {
			p := r.peer(zeta)
			r.fail(p.offered()...)
			r.do(Wanted{Addr: mesh.Addr(domain, zeta)})
			changed := adjacency(alpha, 1, 1)
			changed.Cost += mesh.Cost(1000 * (1 + (60*minute+second)%2))
			r.hear(conn, zeta, 1, changed)
			r.pass(time.Second)
		}
		made = append(made, r.searched(zeta)-before)
	}
	if made[0] < 5 || made[0] > 7 || slices.Max(made[1:]) > 2 || slices.Min(made[1:]) == 0 {
		t.Errorf("searches in each minute: %v", made)
	}
}

// A link of our own makes all destinations fail at once: few byways are looked for in a turn, and in the end one for each.
func TestSearchesOfATurn(t *testing.T) {
	r := newScene(t, Config{})
	conn := r.linkUp(0, alpha, addr(1), 99, 1)
	own := r.links[0].label
	r.report(own, mesh.LinkUp)
	const many = 5 * turnSearches
	fromAlpha, nodes := []mesh.Adjacency{adjacency(self, 99, own)}, []mesh.NodeID{}
	for i := mesh.Label(1); i <= many; i++ {
		n := mesh.MustNodeID(fmt.Sprint("far", i))
		r.hear(conn, n, 1, adjacency(alpha, 1, i))
		fromAlpha, nodes = append(fromAlpha, adjacency(n, i, 1)), append(nodes, n)
	}
	r.hear(conn, alpha, 1, fromAlpha...)
	r.pass(time.Second)
	for _, n := range nodes {
		r.do(Wanted{Addr: mesh.Addr(domain, n)})
	}
	for _, n := range nodes {
		r.do(PathsFail{Node: n, Paths: r.peer(n).paths})
	}
	made := func() (sum int) {
		for _, n := range nodes {
			sum += r.searched(n)
		}
		return sum
	}
	r.pass(bywayAfter)
	for want := turnSearches; want <= many; want += turnSearches {
		r.do(PathsFail{Node: nodes[many-1], Paths: r.peer(nodes[many-1]).paths})
		r.pass(bywayTurn - time.Millisecond)
		if got := made(); got != want {
			t.Fatalf("%d searches, want %d", got, want)
		}
		r.pass(time.Millisecond)
	}
}
