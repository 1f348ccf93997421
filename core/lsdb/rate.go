package lsdb

import "time"

// What one origin may announce. A node's own pace (originate.go) stays well below it; LSAs about the loss of a link
// cannot be told from others before their signature is checked, so the burst leaves room for them. Only what proved to
// be the origin's counts: else whoever sends bad bytes in its name would silence it.
const (
	rateBurst     = 20
	ratePerSecond = 5
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
	return b.takeMany(now, burst, perSecond, 1)
}

func (b *bucket) takeMany(now time.Time, burst, perSecond, n float64) bool {
	b.fill(now, burst, perSecond)
	if b.tokens < n {
		return false
	}
	b.tokens -= n
	return true
}

// priceOf is what an object takes of its origin's rate: everybody has to carry it, so one that is large counts more. An
// LSA of three hundred links is not.
func priceOf(x *Object) float64 { return float64(1 + len(x.Raw)/priceUnit) }

const priceUnit = 16 << 10
