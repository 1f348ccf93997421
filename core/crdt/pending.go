package crdt

import (
	"maps"
	"time"

	"x0tta6bl4/wire"
)

// pending is what is out for verification, what did not verify lately, and what verified but was not taken.
type pending struct {
	out      map[[32]byte]job // by hash of the piece
	bytes    int
	refused  memo[[32]byte] // by the same
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
	size  int
	until time.Time
}

func newPending() pending {
	return pending{
		out:      map[[32]byte]job{},
		refused:  memo[[32]byte]{until: map[[32]byte]time.Time{}, room: maxRefused},
		unwanted: memo[wire.Ref]{until: map[wire.Ref]time.Time{}, room: maxUnwanted},
	}
}

// waits reports whether h is out.
func (p *pending) waits(now time.Time, h [32]byte) bool {
	j, ok := p.out[h]
	return ok && now.Before(j.until)
}

func (p *pending) add(now time.Time, h [32]byte, size int) bool {
	p.done(h)
	if len(p.out) >= maxPending || p.bytes+size > maxPendingByte {
		maps.DeleteFunc(p.out, func(_ [32]byte, j job) bool {
			if now.Before(j.until) {
				return false
			}
			p.bytes -= j.size
			return true
		})
	}
	if len(p.out) >= maxPending || p.bytes+size > maxPendingByte {
		return false
	}
	p.out[h] = job{size, now.Add(patience)}
	p.bytes += size
	return true
}

// done reports whether h was out, and forgets it.
func (p *pending) done(h [32]byte) bool {
	j, ok := p.out[h]
	delete(p.out, h)
	p.bytes -= j.size
	return ok
}
