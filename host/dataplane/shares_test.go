package dataplane

import (
	"testing"
	"time"

	"x0tta6bl4/mesh"
)

// shareClock brings frames of links to shares, period by period.
type shareClock struct {
	shares
	now time.Duration
}

// period has each link bring so many frames of 10,000 bytes within a period, all of which waited so long. It returns how many of
// each are within their share.
func (c *shareClock) period(wait time.Duration, standing bool, frames map[mesh.Label]int) map[mesh.Label]int {
	passed := map[mesh.Label]int{}
	for l, n := range frames {
		for range n {
			if c.take(l, uint32(l), 10_000, c.now, wait, standing) {
				passed[l]++
			}
		}
	}
	c.now += sharePeriod
	return passed
}

func TestShares(t *testing.T) {
	const long, short = 20 * time.Millisecond, time.Millisecond
	load := map[mesh.Label]int{1: 10, 2: 90}
	begin := func() *shareClock {
		c := &shareClock{now: time.Second}
		for range 3 {
			c.period(long, false, load)
		}
		return c
	}
	t.Run("equal parts at first", func(t *testing.T) {
		c := begin()
		if got := c.period(long, false, load); got[1] != 10 || got[2] != 90 || c.limit != 0 {
			t.Errorf("before it stands %v pass, limit %d", got, c.limit)
		}
		if got := c.period(long, true, load); got[1] != 10 || got[2] != 50 {
			t.Errorf("%v pass, want 10 and 50", got)
		}
	})
	t.Run("falls while it grows", func(t *testing.T) {
		c := begin()
		wait := long
		for range 50 {
			c.period(wait, true, load)
			wait += time.Millisecond
		}
		if c.limit != leastShare {
			t.Errorf("limit %d, want %d", c.limit, leastShare)
		}
		if got := c.period(wait, true, load); got[2] != leastShare/10_000 {
			t.Errorf("%v pass", got)
		}
	})
	t.Run("stays while it shrinks", func(t *testing.T) {
		c := begin()
		wait := 10 * long
		c.period(wait, false, load)
		for range 20 {
			wait -= wait / 8
			c.period(wait, true, load)
		}
		if c.limit != 500_000 {
			t.Errorf("limit %d, want 500,000", c.limit)
		}
	})
	t.Run("rises and ends", func(t *testing.T) {
		c := begin()
		c.period(long, true, load)
		periods := 0
		for ; c.limit != 0 && periods < 100; periods++ {
			c.period(short, false, load)
		}
		if periods < 46 || periods > 50 { // 500,000 × 7/8 × (33/32)^n > 2 × 900,000: 46, and the turns around them
			t.Errorf("it ends after %d periods, limit %d", periods, c.limit)
		}
	})
	t.Run("of one neighbour's flows", func(t *testing.T) {
		c := &shareClock{now: time.Second}
		flows := func(wait time.Duration, standing bool) (small, large int) { // 10 and 90 frames, mixed
			for i := range 100 {
				flow := uint32(min(i%10, 1))
				if c.take(1, flow, 10_000, c.now, wait, standing) {
					small, large = small+int(1-flow), large+int(flow)
				}
			}
			c.now += sharePeriod
			return small, large
		}
		for range 3 {
			flows(long, false)
		}
		for range 10 { // the neighbour's share falls below what it brings, and the large flow's with it
			flows(long, true)
		}
		for range 5 {
			flows(short, false)
		}
		if small, large := flows(short, false); small != 10 || large > 40 || large < 10 {
			t.Errorf("%d of 10 and %d of 90 pass, limit %d", small, large, c.limit)
		}
	})
	t.Run("ends with a pause", func(t *testing.T) {
		c := begin()
		c.period(long, true, load)
		c.now += sharePeriod
		if got := c.period(long, false, load); got[2] != 90 || c.limit != 0 {
			t.Errorf("%v pass, limit %d", got, c.limit)
		}
	})
	t.Run("who is over", func(t *testing.T) {
		c := begin()
		c.period(long, false, load)
		if c.over(1) || !c.over(2) || c.over(3) {
			t.Errorf("over: %v %v %v, want the second alone", c.over(1), c.over(2), c.over(3))
		}
		c.now += time.Second
		c.take(1, 1, 100, c.now, long, false)
		if !c.over(1) || !c.over(2) {
			t.Error("one is not over though nobody knows")
		}
	})
}
