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

// waiting is the queue in front of a node: frames that others sent it and that nobody has read yet.
type standing struct {
	n     *testNet
	to    *testNode
	r     *Receiver
	queue []waitingFrame
	most  int // frames; 0 = any number
	lost  map[string]int
	name  func(waitingFrame) string // of who sent it
}

type waitingFrame struct {
	from *testNode
	came time.Time
	b    []byte
}

// hold has what is sent to a node wait.
func (n *testNet) hold(name string, most int) *standing {
	w := &standing{n: n, to: n.nodes[name], r: n.nodes[name].plane.NewReceiver(), most: most, lost: map[string]int{}}
	w.name = func(f waitingFrame) string { return f.from.id.String() }
	n.tap = func(from, to *testNode, b []byte) int {
		if to != w.to {
			return 1
		}
		if w.most > 0 && len(w.queue) >= w.most {
			w.lost[from.id.String()]++
			return 0
		}
		w.queue = append(w.queue, waitingFrame{from, n.now, bytes.Clone(b)})
		return 0
	}
	return w
}

// read has the node read one frame.
func (w *standing) read() {
	f := w.queue[0]
	w.queue = w.queue[1:]
	w.r.Came(f.came, len(w.queue) == 0, false)
	w.r.HandleFrame(f.from.under, f.b)
	w.r.Flush()
}

// stand reads frames that all waited so long, a millisecond apart, while send sends more of them.
func (w *standing) stand(frames int, wait time.Duration, send func()) {
	for range frames {
		send()
		send() // so that another one waits behind it
		for i := range w.queue {
			w.queue[i].came = w.n.now.Add(-wait)
		}
		w.read()
		w.queue = w.queue[:0]
		w.n.now = w.n.now.Add(time.Millisecond)
	}
}

// What waits too long is marked where that can be, else dropped, at the rate of the control law; what waits shortly is not.
func TestStandingQueueIsMarked(t *testing.T) {
	for name, tt := range map[string]struct {
		ecn             uint8
		wait            time.Duration
		marked, dropped uint64
	}{
		"ECT(0)":       {2, 6 * time.Millisecond, 7, 0}, // in 500 ms, as TestCodelPace has it
		"ECT(1)":       {1, 6 * time.Millisecond, 7, 0},
		"not ECT":      {0, 6 * time.Millisecond, 0, 7},
		"marked":       {3, 6 * time.Millisecond, 7, 0},
		"short":        {2, 4900 * time.Microsecond, 0, 0},
		"not ECT here": {0, 4900 * time.Microsecond, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			n := line(t)
			a, b, d := n.nodes["a"], n.nodes["b"], n.nodes["d"]
			pkt := packet(a.addr, d.addr, 300, 1)
			pkt[1] |= tt.ecn << 4
			w := n.hold("b", 0)
			w.stand(500, tt.wait, func() { a.send(bytes.Clone(pkt)) })
			b.wantCount("congestion_marked", tt.marked)
			b.wantCount("congestion_dropped", tt.dropped)
			b.wantCount("over_share", 0)
			got := d.tun.take()
			if uint64(len(got)) != 500-tt.dropped {
				t.Errorf("%d packets of 500 came", len(got))
			}
			marks := uint64(0)
			for _, p := range got {
				switch packetECN(p) {
				case tt.ecn:
				case ce:
					marks++
				default:
					t.Fatalf("code point %d became %d", tt.ecn, packetECN(p))
				}
				p[1] = pkt[1]
				if !bytes.Equal(p, pkt) {
					t.Fatal("another packet")
				}
			}
			if tt.ecn != ce && marks != tt.marked {
				t.Errorf("%d of the packets are marked, want %d", marks, tt.marked)
			}
		})
	}
}

// The end of a way marks what waited for itself as a relay does.
func TestStandingQueueAtTheEnd(t *testing.T) {
	n := line(t)
	a, d := n.nodes["a"], n.nodes["d"]
	pkt := packet(a.addr, d.addr, 300, 1)
	w := n.hold("d", 0)
	w.stand(150, 6*time.Millisecond, func() { a.send(bytes.Clone(pkt)) })
	d.wantCount("congestion_dropped", 1)
	pkt[1] |= 2 << 4
	w.stand(100, 6*time.Millisecond, func() { a.send(bytes.Clone(pkt)) })
	d.wantCount("congestion_marked", 1)
	got, marks := d.tun.take(), 0
	for _, p := range got {
		if packetECN(p) == ce {
			marks++
		}
	}
	if len(got) != 249 || marks != 1 {
		t.Errorf("%d packets, %d of them marked", len(got), marks)
	}
}

// Whoever is not told how long frames waited, or that few did, marks nothing; nor is anything marked but data.
func TestNothingElseIsMarked(t *testing.T) {
	n := line(t)
	a, b, d := n.nodes["a"], n.nodes["b"], n.nodes["d"]
	untouched := func() {
		t.Helper()
		b.wantCount("congestion_marked", 0)
		b.wantCount("congestion_dropped", 0)
	}
	w := n.hold("b", 0)
	for range 300 { // one at a time
		a.sendTo(d, 300)
		n.now = n.now.Add(9 * time.Millisecond)
		w.read()
	}
	untouched()
	shake := wire.Handshake{FromInitiator: true, Conversation: 9, Datagram: make([]byte, 1200)}
	w.stand(300, 9*time.Millisecond, func() {
		if err := a.plane.SendHandshake(12, []mesh.Label{22, 32}, shake); err != nil {
			t.Fatal(err)
		}
	})
	w.stand(300, 9*time.Millisecond, func() { a.plane.SendHello(12, wire.Hello{Interval: 50_000}, 0) })
	untouched()
	if len(b.hellos) != 300 {
		t.Errorf("%d hellos of 300", len(b.hellos))
	}
	n.tap = func(_, _ *testNode, _ []byte) int { return 1 }
	for range 300 {
		a.sendTo(d, 300)
		n.now = n.now.Add(9 * time.Millisecond)
	}
	untouched()
}

// A mark on one packet of a flow stays on it alone, and is not lost where packets are joined for the TUN.
func TestMarkSurvivesJoining(t *testing.T) {
	n := line(t)
	a, b, d := n.nodes["a"], n.nodes["b"], n.nodes["d"]
	const size, count = 1000, 20
	w := n.hold("b", 0)
	large := largeTCP(a, d, count*size, size)
	large[segment.HeaderLen+1] |= 2 << 4 // ECT(0)
	a.sendLarge(large)
	n.now = n.now.Add(time.Minute)
	w.r.queue.codel = codel{dropping: true, count: 1, last: 1, dropNext: b.plane.now(), firstAbove: 1} // the first is hit
	run := bytes.Join(frameBytes(w.queue), nil)                                                        // as they came: in one buffer
	w.r.Came(n.now.Add(-10*time.Millisecond), false, false)
	each := len(w.queue[0].b)
	for at := 0; at < len(run); at += each {
		w.r.HandleFrame(a.under, run[at:at+each])
	}
	w.r.Flush()
	marked := int(b.plane.Counters()["congestion_marked"])
	if marked != 1 {
		t.Fatalf("%d of %d frames are marked, want one", marked, count)
	}
	got, bytesMarked := 0, 0
	for _, p := range d.tun.take() {
		payload := len(p) - ipv6Header - 20
		if got += payload; packetECN(p) == ce {
			bytesMarked += payload
		}
	}
	if got != count*size || bytesMarked != marked*size {
		t.Errorf("%d bytes of %d came, %d of them marked, want %d", got, count*size, bytesMarked, marked*size)
	}
}

func frameBytes(queue []waitingFrame) (all [][]byte) {
	for _, f := range queue {
		all = append(all, f.b)
	}
	return all
}

// RFC 6040 §4.2, figure 4: what is inside against what is outside; -1 is a packet that is dropped.
func TestMarksAreCombined(t *testing.T) {
	want := [4][4]int{ // by the inner code point, then the outer: not-ECT, ECT(1), ECT(0), CE
		{0, 0, 0, -1},
		{1, 1, 1, 3},
		{2, 1, 2, 3},
		{3, 3, 3, 3},
	}
	for inner, row := range want {
		for outer, want := range row {
			pkt := packet(testPrefix.Addr(), testPrefix.Addr(), 60, 0)
			pkt[0], pkt[1] = 0x6a, 0xcb|byte(inner)<<4
			ok := markPacket(pkt, uint8(outer))
			if ok != (want >= 0) || ok && (int(packetECN(pkt)) != want || pkt[0] != 0x6a || pkt[1]&^0x30 != 0xcb) {
				t.Errorf("inner %d, outer %d: %v, %d, want %d", inner, outer, ok, packetECN(pkt), want)
			}
		}
	}
}

// rivals is two senders with one relay: each has a session with d behind it.
func rivals(t testing.TB) *testNet {
	n := newNet(t, "a", "f", "b", "d")
	n.link("a", "b", 12, 21, 1452)
	n.link("f", "b", 13, 23, 1452)
	n.link("b", "d", 24, 41, 1452)
	for name, first := range map[string]int{"a": 12, "f": 13} {
		n.session(name, "d")
		n.route(name, first, "b", 24, "d")
	}
	return n
}

// compete runs a relay that can send on 50,000 frames a second and drop five times as many. It returns what arrived, and how
// long what was sent on had waited at most in the second half.
func (w *standing) compete(rates map[string]int, end time.Duration) (came map[string]int, waited time.Duration) {
	const relayed, dropped = 20 * time.Microsecond, 4 * time.Microsecond
	n, begin := w.n, w.n.now
	d, next, came := n.nodes["d"], map[string]time.Time{}, map[string]int{}
	for name := range rates {
		next[name] = begin
	}
	for n.now.Sub(begin) < end {
		clock := n.now
		for name, rate := range rates {
			for ; rate > 0 && !next[name].After(clock); next[name] = next[name].Add(time.Second / time.Duration(rate)) {
				n.now = next[name]
				n.nodes[name].sendTo(d, 1000)
			}
		}
		if n.now = clock; len(w.queue) == 0 {
			n.now = clock.Add(5 * time.Microsecond)
			continue
		}
		f := w.queue[0]
		w.read()
		if len(d.tun.take()) == 0 {
			n.now = n.now.Add(dropped)
			continue
		}
		came[w.name(f)]++
		if n.now.Sub(begin) > end/2 {
			waited = max(waited, n.now.Sub(f.came))
		}
		n.now = n.now.Add(relayed)
	}
	return came, waited
}

// Who floods a relay starves nobody who takes less than a fair share, and the queue gets short again.
func TestFloodingNeighbourStarvesNobody(t *testing.T) {
	const seconds = 1
	n := rivals(t)
	w := n.hold("b", 3500)
	rates := map[string]int{"a": 10_000, "f": 100_000}
	came, waited := w.compete(rates, seconds*time.Second)
	t.Logf("came %v, lost in front of the relay %v, waited up to %v", came, w.lost, waited)
	if got := came["a"]; got < rates["a"]*seconds*9/10 {
		t.Errorf("%d frames of %d came of the one who sends little", got, rates["a"]*seconds)
	}
	if got := came["f"]; got < 10_000*seconds {
		t.Errorf("%d frames came of the one who floods: less than an equal share", got)
	}
	if waited > 30*time.Millisecond {
		t.Errorf("frames waited up to %v", waited)
	}
	c := n.nodes["b"].plane.Counters()
	if c["over_share"] == 0 {
		t.Error("none was over its share")
	}

	// The flood ends, and with it the limit.
	w.compete(map[string]int{"a": 10_000, "f": 10_000}, time.Second/2)
	before := n.nodes["b"].plane.Counters()
	came, _ = w.compete(map[string]int{"a": 10_000, "f": 30_000}, time.Second/2)
	after := n.nodes["b"].plane.Counters()
	if after["over_share"] != before["over_share"] || came["f"] < 14_900 || came["a"] < 4_900 {
		t.Errorf("came %v of 5,000 and 15,000; %d cut off", came, after["over_share"]-before["over_share"])
	}
}

// Whoever answers the first hits is not cut: that comes only when they were in vain.
func TestSharesAreCutLate(t *testing.T) {
	n := rivals(t)
	b, d := n.nodes["b"], n.nodes["d"]
	w := n.hold("b", 0)
	load := func(ms int) {
		for range ms {
			for i := range 20 {
				n.nodes[map[bool]string{true: "a", false: "f"}[i == 0]].sendTo(d, 1000)
			}
			for _, f := range w.queue {
				w.r.Came(n.now.Add(-9*time.Millisecond), false, false)
				w.r.HandleFrame(f.from.under, f.b)
				w.r.Flush()
			}
			w.queue, n.now = w.queue[:0], n.now.Add(time.Millisecond)
		}
	}
	load(300) // hits after 100, 200, 271 ms
	b.wantCount("over_share", 0)
	b.wantCount("congestion_dropped", 3)
	load(100)
	if b.plane.Counters()["over_share"] == 0 {
		t.Error("none is cut")
	}
	if got := b.plane.LinkCounters()[21].ForwardedFrames; got != 400 {
		t.Errorf("%d frames of 400 of the one who sends little", got)
	}
}

// A mark made here stays on what takes a detour.
func TestMarkOnADetour(t *testing.T) {
	n := bypass(t)
	a, b, d := n.nodes["a"], n.nodes["b"], n.nodes["d"]
	b.usable(22, false)
	pkt := packet(a.addr, d.addr, 300, 1)
	pkt[1] |= 2 << 4
	w := n.hold("b", 0)
	w.stand(150, 6*time.Millisecond, func() { a.send(bytes.Clone(pkt)) })
	b.wantCount("congestion_marked", 1)
	b.wantCount("relay_repaired", 150)
	marks := 0
	for _, p := range d.tun.take() {
		if packetECN(p) == ce {
			marks++
		}
	}
	if marks != 1 {
		t.Errorf("%d packets are marked", marks)
	}
}

// Of two that send through one neighbour the one who floods starves the other no more than if they were neighbours themselves.
func TestFloodBehindANeighbourStarvesNobody(t *testing.T) {
	n := newNet(t, "a", "f", "x", "b", "d")
	n.link("a", "x", 12, 21, 1452)
	n.link("f", "x", 13, 23, 1452)
	n.link("x", "b", 24, 31, 1452)
	n.link("b", "d", 34, 41, 1452)
	for name, first := range map[string]int{"a": 12, "f": 13} {
		n.session(name, "d")
		n.route(name, first, "x", 24, "b", 34, "d")
	}
	flows := map[uint32]string{} // by the receiver's index
	for name, x := range map[string]*testNode{"a": n.nodes["a"], "f": n.nodes["f"]} {
		flows[x.plane.view.Load().sessions[0].tx.value()] = name
	}
	w := n.hold("b", 3500)
	w.name = func(f waitingFrame) string {
		p, err := wire.ParseFrame(f.b)
		if err != nil {
			t.Fatal(err)
		}
		index, _, _ := wire.DataIndex(p.Payload)
		return flows[index]
	}
	came, waited := w.compete(map[string]int{"a": 10_000, "f": 100_000}, time.Second)
	t.Logf("came %v, waited up to %v", came, waited)
	if came["a"] < 9_000 || came["f"] < 10_000 {
		t.Errorf("came %v of 10,000 and 100,000", came)
	}
	if waited > 50*time.Millisecond {
		t.Errorf("frames waited up to %v", waited)
	}
}

// The links of one neighbour share what it has; those of others have their own.
func TestLinksOfOneNeighbourShare(t *testing.T) {
	n := rivals(t)
	n.link("f", "b", 14, 25, 1452)
	n.link("f", "b", 15, 20, 1452) // below the others

	slices.SortFunc(n.nodes["b"].table.Links, func(x, y mesh.ForwardLink) int { return int(x.Label) - int(y.Label) })
	n.nodes["b"].publish()
	v := n.nodes["b"].plane.view.Load()
	for l, want := range map[mesh.Label]mesh.Label{21: 21, 23: 20, 25: 20, 20: 20, 24: 24} {
		if got := v.links[l].state.counted(); got != want {
			t.Errorf("link %d is counted as %d, want %d", l, got, want)
		}
	}
	if got := (&linkState{label: 9}).counted(); got != 9 {
		t.Errorf("a link that is not published yet is counted as %d", got)
	}
}

// What fits the relay is not touched, however unequal.
func TestUnequalNeighboursThatFit(t *testing.T) {
	n := rivals(t)
	w := n.hold("b", 3500)
	came, waited := w.compete(map[string]int{"a": 1_000, "f": 45_000}, time.Second)
	if came["a"] < 990 || came["f"] < 44_900 || waited > codelTarget {
		t.Errorf("came %v, waited up to %v", came, waited)
	}
	b := n.nodes["b"]
	b.wantCount("over_share", 0)
	b.wantCount("congestion_dropped", 0)
}

func TestCongestedRelayDoesNotAllocate(t *testing.T) {
	n := line(t)
	frames := sealedFrames(n, "b", 2000)
	b, from := n.nodes["b"], n.nodes["a"].under
	b.plane.send = sink
	r, i := b.plane.NewReceiver(), 0
	got := testing.AllocsPerRun(len(frames)-1, func() {
		n.now = n.now.Add(time.Millisecond)
		r.Came(n.now.Add(-20*time.Millisecond), false, false)
		r.HandleFrame(from, frames[i])
		r.Flush()
		i++
	})
	if got != 0 {
		t.Errorf("%v allocations for a frame", got)
	}
	if b.plane.Counters()["congestion_dropped"] < 20 {
		t.Error("nothing was congested")
	}
}

// What the network between two neighbours marked stays marked, where that can be seen in the end; else it is dropped.
func TestMarksOfTheUnderlay(t *testing.T) {
	n := line(t)
	a, b, d := n.nodes["a"], n.nodes["b"], n.nodes["d"]
	for _, tt := range []struct{ ecn, want int }{{0, -1}, {1, ce}, {2, ce}, {ce, ce}} {
		w := n.hold("b", 0)
		pkt := packet(a.addr, d.addr, 300, 1)
		pkt[1] |= byte(tt.ecn) << 4
		a.send(pkt)
		w.r.Came(n.now, true, true)
		w.r.HandleFrame(a.under, w.queue[0].b)
		w.r.Flush()
		got := d.tun.take()
		if len(got) != min(tt.want+1, 1) || len(got) == 1 && int(packetECN(got[0])) != tt.want {
			t.Errorf("code point %d: %d packets %x, want %d", tt.ecn, len(got), got, tt.want)
		}
	}
	b.wantCount("congestion_heard", 3)
	b.wantCount("congestion_dropped", 1)
	b.wantCount("congestion_marked", 0)

	w := n.hold("b", 0) // what is no data is as it was
	if err := a.plane.SendHandshake(12, []mesh.Label{22, 32}, wire.Handshake{Datagram: []byte{1}}); err != nil {
		t.Fatal(err)
	}
	w.r.Came(n.now, true, true)
	w.r.HandleFrame(a.under, w.queue[0].b)
	w.r.Flush()
	if len(d.shakes) != 1 {
		t.Error("a handshake is dropped")
	}
}

// Frames of one run have one code point.
func TestRunsHaveOneCodePoint(t *testing.T) {
	n := line(t)
	a, b, d := n.nodes["a"], n.nodes["b"], n.nodes["d"]
	w := n.hold("b", 0)
	for _, ecn := range []byte{2, 2, 0, 0, 0, 2} {
		pkt := packet(a.addr, d.addr, 300, 1)
		pkt[1] |= ecn << 4
		a.send(pkt)
	}
	read := func() {
		run, each := bytes.Join(frameBytes(w.queue), nil), len(w.queue[0].b)
		for at := 0; at < len(run); at += each {
			w.r.HandleFrame(a.under, run[at:at+each])
		}
		w.r.Flush()
	}
	read()
	if !slices.Equal(b.runs, []int{2, 3}) {
		t.Errorf("runs of %v frames, want 2 and 3, and one alone", b.runs)
	}
	if got := len(d.tun.take()); got != 6 {
		t.Errorf("%d packets of 6", got)
	}
}
