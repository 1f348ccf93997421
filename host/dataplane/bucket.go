package dataplane

import (
	"sync"
	"time"

	"x0tta6bl4/mesh"
)

// Errors are hints, so few are enough: a source needs one per path, and all sources behind one in-link that
// use one label share a bucket.
const (
	errorBurst    = 32
	errorInterval = 10 * time.Millisecond // one more each
	bucketCount   = 256
)

// buckets limits the errors that the frames of one in-link can cause, a token bucket per label that caused
// them. Labels come from the frames, so they are hashed into a fixed number of buckets: who invents labels gets
// no more memory and no more errors than bucketCount times one label's.
type buckets struct {
	mu sync.Mutex
	at [bucketCount]struct {
		full  time.Duration // when the bucket will be full again, on the plane's clock
		taken bool
	}
}

// take reports whether one more error about label may be sent at now.
func (b *buckets) take(label mesh.Label, now time.Duration) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := &b.at[(uint32(label)*0x9e3779b1)>>24]
	if !e.taken || e.full < now {
		e.full, e.taken = now, true
	}
	if e.full-now > (errorBurst-1)*errorInterval {
		return false
	}
	e.full += errorInterval
	return true
}
