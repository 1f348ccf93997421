package node

import (
	"testing"
	"time"

	"x0tta6bl4/core/lsdb"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// A node whose clock was set signs its record and its announcement anew, and compares databases with its neighbours,
// without waiting for their turn. Its links stay.
func TestClockIsSet(t *testing.T) {
	r := newScene(t, Config{})
	id := r.linkUp(0, zeta, addr(1), 7, 1)
	r.report(r.Links()[0].Label, mesh.LinkUp)
	r.pass(2 * time.Second)
	r.signed, r.send = nil, nil
	r.do(Tick{})
	if len(r.signed) != 0 {
		t.Fatalf("signed without a reason: %+v", r.signed)
	}
	r.do(ClockSet{})
	r.pass(time.Second)
	var record, lsa, digest bool
	for _, s := range r.signed {
		record = record || s.Kind == lsdb.KindRecord && s.Record.Time.Sub(epoch) >= 2*time.Second
		lsa = lsa || s.Kind == lsdb.KindLSA && s.LSA.Time.Sub(epoch) >= 2*time.Second
	}
	for _, s := range r.send {
		for _, m := range s.Messages {
			_, is := m.(wire.Digest)
			digest = digest || is && s.Conn == id
		}
	}
	if !record || !lsa || !digest {
		t.Errorf("record %v, announcement %v, digest %v", record, lsa, digest)
	}
	if links, _ := r.announced(); len(links) != 1 || len(r.closed) != 0 {
		t.Errorf("links %v, closed %v", links, r.closed)
	}
}

// A node without an identity yet has nothing to sign.
func TestClockIsSetBeforeThereIsAnIdentity(t *testing.T) {
	c := NewControl(Config{Self: self, Domain: domain, Rand: seeded(1)}, epoch)
	if out := c.Step(epoch, ClockSet{}); len(out.Sign) != 0 {
		t.Errorf("%+v", out.Sign)
	}
}
