package lsdb

import (
	"maps"
	"slices"
	"time"

	"x0tta6bl4/mesh"
)

// What one origin may announce. A node's own pace (originate.go) stays well below it; LSAs about the loss of a link
// cannot be told from others before their signature is checked, so the burst leaves room for them.
const (
	rateBurst     = 20
	ratePerSecond = 5
)

// What one neighbour may pass on with a bad signature: it should have checked before it did.
const (
	badBurst     = 20
	badPerSecond = 0.2
)

// bucket is a token bucket.
type bucket struct {
	tokens float64
	at     time.Time
}

func (b *bucket) fill(now time.Time, burst, perSecond float64) {
	if d := now.Sub(b.at); d > 0 && !b.at.IsZero() {
		b.tokens = min(b.tokens+d.Seconds()*perSecond, burst)
	}
	if now.After(b.at) {
		b.at = now
	}
}

func (b *bucket) take(now time.Time, burst, perSecond float64) bool {
	b.fill(now, burst, perSecond)
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

// senders counts bad signatures by the connection they came from.
type senders struct{ m map[mesh.ConnID]*bucket }

func newSenders() senders { return senders{map[mesh.ConnID]*bucket{}} }

func (s *senders) trusted(now time.Time, from mesh.ConnID) bool {
	b := s.m[from]
	if b == nil {
		return true
	}
	b.fill(now, badBurst, badPerSecond)
	return b.tokens >= 1
}

func (s *senders) blame(now time.Time, from mesh.ConnID) {
	b := s.m[from]
	if b == nil {
		if len(s.m) >= maxSenders {
			delete(s.m, slices.Min(slices.Sorted(maps.Keys(s.m)))) // handles grow: the lowest is the oldest
		}
		b = &bucket{tokens: badBurst, at: now}
		s.m[from] = b
	}
	b.take(now, badBurst, badPerSecond)
}

// pending remembers what is out for verification, so that the same LSA from eight neighbours is verified once.
type pending struct {
	ids   map[[32]byte]bool
	svids map[[32]byte]bool // of the records among them
	queue []pendingEntry    // in order of time; answered ones stay a while
}

type pendingEntry struct {
	id, svid [32]byte
	at       time.Time
}

func newPending() pending { return pending{ids: map[[32]byte]bool{}, svids: map[[32]byte]bool{}} }

func (p *pending) add(now time.Time, job *VerifyJob) bool {
	p.purge(now)
	if len(p.ids) >= maxPending {
		return false
	}
	if len(p.queue) >= 2*maxPending {
		p.queue = slices.DeleteFunc(p.queue, func(e pendingEntry) bool { return !p.ids[e.id] })
	}
	p.ids[job.id] = true
	if job.Kind == KindRecord {
		p.svids[job.svid] = true
	}
	p.queue = append(p.queue, pendingEntry{job.id, job.svid, now})
	return true
}

func (p *pending) done(job *VerifyJob) {
	delete(p.ids, job.id)
	delete(p.svids, job.svid)
}

// purge drops from the front what is answered or will never be.
func (p *pending) purge(now time.Time) {
	n := 0
	for n < len(p.queue) && (!p.ids[p.queue[n].id] || now.Sub(p.queue[n].at) > patience) {
		delete(p.ids, p.queue[n].id)
		delete(p.svids, p.queue[n].svid)
		n++
	}
	p.queue = slices.Delete(p.queue, 0, n)
}
