package node

import (
	"time"

	"x0tta6bl4/mesh"
)

// A peer's claim not to know a session of ours comes as an error, and whoever sees a packet on its way can send one: an end that
// stood still for longer than the other one waited, or a relay that lies. So a claim ends nothing: another session that both made is
// used if there is one, else a handshake begins, and after each such handshake the next one has to wait for longer, until a session
// lasts. What the peer sealed with a session shows that it knows that.
const (
	stalePause = time.Second      // after the first handshake; it doubles with each
	staleMost  = 30 * time.Second // at most; a session that was as old before it was first doubted begins anew
)

// staleness is what claims not to know a session have led to. The zero value is that of a peer that made none.
type staleness struct {
	next  time.Time // before it no handshake begins because of a claim
	pause time.Duration
}

// dialled notes that a handshake began because of a claim.
func (s *staleness) dialled(now time.Time) {
	s.pause = min(max(2*s.pause, stalePause), staleMost)
	s.next = now.Add(s.pause)
}

// stale handles a claim; id is the session, 0 for the one in use.
func (c *Control) stale(now time.Time, n mesh.NodeID, id mesh.ConnID) {
	p := c.peer(n)
	if p == nil || p.sess.Use() == 0 || id != 0 && id != p.sess.Use() {
		return // of one that is not used any more
	}
	lasted := now.Sub(p.sess.Established()) >= staleMost
	if first := p.sess.Doubt(p.sess.Use()); first && lasted {
		p.stale = staleness{}
	}
}

// known handles a sign that a peer knows a session.
func (c *Control) known(n mesh.NodeID, id mesh.ConnID) {
	if p := c.peer(n); p != nil {
		p.sess.Trust(id)
	}
}
