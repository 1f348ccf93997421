package dataplane

import (
	"math"
	"time"
)

// TARGET and INTERVAL of RFC 8289 §4, as it recommends them for the Internet.
const (
	codelTarget   = 5 * time.Millisecond
	codelInterval = 100 * time.Millisecond
)

// codel is the control law of RFC 8289: it tells which packets of a queue to mark or to drop, so that it does not keep waiting
// longer than the target whatever comes behind. It is a machine that is told of each packet that leaves the queue. The zero
// value is ready.
type codel struct {
	firstAbove  time.Duration // when the wait will have been above the target for an interval; 0 = it is below
	dropNext    time.Duration
	count, last uint32 // hits of this dropping state; and count when it began
	dropping    bool
	after       codelStep // what the last packet left to be done with this one
}

// codelStep: where RFC 8289 takes the packet behind one that it drops in the same breath, the machine has to wait for it.
type codelStep uint8

const (
	codelPlain    codelStep = iota
	codelEntered            // the last was the first hit: this one passes
	codelSchedule           // the last was a hit: if the wait is still above the target, the next one is due by the control law
)

// idle reports whether a packet that waited less than the target changes nothing.
func (c *codel) idle() bool { return c.firstAbove == 0 && !c.dropping }

// hit reports whether the packet that leaves the queue at now after some wait is to be marked or dropped. few says that no more
// waits than one packet may be long: that is no standing queue.
func (c *codel) hit(now, wait time.Duration, few bool) bool {
	above := c.above(now, wait, few)
	after := c.after
	c.after = codelPlain
	switch {
	case after == codelEntered:
		return false
	case !c.dropping:
		if above {
			c.enter(now)
		}
		return above
	case !above:
		c.dropping = false
		return false
	}
	if after == codelSchedule {
		c.dropNext = controlLaw(c.dropNext, c.count)
	}
	if now < c.dropNext {
		return false
	}
	c.count++
	c.after = codelSchedule
	return true
}

// above is ok_to_drop of RFC 8289 §5: the wait was above the target for an interval.
func (c *codel) above(now, wait time.Duration, few bool) bool {
	switch {
	case wait < codelTarget || few:
		c.firstAbove = 0
		return false
	case c.firstAbove == 0:
		c.firstAbove = now + codelInterval
		return false
	}
	return now >= c.firstAbove
}

// enter begins to drop: where that ended a short while ago, at the rate that it had come to.
func (c *codel) enter(now time.Duration) {
	c.dropping, c.after = true, codelEntered
	delta := c.count - c.last
	c.count = 1
	if delta > 1 && now-c.dropNext < 16*codelInterval {
		c.count = delta
	}
	c.dropNext = controlLaw(now, c.count)
	c.last = c.count
}

func controlLaw(t time.Duration, count uint32) time.Duration {
	return t + time.Duration(float64(codelInterval)/math.Sqrt(float64(count)))
}
