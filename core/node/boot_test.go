package node

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"x0tta6bl4/core/lsdb"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

var (
	bootStart = time.Date(2031, 5, 6, 7, 8, 9, 0, time.UTC)
	bootLink  = netip.MustParseAddrPort("192.0.2.2:7420")
	alpha     = mesh.MustNodeID("alpha")
	beta      = mesh.MustNodeID("beta")
)

// rig is a slow machine whose signature checks all succeed.
type rig struct {
	t   *testing.T
	c   *Control
	now time.Time
}

func newRig(t *testing.T) *rig {
	r := &rig{t: t, now: bootStart}
	r.c = NewControl(Config{
		Self: alpha, Domain: spiffeid.RequireTrustDomainFromString("example.mesh"), Incarnation: 1, Boot: 1000,
		Rand: rand.New(rand.NewPCG(1, 2)),
	}, r.now)
	return r
}

// step takes one event a second after the last and answers what it wants verified.
func (r *rig) step(ev ControlEvent) Effects {
	r.now = r.now.Add(time.Second)
	out := r.c.Step(r.now, ev)
	for _, job := range out.Verify {
		r.step(Checked{Job: job, NotAfter: bootStart.Add(24 * time.Hour)})
	}
	return out
}

func (r *rig) neighbour(conn mesh.ConnID) {
	r.step(ConnUp{Conn: conn, Purpose: wire.PurposeLink, Peer: beta, Remote: bootLink, MTU: 1400, NotAfter: bootStart.Add(time.Hour)})
	r.step(Received{conn, wire.LinkOpen{Version: wire.Version, Index: 1, Label: 9, MTU: 1400, Boot: 500}})
}

// announce has beta say who it is and that its process began at boot.
func (r *rig) announce(conn mesh.ConnID, boot, seq uint64) {
	rec := wire.Record{Origin: beta, Incarnation: 7, Seq: 1, Time: r.now, Chain: [][]byte{[]byte("certificate")}}
	r.step(Received{conn, wire.RecordMsg{Raw: rec.AppendSigned(nil, []byte("signature"))}})
	info, ok := r.c.Database().Node(beta)
	if !ok {
		r.t.Fatal("the record was not taken")
	}
	lsa := wire.LSA{
		Origin: beta, Incarnation: 7, Boot: boot, Seq: seq, Time: r.now, Lifetime: lsdb.Lifetime, SVID: info.SVID,
		// Another cost each time, or it would be no news.
		Links: []mesh.Adjacency{{Neighbour: alpha, Label: 9, Remote: 1, Cost: mesh.Cost(seq), Quality: mesh.Excellent, MTU: 1400}},
	}
	r.step(Received{conn, wire.LSAMsg{Raw: lsa.AppendSigned(nil, []byte("signature"))}})
	if info, _ = r.c.Database().Node(beta); info.Boot != boot {
		r.t.Fatalf("the database has boot %d, want %d", info.Boot, boot)
	}
}

func (r *rig) session(conn mesh.ConnID, boot uint64) {
	r.step(ConnUp{Conn: conn, Purpose: wire.PurposeE2E, Peer: beta, NotAfter: bootStart.Add(time.Hour)})
	r.step(Received{conn, wire.PeerOpen{Version: wire.Version, Index: 2, Boot: boot}})
	r.inUse(conn)
}

func (r *rig) inUse(conn mesh.ConnID) {
	r.t.Helper()
	if p := r.c.peer(beta); p == nil || p.via != conn {
		r.t.Fatalf("the session in use is %+v, want %d", p, conn)
	}
}

// A node whose clock was set back jumps over its own stale announcement: from then on it announces a boot that is
// later than its process's. Its sessions must live all the same.
func TestSessionsOutliveTheAnnouncementOfALaterBoot(t *testing.T) {
	r := newRig(t)
	r.neighbour(1)
	r.announce(1, 2001, 1)
	r.session(2, 600) // as the process knows itself
	r.announce(1, 2001, 2)
	r.step(Tick{})
	r.inUse(2)
	r.announce(1, 2001, 3)
	r.step(Tick{})
	r.inUse(2)
}

// The announcement of a restart ends the sessions of the life before.
func TestSessionsEndWithTheProcessThatHeldThem(t *testing.T) {
	r := newRig(t)
	r.neighbour(1)
	r.announce(1, 500, 1)
	r.session(2, 500)
	r.announce(1, 700, 701)
	r.step(Tick{})
	if p := r.c.peer(beta); p != nil && p.via != 0 {
		t.Errorf("session %d with a process that is gone is still in use", p.via)
	}
	r.session(3, 700)
	r.announce(1, 700, 702)
	r.step(Tick{})
	r.inUse(3)
}
