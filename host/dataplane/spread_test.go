package dataplane

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"x0tta6bl4/host/dataplane/segment"
	"x0tta6bl4/mesh"
)

// flowPacket is packet i of a flow, told by its port.
func flowPacket(from, to *testNode, flow uint16, i uint32) []byte {
	b := packet(from.addr, to.addr, 100, 0)
	binary.BigEndian.PutUint16(b[40:], flow)
	binary.BigEndian.PutUint16(b[42:], 443)
	binary.BigEndian.PutUint32(b[60:], i)
	return b
}

// shares sets the shares of a's ways to d; those named are all it has.
func (d *testNode) shares(to *testNode, ways ...mesh.Way) {
	d.entry(to).Ways = ways
	d.publish()
}

// wayTaken sends a packet of a flow and returns the neighbour that it left by.
func (n *testNet) wayTaken(a, d *testNode, flow uint16) (by string) {
	n.tap = func(from, to *testNode, _ []byte) int {
		if from == a {
			by += to.id.String()
		}
		return 0
	}
	a.send(flowPacket(a, d, flow, 0))
	return by
}

func twoWays(a, d *testNode) (x, y mesh.Way) {
	ways := a.entry(d).Ways
	return mesh.Way{Path: ways[0].Path, Share: 1}, mesh.Way{Path: ways[1].Path, Share: 1}
}

func TestFlowsAreSpreadByShare(t *testing.T) {
	for _, tt := range []struct {
		x, y uint32
		want float64 // of the flows by the first
	}{{1, 1, 0.5}, {3, 1, 0.75}, {1, 9, 0.1}, {math.MaxUint32, math.MaxUint32, 0.5}, {1, 0, 1}, {0, 1, 0}} {
		n, a, d := diamond(t)
		x, y := twoWays(a, d)
		x.Share, y.Share = tt.x, tt.y
		a.shares(d, x, y)
		const flows = 4000
		by := map[string]float64{}
		for f := range flows {
			by[n.wayTaken(a, d, uint16(10_000+f))]++
		}
		if got := by["b"] / flows; math.Abs(got-tt.want) > 0.1*tt.want || by["b"]+by["c"] != flows {
			t.Errorf("shares %d and %d: %.3f of the flows by the first, want %.3f", tt.x, tt.y, got, tt.want)
		}
	}
}

// Without ports a flow is told by its label.
func TestFlowLabelsAreSpread(t *testing.T) {
	_, a, d := diamond(t)
	seen := map[uint8]bool{}
	for label := range 1000 {
		b := packet(a.addr, d.addr, 80, 0)
		b[6] = 58
		binary.BigEndian.PutUint16(b[2:], uint16(label))
		seen[flowBucket(b)] = true
		b[60]++
		if !seen[flowBucket(b)] {
			t.Fatal("two packets of a label in two buckets")
		}
	}
	if len(seen) < 240 {
		t.Errorf("1000 labels in %d buckets", len(seen))
	}
}

// Where all ways have flows, a new share moves those that pause, and a flow that does not stays where it is.
func TestFlowMovesWhenItPauses(t *testing.T) {
	n, a, d := diamond(t)
	x, y := twoWays(a, d)
	a.shares(d, x)
	const flow = 7
	if by := n.wayTaken(a, d, flow); by != "b" {
		t.Fatal(by)
	}
	x.Share, y.Share = 1, 1_000_000
	a.shares(d, x, y)
	for range 200 {
		n.now = n.now.Add(spreadGap - time.Microsecond)
		if by := n.wayTaken(a, d, flow); by != "b" {
			t.Fatalf("moved to %s without a pause", by)
		}
	}
	n.now = n.now.Add(spreadGap)
	if by := n.wayTaken(a, d, flow); by != "c" {
		t.Errorf("still by %s after a pause", by)
	}
	// A pause counts by the difference of the ways where that is more.
	x.Share, y.Share = 1_000_000, 1
	x.Cost, y.Cost = 1000, 91_000
	a.shares(d, x, y)
	n.now = n.now.Add(89 * time.Millisecond)
	if by := n.wayTaken(a, d, flow); by != "c" {
		t.Error("moved after a pause that is shorter than one way is longer")
	}
	n.now = n.now.Add(90 * time.Millisecond)
	if by := n.wayTaken(a, d, flow); by != "b" {
		t.Errorf("still by %s after a pause", by)
	}
}

// A way without a share is being left: flows go when they pause, or a second later.
func TestWayIsLeftInOrder(t *testing.T) {
	n, a, d := diamond(t)
	x, y := twoWays(a, d)
	a.shares(d, x)
	const busy, pausing, fresh = 7, 1000, 2000
	n.wayTaken(a, d, busy)
	n.wayTaken(a, d, pausing)
	x.Share = 0
	a.shares(d, y, x)
	begin := n.now
	if by := n.wayTaken(a, d, fresh); by != "c" {
		t.Errorf("a new flow goes by %s", by)
	}
	for n.now.Sub(begin) < spreadPatience {
		if by := n.wayTaken(a, d, busy); by != "b" {
			t.Fatalf("moved to %s after %v", by, n.now.Sub(begin))
		}
		n.now = n.now.Add(10 * time.Millisecond)
		a.shares(d, y, x) // other tables change nothing of it
		if n.now.Sub(begin) == spreadGap {
			if by := n.wayTaken(a, d, pausing); by != "c" {
				t.Errorf("paused and still by %s", by)
			}
		}
	}
	if by := n.wayTaken(a, d, busy); by != "c" {
		t.Errorf("still by %s after %v", by, n.now.Sub(begin))
	}
	// What was left and comes to be used again has its time anew.
	y.Share, x.Share = 0, 1
	a.shares(d, y, x)
	if by := n.wayTaken(a, d, busy); by != "c" {
		t.Errorf("back by %s at once", by)
	}
}

// What goes by a way that the table no longer has takes another at once.
func TestFlowLeavesALostWayAtOnce(t *testing.T) {
	n, a, d := diamond(t)
	x, y := twoWays(a, d)
	a.shares(d, x, y)
	was := map[uint16]string{}
	for f := range uint16(100) {
		was[f] = n.wayTaken(a, d, f)
	}
	a.shares(d, y)
	for f := range uint16(100) {
		if by := n.wayTaken(a, d, f); by != "c" {
			t.Fatalf("flow %d by %s", f, by)
		}
	}
	// The way comes back: nothing moves without a pause, and after it what was moved, and no more.
	a.shares(d, x, y)
	moved := 0
	for f := range uint16(100) {
		if by := n.wayTaken(a, d, f); by != "c" {
			t.Fatalf("flow %d by %s without a pause", f, by)
		}
	}
	n.now = n.now.Add(spreadGap)
	for f := range uint16(100) {
		if n.wayTaken(a, d, f) == "b" {
			moved++
		}
	}
	if moved < 25 || moved > 75 {
		t.Errorf("%d of 100 flows took the way that came back", moved)
	}
}

// Two ways whose delays differ by nearly as much as a pause must last: whatever tables come, no flow's packets overtake each
// other as long as no way is lost.
func TestFlowsKeepTheirOrder(t *testing.T) {
	n, a, d := diamond(t)
	x, y := twoWays(a, d)
	r := rand.New(rand.NewPCG(1, 2))
	delay := map[string]time.Duration{"b": spreadGap, "c": time.Millisecond}
	type arrival struct {
		at  time.Time
		seq int
	}
	var arrived [50][]arrival
	begin := n.now
	left := map[*mesh.Way]time.Time{}
	ways := []*mesh.Way{&x, &y}
	for step := range 20_000 {
		n.now = n.now.Add(time.Duration(r.IntN(1000)) * time.Microsecond)
		if step%50 == 0 {
			for _, w := range ways {
				w.Share = uint32(r.IntN(4))
				switch since, ok := left[w]; {
				case w.Share > 0:
					delete(left, w)
				case !ok:
					left[w] = n.now
				case n.now.Sub(since) > spreadPatience/2: // before a flow must go
					w.Share = 1
					delete(left, w)
				}
			}
			if x.Share+y.Share == 0 {
				x.Share = 1
				delete(left, &x)
			}
			r.Shuffle(2, func(i, j int) { ways[i], ways[j] = ways[j], ways[i] })
			a.shares(d, *ways[0], *ways[1])
		}
		f := r.IntN(len(arrived))
		by := n.wayTaken(a, d, uint16(f))
		arrived[f] = append(arrived[f], arrival{n.now.Add(delay[by]), step})
	}
	for f, all := range arrived {
		slices.SortStableFunc(all, func(x, y arrival) int { return x.at.Compare(y.at) })
		if !slices.IsSortedFunc(all, func(x, y arrival) int { return x.seq - y.seq }) {
			t.Errorf("flow %d: packets overtook each other", f)
		}
	}
	if n.now.Sub(begin) < 5*time.Second {
		t.Errorf("only %v", n.now.Sub(begin))
	}
}

// deal moves as few buckets as it can, and gives each way its quota.
func TestDealMovesAsFewAsItCan(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var paths []*mesh.Path
	for i := range 8 {
		paths = append(paths, &mesh.Path{Nodes: make([]mesh.NodeID, 2), Labels: []mesh.Label{mesh.Label(i + 1)}})
	}
	var s spread
	for range 500 {
		var ways []outWay
		for _, p := range paths {
			if r.IntN(2) == 0 {
				ways = append(ways, outWay{paths: []outPath{{path: p}}, share: uint32(r.IntN(5))})
			}
		}
		before := s.of
		s.take(ways, time.Hour)
		if len(ways) == 0 {
			continue
		}
		has, had, moved := map[wayName]int{}, map[wayName]int{}, 0
		for i := range s.of {
			has[s.of[i]]++
			had[before[i]]++
			if s.of[i] != before[i] {
				moved++
			}
		}
		must := 0
		for i, quota := range quotas(ways) {
			name := ways[i].name
			if has[name] != quota {
				t.Fatalf("way %d has %d buckets, want %d", name, has[name], quota)
			}
			must += max(0, quota-had[name])
			if total := totalShare(ways); total > 0 && math.Abs(float64(quota)-float64(ways[i].share)*spreadBuckets/float64(total)) >= 1 {
				t.Fatalf("quota %d of %d buckets for share %d of %d", quota, spreadBuckets, ways[i].share, total)
			}
		}
		if moved != must {
			t.Fatalf("%d buckets moved, want %d", moved, must)
		}
	}
}

// Names of ways begin again after the last, and none is 0.
func TestWayNamesWrap(t *testing.T) {
	var s spread
	s.last = math.MaxUint16
	ways := []outWay{{paths: []outPath{{path: &mesh.Path{Labels: []mesh.Label{1}}}}}}
	s.take(ways, 1)
	if ways[0].name != 1 {
		t.Errorf("name %d", ways[0].name)
	}
}

// Flows are sent while tables change, by many goroutines.
func TestSpreadOfManyGoroutines(t *testing.T) {
	_, a, d := diamond(t)
	a.plane.send, a.plane.sendRunTo = sink, func(netip.AddrPort, []byte, int) error { return nil }
	x, y := twoWays(a, d)
	a.shares(d, x, y)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			s := new(outbox)
			for i := range 500 {
				a.plane.handlePacket(s, read(flowPacket(a, d, uint16(g), uint32(i))), false)
				if i%3 == 0 || i == 499 {
					a.plane.flush(s)
				}
			}
		})
	}
	for i := range uint32(100) {
		x.Share, y.Share = i%3, 1
		a.shares(d, x, y)
	}
	wg.Wait()
	a.wantCount("tun_sent", 2000)
}

// Nothing of what a packet goes through on its way out allocates.
func TestSendAllocatesNothing(t *testing.T) {
	for name, prepare := range map[string]func(a, d *testNode){
		"one way": func(a, d *testNode) {
			x, _ := twoWays(a, d)
			a.shares(d, x)
		},
		"a copy":    func(a, d *testNode) { a.doubtWay(d) },
		"protected": func(a, d *testNode) { a.protect(d); a.withRules("udp/443", "tcp/8080", "dscp:1") },
		"spread": func(a, d *testNode) {
			x, y := twoWays(a, d)
			a.shares(d, x, y)
		},
	} {
		_, a, d := diamond(t)
		prepare(a, d)
		a.plane.send = sink
		a.plane.sendRunTo = func(_ netip.AddrPort, _ []byte, _ int) error { return nil }
		a.plane.cb.Sending = func(mesh.NodeID, bool) {}
		s, buf := new(outbox), make([]byte, maxRead)
		small := append(make([]byte, segment.HeaderLen), flowPacket(a, d, 3, 0)...)
		large := largeTCP(a, d, 40*1300, 1300)
		for kind, pkt := range map[string][]byte{"a packet": small, "a large packet": large} {
			send := func() {
				a.plane.handlePacket(s, buf[:copy(buf, pkt)], false)
				a.plane.handlePacket(s, buf[:copy(buf, pkt)], false)
				a.plane.flush(s)
			}
			if allocs := testing.AllocsPerRun(100, send); allocs != 0 {
				t.Errorf("%s: %v allocations for %s", name, allocs, kind)
			}
		}
		if name == "protected" && a.plane.Counters()["protected_sent"] == 0 {
			t.Error("nothing was protected")
		}
	}
}
