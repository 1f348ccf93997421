package node

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"x0tta6bl4/core/lsdb"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

var (
	epoch  = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	domain = spiffeid.RequireTrustDomainFromString("test.mesh")
	self   = mesh.MustNodeID("self")
	zeta   = mesh.MustNodeID("zeta")
)

func addr(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 7420)
}

func seeded(n byte) *rand.Rand { return rand.New(rand.NewChaCha8([32]byte{n})) }

// chainOf stands for an SVID: number tells one rotation from another.
func chainOf(n mesh.NodeID, number int) ([][]byte, [32]byte) {
	leaf := fmt.Appendf(nil, "svid %d of %s", number, n)
	return [][]byte{leaf}, sha256.Sum256(leaf)
}

func identityOf(n mesh.NodeID, number int, end time.Time) Identity {
	chain, leaf := chainOf(n, number)
	return Identity{Chain: chain, Leaf: leaf, NotAfter: end}
}

// scene drives one Control by hand: it signs and verifies at once, collects all other effects, and checks the
// invariants after every step.
type scene struct {
	*testing.T
	*Control
	at     time.Time
	reflex []ReflexEvent
	send   []Send
	closed []Close
	dials  []Dial
	alarms []string
	kept   []LabelState
	signed []Sign
	asked  []SendChallenge
	conn   mesh.ConnID
	lives  map[mesh.NodeID][]string // addresses in other nodes' records
	far    map[mesh.NodeID]uint64   // sequence numbers of other nodes' announcements
}

func newScene(t *testing.T, cfg Config) *scene {
	t.Helper()
	if cfg.Self.IsZero() {
		cfg.Self = self
	}
	cfg.Domain, cfg.Incarnation = domain, 1
	if cfg.Boot == 0 {
		cfg.Boot = uint64(epoch.UnixMilli())
	}
	cfg.Rand = seeded(1)
	r := &scene{T: t, at: epoch, Control: NewControl(cfg, epoch), far: map[mesh.NodeID]uint64{}, lives: map[mesh.NodeID][]string{}}
	r.do(identityOf(cfg.Self, 0, epoch.Add(24*time.Hour)))
	return r
}

// work does what the workers of a node do: it signs, and finds every signature good until notAfter.
func work(out Effects, notAfter time.Time, do func(ControlEvent)) {
	for _, s := range out.Sign {
		raw := s.LSA.AppendSigned(nil, []byte("signature"))
		if s.Kind == lsdb.KindRecord {
			raw = s.Record.AppendSigned(nil, []byte("signature"))
		}
		do(Signed{Kind: s.Kind, Raw: raw})
	}
	for _, job := range out.Verify {
		do(Checked{Job: job, NotAfter: notAfter})
	}
}

// do runs one event and what follows from it without delay.
func (r *scene) do(ev ControlEvent) {
	r.Helper()
	out := r.Step(r.at, ev)
	if err := r.valid(); err != nil {
		r.Fatalf("after %T: %v", ev, err)
	}
	if out.Persist != nil {
		r.kept = append(r.kept, *out.Persist)
	}
	r.reflex = append(r.reflex, out.Reflex...)
	r.send = append(r.send, out.Send...)
	r.closed = append(r.closed, out.Close...)
	r.dials = append(r.dials, out.Dial...)
	r.alarms = append(r.alarms, out.Alarm...)
	r.asked = append(r.asked, out.Challenge...)
	r.signed = append(r.signed, out.Sign...)
	work(out, epoch.Add(24*time.Hour), r.do)
	if at := r.Control.Deadline(); !at.After(r.at) {
		r.do(Tick{})
		if at = r.Control.Deadline(); !at.After(r.at) {
			r.Fatalf("after %T at %v: the deadline %v does not move on", ev, r.at, at)
		}
	}
}

// pass lets time go by, with a tick at every deadline.
func (r *scene) pass(d time.Duration) {
	r.Helper()
	end := r.at.Add(d)
	for {
		at := r.Control.Deadline()
		if at.After(end) {
			break
		}
		r.at = at
		r.do(Tick{})
	}
	r.at = end
}

func (r *scene) takeDials() []Dial {
	d := r.dials
	r.dials = nil
	return d
}

func (r *scene) takeReflex() []ReflexEvent {
	e := r.reflex
	r.reflex = nil
	return e
}

// linkUp establishes a link connection to a neighbour and has it say hello: label is the neighbour's.
func (r *scene) linkUp(dial uint64, n mesh.NodeID, a netip.AddrPort, label mesh.Label, boot uint64) mesh.ConnID {
	r.Helper()
	id := r.handshake(dial, n, a)
	r.do(Received{Conn: id, Message: wire.LinkOpen{Version: 1, Index: uint32(id), Label: label, Hello: time.Second, MTU: 1400, Boot: boot}})
	return id
}

func (r *scene) handshake(dial uint64, n mesh.NodeID, a netip.AddrPort) mesh.ConnID {
	r.Helper()
	r.conn++
	r.do(ConnUp{Conn: r.conn, Dial: dial, Purpose: wire.PurposeLink, Peer: n, Remote: a, MTU: 1452, NotAfter: r.at.Add(24 * time.Hour)})
	return r.conn
}

func (r *scene) peerUp(dial uint64, n mesh.NodeID, boot uint64) mesh.ConnID {
	r.Helper()
	r.conn++
	r.do(ConnUp{Conn: r.conn, Dial: dial, Purpose: wire.PurposeE2E, Peer: n, NotAfter: r.at.Add(24 * time.Hour)})
	r.do(Received{Conn: r.conn, Message: wire.PeerOpen{Version: 1, Index: uint32(r.conn), Boot: boot}})
	return r.conn
}

// report has the fast loop say that a link is in a state.
func (r *scene) report(label mesh.Label, s mesh.LinkState) {
	r.Helper()
	r.do(LinkReport{Label: label, Status: mesh.LinkStatus{State: s, Since: r.at, Cost: 5000, Quality: mesh.Excellent}})
}

// hear has a neighbour flood another node's record and announcement.
func (r *scene) hear(from mesh.ConnID, n mesh.NodeID, boot uint64, links ...mesh.Adjacency) {
	r.Helper()
	chain, leaf := chainOf(n, 0)
	r.far[n]++
	rec := wire.Record{Origin: n, Incarnation: 9, Seq: boot + r.far[n], Time: r.at, Chain: chain, Addresses: r.lives[n]}
	lsa := wire.LSA{
		Origin: n, Incarnation: 9, Boot: boot, Seq: boot + r.far[n], Time: r.at, Lifetime: lsdb.Lifetime, SVID: leaf, Links: links,
	}
	r.do(Received{Conn: from, Message: wire.RecordMsg{Raw: rec.AppendSigned(nil, []byte("signature"))}})
	r.do(Received{Conn: from, Message: wire.LSAMsg{Raw: lsa.AppendSigned(nil, []byte("signature"))}})
}

func adjacency(n mesh.NodeID, label, remote mesh.Label) mesh.Adjacency {
	return mesh.Adjacency{Neighbour: n, Label: label, Remote: remote, Cost: 5000, Quality: mesh.Excellent, MTU: 1400}
}

// announced returns the links of the last announcement that the node made of itself.
func (r *scene) announced() (links []mesh.NodeID, ok bool) {
	for _, s := range slices.Backward(r.signed) {
		if s.Kind == lsdb.KindLSA {
			for _, l := range s.LSA.Links {
				links = append(links, l.Neighbour)
			}
			return links, true
		}
	}
	return nil, false
}

// valid reports the first violated invariant of the machine.
func (c *Control) valid() error {
	for id, cn := range c.conns {
		if (cn.link == nil) == (cn.peer == nil) || cn.id != id {
			return fmt.Errorf("connection %d belongs to a link and a peer, or to neither", id)
		}
		if cn.link != nil && (!cn.link.sess.Has(id) || !slices.Contains(c.links, cn.link)) ||
			cn.peer != nil && (!cn.peer.sess.Has(id) || !slices.Contains(c.peers, cn.peer)) {
			return fmt.Errorf("connection %d is not one of its owner's, or the owner is gone", id)
		}
	}
	for i, l := range c.links {
		if l.label == 0 || i > 0 && c.links[i-1].label >= l.label {
			return fmt.Errorf("labels of links are not ascending at %d", l.label)
		}
		if err := c.validSession(l.via, l.sess.Use(), l.sess.Conns()); err != nil {
			return fmt.Errorf("link %d: %w", l.label, err)
		}
	}
	for i, p := range c.peers {
		if i > 0 && c.peers[i-1].node.Compare(p.node) >= 0 {
			return fmt.Errorf("peers are not ascending at %v", p.node)
		}
		if err := c.validSession(p.via, p.sess.Use(), p.sess.Conns()); err != nil {
			return fmt.Errorf("peer %v: %w", p.node, err)
		}
	}
	for id, d := range c.dials {
		if n := btoi(d.target != nil) + btoi(d.link != nil) + btoi(d.peer != nil); n != 1 {
			return fmt.Errorf("dial %d is for %d things", id, n)
		}
	}
	return c.labels.valid()
}

func (c *Control) validSession(via, use mesh.ConnID, conns []mesh.ConnID) error {
	if via != use {
		return fmt.Errorf("the fast loop was told to use %d, the rules say %d", via, use)
	}
	for _, id := range conns {
		if c.conns[id] == nil {
			return fmt.Errorf("has connection %d, which ended", id)
		}
	}
	if via != 0 && (c.conns[via] == nil || !c.conns[via].opened) {
		return fmt.Errorf("uses connection %d, which has ended or was not opened", via)
	}
	return nil
}

func (t *labels) valid() error {
	if ahead := t.reserved - t.next; t.reserved == 0 || ahead < labelBlock/2 || ahead > labelBlock+1 {
		return fmt.Errorf("%d labels are reserved beyond %d", ahead, t.next)
	}
	seen := map[mesh.Label]bool{}
	for _, b := range t.bindings {
		if b.Label == 0 || seen[b.Label] {
			return fmt.Errorf("label %d is bound twice, or is 0", b.Label)
		}
		seen[b.Label] = true
	}
	return nil
}
