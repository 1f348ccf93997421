package crdt

import (
	"errors"
	"maps"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// pending is what is out for verification, what did not verify lately, and what verified but was not taken.
type pending struct {
	out      map[[32]byte]job // by hash of the piece
	all      load
	by       map[mesh.NodeID]load // neighbours
	refused  memo[[32]byte]       // by the same
	unwanted memo[wire.Ref]
}

// memo remembers the last of what was put into it, for a while.
type memo[K comparable] struct {
	until map[K]time.Time
	order []K // oldest first
	room  int
}

func (m *memo[K]) put(now time.Time, k K) {
	if _, ok := m.until[k]; !ok {
		if len(m.order) >= m.room {
			n := max(m.room/8, 1)
			for _, old := range m.order[:n] {
				delete(m.until, old)
			}
			m.order = append(m.order[:0], m.order[n:]...)
		}
		m.order = append(m.order, k)
	}
	m.until[k] = now.Add(grudge)
}

func (m *memo[K]) has(now time.Time, k K) bool { return now.Before(m.until[k]) }

// job is one of them; after until its answer is not waited for any more.
type job struct {
	from  mesh.NodeID
	size  int
	until time.Time
}

// load is how much is out. Nobody may have more out than a quarter of all that may be.
type load struct{ count, bytes int }

func (l load) room(size, share int) bool {
	return l.count < maxPending/share && (l.count == 0 || l.bytes+size <= maxPendingByte/share)
}

func newPending() pending {
	return pending{
		out:      map[[32]byte]job{},
		by:       map[mesh.NodeID]load{},
		refused:  memo[[32]byte]{until: map[[32]byte]time.Time{}, room: maxRefused},
		unwanted: memo[wire.Ref]{until: map[wire.Ref]time.Time{}, room: maxUnwanted},
	}
}

// waits reports whether h is out.
func (p *pending) waits(now time.Time, h [32]byte) bool {
	j, ok := p.out[h]
	return ok && now.Before(j.until)
}

func (p *pending) add(now time.Time, h [32]byte, from mesh.NodeID, size int) bool {
	p.done(h)
	if !p.room(from, size) {
		maps.DeleteFunc(p.out, func(_ [32]byte, j job) bool {
			if now.Before(j.until) {
				return false
			}
			p.count(j.from, -1, -j.size)
			return true
		})
	}
	if !p.room(from, size) {
		return false
	}
	p.out[h] = job{from, size, now.Add(patience)}
	p.count(from, 1, size)
	return true
}

func (p *pending) room(from mesh.NodeID, size int) bool {
	return p.all.room(size, 1) && p.by[from].room(size, 4)
}

func (p *pending) count(from mesh.NodeID, n, size int) {
	p.all = load{p.all.count + n, p.all.bytes + size}
	l := p.by[from]
	if p.by[from] = (load{l.count + n, l.bytes + size}); l.count+n == 0 {
		delete(p.by, from)
	}
}

// done reports whether h was out, and forgets it.
func (p *pending) done(h [32]byte) bool {
	j, ok := p.out[h]
	if ok {
		delete(p.out, h)
		p.count(j.from, -1, -j.size)
	}
	return ok
}

// shunShelved remembers for another while that what is on a shelf need not be fetched.
func (s *State) shunShelved(now time.Time, b *batch) {
	for _, it := range b.live {
		if s.held.known[it.id] || s.aside.known[it.id] {
			s.pending.unwanted.put(now, it.ref())
		}
	}
}

// shuns reports whether what a ref names was refused a while ago.
func (s *State) shuns(now time.Time, r wire.Ref) bool {
	return s.uncovered.has(now, r) || s.pending.unwanted.has(now, r)
}

// shun notes that an item is not taken.
func (s *State) shun(now time.Time, it *item, err error) {
	if errors.Is(err, ErrUncovered) {
		s.uncovered.put(now, it)
	} else {
		s.pending.unwanted.put(now, it.ref())
	}
}
