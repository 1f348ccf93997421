package node

import (
	"testing"
	"time"

	"x0tta6bl4/core/flow"
	"x0tta6bl4/mesh"
)

// While packets are sent the path in use is probed; what the peer has counted moves them, and the table says so.
func TestCountsMovePackets(t *testing.T) {
	f := newFast(t)
	f.do(linkSet(1, alpha, 11))
	f.do(linkSet(2, beta, 12))
	f.do(PeerSet{Node: zeta, Addr: mesh.Addr(domain, zeta), Session: 21, Paths: []mesh.Path{pathBy(1000, 1, 5), pathBy(3000, 2, 6)}})
	f.pass(time.Second)
	if len(f.probes) != 0 {
		t.Fatalf("probes without traffic: %v", f.probes)
	}
	f.do(Sending{Node: alpha}) // not in use
	before, _ := f.table.Peer(zeta)
	counts := flow.Counts{Known: true, Series: 9}
	for round := 0; f.inUse() == 1; round++ {
		if round == 20 {
			t.Fatal("half of all packets are lost for a second, and nobody minds")
		}
		f.probes = nil
		f.do(Sending{Node: zeta})
		if len(f.probes) != 1 || f.probes[0].Path.Number != before.Ways[0].Number {
			t.Fatalf("probes %+v, want one by path %d", f.probes, before.Ways[0].Number)
		}
		f.pass(5 * time.Millisecond)
		counts.Sent += 20
		counts.Received += 10
		f.do(ProbeAnswered{Node: zeta, ID: f.probes[0].ID, Counts: counts})
		f.pass(45 * time.Millisecond)
	}
	after, _ := f.table.Peer(zeta)
	if f.inUse() != 2 || after.Ways[0].Number == before.Ways[0].Number || after.Ways[0].Number == 0 {
		t.Errorf("packets leave by %d, path %d after %d", f.inUse(), after.Ways[0].Number, before.Ways[0].Number)
	}
	if s := f.r.States(zeta); s[0].State != flow.Suspect || !s[0].Measured || s[0].Loss != 0.5 {
		t.Errorf("states %+v", s)
	}
}

// A path that is offered anew has another number, and the table tells the data plane at once: what was counted under
// the old one is of another time.
func TestNumbersAreNotReused(t *testing.T) {
	f := newFast(t)
	f.do(linkSet(1, alpha, 11))
	set := PeerSet{Node: zeta, Addr: mesh.Addr(domain, zeta), Session: 21, Paths: []mesh.Path{pathBy(1000, 1, 5)}}
	seen := map[uint8]bool{}
	f.do(set)
	f.pass(time.Second)
	for range 31 {
		f.do(set)
		p, _ := f.table.Peer(zeta)
		n := p.Ways[0].Number
		if n == 0 || n > 31 || seen[n] {
			t.Fatalf("number %d, used before: %v", n, seen[n])
		}
		seen[n] = true
		f.do(PeerSet{Node: zeta, Addr: set.Addr, Session: 21})
	}
}

// When this process stood still, answers may wait behind the event that says so.
func TestLateSparesPaths(t *testing.T) {
	f := newFast(t)
	f.do(linkSet(1, alpha, 11))
	f.do(PeerSet{Node: zeta, Addr: mesh.Addr(domain, zeta), Session: 21, Paths: []mesh.Path{pathBy(1000, 1, 5)}})
	f.pass(time.Second)
	f.do(Sending{Node: zeta})
	n := len(f.probes)
	f.at = f.at.Add(5 * time.Second)
	f.do(Late{By: 5 * time.Second})
	if len(f.probes) != n {
		t.Error("an answer that may wait is missed")
	}
}
