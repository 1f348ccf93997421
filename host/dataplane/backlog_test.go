package dataplane

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"x0tta6bl4/host/dataplane/segment"
	"x0tta6bl4/mesh"
)

// ofFlow is a packet of n bytes of a flow, with a number in it.
func ofFlow(n int, flow uint16, number byte) []byte {
	b := packet(testPrefix.Addr(), testPrefix.Addr(), max(n, ipv6Header+8), number)
	b[ipv6Header], b[ipv6Header+1], b[ipv6Header+2], b[ipv6Header+3] = 0, 1, byte(flow>>8), byte(flow)
	return read(b)
}

func (q *backlog) give(t *testing.T, b []byte, now time.Duration) {
	t.Helper()
	room := q.buffer()
	if len(room) < len(b) {
		t.Fatalf("room for %d bytes of %d", len(room), len(b))
	}
	q.add(copy(room, b), now)
}

// flowsApart returns two flows whose hashes differ.
func flowsApart() (a, b uint16) {
	for b = 1; flowOfRead(ofFlow(60, 0, 0)) == flowOfRead(ofFlow(60, b, 0)); b++ {
	}
	return 0, b
}

// Who has sent little lately does not wait for who sends much, and keeps its order.
func TestSparseFlowGoesFirst(t *testing.T) {
	q := newBacklog()
	bulk, sparse := flowsApart()
	for i := range byte(10) {
		q.give(t, ofFlow(60_000, bulk, i), 1)
	}
	out := func(want uint16, number byte) {
		t.Helper()
		b, hit := q.next(1)
		if b == nil || hit || uint16(b[segment.HeaderLen+ipv6Header+3]) != want || b[len(b)-1] != number {
			t.Fatalf("%d bytes, hit %v; want packet %d of flow %d", len(b), hit, number, want)
		}
	}
	out(bulk, 0)
	out(bulk, 1) // its turn is over
	q.give(t, ofFlow(100, sparse, 200), 1)
	q.give(t, ofFlow(100, sparse, 201), 1)
	out(sparse, 200)
	out(sparse, 201)
	out(bulk, 2)
	q.give(t, ofFlow(100, sparse, 202), 1)
	out(sparse, 202)
	for i := byte(3); i < 10; i++ {
		out(bulk, i)
	}
	if b, _ := q.next(1); b != nil || !q.empty() {
		t.Error("more came out than went in")
	}
}

// Two flows that both want all get the same number of bytes, whatever their packets' sizes.
func TestFlowsShareTheBacklog(t *testing.T) {
	q := newBacklog()
	large, small := flowsApart()
	sent := map[byte]int{}
	for range 4000 {
		for f, n := range map[uint16]int{large: 50_000, small: 1_000} {
			if at := &q.flows[flowOfRead(ofFlow(60, f, 0))]; !at.waits || at.first < 0 || q.held[at.first].next < 0 {
				q.give(t, ofFlow(n, f, 0), 1)
				q.give(t, ofFlow(n, f, 0), 1)
			}
		}
		b, _ := q.next(1)
		sent[b[segment.HeaderLen+ipv6Header+3]] += len(b)
	}
	if a, b := sent[byte(large)], sent[byte(small)]; a < b*95/100 || b < a*95/100 {
		t.Errorf("%d bytes of large packets, %d of small ones", a, b)
	}
}

// Whatever comes goes out once, in the order of its flow, and what has no room is left where it is.
func TestBacklogKeepsOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	q := newBacklog()
	var waiting [300][]byte // numbers, of each flow
	held, full := 0, 0
	for i := range 20_000 {
		if i/1000%2 == 0 || r.IntN(3) == 0 {
			f := uint16(r.IntN(len(waiting)))
			if q.buffer() == nil {
				full++
			} else {
				q.give(t, ofFlow(48+r.IntN(3000), f, byte(i)), time.Duration(i))
				waiting[f] = append(waiting[f], byte(i))
				held++
			}
		}
		if r.IntN(3) > 0 {
			continue
		}
		b, _ := q.next(time.Duration(i))
		if (b == nil) != (held == 0) {
			t.Fatalf("%d wait; %d bytes came out", held, len(b))
		}
		if b == nil {
			continue
		}
		f := int(b[segment.HeaderLen+ipv6Header+2])<<8 | int(b[segment.HeaderLen+ipv6Header+3])
		if len(waiting[f]) == 0 || waiting[f][0] != b[len(b)-1] {
			t.Fatalf("packet %d of flow %d out of %v", b[len(b)-1], f, waiting[f])
		}
		waiting[f] = waiting[f][1:]
		held--
		if q.empty() != (held == 0) || q.left != backlogPackets-held || q.begun.n < 0 || q.others.n < 0 {
			t.Fatalf("%d wait; %d places are free", held, q.left)
		}
	}
	if full == 0 {
		t.Error("it was never full")
	}
}

// What waits too long is hit at the rate of CoDel, of each flow for itself; what is not IPv6, or shorter than its header, is no
// matter.
func TestBacklogHitsStandingFlows(t *testing.T) {
	q := newBacklog()
	bulk, sparse := flowsApart()
	hits := map[byte]int{}
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	for i := 1; i <= 600; i++ {
		q.give(t, ofFlow(60_000, bulk, 0), ms(i))
		if i > 9 { // which keeps eight waiting
			if b, hit := q.next(ms(i)); hit {
				hits[b[segment.HeaderLen+ipv6Header+3]]++
			}
		}
		if i%50 == 0 {
			q.give(t, ofFlow(100, sparse, 0), ms(i))
			b, hit := q.next(ms(i))
			for len(b) > 1000 {
				b, hit = q.next(ms(i))
			}
			if hit {
				hits[byte(sparse)]++
			}
		}
	}
	if hits[byte(bulk)] < 4 || hits[byte(sparse)] != 0 {
		t.Errorf("hits %v", hits)
	}
	for _, b := range [][]byte{{}, make([]byte, 9), make([]byte, segment.HeaderLen+ipv6Header-1), slices.Repeat([]byte{0xff}, 70)} {
		q.give(t, b, ms(700))
	}
	for !q.empty() {
		q.next(ms(700))
	}
}

// A packet of an application that waited too long is marked if its sender sees marks, else dropped.
func TestOwnPacketsThatWaitedAreTold(t *testing.T) {
	n := line(t)
	a, d := n.nodes["a"], n.nodes["d"]
	s := new(outbox)
	for i, ecn := range []uint8{0, 1, 2, 3} {
		pkt := packet(a.addr, d.addr, 300, byte(i))
		pkt[1] |= ecn << 4
		a.plane.handlePacket(s, read(pkt), true)
		a.plane.flush(s)
		got := d.tun.take()
		if ecn == 0 {
			if len(got) != 0 {
				t.Error("a packet that cannot be marked was not dropped")
			}
			continue
		}
		if pkt[1] |= ce << 4; len(got) != 1 || !slices.Equal(got[0], pkt) {
			t.Errorf("code point %d: %x", ecn, got)
		}
	}
	a.wantCount("congestion_dropped", 1)
	a.wantCount("congestion_marked", 3)
	a.plane.handlePacket(s, read([]byte{0x45, 0, 0}), true)
	a.wantCount("tun_not_ipv6", 1)
}

// Of a large packet that waited too long, and cannot be marked, one segment is dropped, the first, and the others arrive as they
// would have behind it; whether there is a session makes no difference.
func TestLargePacketThatWaitedLosesOneSegment(t *testing.T) {
	const size, count = 1000, 20
	n := line(t)
	a, d := n.nodes["a"], n.nodes["d"]
	sent := largeTCP(a, d, count*size, size)
	payload := slices.Clone(sent[segment.HeaderLen+60:])
	a.plane.handlePacket(new(outbox), slices.Clone(sent), true)
	got := d.tun.take()
	if len(got) != 1 {
		t.Fatalf("%d packets came, want what is left as one", len(got))
	}
	if seq := binary.BigEndian.Uint32(got[0][ipv6Header+4:]); seq != binary.BigEndian.Uint32(sent[segment.HeaderLen+ipv6Header+4:])+size {
		t.Errorf("what came begins at %d", seq)
	}
	if !slices.Equal(got[0][60:], payload[size:]) {
		t.Errorf("%d bytes of %d came, or they differ", len(got[0])-60, len(payload)-size)
	}
	a.wantCount("congestion_dropped", 1)
	a.wantCount("tun_sent", count-1)

	nobody := largeTCP(a, d, count*size, size)
	copy(nobody[segment.HeaderLen+24:], mesh.Addr(testDomain, mesh.MustNodeID("nobody")).AsSlice())
	a.plane.handlePacket(new(outbox), nobody, true)
	a.wantCount("queue_added", count-1)
	a.wantCount("congestion_dropped", 2)
}

func TestBacklogAllocatesNothing(t *testing.T) {
	q := newBacklog()
	pkt := ofFlow(1000, 7, 0)
	allocs := testing.AllocsPerRun(100, func() {
		for range 10 {
			q.add(copy(q.buffer(), pkt), 1)
		}
		for !q.empty() {
			q.next(1)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}
