package dataplane

import (
	"sync"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

const handshakeSends = 64 // recent handshake frames remembered, a power of two

// ring remembers the last sends: the first 16 payload bytes of each, and the path it was sent on.
type ring struct {
	mu   sync.Mutex
	next int
	at   []sent
}

type sent struct {
	quote [wire.QuoteLen]byte
	path  *mesh.Path // nil: unused, or already reported
}

func newRing(n int) ring { return ring{at: make([]sent, n)} }

func (r *ring) add(payload []byte, path *mesh.Path) {
	if len(payload) < wire.QuoteLen {
		return
	}
	r.mu.Lock()
	e := &r.at[r.next&(len(r.at)-1)]
	e.quote = [wire.QuoteLen]byte(payload)
	e.path = path
	r.next++
	r.mu.Unlock()
}

// match returns the path on which what e quotes was sent, if it left by the link in that the error came back by
// and the place that e names lies on it. A send is matched once: one packet on one path can cause one error.
func (r *ring) match(e *wire.ErrorFrame, in mesh.Label) (*mesh.Path, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.at {
		s := &r.at[i]
		if s.path == nil || s.quote != e.Quote || !liesOn(e, in, s.path.Labels) {
			continue
		}
		path := s.path
		s.path = nil
		return path, true
	}
	return nil, false
}

// liesOn reports whether the place that e names can be one of the path with these labels, seen from its source. The
// reporter at hop h had labels[h+1] to look up; at the destination none is left.
func liesOn(e *wire.ErrorFrame, in mesh.Label, labels []mesh.Label) bool {
	reporter := int(e.Hop) + 1
	if labels[0] != in || reporter > len(labels) {
		return false
	}
	if reporter == len(labels) || e.Code == wire.ErrorNoSession {
		return reporter == len(labels) && e.Code == wire.ErrorNoSession
	}
	return labels[reporter] == e.Label
}
