package dataplane

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"x0tta6bl4/host/dataplane/segment"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// diamond is a with two disjoint paths to d, by b (number 1) and by c (number 2); the second has one more label.
func diamond(t testing.TB) (n *testNet, a, d *testNode) {
	n = newNet(t, "a", "b", "c", "d", "e")
	n.link("a", "b", 1, 2, 1452)
	n.link("a", "c", 3, 4, 1452)
	n.link("b", "d", 5, 6, 1452)
	n.link("c", "e", 7, 8, 1452)
	n.link("e", "d", 9, 10, 1452)
	n.session("a", "d")
	n.route("a", 1, "b", 5, "d")
	n.route("a", 3, "c", 7, "e", 9, "d")
	n.route("d", 6, "b", 2, "a")
	a, d = n.nodes["a"], n.nodes["d"]
	a.entry(d).Ways[0].Number, a.entry(d).Ways[1].Number = 1, 2
	a.publish()
	return n, a, d
}

// sentBy counts the data frames that a sends by each of its links, and their flags.
func (n *testNet) sentBy(a *testNode) (by map[mesh.NodeID]int, flags map[wire.Flags]int) {
	by, flags = map[mesh.NodeID]int{}, map[wire.Flags]int{}
	n.tap = func(from, to *testNode, b []byte) int {
		if from == a && b[0]&0x0f == byte(wire.TypeData) {
			by[to.id]++
			flags[wire.FlagsOf(b)]++
		}
		return 1
	}
	return by, flags
}

// While a path is in doubt everything goes by two, large packets too, and is counted for the path in doubt.
func TestDoubtedPathHasACopy(t *testing.T) {
	n, a, d := diamond(t)
	a.doubtWay(d)
	by, flags := n.sentBy(a)
	d.wantDelivered(a.sendTo(d, 1000))
	large := largeTCP(a, d, 20*1300, 1300)
	want := bytes.Clone(large[segment.HeaderLen:])
	a.sendLarge(large)
	d.wantDelivered(want)
	if by[n.nodes["b"].id] != 21 || by[n.nodes["c"].id] != 21 || flags[0] != 42 {
		t.Errorf("sent %v, flags %v; want 21 by each, no flags", by, flags)
	}
	a.wantCount("copy_sent", 21)
	a.wantCount("tun_sent", 21)
	a.wantCount("protected_sent", 0)
	s := a.plane.view.Load().byNode[d.id].session
	if s.out[1].Load() != 21 || s.out[2].Load() != 0 {
		t.Errorf("counted %d and %d, want 21 for the path in doubt only", s.out[1].Load(), s.out[2].Load())
	}
	if in := &d.plane.view.Load().sessions[0].in; in[1].Load() != 21 {
		t.Errorf("the end counts %d", in[1].Load())
	}
}

// A copy costs nothing where there is no doubt, and an invalid one is none.
func TestNoCopyWithoutDoubt(t *testing.T) {
	n, a, d := diamond(t)
	e := a.entry(d)
	e.Ways = e.Ways[:1:1]
	a.publish()
	by, _ := n.sentBy(a)
	d.wantDelivered(a.sendTo(d, 100))
	a.wantCount("path_invalid", 0)
	e.Ways[0].Copy = mesh.Path{Labels: []mesh.Label{3}}
	a.publish()
	d.wantDelivered(a.sendTo(d, 100))
	a.wantCount("path_invalid", 1)
	a.wantCount("copy_sent", 0)
	if by[n.nodes["b"].id] != 2 || len(by) != 1 {
		t.Errorf("sent %v", by)
	}
}

// Copies have a budget for each link that they leave by. What is beyond it goes once, and nothing is lost where the first
// link cannot send.
func TestCopiesHaveABudget(t *testing.T) {
	n, a, d := diamond(t)
	a.doubtWay(d)
	for i := range a.table.Links {
		a.table.Links[i].Capacity = 799_200 // of which a tenth are 9,990 bytes a second
	}
	a.publish()
	by, _ := n.sentBy(a)
	pkt := packet(a.addr, d.addr, 1000-wire.HeaderLen-4-wire.SealOverhead-wire.InnerHeader, 0) // frames of 1000 bytes by c
	for range 15 {
		a.send(pkt)
		d.wantDelivered(pkt)
	}
	if by[n.nodes["c"].id] != 9 {
		t.Errorf("%d copies, want 9", by[n.nodes["c"].id])
	}
	a.wantCount("copy_sent", 9)
	a.wantCount("copy_limited", 6)
	a.usable(1, false)
	for range 15 {
		a.send(pkt)
		d.wantDelivered(pkt)
	}
	a.wantCount("copy_limited", 6)
	a.wantCount("tun_no_link", 0)
	a.usable(1, true)
	n.now = n.now.Add(100 * time.Millisecond)
	for range 5 {
		a.send(pkt)
		d.wantDelivered(pkt)
	}
	a.wantCount("copy_sent", 10)
	a.wantCount("copy_limited", 10)
}

// What waited for a session goes as what is read: by two paths within the budget, and by the one that can send in any case.
func TestPacketsThatWaitedGoByTwoPaths(t *testing.T) {
	_, a, d := diamond(t)
	a.protect(d)
	a.withRules("all")
	pkt := packet(a.addr, d.addr, 500, 1)
	for i, tt := range []struct {
		change       func()
		sent, single uint64
	}{
		{func() {}, 1, 0},
		{func() { a.usable(1, false) }, 2, 1},
		{func() { a.noCopies() }, 3, 2}, // what goes by the second only is no copy
		{func() { a.usable(1, true) }, 4, 3},
	} {
		tt.change()
		a.forge(d, pkt)
		d.wantDelivered(pkt)
		a.wantCount("protected_sent", tt.sent)
		a.wantCount("protected_single", tt.single)
		if t.Failed() {
			t.Fatalf("step %d", i)
		}
	}
	a.wantCount("copy_limited", 1)
}

// withRules gives a a class of protected packets.
func (d *testNode) withRules(rules ...string) {
	d.plane.SetRules(parseRules(d.net.t, rules...), 0)
	d.publish()
}

// noCopies takes a node's budget for copies away.
func (d *testNode) noCopies() { d.copyRate(0) }

// copyRate sets how many bytes a second by a link without a capacity may be copies.
func (d *testNode) copyRate(bytes uint64) {
	d.plane.change(func(r *registry) { r.copyRate = bytes })
}

func parseRules(t testing.TB, rules ...string) (out []mesh.ProtectRule) {
	for _, s := range rules {
		r, err := mesh.ParseProtect(s)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, r)
	}
	return out
}

// Packets of the protected class go by two paths, marked inside and outside, and are counted for none.
func TestProtectedPacketsGoByTwoPaths(t *testing.T) {
	n, a, d := diamond(t)
	a.protect(d)
	a.withRules("node:d")
	by, flags := n.sentBy(a)
	d.wantDelivered(a.sendTo(d, 1000))
	large := largeTCP(a, d, 20*1300, 1300)
	want := bytes.Clone(large[segment.HeaderLen:])
	a.sendLarge(large)
	d.wantDelivered(want)
	if by[n.nodes["b"].id] != 21 || by[n.nodes["c"].id] != 21 || flags[wire.FlagProtected] != 42 {
		t.Errorf("sent %v, flags %v", by, flags)
	}
	a.wantCount("protected_sent", 21)
	a.wantCount("protected_single", 0)
	s := a.plane.view.Load().byNode[d.id].session
	if s.out[0].Load() != 21 || s.out[1].Load() != 0 {
		t.Errorf("counted for a path: %d and %d", s.out[0].Load(), s.out[1].Load())
	}
	if want := []sendingTold{{d.id, true}}; !slices.Equal(a.sending, want) {
		t.Errorf("told %v, want %v", a.sending, want)
	}
	a.withRules() // what is not protected is told of for itself
	d.wantDelivered(a.sendTo(d, 1000))
	if want := []sendingTold{{d.id, true}, {d.id, false}}; !slices.Equal(a.sending, want) {
		t.Errorf("told %v, want %v", a.sending, want)
	}
	a.withRules("all")
	// Either path alone is enough.
	for _, dead := range []string{"b", "e"} {
		n.tap = func(from, _ *testNode, _ []byte) int {
			if from == n.nodes[dead] {
				return 0
			}
			return 1
		}
		d.wantDelivered(a.sendTo(d, 1000))
	}
}

// Where there is one path only, a protected packet goes by it, and that is known.
func TestProtectedPacketGoesOnceWhereItMust(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(a *testNode, e *mesh.ForwardPeer)
		number int // that it counts for
	}{
		{"one of a pair", func(_ *testNode, e *mesh.ForwardPeer) { e.Pair = e.Pair[:1] }, 0},
		{"no pair", func(_ *testNode, e *mesh.ForwardPeer) { e.Pair = nil }, 1},
		{"a link is down", func(a *testNode, _ *mesh.ForwardPeer) { a.usable(3, false) }, 0},
		{"no budget", func(a *testNode, _ *mesh.ForwardPeer) { a.noCopies() }, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n, a, d := diamond(t)
			a.protect(d)
			a.withRules("all")
			tt.change(a, a.entry(d))
			a.publish()
			_, flags := n.sentBy(a)
			d.wantDelivered(a.sendTo(d, 1000))
			a.wantCount("protected_sent", 1)
			a.wantCount("protected_single", 1)
			if got := a.plane.view.Load().byNode[d.id].session.out[tt.number].Load(); got != 1 || flags[wire.FlagProtected] != 1 {
				t.Errorf("counted %d for number %d, flags %v", got, tt.number, flags)
			}
		})
	}
}

// What is protected and how much of it may be copies changes between two packets.
func TestRulesChange(t *testing.T) {
	_, a, d := diamond(t)
	a.protect(d)
	all := parseRules(t, "all")
	for i, tt := range []struct {
		rules          []mesh.ProtectRule
		duplicates     float64
		sent, once, by uint64 // so far: protected packets, those that left once, and copies
	}{
		{nil, 1, 0, 0, 0}, {all, -1, 1, 1, 0}, {all, 0, 2, 1, 1}, {all, 1, 3, 1, 2}, {nil, 0, 3, 1, 2}, {parseRules(t, "node:d"), 0, 4, 1, 3},
		{parseRules(t, "node:a"), 0, 4, 1, 3},
	} {
		a.plane.SetRules(tt.rules, tt.duplicates)
		d.wantDelivered(a.sendTo(d, 1000))
		a.wantCount("protected_sent", tt.sent)
		a.wantCount("protected_single", tt.once)
		a.wantCount("copy_sent", tt.by)
		if t.Failed() {
			t.Fatalf("step %d", i)
		}
	}
}

// A protected packet must fit both of its paths.
func TestProtectedPacketFitsBothPaths(t *testing.T) {
	a, z := longPath(t, 32)
	e := a.entry(z)
	e.Pair = []mesh.Path{{Nodes: []mesh.NodeID{a.id, z.id}, Labels: []mesh.Label{1}}, e.Ways[0].Path}
	a.withRules("dscp:EF")
	pkt := packet(a.addr, z.addr, 1337, 0)
	setDSCP(pkt, 46)
	a.send(pkt)
	a.wantCount("tun_too_big", 1)
	a.wantDelivered(icmpError(a.addr.As16(), pkt, icmpTooBig, 0, 1336))
	pkt = packet(a.addr, z.addr, 1336, 0)
	setDSCP(pkt, 46)
	a.send(pkt)
	a.wantCount("protected_sent", 1)
	a.wantCount("protected_single", 0)
}
