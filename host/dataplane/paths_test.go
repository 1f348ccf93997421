package dataplane

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// numbered gives a's path to d a number.
func (n *testNet) numbered(number uint8) (a, d *testNode, p mesh.Path) {
	a, d = n.nodes["a"], n.nodes["d"]
	a.table.Peers[0].Ways[0].Number = number
	a.publish()
	return a, d, a.table.Peers[0].Ways[0].Path
}

// The answer to a probe says what came of the frames of its path, in its session.
func TestProbesCountThePath(t *testing.T) {
	n := line(t)
	a, d, path := n.numbered(7)
	lose := 0
	n.tap = func(from, to *testNode, b []byte) int {
		if lose > 0 && from.id == a.id && b[0]&0x0f == byte(wire.TypeData) {
			lose--
			return 0
		}
		return 1
	}
	for range 10 {
		a.sendTo(d, 100)
	}
	lose = 4
	for range 10 {
		a.sendTo(d, 100)
	}
	probe := func(id uint64, p mesh.Path, want wire.ProbeCounts) {
		t.Helper()
		a.replies = nil
		if err := a.plane.SendProbe(d.id, p, wire.Probe{ID: id}, false); err != nil {
			t.Fatal(err)
		}
		if len(a.replies) != 1 || a.replies[0].Counts == nil || *a.replies[0].Counts != want {
			t.Fatalf("replies %+v, want one with %+v", a.replies, want)
		}
	}
	index := d.plane.view.Load().sessions[0].rxIndex
	probe(1, path, wire.ProbeCounts{Index: index, Sent: 21, Received: 17})
	other := path
	other.Number = 8
	probe(2, other, wire.ProbeCounts{Index: index, Sent: 1, Received: 1}) // each number for itself
	probe(3, path, wire.ProbeCounts{Index: index, Sent: 22, Received: 18})

	// A session begins with nothing.
	secret := bytes.Repeat([]byte{99}, 32)
	a.addPeer(200, d, n.dataKeys(secret, true), 8)
	d.addPeer(201, a, n.dataKeys(secret, false), 9)
	a.plane.SetPeerTx(200, 9)
	d.plane.SetPeerTx(201, 8)
	probe(4, path, wire.ProbeCounts{Index: 9, Sent: 1, Received: 1})
}

// A relay sees nothing that tells a probe from a packet: the same type and flags, and where it is full the same length.
func TestProbesLookLikePackets(t *testing.T) {
	n := line(t)
	a, d, path := n.numbered(1)
	var heads [][]byte
	n.tap = func(from, _ *testNode, b []byte) int {
		if from.id == a.id {
			heads = append(heads, []byte{b[0], b[1], b[2], b[3], byte(len(b) >> 8), byte(len(b))})
		}
		return 1
	}
	a.sendTo(d, 1360)
	if err := a.plane.SendProbe(d.id, path, wire.Probe{ID: 1}, true); err != nil {
		t.Fatal(err)
	}
	if len(heads) != 2 || !bytes.Equal(heads[0], heads[1]) {
		t.Errorf("type, hop, labels, flags and length of a packet and a full probe: %x", heads)
	}
	if len(a.replies) != 1 || a.replies[0].ID != 1 {
		t.Errorf("replies %+v", a.replies)
	}
}

// An answer takes the way of the probe and the paths in use, and no way twice.
func TestAnswerTakesNoWayTwice(t *testing.T) {
	n := line(t)
	a, d, path := n.numbered(1)
	answers := func() (sent int) {
		n.tap = func(from, _ *testNode, b []byte) int {
			if from.id == d.id {
				sent++
			}
			return 1
		}
		if err := a.plane.SendProbe(d.id, path, wire.Probe{ID: 1}, false); err != nil {
			t.Fatal(err)
		}
		return sent
	}
	if sent := answers(); sent != 1 {
		t.Errorf("%d answers by one way", sent)
	}
	d.table.Peers[0].Ways = slices.Clone(d.table.Peers[0].Ways)
	d.table.Peers[0].Ways[0].Labels = []mesh.Label{41, 31, 77} // another way, which leads nowhere
	d.publish()
	if sent := answers(); sent != 2 {
		t.Errorf("%d answers by two ways", sent)
	}
}

// That packets are sent is told now and then, less often where there are many destinations, and never of probes.
func TestSendingIsTold(t *testing.T) {
	n := line(t)
	a, d, path := n.numbered(1)
	if err := a.plane.SendProbe(d.id, path, wire.Probe{ID: 1}, false); err != nil || len(a.sending) != 0 {
		t.Fatalf("a probe counts as sending: %v, %v", a.sending, err)
	}
	for range 100 {
		a.sendTo(d, 60)
		n.now = n.now.Add(time.Millisecond)
	}
	if want := []sendingTold{{d.id, false}, {d.id, false}}; !slices.Equal(a.sending, want) {
		t.Errorf("told %v in 100 ms, want %v", a.sending, want)
	}
	for peers, want := range map[int]time.Duration{0: minSending, 20: minSending, 64: 160 * time.Millisecond, 1000: maxSending} {
		if got := sendingPause(peers); got != want {
			t.Errorf("with %d destinations every %v, want %v", peers, got, want)
		}
	}
}
