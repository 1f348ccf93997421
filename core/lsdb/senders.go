package lsdb

import (
	"maps"
	"slices"
	"time"

	"x0tta6bl4/mesh"
)

// Source is where something came from: a connection, and the neighbour whose it is. A neighbour answers for all its
// connections together, those to come included.
type Source struct {
	Conn mesh.ConnID
	Node mesh.NodeID
}

// What one neighbour may pass on that does not verify. It should have checked before it did, so a signature that is not
// the origin's is its fault. Certificates may be refused because of a clock or an authority that it cannot know of: of
// these it has more, and without credit only records of certificates that are new here are not taken from it.
const (
	badBurst         = 20
	badPerSecond     = 0.2
	refusedBurst     = 256
	refusedPerSecond = 4
	maxForged        = 32 // nodes in whose names a neighbour gave false signatures; with more it is heard about nobody
)

// Bounds of what is held of one neighbour.
const (
	maxSenders     = 4096
	maxInFlight    = maxPending / 2 // objects out for verification; fewer for one that lost credit
	maxFlightBytes = 4 << 20        // in them
	maxParkedFrom  = maxParked / 4
	maxParkedShare = maxParkedBytes / 4
)

// sender is what is known of one neighbour's conduct.
type sender struct {
	node         mesh.NodeID
	bad, refused bucket
	forged       []mesh.NodeID // in whose names it gave false signatures, since its credit was whole
	inFlight     int           // objects out for verification
	flightBytes  int           // in them
	inFlightNew  int           // of them records of certificates that are new here
	parked       int
	parkedBytes  int
}

// idle reports whether forgetting a sender loses nothing.
func (s *sender) idle(now time.Time) bool {
	s.fill(now)
	return s.bad.tokens >= badBurst && s.refused.tokens >= refusedBurst && s.inFlight == 0 && s.parked == 0
}

func (s *sender) fill(now time.Time) {
	if s.bad.fill(now, badBurst, badPerSecond); s.bad.tokens >= badBurst {
		s.forged = nil
	}
	s.refused.fill(now, refusedBurst, refusedPerSecond)
}

// heard reports whether anything is taken from a neighbour about a node, which is known here or not.
func (s *sender) heard(now time.Time, about mesh.NodeID, known bool) bool {
	s.fill(now)
	return s.bad.tokens >= 1 || (known || about == s.node) && len(s.forged) <= maxForged && !slices.Contains(s.forged, about)
}

// mayTry reports whether one more object of the sender's may be verified; o is the origin, nil if it is not known. Who lost credit
// may have the less under way, or it would get a whole queue's worth of checks done each time that it is forgiven once.
func (s *sender) mayTry(now time.Time, x *Object, o *origin, fresh bool) error {
	heard := s.heard(now, x.Origin, o != nil)
	share := func(b *bucket, burst float64) int { return int(maxInFlight * max(b.tokens, 1) / burst) }
	switch {
	case !heard || fresh && s.refused.tokens < 1:
		return ErrSender
	case s.flightBytes+len(x.Raw) > maxFlightBytes || s.inFlight >= share(&s.bad, badBurst) || fresh && s.inFlightNew >= share(&s.refused, refusedBurst):
		return ErrBusy
	}
	return nil
}

// senders are the neighbours that something came from.
type senders struct {
	m    map[mesh.NodeID]*sender
	last mesh.NodeID // asked for last
	its  *sender
}

func newSenders() senders { return senders{m: map[mesh.NodeID]*sender{}} }

// get returns what is known of a neighbour, nil if that is nothing. It is mostly asked for the same one several times.
func (s *senders) get(n mesh.NodeID) *sender {
	if s.its == nil || s.last != n {
		s.last, s.its = n, s.m[n]
	}
	return s.its
}

// heard reports whether anything is taken from a neighbour about a node, which is known here or not.
func (s *senders) heard(now time.Time, n, about mesh.NodeID, known bool) bool {
	x := s.get(n)
	return x == nil || x.heard(now, about, known)
}

// of returns what is known of a neighbour. Where there are too many, those go of which nothing is held; if there is none
// the first goes by name.
func (s *senders) of(now time.Time, n mesh.NodeID) *sender {
	if x := s.get(n); x != nil {
		return x
	}
	if len(s.m) >= maxSenders {
		maps.DeleteFunc(s.m, func(_ mesh.NodeID, x *sender) bool { return x.idle(now) })
	}
	if len(s.m) >= maxSenders {
		delete(s.m, slices.SortedFunc(maps.Keys(s.m), mesh.NodeID.Compare)[0])
	}
	x := &sender{node: n, bad: bucket{tokens: badBurst, at: now}, refused: bucket{tokens: refusedBurst, at: now}}
	s.m[n] = x
	s.last, s.its = n, x
	return x
}

// blame takes a signature that a neighbour gave as a node's, and that is not.
func (s *senders) blame(now time.Time, n, of mesh.NodeID) {
	x := s.of(now, n)
	x.fill(now)
	x.bad.take(now, badBurst, badPerSecond)
	if len(x.forged) <= maxForged && !slices.Contains(x.forged, of) {
		x.forged = append(x.forged, of)
	}
}

func (s *senders) blameRefused(now time.Time, n mesh.NodeID) {
	s.of(now, n).refused.take(now, refusedBurst, refusedPerSecond)
}

// pardon gives everybody the credit back that refused certificates took: their dates look different now.
func (s *senders) pardon() {
	for _, n := range slices.SortedFunc(maps.Keys(s.m), mesh.NodeID.Compare) {
		s.m[n].refused.tokens = refusedBurst
	}
}

func newRefused() Memo[[32]byte, time.Time] { return NewMemo[[32]byte, time.Time](maxRefused) }
