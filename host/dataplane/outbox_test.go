package dataplane

import (
	"errors"
	"slices"
	"testing"
	"time"

	"x0tta6bl4/mesh"
)

// A packet that comes to nothing, whatever the reason, sends off what was sealed before it: any number of those may follow.
func TestPacketThatComesToNothingHoldsNobody(t *testing.T) {
	n := line(t)
	a, d := n.nodes["a"], n.nodes["d"]
	nobody := mesh.Addr(testDomain, mesh.MustNodeID("nobody"))
	malformed := largeTCP(a, d, 5000, 1300)
	malformed[4], malformed[5] = 0, 0
	for _, tt := range []struct {
		count string
		b     []byte
		hit   bool
		seals uint64 // sent before it; 0 = as many as there were
	}{
		{count: "queue_added", b: read(packet(a.addr, nobody, 100, 0))},
		{count: "tun_not_ipv6", b: read([]byte{0x45, 0, 0})},
		{count: "tun_outside", b: read(packet(a.addr, a.addr, 100, 0))},
		{count: "tun_bad_source", b: read(packet(d.addr, d.addr, 100, 0))},
		{count: "tun_malformed", b: malformed},
		{count: "tun_too_big", b: read(packet(a.addr, d.addr, 1500, 0))},
		{count: "congestion_dropped", b: read(packet(a.addr, d.addr, 100, 0)), hit: true},
		{count: "peer_key_used_up", b: read(packet(a.addr, d.addr, 100, 0)), seals: maxSeals},
	} {
		s, ping := new(outbox), packet(a.addr, d.addr, 100, 1)
		a.plane.handlePacket(s, read(ping), false)
		if d.wantDelivered(); s.frames != 1 {
			t.Fatalf("%s: %d frames wait, want the ping", tt.count, s.frames)
		}
		if tt.seals > 0 {
			a.plane.view.Load().byNode[d.id].session.counter.Store(tt.seals)
		}
		before := a.plane.Counters()[tt.count]
		a.plane.handlePacket(s, tt.b, tt.hit)
		a.wantCount(tt.count, before+1)
		if got := d.tun.take(); len(got) != 1 || !slices.Equal(got[0], ping) {
			t.Errorf("%s: %d packets left, want the ping", tt.count, len(got))
		}
	}
}

// busyTUN always has one more packet, until it ends. Each read takes a while.
type busyTUN struct {
	memTUN
	next func() []byte // nil = it ends
	took func()
}

var errEnded = errors.New("no more packets")

func (d *busyTUN) Read(b []byte) (int, error) {
	n, ok := d.TryRead(b)
	if !ok {
		return 0, errEnded
	}
	return n, nil
}

func (d *busyTUN) TryRead(b []byte) (int, bool) {
	pkt := d.next()
	d.took()
	if pkt == nil {
		return 0, false
	}
	return copy(b, read(pkt)), true
}

// However many packets for nobody follow, a ping leaves at its turn.
func TestFloodForNobodyHoldsNoPing(t *testing.T) {
	n := line(t)
	a, d := n.nodes["a"], n.nodes["d"]
	nobody := mesh.Addr(testDomain, mesh.MustNodeID("nobody"))
	read, left := 0, 0
	a.plane.tun = &busyTUN{took: func() {}, next: func() []byte {
		if read++; read == 1 {
			return packet(a.addr, d.addr, 100, 1)
		}
		if len(d.tun.take()) > 0 {
			left = read
		}
		if left > 0 || read > 1000 {
			return nil
		}
		return packet(a.addr, nobody, 100, 2)
	}}
	if err := a.plane.RunTUN(t.Context()); !errors.Is(err, errEnded) {
		t.Fatal(err)
	}
	if most := 3 * backlogReads; left == 0 || left > most {
		t.Errorf("it left after %d reads, want %d at most", left, most)
	}
}

// What is sealed waits a millisecond for more and no longer, however long they go on to come one by one.
func TestHoldEnds(t *testing.T) {
	const each, count = 50 * time.Microsecond, 1000 // 64 wait too short for CoDel
	n := line(t)
	a, d := n.nodes["a"], n.nodes["d"]
	sent, got := 0, 0
	a.plane.tun = &busyTUN{
		took: func() { n.now = n.now.Add(each) },
		next: func() []byte {
			if sent == count {
				return nil
			}
			sent++
			return packet(a.addr, d.addr, 100, 1)
		},
	}
	n.tap = func(_, to *testNode, _ []byte) int {
		if to == d {
			got++
		}
		return 1
	}
	if err := a.plane.RunTUN(t.Context()); !errors.Is(err, errEnded) {
		t.Fatal(err)
	}
	longest := slices.Max(a.runs)
	if most := int(maxHold/each) + backlogReads; longest > most || longest < 4 {
		t.Errorf("%d packets left together, want at most %d and some", longest, most)
	}
	if got != count {
		t.Errorf("%d packets of %d arrived", got, count)
	}
}
