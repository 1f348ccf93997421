package dataplane

import (
	"encoding/binary"
	"hash/maphash"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// discipline keeps the queue short in which frames wait to be read, and shares it among the neighbours that they came from. The
// queue is the kernel's: what is too much is marked, or dropped, when it has been read, which costs less than to send it on.
type discipline struct {
	came   time.Duration // when the frames that are handled now came; 0 = nobody says
	few    bool          // no more than a packet's worth waited with them
	marked bool          // the network marked them congestion-experienced on their way here
	owed   bool          // a hit, which is for data of a neighbour that brings at least its part
	codel  codel
	shares shares
	seed   maphash.Seed // of flows
}

// flow returns what stands for the flow that a frame is of, as far as a relay can tell: where it goes, and for which session.
func (q *discipline) flow(a *arrival, from mesh.Label) uint32 {
	var key struct{ from, last, index uint32 }
	key.from = uint32(from)
	if n := len(a.f.Labels); n > 0 {
		key.last = uint32(binary.BigEndian.Uint16(a.f.Labels[n-2:]))
	}
	if len(a.f.Payload) >= 4 {
		key.index = binary.BigEndian.Uint32(a.f.Payload)
	}
	return uint32(maphash.Comparable(q.seed, key)) // #nosec G115 -- any of its bits do
}

// vainHits is after how many hits, 0.3 s after the first, a queue that still stands is taken to be of somebody who does not mind
// them: then shares are cut.
const vainHits = 4

// Came says when the frames that are given next came to the machine, whether no more waited with them than one packet may be
// long, and whether the underlay marked them congestion-experienced.
func (r *Receiver) Came(at time.Time, few, marked bool) {
	r.queue.came, r.queue.few, r.queue.marked = r.p.since(at), few, marked
}

// admit reports whether a frame that waited goes on. It may mark it. What it drops is counted.
func (p *Plane) admit(a *arrival) bool {
	q := a.queue
	if q.marked && a.f.Type == wire.TypeData && !p.mark(a, congestionHeard) {
		return false
	}
	wait := a.now - q.came
	if wait < codelTarget && q.codel.idle() && q.shares.limit == 0 {
		return true
	}
	from := a.in.state.counted()
	if !q.shares.take(from, q.flow(a, from), len(a.b), a.now, wait, q.codel.count >= vainHits && q.codel.dropping && wait > codelTarget) {
		p.count.inc(overShare)
		return false
	}
	q.owed = q.codel.hit(a.now, wait, q.few) || q.owed && q.codel.dropping
	if !q.owed || a.f.Type != wire.TypeData || !q.shares.over(from) {
		return true
	}
	q.owed = false
	return p.mark(a, congestionMarked)
}

// mark marks a frame congestion-experienced and counts that as c. False means that it must be dropped: who sent what is in it
// would not see the mark (RFC 3168 §5, RFC 6040 §4.2).
func (p *Plane) mark(a *arrival, c counter) bool {
	if a.f.Flags.ECN() == notECT {
		p.count.inc(congestionDropped)
		return false
	}
	p.count.inc(c)
	a.f.Flags = a.f.Flags.WithECN(ce)
	wire.SetFlags(a.b, a.f.Flags)
	return true
}

// counted returns the label under which what comes by the link is counted where neighbours share.
func (s *linkState) counted() mesh.Label {
	if l := mesh.Label(s.share.Load()); l != 0 { // #nosec G115 -- a label
		return l
	}
	return s.label
}
