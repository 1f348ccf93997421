package session

import (
	"math/rand/v2"
	"time"
)

// Backoff paces attempts that may fail: First after the first failure, growing by half each time up to Max, each
// wait drawn from the upper half of its range so that many nodes that failed together do not retry together.
type Backoff struct {
	First, Max time.Duration
	wait       time.Duration
}

// Next returns how long to wait after one more failure.
func (b *Backoff) Next(r *rand.Rand) time.Duration {
	if b.wait == 0 {
		b.wait = b.First
	} else {
		b.wait = min(b.wait*3/2, b.Max)
	}
	half := b.wait / 2
	return half + time.Duration(r.Int64N(int64(half)+1))
}

// Reset forgets the failures.
func (b *Backoff) Reset() { b.wait = 0 }

// Indices hands out random 32-bit receive indices, none twice while it is held. Zero is never handed out.
type Indices struct{ held map[uint32]struct{} }

// Take returns a new index.
func (x *Indices) Take(r *rand.Rand) uint32 {
	if x.held == nil {
		x.held = map[uint32]struct{}{}
	}
	for {
		i := r.Uint32()
		if _, taken := x.held[i]; i != 0 && !taken {
			x.held[i] = struct{}{}
			return i
		}
	}
}

// Release lets an index be handed out again.
func (x *Indices) Release(i uint32) { delete(x.held, i) }
