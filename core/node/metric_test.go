package node

import (
	"slices"
	"testing"
	"time"

	"x0tta6bl4/core/lsdb"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// twoWays returns a node with links to alpha and beta, behind each of which zeta is, and our labels of the two.
func twoWays(t *testing.T, cfg Config) (r *scene, toAlpha, toBeta mesh.Label) {
	t.Helper()
	r = newScene(t, cfg)
	labels := map[mesh.NodeID]mesh.Label{}
	var conns []mesh.ConnID
	for i, n := range []mesh.NodeID{alpha, beta} {
		r.conn++
		r.do(ConnUp{Conn: r.conn, Purpose: wire.PurposeLink, Peer: n, Remote: addr(i + 1), MTU: 1452, Via: "eth" + string(rune('0'+i)),
			NotAfter: r.at.Add(24 * time.Hour)})
		r.do(Received{Conn: r.conn, Message: wire.LinkOpen{Version: 1, Index: 1, Label: 7, Hello: time.Second, MTU: 1452, Boot: 100}})
		conns = append(conns, r.conn)
	}
	for _, l := range r.Links() {
		labels[l.Neighbour] = l.Label
		r.report(l.Label, mesh.LinkUp)
	}
	r.pass(time.Second)
	r.hear(conns[0], alpha, 100, adjacency(self, 7, labels[alpha]), adjacency(zeta, 8, 9))
	r.hear(conns[1], beta, 100, adjacency(self, 7, labels[beta]), adjacency(zeta, 8, 19))
	r.hear(conns[0], zeta, 100, adjacency(alpha, 9, 8), adjacency(beta, 19, 8))
	r.pass(time.Second)
	return r, labels[alpha], labels[beta]
}

// measured reports a link that is up, and lets what follows from it be announced.
func (r *scene) measured(l mesh.Label, s mesh.LinkStatus) {
	r.Helper()
	s.Since = r.at
	r.do(LinkReport{Label: l, Status: s})
	r.pass(time.Minute)
}

// A POOR link carries packets only if there is nothing fair, however cheap it is, and a BAD one only if there is nothing
// poor either; but then it does.
func TestWeakLinksServeForWantOfBetter(t *testing.T) {
	r, toAlpha, toBeta := twoWays(t, Config{})
	status := func(q mesh.Quality, cost mesh.Cost) mesh.LinkStatus {
		return mesh.LinkStatus{State: mesh.LinkUp, Quality: q, Cost: cost, MTU: 1452}
	}
	for _, c := range []struct {
		name        string
		alpha, beta mesh.LinkStatus
		want        mesh.Label
	}{
		{"both good", status(mesh.Good, 1000), status(mesh.Good, 40000), toAlpha},
		{"cheap but poor", status(mesh.Poor, 1000), status(mesh.Fair, 40000), toBeta},
		{"both poor", status(mesh.Poor, 1000), status(mesh.Poor, 40000), toAlpha},
		{"cheap but bad", status(mesh.Bad, 1000), status(mesh.Poor, 40000), toBeta},
		{"poor and alone", status(mesh.Poor, 1000), mesh.LinkStatus{State: mesh.LinkDown}, toAlpha},
		{"bad and alone", mesh.LinkStatus{State: mesh.LinkDown}, status(mesh.Bad, 900000), toBeta},
	} {
		r.measured(toAlpha, c.alpha)
		r.measured(toBeta, c.beta)
		r.do(Wanted{Addr: mesh.Addr(domain, zeta)})
		var last PeerSet
		for _, ev := range r.reflex {
			if p, ok := ev.(PeerSet); ok && p.Node == zeta {
				last = p
			}
		}
		if len(last.Paths) == 0 || last.Paths[0].Labels[0] != c.want {
			t.Errorf("%s: the fast loop was given %v, want one by %d first", c.name, last.Paths, c.want)
		}
		if ps := r.PathsTo(zeta).Paths; len(ps) == 0 || ps[0].Labels[0] != c.want {
			t.Errorf("%s: paths %v", c.name, ps)
		}
	}
}

func (r *scene) lastAnnounced() []mesh.Adjacency {
	for _, s := range slices.Backward(r.signed) {
		if s.Kind == lsdb.KindLSA {
			return s.LSA.Links
		}
	}
	return nil
}

func TestMeasuredMTUIsAnnounced(t *testing.T) {
	r, toAlpha, toBeta := twoWays(t, Config{})
	up := mesh.LinkStatus{State: mesh.LinkUp, Quality: mesh.Good, Cost: 1000}
	mtus := func() map[mesh.Label]uint16 {
		m := map[mesh.Label]uint16{}
		for _, l := range r.lastAnnounced() {
			m[l.Label] = l.MTU
		}
		return m
	}
	r.measured(toAlpha, up)
	if got := mtus()[toAlpha]; got != 1452 {
		t.Errorf("before it is measured: %d, want what kernel and neighbour say", got)
	}
	up.MTU = 1300
	r.measured(toAlpha, up)
	if got := mtus()[toAlpha]; got != 1300 {
		t.Errorf("measured 1300, announced %d", got)
	}
	up.MTU, up.Thin = 0, true
	r.measured(toAlpha, up)
	if got := mtus(); got[toAlpha] != 0 || got[toBeta] == 0 {
		t.Errorf("a link that is too thin is announced: %v", got)
	}
	if l := r.Links()[slices.IndexFunc(r.Links(), func(l LinkView) bool { return l.Label == toAlpha })]; !l.Status.Thin || l.Status.State != mesh.LinkUp {
		t.Errorf("shown as %+v", l.Status)
	}
	up.MTU, up.Thin = 1232, false
	r.measured(toAlpha, up)
	if got := mtus()[toAlpha]; got != 1232 {
		t.Errorf("announced %d", got)
	}
}

func TestRiskGroupsAreAnnouncedAndAvoided(t *testing.T) {
	rack, duct := mesh.RiskGroup("rack-7"), mesh.RiskGroup("duct-a")
	r, toAlpha, toBeta := twoWays(t, Config{Groups: []uint32{rack}, InterfaceGroups: map[string][]uint32{"eth1": {duct}}})
	want := map[mesh.Label][]uint32{toAlpha: {rack}, toBeta: {min(rack, duct), max(rack, duct)}}
	for _, l := range r.lastAnnounced() {
		if !slices.Equal(l.Groups, want[l.Label]) {
			t.Errorf("link %d is announced in groups %v, want %v", l.Label, l.Groups, want[l.Label])
		}
	}
	res := r.PathsTo(zeta)
	if len(res.Paths) != 2 || !slices.Equal(res.SharedGroups, []uint32{rack}) || !slices.Equal(res.EndGroups, []uint32{rack}) {
		t.Errorf("%+v", res)
	}
}

func TestAddressOfNobodyIsDenied(t *testing.T) {
	nobody := mesh.Addr(domain, mesh.MustNodeID("nobody"))
	denied := func(r *scene, n mesh.NodeID) bool {
		out := r.Step(r.at, Wanted{Addr: mesh.Addr(domain, n)})
		return len(out.NoSuch) == 1 && out.NoSuch[0] == mesh.Addr(domain, n)
	}
	r, _ := neighbourhood(t, Config{})
	if denied(r, mesh.MustNodeID("nobody")) {
		t.Error("a node that has just started says what others have")
	}
	r.pass(bootGrace)
	if !denied(r, mesh.MustNodeID("nobody")) || denied(r, zeta) || denied(r, self) {
		t.Errorf("%v: the wrong one is denied", nobody)
	}
	alone := newScene(t, Config{})
	alone.pass(time.Minute)
	if denied(alone, mesh.MustNodeID("nobody")) {
		t.Error("a node without a mesh says what others have")
	}
}

// lastStatus returns what the slow loop was last told of a link.
func (f *fast) lastStatus(l mesh.Label) (s mesh.LinkStatus) {
	for _, ev := range f.reports {
		if r, ok := ev.(LinkReport); ok && r.Label == l {
			s = r.Status
		}
	}
	return s
}

func TestForwardingFollowsTheMeasuredMTU(t *testing.T) {
	f := newFast(t)
	frame := func() uint16 { l, _ := f.table.Link(1); return l.MTU }
	f.mtu = 1340
	set := linkSet(1, alpha, 11)
	f.do(set) // MTU 1400
	f.pass(2 * time.Second)
	if got := f.lastStatus(1); got.MTU != 1340 || frame() != 1340 {
		t.Fatalf("frames of %d bytes, %+v", frame(), got)
	}
	f.do(TooBig{Label: 1, Size: 1340})
	if frame() != wire.MinLinkMTU {
		t.Errorf("frames of %d bytes after one was refused", frame())
	}
	f.mtu = 0
	f.do(TooBig{Label: 9, Size: 1340}) // no such link
	f.pass(2 * time.Second)
	if frame() != 1339 {
		t.Errorf("frames of %d bytes: want the largest that was not refused", frame())
	}
	set.Session, set.Remote = 12, addr(77) // the neighbour has moved
	f.do(set)
	if frame() != wire.MinLinkMTU {
		t.Errorf("frames of %d bytes on a way that nobody measured", frame())
	}
	f.pass(2 * time.Second)
	if frame() != 1400 || f.lastStatus(1).State != mesh.LinkUp {
		t.Errorf("frames of %d bytes", frame())
	}
}

func TestPacketsLeaveALinkThatIsTooThin(t *testing.T) {
	f := newFast(t)
	f.do(linkSet(1, alpha, 11))
	f.do(PeerSet{Node: zeta, Addr: mesh.Addr(domain, zeta), Session: 21, Paths: []mesh.Path{pathBy(1000, 1, 5)}})
	f.pass(time.Second)
	if f.inUse() != 1 {
		t.Fatalf("packets leave by %d", f.inUse())
	}
	f.mtu = 1000
	f.pass(8 * time.Second)
	l, _ := f.table.Link(1)
	if s := f.lastStatus(1); s.State != mesh.LinkUp || !s.Thin || l.Usable || f.inUse() != 0 {
		t.Errorf("%+v, usable %v, packets leave by %d", s, l.Usable, f.inUse())
	}
	f.mtu = 0
	f.pass(8 * time.Second)
	if f.inUse() != 1 {
		t.Errorf("packets leave by %d", f.inUse())
	}
}

// What an interface carries is announced of the links by it, and known of the paths and to the table.
func TestCapacityIsAnnounced(t *testing.T) {
	r, toAlpha, toBeta := twoWays(t, Config{InterfaceCapacity: map[string]mesh.BitsPerSecond{"eth1": 20e6}})
	want := map[mesh.Label]mesh.BitsPerSecond{toAlpha: 0, toBeta: 20e6}
	for _, l := range r.lastAnnounced() {
		if l.Capacity != want[l.Label] {
			t.Errorf("link %d is announced with %d bit/s", l.Label, l.Capacity)
		}
	}
	for _, p := range r.PathsTo(zeta).Paths {
		if p.Capacity != want[p.Labels[0]] {
			t.Errorf("path by %d has %d bit/s", p.Labels[0], p.Capacity)
		}
	}
	f := newFast(t)
	for _, ev := range r.reflex {
		if l, ok := ev.(LinkSet); ok {
			f.do(l)
		}
	}
	for l, c := range want {
		if x, ok := f.table.Link(l); !ok || x.Capacity != c {
			t.Errorf("link %d: %+v", l, x)
		}
	}
}

// The table has what the slow loop said of a path last, though it is the same path.
func TestTableHasTheNewMTUOfAPath(t *testing.T) {
	f := newFast(t)
	f.do(linkSet(1, alpha, 11))
	p := pathBy(1000, 1, 5)
	f.do(PeerSet{Node: zeta, Session: 21, Paths: []mesh.Path{p}})
	f.pass(time.Second)
	p.MTU = 1280
	f.do(PeerSet{Node: zeta, Session: 21, Paths: []mesh.Path{p}})
	if e, _ := f.table.Peer(zeta); len(e.Ways) != 1 || e.Ways[0].MTU != 1280 {
		t.Errorf("%+v", e)
	}
}

// Where packets are protected the table has a pair of paths, both of which are probed while such packets are sent.
func TestProtectedPairInTheTable(t *testing.T) {
	for _, protect := range []bool{true, false} {
		f := newFast(t)
		f.r = NewReflex(Config{Self: self, Rand: seeded(4), Protect: protect})
		f.do(linkSet(1, alpha, 11))
		f.do(linkSet(2, beta, 12))
		f.do(PeerSet{Node: zeta, Session: 21, Paths: []mesh.Path{pathBy(1000, 1, 5), pathBy(1050, 2, 6)}})
		f.pass(time.Second)
		f.probes = nil
		f.do(Sending{Node: zeta, Protected: true})
		e, _ := f.table.Peer(zeta)
		if protect && (len(e.Pair) != 2 || len(f.probes) != 2) || !protect && (len(e.Pair) != 0 || len(f.probes) != 1) {
			t.Errorf("protect %v: pair %v, probes %v", protect, e.Pair, f.probes)
		}
		f.broken[1] = true
		f.pass(time.Second)
		if e, _ = f.table.Peer(zeta); protect && (len(e.Pair) != 1 || e.Pair[0].Labels[0] != 2) {
			t.Errorf("with one path left: pair %v", e.Pair)
		}
	}
}
