// Package session decides which of the connections to one peer carries what is sent, when a new one has to be
// opened and when an old one may go. A peer is a neighbour on one link or the far end of an end-to-end session:
// the rules are the same. It is pure: no I/O, no clock; keys are handles (mesh.ConnID).
//
// Receiving works on every connection that is installed, so the two ends need not agree at every moment on which
// one to send by: a disagreement loses nothing. The rules only make both settle on the same one:
//
//	one that the peer does not know        loses
//	life longer by a second or more        wins (a renewal replaces what ends earlier)
//	opened by different ends within 5 s    the smaller SPIFFE ID's wins (both began at once)
//	otherwise                              the newer wins
//
// The loser lives on for a linger time: make before break. What is in flight is the least of it; the other end may stand
// still, or be cut off, before it has learnt of the winner, and sends by the loser when it is back.
package session

import (
	"slices"
	"time"

	"x0tta6bl4/mesh"
)

// Times that shape a session's life. A fresh handshake replaces a session within an hour (docs/protocol.md, Sessions).
const (
	bothAtOnce   = 5 * time.Second  // two connections opened by different ends this close are one intent
	linger       = 25 * time.Second // a superseded connection is closed by its opener after this: one that stood still for less may know no other
	lingerOther  = 35 * time.Second // and by the other end after this, should the opener not do it
	confirmLimit = 5 * time.Second  // a connection whose peer sends no index in this time is closed
	maxAge       = 55 * time.Minute // when a session asks for its successor
	maxConns     = 8                // connections kept to one peer; see Peer.worst
)

// Conn is one mutually authenticated connection to the peer, and the session whose keys came out of it.
type Conn struct {
	ID          mesh.ConnID
	Opener      mesh.NodeID // who dialled
	Established time.Time
	HardEnd     time.Time // the earlier NotAfter of the two leaves: no packet after it
	Boot        uint64    // boot instance of the peer's process, from its open message
	Confirmed   bool      // the peer's receive index is known
	doubted     bool      // the peer is said not to know it
	once        bool      // it was, or is
	loserSince  time.Time // zero while not superseded
}

// Peer is the set of connections to one peer. Invariant, checked by Valid: IDs are unique, and the connection in
// use is confirmed and present.
type Peer struct {
	self  mesh.NodeID
	conns []Conn // in order of arrival
	use   mesh.ConnID
	renew time.Time // when to ask for a new connection; zero: the rules decide
}

// Decision is what to do now. Close lists connections to end; Renew asks for a dial that makes the successor.
type Decision struct {
	Use   mesh.ConnID // 0 = none is usable
	Close []mesh.ConnID
	Renew bool
}

// New returns a Peer without connections, seen from self.
func New(self mesh.NodeID) *Peer { return &Peer{self: self} }

// Add takes a connection that has just been established. It does nothing if the ID is known.
func (p *Peer) Add(c Conn) {
	if p.index(c.ID) >= 0 {
		return
	}
	p.conns = append(p.conns, c)
}

// Confirm notes the peer's open message. Connections to an earlier boot instance of the peer's process are dead;
// their IDs are returned and forgotten.
func (p *Peer) Confirm(id mesh.ConnID, boot uint64) (dead []mesh.ConnID) {
	i := p.index(id)
	if i < 0 {
		return nil
	}
	p.conns[i].Confirmed = true
	p.conns[i].Boot = boot
	p.renew = time.Time{}
	return p.EndBefore(boot)
}

// Doubt notes that the peer is said not to know a connection: any other that is confirmed is better. A report can be wrong, so
// that it ends nothing. It returns whether it is the first of that connection.
func (p *Peer) Doubt(id mesh.ConnID) (first bool) {
	i := p.index(id)
	if i < 0 {
		return false
	}
	first = !p.conns[i].once
	p.conns[i].doubted, p.conns[i].once = true, true
	return first
}

// Trust notes that the peer does know a connection.
func (p *Peer) Trust(id mesh.ConnID) {
	if i := p.index(id); i >= 0 {
		p.conns[i].doubted = false
	}
}

// Doubted reports whether the peer is said not to know the connection in use, nor any other.
func (p *Peer) Doubted() bool {
	i := p.index(p.use)
	return i >= 0 && p.conns[i].doubted
}

// EndBefore forgets the confirmed connections to boot instances older than boot and returns their IDs.
func (p *Peer) EndBefore(boot uint64) (dead []mesh.ConnID) {
	p.conns = slices.DeleteFunc(p.conns, func(c Conn) bool {
		if c.Confirmed && c.Boot < boot {
			dead = append(dead, c.ID)
			return true
		}
		return false
	})
	return dead
}

// Closed forgets a connection that ended.
func (p *Peer) Closed(id mesh.ConnID) {
	p.conns = slices.DeleteFunc(p.conns, func(c Conn) bool { return c.ID == id })
}

// RenewAt asks for a successor at the given time, unless one comes before. Used when the own SVID was rotated.
func (p *Peer) RenewAt(t time.Time) {
	if p.renew.IsZero() || t.Before(p.renew) {
		p.renew = t
	}
}

// Has reports whether id is one of the connections.
func (p *Peer) Has(id mesh.ConnID) bool { return p.index(id) >= 0 }

// Empty reports whether there is no connection at all, confirmed or not.
func (p *Peer) Empty() bool { return len(p.conns) == 0 }

// Pending reports whether a connection is established whose peer has not sent its index yet: dialling another now
// would only double the work.
func (p *Peer) Pending() bool {
	return slices.ContainsFunc(p.conns, func(c Conn) bool { return !c.Confirmed })
}

// Use returns the connection that Decide chose last, 0 for none.
func (p *Peer) Use() mesh.ConnID { return p.use }

// Conns returns the IDs of all connections in order of arrival.
func (p *Peer) Conns() []mesh.ConnID {
	ids := make([]mesh.ConnID, len(p.conns))
	for i, c := range p.conns {
		ids[i] = c.ID
	}
	return ids
}

// Established returns when the connection in use was established; zero for none.
func (p *Peer) Established() time.Time {
	if i := p.index(p.use); i >= 0 {
		return p.conns[i].Established
	}
	return time.Time{}
}

// Decide applies the rules at time now. Connections in Close are forgotten; the caller ends them. Renew is true
// at every call until a new connection is confirmed or RenewAt moves the wish; the caller paces its dials.
func (p *Peer) Decide(now time.Time) Decision {
	best := -1
	for i := range p.conns {
		c := &p.conns[i]
		if c.Confirmed && now.Before(c.HardEnd) && (best < 0 || better(*c, p.conns[best])) {
			best = i
		}
	}
	var d Decision
	if best >= 0 {
		d.Use = p.conns[best].ID
	}
	p.use = d.Use
	due := p.RenewDue()
	d.Renew = !due.IsZero() && !now.Before(due)
	for i := range p.conns {
		c := &p.conns[i]
		switch {
		case i == best:
			c.loserSince = time.Time{}
		case c.Confirmed && best >= 0 && c.loserSince.IsZero():
			c.loserSince = now
		}
	}
	d.Close = p.reap(now)
	return d
}

// Deadline returns when Decide must be called again at the latest; zero when nothing is pending. The wish for a
// successor is not in it (RenewDue): its time stays in the past for as long as the dial that grants it takes.
func (p *Peer) Deadline() time.Time {
	var at time.Time
	soonest := func(t time.Time) {
		if !t.IsZero() && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	for _, c := range p.conns {
		soonest(c.HardEnd)
		switch {
		case !c.Confirmed:
			soonest(c.Established.Add(confirmLimit))
		case !c.loserSince.IsZero():
			soonest(c.loserSince.Add(p.lingerOf(c)))
		}
	}
	return at
}

// RenewDue returns when the connection in use wants a successor, as Decision.Renew says from then on; zero when none
// is in use.
func (p *Peer) RenewDue() time.Time {
	i := p.index(p.use)
	if i < 0 {
		return time.Time{}
	}
	at := successorDue(p.conns[i])
	if !p.renew.IsZero() && p.renew.Before(at) {
		at = p.renew
	}
	return at
}

func (p *Peer) index(id mesh.ConnID) int {
	return slices.IndexFunc(p.conns, func(c Conn) bool { return c.ID == id })
}

// better reports whether a, which may be older or newer, is to be used rather than b. It is an order, whatever is
// compared first: the ends are whole seconds, as they are in certificates, and to prefer the smaller ID's within a time is to
// take its connections for that much newer.
func better(a, b Conn) bool {
	if a.doubted != b.doubted {
		return b.doubted
	}
	if x, y := a.HardEnd.Unix(), b.HardEnd.Unix(); x != y {
		return x > y
	}
	gap := a.Established.Sub(b.Established)
	switch order := a.Opener.Compare(b.Opener); {
	case order < 0:
		return gap >= -bothAtOnce
	case order > 0:
		return gap > bothAtOnce
	}
	return gap > 0 || gap == 0 && a.ID > b.ID
}

// successorDue is when the connection asks for its successor by itself: at seven eighths of its life, or after
// an hour less a margin, whichever comes first. A rotation of either SVID normally comes before both.
func successorDue(c Conn) time.Time {
	due := c.Established.Add(maxAge)
	if t := c.Established.Add(c.HardEnd.Sub(c.Established) / 8 * 7); t.Before(due) {
		return t
	}
	return due
}

func (p *Peer) lingerOf(c Conn) time.Duration {
	if c.Opener == p.self {
		return linger
	}
	return lingerOther
}

func (p *Peer) reap(now time.Time) (gone []mesh.ConnID) {
	p.conns = slices.DeleteFunc(p.conns, func(c Conn) bool {
		end := !now.Before(c.HardEnd) ||
			!c.Confirmed && now.Sub(c.Established) >= confirmLimit ||
			!c.loserSince.IsZero() && now.Sub(c.loserSince) >= p.lingerOf(c)
		if end {
			gone = append(gone, c.ID)
		}
		return end
	})
	for len(p.conns) > maxConns {
		i := p.worst()
		gone = append(gone, p.conns[i].ID)
		p.conns = slices.Delete(p.conns, i, i+1)
	}
	return gone
}

// worst returns which connection is to go where there are more than maxConns: one that is not confirmed, but not the newest, or where
// so many are held no successor would ever be; then one that the peer does not know; then of those that lost the one that did so
// second. Of a link that comes and goes the first that lost is known to both ends, and the last ones are what an end uses that is
// late by a moment: those between serve nobody.
func (p *Peer) worst() int {
	last := len(p.conns) - 1
	if i := slices.IndexFunc(p.conns[:last], func(c Conn) bool { return !c.Confirmed }); i >= 0 {
		return i
	}
	if i := slices.IndexFunc(p.conns, func(c Conn) bool { return c.doubted && c.ID != p.use }); i >= 0 {
		return i
	}
	first, second := -1, -1
	for i, c := range p.conns {
		switch {
		case c.ID == p.use || !c.Confirmed:
		case first < 0 || c.loserSince.Before(p.conns[first].loserSince):
			first, second = i, first
		case second < 0 || c.loserSince.Before(p.conns[second].loserSince):
			second = i
		}
	}
	return max(second, 0)
}

// Valid reports whether the invariant holds; tests call it after every step.
func (p *Peer) Valid() bool {
	seen := map[mesh.ConnID]bool{}
	for _, c := range p.conns {
		if c.ID == 0 || seen[c.ID] {
			return false
		}
		seen[c.ID] = true
	}
	i := p.index(p.use)
	return p.use == 0 || i < 0 || p.conns[i].Confirmed
}
