package dataplane

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// An error quotes what it is about. Of data nothing is kept to compare that with: the counter tells whether it was sent lately,
// and what is sealed behind it by which path (wire.QuotedInner). So any number of packets can be quoted.

const (
	// What was sent may be quoted for at least so long, and at most twice as long.
	quoteAge = 2 * time.Second

	usedPaths    = 64  // remembered for one peer
	matchedSends = 256 // sends of one peer that an error was about
)

// marks tell which counters of a session are recent.
type marks struct {
	due  atomic.Int64 // when the next is made, on the plane's clock
	mu   sync.Mutex   // guards last
	last [2]mark      // the newer one last
}

type mark struct {
	at   time.Duration
	next uint64 // counter of the first packet that is sent then
}

// mark is called before counters are taken.
func (s *peerSession) mark(now time.Duration) {
	m := &s.marks
	due := m.due.Load()
	if int64(now) < due || !m.due.CompareAndSwap(due, int64(now+quoteAge)) {
		return
	}
	m.mu.Lock()
	m.last[0], m.last[1] = m.last[1], mark{now, s.counter.Load()}
	m.mu.Unlock()
}

// recent reports whether something was sealed with counter c lately.
func (s *peerSession) recent(c uint64, now time.Duration) bool {
	if c >= s.counter.Load() {
		return false
	}
	s.marks.mu.Lock()
	defer s.marks.mu.Unlock()
	for _, m := range s.marks.last {
		if m.at != 0 && c >= m.next && now-m.at < 2*quoteAge {
			return true
		}
	}
	return false
}

// usedPath is a path that something was sent by lately.
type usedPath struct {
	path    *mesh.Path
	numbers [2]uint32     // bit n: packets counted for path n go by it, of others and of the protected class
	until   time.Duration // 0: as long as the table has it
}

// carries reports whether what has this header may have gone by the path.
func (u *usedPath) carries(in wire.Inner) bool {
	return u.numbers[protectedIndex(in)]>>(in.Path%wire.PathNumbers)&1 != 0
}

func protectedIndex(in wire.Inner) int {
	return int(in.Class & wire.ClassProtected / wire.ClassProtected)
}

// recall is what is remembered of what was sent to a peer.
type recall struct {
	mu      sync.Mutex
	used    []usedPath // at most usedPaths
	matched [matchedSends]matchedSend
	next    int
}

// matchedSend is one copy of a packet. Copies of one packet leave by different links.
type matchedSend struct {
	index   uint32
	counter uint64
	first   mesh.Label // 0: unused
}

// take remembers the paths of a new table, and for a while those of the table before.
func (r *recall) take(o *outPeer, now time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var room [8]usedPath
	fresh := o.usedPaths(room[:0])
	for i := range r.used {
		if u := &r.used[i]; u.until == 0 && !dropSame(&fresh, u) {
			u.until = now + 2*quoteAge
		}
	}
	for _, u := range fresh {
		r.add(u, now)
	}
}

// dropSame removes from a list what is the same as u, which is to be remembered on. It reports whether there was such a one.
func dropSame(list *[]usedPath, u *usedPath) bool {
	for i, f := range *list {
		if f.numbers == u.numbers && sameWay(f.path, u.path) {
			*list = append((*list)[:i], (*list)[i+1:]...)
			return true
		}
	}
	return false
}

// add remembers one more path. r.mu is held.
func (r *recall) add(u usedPath, now time.Duration) {
	oldest := -1
	for i, old := range r.used {
		if old.until != 0 && (oldest < 0 || old.until < r.used[oldest].until) {
			oldest = i
		}
	}
	switch {
	case oldest >= 0 && (r.used[oldest].until <= now || len(r.used) >= usedPaths):
		r.used[oldest] = u
	case len(r.used) < usedPaths:
		r.used = append(r.used, u)
	}
}

// probe remembers a path that a probe is sent by, as long as its answer may be awaited.
func (r *recall) probe(path *mesh.Path, now time.Duration) {
	const awaited = 5 * time.Second
	u := usedPath{path: path, numbers: [2]uint32{1 << (path.Number % wire.PathNumbers), 0}, until: now + awaited}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.used {
		if old := &r.used[i]; old.numbers[0]|u.numbers[0] == old.numbers[0] && sameWay(old.path, path) {
			if old.until != 0 {
				old.until = max(old.until, u.until)
			}
			return
		}
	}
	r.add(u, now)
}

// usedPaths appends the paths of the table. Answers to probes go by all ways, and are counted for none.
func (o *outPeer) usedPaths(list []usedPath) []usedPath {
	for i := range o.ways {
		w := &o.ways[i]
		number := uint32(1) << (w.paths[0].path.Number % wire.PathNumbers)
		for j := range w.paths {
			list = append(list, usedPath{path: w.paths[j].path, numbers: [2]uint32{number | 1, number}})
		}
	}
	for i := range o.pair {
		list = append(list, usedPath{path: o.pair[i].path, numbers: [2]uint32{0, 1}})
	}
	return list
}

// match returns the path by which something of that header, index and counter was sent, if it left by the link in that the error
// came back by and the place that e names lies on it. A send is matched once: one packet on one path can cause one error.
func (r *recall) match(e *wire.ErrorFrame, send matchedSend, inner wire.Inner, now time.Duration) (*mesh.Path, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.matched {
		if m == send {
			return nil, false
		}
	}
	for i := range r.used {
		u := &r.used[i]
		if u.until != 0 && u.until <= now || !u.carries(inner) || !liesOn(e, send.first, u.path.Labels) {
			continue
		}
		r.matched[r.next%matchedSends] = send
		r.next++
		return u.path, true
	}
	return nil, false
}

// findSend returns what an error is about; if it is about nothing that was sent, why it is not believed.
func (p *Plane) findSend(a *arrival, e *wire.ErrorFrame) (*SentMatch, counter) {
	// A quote of data begins with the session index that it was sealed for, and the counter.
	index, number := binary.BigEndian.Uint32(e.Quote[:]), binary.BigEndian.Uint64(e.Quote[4:])
	for _, s := range a.v.sessions {
		if !s.tx.known() || s.tx.value() != index || !s.recent(number, a.now) {
			continue
		}
		if !a.in.state.quotes.takeOf(mesh.Label(index), a.now, toldBurst, toldInterval) { // #nosec G115 -- the low bits will do
			return nil, errorFlood
		}
		aead, _ := s.seal.known(number, a.now)
		if aead == nil {
			continue
		}
		inner, err := wire.QuotedInner(e.Quote, aead)
		if err != nil {
			continue
		}
		if path, ok := s.peer.recall.match(e, matchedSend{index, number, a.in.label}, inner, a.now); ok {
			return &SentMatch{Node: s.node, Conn: s.conn, Path: *path, Reporter: int(e.Hop) + 1}, 0
		}
	}
	path, ok := p.shakes.match(e, a.in.label)
	if !ok {
		return nil, errorUnmatched
	}
	m := &SentMatch{Path: *path, Reporter: int(e.Hop) + 1, Handshake: true}
	a.v.namePath(m)
	return m, 0
}
