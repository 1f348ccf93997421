package flow

import "time"

// A path is congested when its answers take longer than they can for congestedAfter times on end: more than the least by a
// quarter, and by 5 ms. The least is that of the last five to ten minutes.
const (
	congestedAfter = 10
	leastQueue     = 5 * time.Millisecond
	leastLife      = 5 * time.Minute

	// lateLife is how long after an answer that took too long loss is still the queue's: streams that ran into it pause together, and
	// the answer that tells of what they lost finds it empty.
	lateLife = 500 * time.Millisecond
)

// queue is how long the answers of a path take, and how many frames go by it.
type queue struct {
	least [2]time.Duration // of this part of the time, and of that before; 0 = nothing was measured
	since time.Time

	lately bool // an answer took too long, at lateAt, which is not long ago
	lateAt time.Time
	over   int // so many of them did on end, since the shares last changed

	counted time.Time
	rate    float64 // frames a second, smoothed
}

// took takes how long an answer took.
func (q *queue) took(now time.Time, rtt time.Duration) {
	if now.Sub(q.since) >= leastLife {
		q.least[1], q.least[0], q.since = q.least[0], 0, now
	}
	if q.least[0] == 0 || rtt < q.least[0] {
		q.least[0] = rtt
	}
	least := q.quickest()
	if rtt-least > max(leastQueue, least/4) {
		q.over++
		q.lately, q.lateAt = true, now
	} else {
		q.over = 0
	}
}

// quickest returns how long the quickest answer lately took, 0 if there was none.
func (q *queue) quickest() time.Duration {
	if q.least[1] > 0 {
		return min(q.least[0], q.least[1])
	}
	return q.least[0]
}

func (q *queue) congested() bool { return q.over >= congestedAfter }

// crowded reports whether what a path loses now is taken for what a queue has no room for: an answer took too long lately, and
// flows can be led elsewhere. To leave the path with all of them would but fill another queue.
func (r *route) crowded() bool { return r.eased && r.lately }

// passed takes how many frames were sent since the last time.
func (q *queue) passed(now time.Time, frames float64) {
	took := now.Sub(q.counted)
	if q.counted.IsZero() || took > staleRate {
		q.rate = 0
	}
	if took > 0 && took <= staleRate {
		if q.rate == 0 {
			q.rate = frames / took.Seconds()
		}
		q.rate += (frames/took.Seconds() - q.rate) * min(1, took.Seconds())
	}
	q.counted = now
}

// staleRate is how old a count of frames may be to tell how many are sent now.
const staleRate = 2 * time.Second

// sentRate returns how many frames a second are sent by the path, probes included; 0 = none, or it is not known.
func (q *queue) sentRate(now time.Time) float64 {
	if now.Sub(q.counted) > staleRate {
		return 0
	}
	return q.rate
}
