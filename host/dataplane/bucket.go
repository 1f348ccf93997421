package dataplane

import (
	"sync"
	"sync/atomic"
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
	return b.takeOf(label, now, errorBurst, errorInterval)
}

// takeOf is take for other things than errors: burst at once, and one more each interval.
func (b *buckets) takeOf(label mesh.Label, now time.Duration, burst int, interval time.Duration) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := &b.at[(uint32(label)*0x9e3779b1)>>24]
	if !e.taken || e.full < now {
		e.full, e.taken = now, true
	}
	if e.full-now > time.Duration(burst-1)*interval {
		return false
	}
	e.full += interval
	return true
}

// What one neighbour, or one peer, may have the loops told of. The queues between the packets and the loops are for all:
// who sends hellos without end must not have those of others dropped. A neighbour at 10 ms hellos that suspects this
// node, and is suspected, sends some 500 a second for a while.
const (
	toldBurst     = 256
	toldInterval  = time.Millisecond
	shakeBurst    = 128 // handshake frames that came to the neighbour by one of its links
	shakeInterval = 500 * time.Microsecond
	shakesBurst   = 256 // handshake frames by one link in all
	shakesEvery   = 100 * time.Microsecond
)

// allowance is a token bucket of any number of goroutines. The zero value is full.
type allowance struct{ full atomic.Int64 } // when it will be full again, on the plane's clock

// take reports whether one more may pass at now: burst at once, and one more each interval.
func (a *allowance) take(now time.Duration, burst int, interval time.Duration) bool {
	for {
		full := a.full.Load()
		at := max(full, int64(now))
		if at-int64(now) > int64(burst-1)*int64(interval) {
			return false
		}
		if a.full.CompareAndSwap(full, at+int64(interval)) {
			return true
		}
	}
}

// What of a link's capacity may go to frames that are sent twice, unless the configuration says otherwise, and the capacity of
// a link that announces none, in bytes a second.
const (
	defaultDuplicates = 0.10
	assumedCapacity   = 100_000_000 / 8
)

// budget is what one link may carry of frames that go by another one too: a token bucket of bytes, of a second's worth,
// for any number of goroutines. The zero value is full.
type budget struct{ full atomic.Int64 } // when it will be full again, on the plane's clock

// take reports whether n bytes more may be sent at now, of rate bytes a second. What finds no room takes nothing.
func (b *budget) take(now time.Duration, n int, rate uint64) bool {
	if rate == 0 {
		return false
	}
	cost := int64((uint64(n)*uint64(time.Second) + rate - 1) / rate) // #nosec G115 -- n is a run's length, at most 64 KiB
	for {
		full := b.full.Load()
		at := max(full, int64(now)) + cost
		if at-int64(now) > int64(time.Second) {
			return false
		}
		if b.full.CompareAndSwap(full, at) {
			return true
		}
	}
}

// duplicateRate returns how many bytes a second of a link that is a part of its capacity; see Config.Duplicates.
func duplicateRate(part float64) uint64 {
	if part == 0 {
		part = defaultDuplicates
	}
	return uint64(max(0, min(part, 1)) * assumedCapacity)
}
