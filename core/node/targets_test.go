package node

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"x0tta6bl4/core/lsdb"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

func dialled(ds []Dial) (as []netip.AddrPort) {
	for _, d := range ds {
		as = append(as, d.Addr)
	}
	slices.SortFunc(as, netip.AddrPort.Compare)
	return as
}

// failAll lets time pass while every dial fails at once, and returns how often each address was tried.
func (r *scene) failAll(d time.Duration) map[netip.AddrPort]int {
	r.Helper()
	tried := map[netip.AddrPort]int{}
	for end := r.at.Add(d); r.at.Before(end); {
		r.pass(min(50*time.Millisecond, end.Sub(r.at)))
		for _, d := range r.takeDials() {
			tried[d.Addr]++
			r.do(DialFailed{Dial: d.ID, Reason: "timeout"})
		}
	}
	return tried
}

// A hint is tried a few times and forgotten; one that leads somewhere becomes a link.
func TestHints(t *testing.T) {
	r := newScene(t, Config{})
	r.do(Found{Addr: addr(5), Via: "eth0"})
	r.do(Found{Addr: addr(5), Via: "eth0"})
	if tried := r.failAll(time.Minute); tried[addr(5)] != hintTries || len(r.targets) != 0 {
		t.Errorf("tried %v, targets %v", tried, r.targets)
	}
	r.do(Found{Addr: addr(5), Via: "eth0"})
	r.pass(100 * time.Millisecond)
	d := r.takeDials()
	if len(d) != 1 {
		t.Fatalf("dials %v", d)
	}
	r.linkUp(d[0].ID, alpha, addr(5), 7, 1)
	if l := r.Links(); len(l) != 1 || l[0].Neighbour != alpha || len(r.targets) != 0 {
		t.Errorf("links %+v, targets %v", l, r.targets)
	}
	r.do(Found{Addr: addr(5), Via: "eth0"})
	r.pass(time.Second)
	if d := r.takeDials(); len(d) != 0 || len(r.Waiting()) != 0 {
		t.Errorf("dials %v where a link is; waiting for %v", d, r.Waiting())
	}
	for _, bad := range []Found{{}, {Addr: netip.AddrPortFrom(addr(1).Addr(), 0)}, {Addr: addr(9), Want: self}} {
		r.do(bad)
	}
	if len(r.targets) != 0 {
		t.Errorf("hints that cannot be right made targets %v", r.targets)
	}
}

// Few dials are pending for one source of hints, and not many in all, however many hints come.
func TestHintsAreBounded(t *testing.T) {
	r := newScene(t, Config{})
	for i := range 200 {
		r.do(Found{Addr: addr(i + 1), Via: "eth0"})
	}
	if n := len(r.targets); n != hintsPerVia {
		t.Errorf("%d pending for one source", n)
	}
	for i := range 200 {
		r.do(Found{Addr: netip.AddrPortFrom(addr(i+1).Addr(), 1), Via: string(rune('A' + i))})
	}
	if n := len(r.targets); n != hintsInAll {
		t.Errorf("%d pending in all", n)
	}
	if n := r.Counters(); n["hints"] != hintsInAll || n["hints_dropped"] != 400-hintsInAll {
		t.Errorf("counters %v", n)
	}
}

// A hint that leads to a neighbour which is linked over the same interface makes no second link, and is not followed
// again; over another interface it does.
func TestHintToAnExistingNeighbour(t *testing.T) {
	r := newScene(t, Config{})
	up := func(dial uint64, a netip.AddrPort, via string, label mesh.Label) {
		r.conn++
		r.do(ConnUp{Conn: r.conn, Dial: dial, Purpose: wire.PurposeLink, Peer: alpha, Remote: a, Via: via, MTU: 1452, NotAfter: r.at.Add(time.Hour)})
		r.do(Received{Conn: r.conn, Message: wire.LinkOpen{Version: 1, Index: uint32(r.conn), Label: label, MTU: 1400, Boot: 1}})
	}
	up(0, addr(1), "eth0", 7)
	r.report(r.Links()[0].Label, mesh.LinkUp)
	r.do(Found{Addr: addr(2), Via: "eth0"})
	r.pass(time.Second)
	up(r.takeDials()[0].ID, addr(2), "eth0", 8)
	if n := len(r.Links()); n != 1 || r.Counters()["hints_redundant"] != 1 || r.closed[len(r.closed)-1].Conn != r.conn {
		t.Fatalf("%d links, counters %v", n, r.Counters())
	}
	for range 20 {
		r.do(Found{Addr: addr(2), Via: "eth0"})
		r.pass(time.Second)
	}
	if d := r.takeDials(); len(d) != 0 {
		t.Errorf("followed again: %v", d)
	}
	r.do(Found{Addr: addr(3), Via: "wlan0"})
	r.pass(time.Second)
	up(r.takeDials()[0].ID, addr(3), "wlan0", 9)
	if n := len(r.Links()); n != 2 {
		t.Errorf("%d links over two interfaces", n)
	}
	r.do(Found{Addr: addr(4), Via: "eth0", Want: alpha})
	r.pass(time.Second)
	if d := r.takeDials(); len(d) != 0 {
		t.Errorf("a hint that names its node is followed though that is linked: %v", d)
	}
}

// A neighbour that does not answer at its old address is tried where its record says that it is, which others pass on.
func TestNeighbourIsFoundThroughOthers(t *testing.T) {
	r := newScene(t, Config{Neighbours: []netip.AddrPort{addr(1), addr(2)}})
	r.pass(time.Second)
	d := r.takeDials()
	lost := r.linkUp(d[0].ID, alpha, addr(1), 7, 1)
	via := r.linkUp(d[1].ID, beta, addr(2), 8, 1)
	for _, l := range r.Links() {
		r.report(l.Label, mesh.LinkUp)
	}
	r.lives[alpha] = []string{addr(1).String()}
	r.hear(via, alpha, 1)
	r.pass(3 * time.Second)
	r.takeDials()
	r.report(r.Links()[0].Label, mesh.LinkDown)
	r.pass(10 * time.Millisecond)
	if d := r.takeDials(); len(d) != 0 {
		t.Errorf("dialled %v at once", d)
	}
	r.lives[alpha] = []string{addr(41).String(), "gate.example.net:7420", addr(1).String()}
	r.hear(via, alpha, 1)
	r.pass(100 * time.Millisecond)
	d = r.takeDials()
	if !slices.Equal(dialled(d), []netip.AddrPort{addr(41)}) || d[0].Want != alpha {
		t.Fatalf("dials %+v, want the new address", d)
	}
	r.do(ConnDown{Conn: lost, Reason: "idle"})
	fresh := r.linkUp(d[0].ID, alpha, addr(41), 7, 1)
	r.report(r.links[slices.IndexFunc(r.links, func(l *neighbourLink) bool { return l.via == fresh })].label, mesh.LinkUp)
	if w := r.Waiting(); len(w) != 0 || !slices.Equal(r.Alternate(), []netip.AddrPort{addr(1)}) {
		t.Errorf("waiting for %v, alternates %v: the node is met at another address", w, r.Alternate())
	}
}

// A link that ends without a word is dialled a few times even where nobody configured it; one that ends with a word is
// not.
func TestLostLinksAreDialled(t *testing.T) {
	r, conn, _ := linked(t, Config{})
	r.do(ConnDown{Conn: conn, Reason: "idle"})
	if tried := r.failAll(time.Minute); tried[addr(1)] != recallTries || len(r.Waiting()) != 0 {
		t.Errorf("tried %v, waiting for %v", tried, r.Waiting())
	}
	conn = r.linkUp(0, alpha, addr(1), 7, 1)
	r.do(Received{Conn: conn, Message: wire.Bye{Reason: "going down"}})
	if tried := r.failAll(time.Minute); len(tried) != 0 {
		t.Errorf("dialled after goodbye: %v", tried)
	}
}

// The addresses told at the join are ways in: any link will do; of the addresses of one neighbour, one. Without any they
// are waited for.
func TestAlternates(t *testing.T) {
	r := newScene(t, Config{Neighbours: []netip.AddrPort{addr(1), addr(2)}, Bootstrap: []netip.AddrPort{addr(3), addr(4)}})
	r.pass(10 * time.Millisecond)
	if w := r.Waiting(); len(w) != 4 {
		t.Errorf("waiting for %v", w)
	}
	r.pass(time.Second)
	d := r.takeDials()
	conn := r.linkUp(d[2].ID, alpha, addr(3), 7, 1)
	r.report(r.Links()[0].Label, mesh.LinkUp)
	if w := r.Waiting(); !slices.Equal(w, []netip.AddrPort{addr(1), addr(2)}) {
		t.Errorf("waiting for %v", w)
	}
	r.lives[alpha] = []string{addr(2).String()}
	r.hear(conn, alpha, 1)
	if w := r.Waiting(); !slices.Equal(w, []netip.AddrPort{addr(1)}) {
		t.Errorf("waiting for %v: the neighbour says that it lives at %v too", w, addr(2))
	}
	r.report(r.Links()[0].Label, mesh.LinkDown)
	if w := r.Waiting(); !slices.Contains(w, addr(2)) {
		t.Errorf("waiting for %v while the link is down", w)
	}
}

// The addresses of a host name are dialled; when the name has others, those are, and a link to an old one stays.
func TestHostNames(t *testing.T) {
	r := newScene(t, Config{})
	r.do(Resolved{Name: "gate:7420", Addresses: []netip.AddrPort{addr(1), addr(2)}})
	r.pass(time.Second)
	d := r.takeDials()
	if !slices.Equal(dialled(d), []netip.AddrPort{addr(1), addr(2)}) || r.NameMet("gate:7420") {
		t.Fatalf("dials %+v", d)
	}
	one := d[slices.IndexFunc(d, func(d Dial) bool { return d.Addr == addr(1) })]
	conn := r.linkUp(one.ID, alpha, addr(1), 7, 1)
	if w := r.Waiting(); len(w) != 0 || !r.NameMet("gate:7420") {
		t.Errorf("waiting for %v though the name is met", w)
	}
	r.do(Resolved{Name: "gate:7420", Addresses: []netip.AddrPort{addr(3)}})
	if len(r.Links()) != 1 {
		t.Error("the link to the old address went")
	}
	tried := r.failAll(time.Second)
	if tried[addr(2)] != 0 || tried[addr(3)] == 0 {
		t.Errorf("tried %v", tried)
	}
	r.do(ConnDown{Conn: conn, Reason: "idle"})
	tried = r.failAll(time.Minute)
	if tried[addr(1)] > recallTries || tried[addr(3)] < 10 {
		t.Errorf("tried %v", tried)
	}
	r.do(Resolved{Name: "gate:7420"})
	if tried := r.failAll(time.Minute); len(tried) != 0 {
		t.Errorf("tried %v of a name that means nothing any more", tried)
	}
}

// A node that lost all links asks the members it knows, in rounds that are neither a storm nor sleep, and stops when
// one answers.
func TestAloneAsksAll(t *testing.T) {
	var known []Contact
	for i := range 100 {
		known = append(known, Contact{Node: mesh.MustNodeID("m" + string(rune('a'+i/26)) + string(rune('a'+i%26))), Addresses: []netip.AddrPort{addr(100 + i)}})
	}
	r := newScene(t, Config{Contacts: known})
	if tried := r.failAll(aloneFor - 50*time.Millisecond); len(tried) != 0 {
		t.Errorf("asked %v at once", tried)
	}
	tried := r.failAll(20 * time.Second)
	if n := len(tried); n < 4*perRound || n > 40 {
		t.Errorf("asked %d members in 20 s", n)
	}
	tried = r.failAll(15 * time.Minute)
	if n := len(tried); n != 100 {
		t.Errorf("asked %d of 100 members in a quarter of an hour", n)
	}
	total := 0
	for _, k := range tried {
		total += k
	}
	if total > 4*90 {
		t.Errorf("%d dials in a quarter of an hour", total)
	}
	r.pass(time.Minute)
	d := r.takeDials()
	if len(d) < 2 {
		t.Fatalf("dials %v", d)
	}
	r.linkUp(d[0].ID, d[0].Want, d[0].Addr, 7, 1)
	r.report(r.Links()[0].Label, mesh.LinkUp)
	late := r.handshake(d[1].ID, d[1].Want, d[1].Addr)
	if len(r.Links()) != 1 || r.closed[len(r.closed)-1].Conn != late {
		t.Errorf("links %+v: one will do", r.Links())
	}
	if tried := r.failAll(10 * time.Minute); len(tried) != 0 {
		t.Errorf("asked %v with a link up", tried)
	}
}

// Two nodes that are alone at the same time ask in different orders and at different times.
func TestLonelyNodesDoNotFallIntoStep(t *testing.T) {
	var known []Contact
	for i := range 20 {
		known = append(known, Contact{Node: mesh.MustNodeID("m" + string(rune('a'+i))), Addresses: []netip.AddrPort{addr(100 + i)}})
	}
	first := map[netip.AddrPort]int{}
	var at []time.Duration
	for seed := range 50 {
		c := NewControl(Config{Self: self, Domain: domain, Incarnation: 1, Boot: 1, Rand: seeded(byte(seed)), Contacts: known}, epoch)
		c.Step(epoch, Tick{})
		for {
			now := c.Deadline()
			if out := c.Step(now, Tick{}); len(out.Dial) > 0 {
				first[out.Dial[0].Addr]++
				at = append(at, now.Sub(epoch))
				break
			}
		}
	}
	if len(first) < 12 {
		t.Errorf("50 nodes begin with %d of 20 members: %v", len(first), first)
	}
	if spread := slices.Max(at) - slices.Min(at); spread < aloneFor*3/4 {
		t.Errorf("50 nodes begin within %s of each other", spread)
	}
}

// A link that was borrowed is given back once a lasting one has been up for a minute and the neighbour is reached
// without it, and is not recalled later.
func TestBorrowedLinksAreGivenBack(t *testing.T) {
	r := newScene(t, Config{Neighbours: []netip.AddrPort{addr(1)}, Contacts: []Contact{{Node: beta, Addresses: []netip.AddrPort{addr(2)}}}})
	var d []Dial
	for len(d) == 0 {
		r.pass(100 * time.Millisecond)
		for _, x := range r.takeDials() {
			if x.Addr == addr(2) {
				d = append(d, x)
			} else {
				r.do(DialFailed{Dial: x.ID})
			}
		}
	}
	viaBeta := r.linkUp(d[0].ID, beta, addr(2), 8, 1)
	toBeta := r.Links()[0].Label
	r.report(toBeta, mesh.LinkUp)
	for len(r.dials) == 0 {
		r.pass(100 * time.Millisecond)
	}
	r.linkUp(r.takeDials()[0].ID, alpha, addr(1), 7, 1)
	toAlpha := r.links[slices.IndexFunc(r.links, func(l *neighbourLink) bool { return l.neighbour == alpha })].label
	r.report(toAlpha, mesh.LinkUp)
	r.hear(viaBeta, beta, 1, adjacency(self, 8, toBeta))
	r.hear(viaBeta, alpha, 1, adjacency(self, 7, toAlpha))
	r.pass(3 * time.Minute)
	if n := len(r.Links()); n != 2 {
		t.Fatalf("%d links: the borrowed one went though its node is not reached without", n)
	}
	r.hear(viaBeta, beta, 1, adjacency(self, 8, toBeta), adjacency(alpha, 20, 21))
	r.hear(viaBeta, alpha, 1, adjacency(self, 7, toAlpha), adjacency(beta, 21, 20))
	r.pass(2 * time.Minute)
	if l := r.Links(); len(l) != 1 || l[0].Neighbour != alpha || r.Counters()["links_returned"] != 1 {
		t.Errorf("links %+v, counters %v", l, r.Counters())
	}
	for _, b := range r.labels.bindings {
		if b.Neighbour == beta {
			t.Errorf("it would be recalled: %+v", b)
		}
	}
}

// What is remembered of many members is bounded, has the neighbours in it, and differs from node to node.
func TestContacts(t *testing.T) {
	r, conn, _ := linked(t, Config{})
	r.lives[alpha] = []string{addr(1).String(), "[2001:db8::1]:7420", "junk"}
	r.hear(conn, alpha, 1)
	for i := range 300 {
		n := mesh.MustNodeID("n" + string(rune('a'+i/26)) + string(rune('a'+i%26)))
		r.lives[n] = []string{netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i / 250), byte(i % 250)}), 7420).String()}
		r.hear(conn, n, 1)
	}
	cs := r.Contacts()
	if len(cs) != MaxContacts {
		t.Errorf("%d contacts", len(cs))
	}
	i := slices.IndexFunc(cs, func(c Contact) bool { return c.Node == alpha })
	if i < 0 || len(cs[i].Addresses) != 2 {
		t.Errorf("the neighbour is not in it, or not whole")
	}
	other := newScene(t, Config{Self: zeta})
	via := other.linkUp(0, alpha, addr(1), 7, 1)
	for n, as := range r.lives {
		other.lives[n] = as
		other.hear(via, n, 1)
	}
	same := 0
	for _, c := range other.Contacts() {
		same += btoi(slices.ContainsFunc(cs, func(o Contact) bool { return o.Node == c.Node }))
	}
	if same == MaxContacts {
		t.Error("two nodes remember the same members of many")
	}
}

// This node's addresses change: its record is made anew with them, at most every five seconds, and all links say hello.
func TestOwnAddressesChange(t *testing.T) {
	r, _, _ := linked(t, Config{Addresses: []string{"192.0.2.1:7420"}})
	r.pass(10 * time.Second)
	records := func() (rs []Sign) {
		for _, s := range r.signed {
			if s.Kind == lsdb.KindRecord {
				rs = append(rs, s)
			}
		}
		return rs
	}
	n := len(records())
	r.do(LocalAddresses{Addresses: []string{"192.0.2.1:7420"}})
	if _, ok := r.takeReflex()[0].(Nudge); !ok || len(records()) != n {
		t.Errorf("only the ways out changed: %d records more", len(records())-n)
	}
	for i := range 20 {
		r.do(LocalAddresses{Addresses: []string{addr(i).String()}})
	}
	rs := records()
	if len(rs) != n+1 || rs[n].Record.Addresses[0] != addr(0).String() || rs[n].Record.Seq <= rs[n-1].Record.Seq {
		t.Fatalf("%d records at once, the last %+v", len(rs)-n, rs[len(rs)-1].Record)
	}
	r.pass(recordPause)
	if rs = records(); len(rs) != n+2 || rs[n+1].Record.Addresses[0] != addr(19).String() {
		t.Errorf("%d records, the last with %v", len(rs)-n, rs[len(rs)-1].Record.Addresses)
	}
	many := make([]string, 40)
	for i := range many {
		many[i] = addr(i).String()
	}
	r.do(LocalAddresses{Addresses: many})
	r.pass(recordPause)
	if rs = records(); len(rs[len(rs)-1].Record.Addresses) != wire.MaxAddresses {
		t.Errorf("%d addresses in a record", len(rs[len(rs)-1].Record.Addresses))
	}
}

// The process stood still: links are redialled at once, once in ten seconds; back-offs begin anew; and after a long
// sleep end-to-end sessions are renewed as soon as a link is there.
func TestWaking(t *testing.T) {
	r, conn, label := linked(t, Config{Neighbours: []netip.AddrPort{addr(30)}})
	r.do(DialFailed{Dial: 1})
	r.hear(conn, alpha, 1, adjacency(self, 7, label))
	r.pass(time.Second)
	r.do(Wanted{Addr: mesh.Addr(domain, alpha)})
	for _, ev := range r.takeReflex() {
		if d, ok := ev.(DialPeer); ok {
			r.peerUp(d.ID, alpha, 1)
		}
	}
	r.failAll(30 * time.Second)
	r.takeReflex()
	r.at = r.at.Add(time.Minute)
	r.do(Woke{Slept: time.Minute})
	r.pass(soon)
	if got := dialled(r.takeDials()); !slices.Equal(got, []netip.AddrPort{addr(1), addr(30)}) {
		t.Errorf("dials %v on waking", got)
	}
	asked := func() bool {
		return slices.ContainsFunc(r.takeReflex(), func(ev ReflexEvent) bool { _, ok := ev.(DialPeer); return ok })
	}
	if asked() {
		t.Error("the session was renewed before there was a link")
	}
	r.report(label, mesh.LinkDown)
	r.report(label, mesh.LinkUp)
	r.pass(time.Second)
	if !asked() {
		t.Error("the session was not renewed when the link was there")
	}
	r.do(Woke{Slept: 3 * time.Second})
	if n := len(r.takeDials()); n != 0 {
		t.Errorf("%d dials on waking again at once", n)
	}
	if n := r.Counters()["wakes"]; n != 2 {
		t.Errorf("%d wakes", n)
	}
}

// The carrier of an interface goes: its links are cut, others are not.
func TestCarrierLost(t *testing.T) {
	r := newScene(t, Config{})
	for i, via := range []string{"eth0", "eth1", ""} {
		r.conn++
		r.do(ConnUp{Conn: r.conn, Purpose: wire.PurposeLink, Peer: alpha, Remote: addr(i), Via: via, MTU: 1452, NotAfter: r.at.Add(time.Hour)})
		r.do(Received{Conn: r.conn, Message: wire.LinkOpen{Version: 1, Index: uint32(r.conn), Label: mesh.Label(i + 1), MTU: 1400, Boot: 1}})
	}
	r.takeReflex()
	r.do(CarrierLost{Via: "eth1"})
	r.do(CarrierLost{})
	ev := r.takeReflex()
	cut, ok := ev[0].(LinkCut)
	if len(ev) != 1 || !ok || cut.Label != r.links[slices.IndexFunc(r.links, func(l *neighbourLink) bool { return l.iface == "eth1" })].label {
		t.Errorf("the fast loop was told %+v", ev)
	}
}

// A member may announce whatever it likes as its addresses. What means this very machine, a whole segment, an interface of
// ours or the mesh itself is never dialled for it.
func TestRecordsLeadToNoAddressOfOurs(t *testing.T) {
	r := newScene(t, Config{})
	lost := r.linkUp(0, alpha, addr(1), 7, 1)
	via := r.linkUp(0, beta, addr(2), 8, 1)
	inside := netip.AddrPortFrom(mesh.Addr(domain, zeta), 7420)
	r.lives[alpha] = []string{
		"127.0.0.1:6379", "[::1]:6379", "[::ffff:127.0.0.1]:6379", "0.0.0.0:7420", "224.0.0.1:7420", "[ff02::1]:7420",
		"255.255.255.255:7420", "169.254.169.254:80", "[fe80::1%eth0]:7420", "[2001:db8::1%eth0]:7420", "192.0.2.1:0",
		inside.String(), "192.0.2.1:7420", "[::ffff:192.0.2.2]:7420",
	}
	r.hear(via, alpha, 1)
	r.do(ConnDown{Conn: lost, Reason: "idle"})
	tried := r.failAll(time.Minute)
	want := []netip.AddrPort{addr(1), netip.MustParseAddrPort("192.0.2.1:7420"), netip.MustParseAddrPort("192.0.2.2:7420")}
	for _, a := range want {
		if tried[a] == 0 {
			t.Errorf("%v was not tried", a)
		}
		delete(tried, a)
	}
	if len(tried) != 0 {
		t.Errorf("tried %v", tried)
	}
	for _, k := range r.Contacts() {
		if k.Node == alpha && len(k.Addresses) != 2 {
			t.Errorf("remembered as %v", k)
		}
	}
}

// A member announces ever new addresses of somebody else's, and lets its link fall to have them dialled: it gets some dials
// at once, and few from then on.
func TestDialsForOneMemberAreBounded(t *testing.T) {
	r := newScene(t, Config{Neighbours: []netip.AddrPort{addr(1)}})
	r.pass(time.Second)
	lost := r.linkUp(r.takeDials()[0].ID, alpha, addr(1), 7, 1)
	via := r.linkUp(0, beta, addr(2), 8, 1)
	for _, l := range r.Links() {
		r.report(l.Label, mesh.LinkUp)
	}
	r.do(ConnDown{Conn: lost, Reason: "idle"})
	dials, minutes := 0, 10
	for i := range minutes * 60 {
		r.lives[alpha] = nil
		for k := range wire.MaxAddresses {
			victim := netip.AddrFrom4([4]byte{198, 51, byte(i), byte(k)})
			r.lives[alpha] = append(r.lives[alpha], netip.AddrPortFrom(victim, 443).String())
		}
		r.hear(via, alpha, 1)
		for a, n := range r.failAll(time.Second) {
			if a != addr(1) {
				dials += n
			}
		}
	}
	if most := hintTries * (recordBurst + int(time.Duration(minutes)*time.Minute/recordEvery) + 1); dials > most || dials < most/4 {
		t.Errorf("%d dials in %d minutes, at most %d", dials, minutes, most)
	}
	if len(r.searches) > 1 {
		t.Errorf("searches %v", r.searches)
	}
}

// A neighbour that comes from ever new addresses, and goes without a word each time, leaves no more to be dialled than it
// may have links.
func TestLostLinksOfOneNeighbourAreBounded(t *testing.T) {
	r := newScene(t, Config{})
	for i := range 100 {
		conn := r.linkUp(0, alpha, addr(100+i), mesh.Label(i+1), 1)
		r.do(ConnDown{Conn: conn, Reason: "idle"})
	}
	if n := len(r.targets); n != maxParallel {
		t.Errorf("%d addresses to be dialled", n)
	}
	conn := r.linkUp(0, beta, addr(2), 7, 1)
	r.do(ConnDown{Conn: conn, Reason: "idle"})
	if r.target(addr(2)) == nil {
		t.Error("another's lost link is not dialled for that")
	}
}

// A machine with too much to do stands still for seconds again and again: it redials everything ever less often, though it
// says hello each time. A long sleep is another thing, whatever was before.
func TestWakingAgainAndAgain(t *testing.T) {
	r, _, _ := linked(t, Config{})
	redials, nudges := 0, 0
	for range 900 { // an hour
		r.do(Woke{Slept: 3 * time.Second})
		for _, ev := range r.takeReflex() {
			_, ok := ev.(Nudge)
			nudges += btoi(ok)
		}
		for _, d := range r.takeDials() {
			redials++
			r.linkUp(d.ID, alpha, addr(1), 7, 1)
		}
		r.pass(4 * time.Second)
	}
	if redials > 20 || redials < 10 || nudges != 900 {
		t.Errorf("%d times redialled, %d times said hello", redials, nudges)
	}
	r.do(Woke{Slept: time.Minute})
	if n := len(r.takeDials()); n != 1 {
		t.Errorf("%d dials after a long sleep", n)
	}
	r.pass(11 * time.Minute)
	r.takeDials()
	r.do(Woke{Slept: 3 * time.Second})
	if n := len(r.takeDials()); n != 1 {
		t.Errorf("%d dials after a quiet time", n)
	}
}
