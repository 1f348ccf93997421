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

// bypass is the line a — b — c — d with e beside it, which has links with b, c and d. b knows the ways around its link to c.
func bypass(t testing.TB) *testNet {
	n := newNet(t, "a", "b", "c", "d", "e")
	n.link("a", "b", 12, 21, 1452)
	n.link("b", "c", 22, 31, 1452)
	n.link("c", "d", 32, 41, 1452)
	n.link("b", "e", 25, 51, 1452)
	n.link("e", "c", 52, 35, 1452)
	n.link("e", "d", 53, 45, 1452)
	n.session("a", "d")
	n.route("a", 12, "b", 22, "c", 32, "d")
	n.route("d", 41, "c", 31, "b", 21, "a")
	n.nodes["b"].around(22, mesh.Detour{Labels: []mesh.Label{25, 52}}, mesh.Detour{Behind: 32, Labels: []mesh.Label{25, 53}})
	return n
}

// around sets the detours of a link.
func (d *testNode) around(l mesh.Label, detours ...mesh.Detour) {
	d.link(l).Detours = detours
	d.publish()
}

// doubt marks a link of d suspect, or not.
func (d *testNode) doubt(l mesh.Label, suspect bool) {
	d.link(l).Suspect = suspect
	d.publish()
}

func (d *testNode) link(l mesh.Label) *mesh.ForwardLink {
	for i := range d.table.Links {
		if d.table.Links[i].Label == l {
			return &d.table.Links[i]
		}
	}
	d.net.t.Fatalf("%v has no link %d", d.id, l)
	return nil
}

// heard counts the frames that nodes are given, by name, and keeps their flags.
func (n *testNet) heard() (by map[string]int, flags map[string][]wire.Flags) {
	by, flags = map[string]int{}, map[string][]wire.Flags{}
	n.tap = func(_, to *testNode, b []byte) int {
		by[to.id.String()]++
		flags[to.id.String()] = append(flags[to.id.String()], wire.FlagsOf(b))
		return 1
	}
	return by, flags
}

// A frame that wants a dead link arrives by the detour, once, and its source is told as if it had not.
func TestRepair(t *testing.T) {
	for name, tt := range map[string]struct {
		detours []mesh.Detour
		heard   map[string]int // the error included
	}{
		"to the neighbour": {[]mesh.Detour{{Labels: []mesh.Label{25, 52}}}, map[string]int{"b": 1, "e": 1, "c": 1, "d": 1, "a": 1}},
		"past it": {[]mesh.Detour{{Labels: []mesh.Label{25, 52}}, {Behind: 32, Labels: []mesh.Label{25, 53}}},
			map[string]int{"b": 1, "e": 1, "d": 1, "a": 1}},
		"past another": {[]mesh.Detour{{Labels: []mesh.Label{25, 52}}, {Behind: 33, Labels: []mesh.Label{25, 53}}},
			map[string]int{"b": 1, "e": 1, "c": 1, "d": 1, "a": 1}},
	} {
		t.Run(name, func(t *testing.T) {
			n := bypass(t)
			a, b, d := n.nodes["a"], n.nodes["b"], n.nodes["d"]
			b.around(22, tt.detours...)
			b.usable(22, false)
			by, flags := n.heard()
			d.wantDelivered(a.sendTo(d, 500))
			if len(by) != len(tt.heard) {
				t.Errorf("frames by node %v, want %v", by, tt.heard)
			}
			for node, want := range tt.heard {
				if by[node] != want {
					t.Errorf("%s is given %d frames, want %d", node, by[node], want)
				}
			}
			if got := flags["d"]; !slices.Equal(got, []wire.Flags{wire.FlagRepaired}) {
				t.Errorf("flags %v, want repaired", got)
			}
			b.wantCount("relay_repaired", 1)
			b.wantCount("relay_forwarded", 1)
			b.wantCount("relay_link_down", 0)
			if u := b.plane.LinkCounters()[21]; u.ForwardedFrames != 1 {
				t.Errorf("%d frames forwarded for a", u.ForwardedFrames)
			}
			if len(a.errors) != 1 || a.errors[0].Code != wire.ErrorLinkDown || a.errors[0].Label != 22 || a.matches[0].Reporter != 1 {
				t.Errorf("errors %+v", a.errors)
			}
		})
	}
}

// Everything that is relayed is repaired, and what goes back from behind a detour goes by the detour.
func TestWayBackLeadsThroughTheDetour(t *testing.T) {
	n := bypass(t)
	a, b, d := n.nodes["a"], n.nodes["b"], n.nodes["d"]
	b.usable(22, false)
	d.table.Peers[0].Ways = nil // nothing but the way back
	d.publish()
	if err := a.plane.SendProbe(d.id, a.table.Peers[0].Ways[0].Path, wire.Probe{ID: 7}, true); err != nil {
		t.Fatal(err)
	}
	if len(a.replies) != 1 || a.replies[0].ID != 7 {
		t.Fatalf("replies %+v", a.replies)
	}

	shake := wire.Handshake{FromInitiator: true, Conversation: 9, Datagram: make([]byte, 1200)}
	if err := a.plane.SendHandshake(12, []mesh.Label{22, 32}, shake); err != nil || len(d.shakes) != 1 {
		t.Fatalf("%v, %d handshakes", err, len(d.shakes))
	}
	if got := d.shakes[0].back; !slices.Equal(got, []mesh.Label{51, 21}) {
		t.Fatalf("way back %v", got)
	}
	if err := d.plane.SendHandshake(d.shakes[0].in, d.shakes[0].back, shake); err != nil || len(a.shakes) != 1 {
		t.Fatalf("%v, %d answers", err, len(a.shakes))
	}

	// What an error from there names is on no path of the source's: it is not believed, and goes no further.
	before := a.plane.Counters()["error_received"]
	d.plane.RemovePeer(d.table.Peers[0].Session)
	a.sendTo(d, 300)
	d.wantCount("error_sent", 1)
	a.wantCount("error_unmatched", 1)
	a.wantCount("error_received", before+1) // b's about the link
}

// An error takes a detour on its way back as data does there.
func TestErrorIsRepaired(t *testing.T) {
	n := bypass(t)
	a, b, c, d := n.nodes["a"], n.nodes["b"], n.nodes["c"], n.nodes["d"]
	c.usable(32, false)
	c.usable(31, false)
	c.around(31, mesh.Detour{Labels: []mesh.Label{35, 51}})
	a.sendTo(d, 300)
	d.wantDelivered()
	c.wantCount("error_sent", 0) // its own frames take no detour: it has no link to send by
	c.wantCount("send_link_down", 1)

	c.usable(31, true)
	b.usable(21, false)
	b.around(21, mesh.Detour{Labels: []mesh.Label{22, 31}}) // back where it came from
	a.sendTo(d, 300)
	b.wantCount("relay_repair_u_turn", 1)
	a.wantCount("error_received", 0)

	n.link("e", "a", 55, 13, 1452)
	b.around(21, mesh.Detour{Labels: []mesh.Label{25, 55}})
	a.sendTo(d, 300)
	b.wantCount("relay_repaired", 1)
	a.wantCount("error_unmatched", 1) // it came by another link than the cause left by
}

// What took a detour takes no second one, whatever is down behind it, and its loss is told.
func TestNoSecondRepair(t *testing.T) {
	n := bypass(t)
	a, b, d, e := n.nodes["a"], n.nodes["b"], n.nodes["d"], n.nodes["e"]
	b.usable(22, false)
	e.usable(53, false)
	e.around(53, mesh.Detour{Labels: []mesh.Label{52, 32}})
	by, _ := n.heard()
	a.sendTo(d, 300)
	d.wantDelivered()
	e.wantCount("relay_repair_twice", 1)
	e.wantCount("relay_repaired", 0)
	e.wantCount("error_sent", 1)
	if by["c"] != 0 || len(a.errors) != 1 {
		t.Errorf("c is given %d frames, a %d errors", by["c"], len(a.errors))
	}
	b.usable(22, true) // then c's is the first
	c := n.nodes["c"]
	c.usable(32, false)
	c.around(32, mesh.Detour{Labels: []mesh.Label{35, 53}})
	e.usable(53, true)
	d.wantDelivered(a.sendTo(d, 300))
}

// A detour that the frame may not take, or that has no room for it, is none.
func TestRepairRefused(t *testing.T) {
	long := []mesh.Label{25, 52, 1, 2, 3}
	for name, tt := range map[string]struct {
		labels  []mesh.Label // of the frame
		payload int
		detours []mesh.Detour
		thin    uint16
		counter string
	}{
		"none":            {[]mesh.Label{22, 32}, 40, nil, 0, "relay_link_down"},
		"to another node": {[]mesh.Label{22, 32}, 40, []mesh.Detour{{Behind: 33, Labels: []mesh.Label{25, 53}}}, 0, "relay_link_down"},
		"back":            {[]mesh.Label{22, 32}, 40, []mesh.Detour{{Labels: []mesh.Label{21, 13}}}, 0, "relay_repair_u_turn"},
		"its link down":   {[]mesh.Label{22, 32}, 40, []mesh.Detour{{Labels: []mesh.Label{26, 13}}}, 0, "relay_link_down"},
		"labels":          {manyLabels(29), 40, []mesh.Detour{{Labels: long}}, 0, "relay_repair_too_big"},
		"fewer labels":    {manyLabels(28), 40, []mesh.Detour{{Labels: long}}, 0, "relay_repaired"},
		"bytes":           {[]mesh.Label{22}, wire.MaxFrame - wire.HeaderLen - 2 - 7, []mesh.Detour{{Labels: long}}, 0, "relay_repair_too_big"},
		"fewer bytes":     {[]mesh.Label{22}, wire.MaxFrame - wire.HeaderLen - 2 - 8, []mesh.Detour{{Labels: long}}, 0, "relay_repaired"},
		"two parts":       {[]mesh.Label{22}, 1000, []mesh.Detour{{Labels: long}}, 100, "relay_repair_too_big"},
		"two larger ones": {[]mesh.Label{22}, 1000, []mesh.Detour{{Labels: long}}, 600, "relay_repaired"},
		"the second that leads there": {[]mesh.Label{22, 32}, 40,
			[]mesh.Detour{{Labels: []mesh.Label{25, 52}}, {Behind: 32, Labels: []mesh.Label{21, 14}}}, 0, "relay_repaired"},
	} {
		t.Run(name, func(t *testing.T) {
			n := bypass(t)
			a, b := n.nodes["a"], n.nodes["b"]
			n.link("b", "e", 26, 54, 1452)
			b.usable(26, false)
			b.around(22, tt.detours...)
			b.usable(22, false)
			if tt.thin != 0 {
				b.link(25).MTU = tt.thin
				b.publish()
			}
			a.plane.emit(a.plane.view.Load().links[12], wire.AppendFrame(nil, wire.TypeData, 0, tt.labels, make([]byte, tt.payload)))
			for _, c := range []string{"relay_link_down", "relay_repair_u_turn", "relay_repair_too_big", "relay_repair_twice", "relay_repaired"} {
				want := uint64(0)
				if c == tt.counter {
					want = 1
				}
				b.wantCount(c, want)
			}
			b.wantCount("error_sent", 1)
		})
	}
}

// manyLabels begins with b's link to c.
func manyLabels(n int) []mesh.Label {
	l := []mesh.Label{22}
	for len(l) < n {
		l = append(l, mesh.Label(1000+len(l)))
	}
	return l
}

// Published detours that are none are counted and left out.
func TestDetoursThatAreNone(t *testing.T) {
	n := bypass(t)
	b := n.nodes["b"]
	before := b.plane.Counters()["path_invalid"]
	b.around(22, mesh.Detour{}, mesh.Detour{Labels: []mesh.Label{22, 31}}, mesh.Detour{Labels: []mesh.Label{99, 1}},
		mesh.Detour{Labels: []mesh.Label{25, 0}}, mesh.Detour{Labels: []mesh.Label{25}})
	b.wantCount("path_invalid", before+4)
	if got := len(b.plane.view.Load().links[22].detours); got != 1 {
		t.Errorf("%d detours", got)
	}
}

// Frames that came together leave by the detour together; what they carry is whole, and nothing is allocated for them.
func TestRunIsRepairedAsARun(t *testing.T) {
	n := bypass(t)
	a, b, d := n.nodes["a"], n.nodes["b"], n.nodes["d"]
	b.usable(22, false)
	const size = 1300
	sent := largeTCP(a, d, 40*size+100, size)
	want := bytes.Clone(sent)
	a.sendLarge(sent)
	if got := d.tun.take(); len(got) != 1 || !bytes.Equal(got[0], want[segment.HeaderLen:]) {
		t.Fatalf("%d packets", len(got))
	}
	b.wantCount("relay_repaired", 41)
	if !slices.Equal(b.runs, []int{41}) {
		t.Errorf("runs of %v frames, want one of 41", b.runs)
	}
}

// A run over a detour whose link is thinner than its frames goes as parts, all of it.
func TestRunIsRepairedInParts(t *testing.T) {
	n := bypass(t)
	a, b, d := n.nodes["a"], n.nodes["b"], n.nodes["d"]
	b.usable(22, false)
	b.link(25).MTU = wire.MinLinkMTU
	b.publish()
	sent := largeTCP(a, d, 20*1300, 1300)
	a.sendLarge(sent)
	got := 0
	for _, p := range d.tun.take() {
		got += len(p) - ipv6Header - 20
	}
	if got != 20*1300 {
		t.Errorf("%d bytes of %d came", got, 20*1300)
	}
	b.wantCount("part_sent", 20)
}

func TestRelayAroundALinkDoesNotAllocate(t *testing.T) {
	for name, set := range map[string]func(b *testNode){
		"down":    func(b *testNode) { b.usable(22, false) },
		"suspect": func(b *testNode) { b.doubt(22, true) },
	} {
		t.Run(name, func(t *testing.T) {
			n := bypass(t)
			b := n.nodes["b"]
			set(b)
			frames := sealedFrames(n, "b", 400)
			b.plane.send = sink
			b.plane.sendRunTo = oneByOne(sink)
			r, i := b.plane.NewReceiver(), 0
			turn := func() {
				for range 3 { // the last alone in its run
					r.HandleFrame(n.nodes["a"].under, frames[i])
					i++
				}
				r.Flush()
			}
			for range 20 {
				turn() // the errors' burst is over, the buffers are made
			}
			if got := testing.AllocsPerRun(50, turn); got != 0 {
				t.Errorf("%v allocations for 3 frames", got)
			}
		})
	}
}

// A link in doubt carries what it is asked to, and a detour a copy, marked as such; the first to come counts.
func TestSuspectLink(t *testing.T) {
	n := bypass(t)
	a, b, c, d := n.nodes["a"], n.nodes["b"], n.nodes["c"], n.nodes["d"]
	b.doubt(22, true)
	by, flags := n.heard()
	pkt := packet(a.addr, d.addr, 500, 0xa5)
	pkt[1] |= 2 << 4 // ECT(0)
	a.send(pkt)
	d.wantDelivered(pkt)
	d.wantCount("peer_replay", 1)
	b.wantCount("relay_copied", 1)
	b.wantCount("relay_forwarded", 1)
	b.wantCount("relay_repaired", 0)
	ect := wire.Flags(0).WithECN(2)
	if got := flags["e"]; !slices.Equal(got, []wire.Flags{ect | wire.FlagSuspect | wire.FlagRepaired}) {
		t.Errorf("flags of the copy %v", got)
	}
	if got := flags["c"]; !slices.Equal(got, []wire.Flags{ect}) {
		t.Errorf("flags of the frame %v", got)
	}
	if len(a.errors) != 1 || a.errors[0].Code != wire.ErrorLinkSuspect || a.errors[0].Label != 22 || by["a"] != 1 {
		t.Errorf("errors %+v, %d frames", a.errors, by["a"])
	}

	// The one that the link loses arrives all the same.
	n.tap = func(_, to *testNode, _ []byte) int {
		if to == c {
			return 0
		}
		return 1
	}
	d.wantDelivered(a.sendTo(d, 400))
	b.wantCount("relay_copied", 2)

	b.doubt(22, false)
	n.heard()
	d.wantDelivered(a.sendTo(d, 400))
	b.wantCount("relay_copied", 2)
}

// The class stays on what leaves by a detour.
func TestDetourKeepsClassAndECN(t *testing.T) {
	n := bypass(t)
	a, b := n.nodes["a"], n.nodes["b"]
	b.usable(22, false)
	_, flags := n.heard()
	fl := wire.FlagProtected.WithECN(1)
	a.plane.emit(a.plane.view.Load().links[12], wire.AppendFrame(nil, wire.TypeData, fl, []mesh.Label{22, 32}, make([]byte, 40)))
	if got := flags["e"][0]; got != fl|wire.FlagRepaired {
		t.Errorf("flags %v", got)
	}
}

// A copy makes no copies, nor does a frame that took a detour; they go on by the link alone, and nobody is told.
func TestCopiesAreNotCopied(t *testing.T) {
	for _, fl := range []wire.Flags{wire.FlagSuspect, wire.FlagRepaired, wire.FlagSuspect | wire.FlagRepaired} {
		n := bypass(t)
		a, b := n.nodes["a"], n.nodes["b"]
		b.doubt(22, true)
		by, flags := n.heard()
		a.plane.emit(a.plane.view.Load().links[12], wire.AppendFrame(nil, wire.TypeData, fl, []mesh.Label{22, 32}, make([]byte, 40)))
		b.wantCount("relay_copied", 0)
		b.wantCount("relay_forwarded", 2) // and d's error about it
		b.wantCount("error_sent", 0)
		if by["e"] != 0 || !slices.Equal(flags["c"][:1], []wire.Flags{fl}) {
			t.Errorf("flags %v: e is given %d, c %v", fl, by["e"], flags["c"])
		}
		// If the link is down that is the end of it.
		b.usable(22, false)
		a.plane.emit(a.plane.view.Load().links[12], wire.AppendFrame(nil, wire.TypeData, fl, []mesh.Label{22, 32}, make([]byte, 40)))
		b.wantCount("relay_repair_twice", 1)
		b.wantCount("relay_repaired", 0)
		b.wantCount("error_sent", 1)
	}
}

// Copies and repairs of one length that leave by one link together are told apart.
func TestCopiesAndRepairsTogether(t *testing.T) {
	n := bypass(t)
	a, b := n.nodes["a"], n.nodes["b"]
	n.link("b", "d", 24, 44, 1452)
	b.around(24, mesh.Detour{Labels: []mesh.Label{25, 53}})
	b.doubt(22, true)
	b.usable(24, false)
	w := n.hold("b", 0)
	send := func(labels ...mesh.Label) {
		a.plane.emit(a.plane.view.Load().links[12], wire.AppendFrame(nil, wire.TypeData, 0, labels, make([]byte, 40)))
	}
	send(22, 32)
	send(24)
	send(24)
	send(22, 32)
	for _, f := range w.queue {
		w.r.HandleFrame(a.under, f.b)
	}
	w.r.Flush()
	b.wantCount("relay_copied", 2)
	b.wantCount("relay_repaired", 2)
	if u := b.plane.LinkCounters()[21]; u.ForwardedFrames != 4 {
		t.Errorf("%d frames forwarded for a, want 4", u.ForwardedFrames)
	}
}

// Copies take a part of the detour's link and no more; what is not copied is sent once, and repairs are no copies.
func TestCopiesAreBudgeted(t *testing.T) {
	n := bypass(t)
	a, b, d := n.nodes["a"], n.nodes["b"], n.nodes["d"]
	b.doubt(22, true)
	b.copyRate(10_000)
	for range 30 {
		a.sendTo(d, 1000)
		d.tun.take()
	}
	const frame = 1000 + wire.HeaderLen + wire.SealOverhead + wire.InnerHeader + 4
	copies := uint64(10_000 / frame) // e's label stands where c's stood
	b.wantCount("relay_copied", copies)
	b.wantCount("relay_copy_limited", 30-copies)
	b.wantCount("relay_forwarded", 30)
	d.wantCount("peer_replay", copies)
	n.now = n.now.Add(time.Second)
	a.sendTo(d, 1000)
	b.wantCount("relay_copied", copies+1)

	b.noCopies()
	b.usable(22, false)
	d.tun.take()
	d.wantDelivered(a.sendTo(d, 1000))
	b.wantCount("relay_repaired", 1)

	b.usable(22, true)
	b.around(22)
	a.sendTo(d, 1000)
	b.wantCount("relay_copy_none", 1)
}

// A member that writes labels as it likes has its frame repaired once: in a ring where every link is down and every relay
// knows a detour, it costs one detour and ends.
func TestDetourLabelGames(t *testing.T) {
	n := newNet(t, "m", "a", "b", "c")
	n.link("m", "a", 1, 11, 1452)
	n.link("a", "b", 12, 21, 1452)
	n.link("b", "c", 22, 31, 1452)
	n.link("c", "a", 32, 13, 1452)
	detours := map[string][3]mesh.Label{"a": {12, 13, 31}, "b": {22, 21, 12}, "c": {32, 31, 22}} // the other way round
	for name, d := range detours {
		n.nodes[name].around(d[0], mesh.Detour{Labels: d[1:]}, mesh.Detour{Behind: 22, Labels: d[1:]})
	}
	send := func(labels []mesh.Label) (total uint64) {
		before := uint64(0)
		sum := func() (s uint64) {
			for name := range detours {
				c := n.nodes[name].plane.Counters()
				s += c["relay_forwarded"] + c["relay_copied"]
			}
			return s
		}
		before = sum()
		m := n.nodes["m"]
		m.plane.emit(m.plane.view.Load().links[1], wire.AppendFrame(nil, wire.TypeData, 0, labels, make([]byte, 40)))
		return sum() - before
	}
	var labels []mesh.Label
	for len(labels) < wire.MaxLabels-4 {
		labels = append(labels, []mesh.Label{12, 22, 32}[len(labels)%3])
	}
	for name, d := range detours {
		n.nodes[name].usable(d[0], false)
	}
	if got := send(labels); got > 6 {
		t.Errorf("%d frames relayed for one that no link carries", got)
	}
	for name, d := range detours {
		n.nodes[name].usable(d[0], true)
		n.nodes[name].doubt(d[0], true)
	}
	// Each relay on the list may make one copy, which lives no longer than the list and a detour; errors go by one link each.
	if got := send(labels); got > uint64(len(labels)*(len(labels)+4)) {
		t.Errorf("%d frames relayed for one", got)
	}
}
