package dataplane

import (
	"bytes"
	"crypto/cipher"
	"sync"
	"testing"
	"time"

	"x0tta6bl4/host/dataplane/segment"
	"x0tta6bl4/wire"
)

// sessions returns what a seals with for d, and d opens with.
func (a *testNode) sessions(d *testNode) (tx, rx *peerSession) {
	return a.plane.view.Load().byNode[d.id].session, d.plane.view.Load().byNode[a.id].session
}

// Packets cross the end of an epoch, in one run and out of order, and the keys change with them at both ends.
func TestKeysChangeWithTheCounter(t *testing.T) {
	n := line(t)
	a, d := n.nodes["a"], n.nodes["d"]
	tx, rx := a.sessions(d)
	old := tx.seal.key
	tx.counter.Store(wire.EpochPackets - 10)
	large := largeTCP(a, d, 20*1000, 1000)
	want := bytes.Clone(large[segment.HeaderLen:])
	a.sendLarge(large)
	d.wantDelivered(want)
	next, err := wire.NextEpoch(old)
	if err != nil {
		t.Fatal(err)
	}
	for what, k := range map[string]*keyChain{"sender": tx.seal, "receiver": rx.open} {
		if k.key != next || k.keys.Load().epoch != 1 {
			t.Errorf("%s: epoch %d, or another key", what, k.keys.Load().epoch)
		}
	}
	if err := rx.open.follow(1, time.Hour); err != nil || rx.open.key != next {
		t.Errorf("went on to where it was: %v", err)
	}
	a.wantDelivered(d.sendTo(a, 100)) // the other direction has a chain of its own
	if rx.seal.keys.Load().epoch != 0 {
		t.Error("the other direction changed too")
	}
	d.wantDelivered(a.sendTo(d, 100))
	d.wantCount("peer_bad_seal", 0)
}

// What is late by a key is opened for a while; then the key is gone.
func TestOldKeysAreForgotten(t *testing.T) {
	n := line(t)
	a, d := n.nodes["a"], n.nodes["d"]
	tx, rx := a.sessions(d)
	tx.counter.Store(wire.EpochPackets - 2)
	var late [][]byte
	n.tap = func(_, to *testNode, b []byte) int {
		if to == d && len(late) < 2 {
			late = append(late, bytes.Clone(b))
			return 0
		}
		return 1
	}
	first := a.sendTo(d, 100)
	a.sendTo(d, 100)
	d.wantDelivered(a.sendTo(d, 200))
	n.now = n.now.Add(oldKeyAge - time.Millisecond)
	d.plane.handleFrame(n.nodes["c"].under, late[0])
	d.wantDelivered(first)
	n.now = n.now.Add(time.Millisecond)
	d.plane.handleFrame(n.nodes["c"].under, late[1])
	d.wantDelivered()
	d.wantCount("peer_bad_epoch", 1)
	a.wantCount("error_received", 0) // it is too old to be taken for an error about it
	d.wantDelivered(a.sendTo(d, 200))
	if tx.seal.keys.Load().before != nil || rx.open.keys.Load().before != nil {
		t.Error("a key is kept")
	}
	if tx.seal.sealing(wire.EpochPackets-1, time.Hour) != nil {
		t.Error("sealed with a key that is forgotten")
	}
}

// If whole epochs are lost the receiver follows. If it were too many it says that it has lost the session.
func TestLostEpochs(t *testing.T) {
	for ahead, want := range map[uint64]bool{1: true, 2: true, maxEpochsAhead: true, maxEpochsAhead + 1: false} {
		n := line(t)
		a, d := n.nodes["a"], n.nodes["d"]
		tx, rx := a.sessions(d)
		tx.counter.Store(ahead*wire.EpochPackets + 7)
		pkt := a.sendTo(d, 100)
		if !want {
			d.wantDelivered()
			d.wantCount("peer_bad_epoch", 1)
			if len(a.errors) != 1 || a.errors[0].Code != wire.ErrorNoSession {
				t.Errorf("%d epochs ahead: errors %v", ahead, a.errors)
			}
			continue
		}
		d.wantDelivered(pkt)
		if got := rx.open.keys.Load().epoch; got != ahead {
			t.Errorf("at epoch %d, want %d", got, ahead)
		}
		tx.counter.Store(ahead*wire.EpochPackets - 1) // the last of the epoch before
		d.wantDelivered(a.sendTo(d, 101))
	}
}

// Who forges counters of times to come moves nobody there, learns nothing, and costs little; what is sent meanwhile arrives.
func TestForgedEpochs(t *testing.T) {
	n := line(t)
	a, c, d := n.nodes["a"], n.nodes["c"], n.nodes["d"]
	tx, rx := a.sessions(d)
	forge := func(epoch uint64) {
		payload := make([]byte, 100)
		wire.SealData(payload[:0], mustAEAD(t), tx.tx.value(), epoch*wire.EpochPackets, make([]byte, 40))
		c.plane.emit(c.plane.view.Load().links[32], wire.AppendFrame(nil, wire.TypeData, 0, nil, payload))
	}
	const forged = 10_000
	for i := range forged {
		forge(1 + uint64(i)%(2*maxEpochsAhead))
	}
	bad := d.plane.Counters()
	if bad["peer_bad_seal"] > forged/(2*maxEpochsAhead)+aheadBurst || bad["peer_bad_seal"]+bad["peer_bad_epoch"] != forged {
		t.Errorf("%d were tried, %d not", bad["peer_bad_seal"], bad["peer_bad_epoch"])
	}
	if rx.open.keys.Load().epoch != 0 {
		t.Error("the receiver followed")
	}
	d.wantDelivered(a.sendTo(d, 100))
	tx.counter.Store(wire.EpochPackets)
	d.wantDelivered(a.sendTo(d, 100))
	if len(a.errors) != 0 {
		t.Errorf("the source believes %v", a.errors)
	}
}

func mustAEAD(t *testing.T) cipher.AEAD {
	t.Helper()
	aead, err := wire.NewAEAD(wire.SuiteAES256GCM, make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	return aead
}

// An error about a packet of the epoch before is matched.
func TestErrorsMatchAcrossEpochs(t *testing.T) {
	n, a, d := diamond(t)
	tx, _ := a.sessions(d)
	tx.counter.Store(wire.EpochPackets - 1)
	seen := n.quotes(a, "b")
	a.sendTo(d, 100)
	a.sendTo(d, 100)
	for i := range 2 {
		n.tell("b", 2, wire.ErrorFrame{Code: wire.ErrorLinkDown, Label: 5, Quote: (*seen)[i]})
	}
	a.wantCount("error_received", 2)
}

// Many goroutines cross the end of an epoch together.
func TestEpochOfManyGoroutines(t *testing.T) {
	n := line(t)
	a, d := n.nodes["a"], n.nodes["d"]
	tx, rx := a.sessions(d)
	tx.counter.Store(wire.EpochPackets - 1000)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 500 {
				c := tx.counter.Add(1) - 1
				plain := []byte("sealed by one of several goroutines")
				payload := wire.SealData(nil, tx.seal.sealing(c, time.Hour), 1, c, plain)
				if got, why, ok := rx.open.open(payload, c, time.Hour); !ok || !bytes.Equal(got, plain) {
					t.Errorf("counter %d: %s", c, counterNames[why])
				}
			}
		})
	}
	wg.Wait()
	if rx.open.keys.Load().epoch != 1 {
		t.Error("still in the first epoch")
	}
}
