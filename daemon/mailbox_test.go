package daemon

import (
	"crypto/ecdsa"
	"sync"
	"testing"

	"x0tta6bl4/mesh"
)

func TestMailboxKeepsOrderAndWakesOnce(t *testing.T) {
	m := newMailbox[int]()
	m.put()
	select {
	case <-m.ready:
		t.Fatal("an empty put woke the reader")
	default:
	}
	m.put(1, 2)
	m.put(3)
	<-m.ready
	if got := m.take(); len(got) != 3 || got[0] != 1 || got[2] != 3 {
		t.Errorf("took %v", got)
	}
	if got := m.take(); len(got) != 0 {
		t.Errorf("took %v twice", got)
	}
}

func TestMailboxLosesNothingUnderContention(t *testing.T) {
	const writers, each = 8, 500
	m := newMailbox[int]()
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				m.put(w*each + i)
			}
		})
	}
	last := make([]int, writers)
	for i := range last {
		last[i] = -1
	}
	for n := 0; n < writers*each; {
		<-m.ready
		for _, v := range m.take() {
			if w, i := v/each, v%each; i != last[w]+1 {
				t.Fatalf("writer %d: %d after %d", w, i, last[w])
			}
			last[v/each]++
			n++
		}
	}
	wg.Wait()
}

func TestRegistryHandlesAreNeverUsedTwice(t *testing.T) {
	r := newRegistry()
	a := r.allocate()
	c := &connection{peer: testBeta, secret: []byte{1, 2, 3}}
	secret := c.secret
	r.add(a, c)
	if r.get(a) != c || r.get(a+1) != nil {
		t.Error("get")
	}
	if r.remove(a) != c || r.remove(a) != nil || r.get(a) != nil {
		t.Error("remove")
	}
	for _, b := range secret {
		if b != 0 {
			t.Error("a connection that was never installed left its secret behind")
		}
	}
	seen := map[mesh.ConnID]bool{a: true, 0: true}
	for range 100 {
		b := r.allocate()
		if seen[b] {
			t.Fatalf("handle %d again", b)
		}
		seen[b] = true
	}
}

func TestVerifyECDSA(t *testing.T) {
	cert := selfSigned(t, testAlpha)
	if verifyECDSA(nil, []byte("x"), []byte("y")) || verifyECDSA(&cert.PrivateKey.(*ecdsa.PrivateKey).PublicKey, []byte("x"), []byte("y")) {
		t.Error("garbage verified")
	}
}
