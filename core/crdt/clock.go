package crdt

import (
	"fmt"
	"time"

	"x0tta6bl4/mesh"
)

// Clock is a hybrid logical clock (Kulkarni et al., OPODIS 2014, figure 5): it never goes back, is never behind the newest
// entry that was learnt, and stays within a bound of the physical clock, since nothing further ahead is learnt.
type Clock struct{ last mesh.Hybrid }

// NewClock returns a clock that gives only times after floor: the newest of what is known not to be in the future, for a
// node whose own clock may have been lost.
func NewClock(floor mesh.Hybrid) Clock { return Clock{floor} }

// Learn takes note of the time of an entry.
func (c *Clock) Learn(h mesh.Hybrid) { c.last = max(c.last, h) }

// Last returns the newest time that was given or learnt.
func (c *Clock) Last() mesh.Hybrid { return c.last }

// Next returns a time after all that were given or learnt. It refuses with ErrClock if that would be more than ahead
// before the physical clock: then this node's clock went back.
func (c *Clock) Next(now time.Time, ahead time.Duration) (mesh.Hybrid, error) {
	next := max(c.last+1, mesh.HybridAt(now))
	if d := next.Time().Sub(now); d > ahead || next > mesh.MaxHybrid {
		return 0, fmt.Errorf("%w: it is %v behind what is stored", ErrClock, d.Round(time.Millisecond))
	}
	c.last = next
	return next, nil
}
