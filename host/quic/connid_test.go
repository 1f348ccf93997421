package quicconn

import (
	"crypto/rand"
	"slices"
	"sync"
	"testing"
)

// Connections go by the IDs that were asked for, and by no others: a packet connection may drop what carries none of them.
func TestConnectionIDsAreThoseAskedFor(t *testing.T) {
	const size = 12
	var mu sync.Mutex
	made := map[string]bool{}
	g, err := newConnectionIDs(func() []byte {
		b := make([]byte, size)
		_, _ = rand.Read(b)
		mu.Lock()
		defer mu.Unlock()
		made[string(b)] = true
		return b
	})
	if err != nil || g.ConnectionIDLen() != size {
		t.Fatalf("%v, %d bytes", err, g.ConnectionIDLen())
	}
	id, err := g.GenerateConnectionID()
	if err != nil || !made[string(id.Bytes())] {
		t.Errorf("%s is none of those made: %v", id, err)
	}
	if g, err := newConnectionIDs(nil); g != nil || err != nil {
		t.Errorf("without a maker: %v, %v", g, err)
	}
	for _, n := range []int{0, 3, 21} {
		if _, err := newConnectionIDs(func() []byte { return slices.Repeat([]byte{1}, n) }); err == nil {
			t.Errorf("IDs of %d bytes were taken", n)
		}
	}
}
