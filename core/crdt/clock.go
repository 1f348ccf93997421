package crdt

import (
	"fmt"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

const (
	maxSkew = time.Hour // between clocks that are about right: an entry may wait that long for its reader
	lone    = time.Hour // a clock that is wrong at boot is put right within it
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
		return 0, fmt.Errorf("%w: it is %v behind what is stored; if it is right now it was ahead before, so begin with an empty replica, which learns from neighbours",
			ErrClock, d.Round(time.Millisecond))
	}
	c.last = next
	return next, nil
}

// clocked notes how far this node's clock is ahead of a neighbour's, which that tells with its root. What is late on its way seems to
// be further behind.
func (y *Sync) clocked(now time.Time, p *peer, r wire.StateRoot) {
	if r.Time == 0 {
		return
	}
	theirs := time.UnixMilli(int64(min(r.Time, uint64(mesh.MaxHybrid>>16))))
	p.clocked, p.ahead = true, now.Sub(theirs)
	y.judgeClock()
}

// judgeClock asks all neighbours whether this node's clock is ahead. If every one of them says so, nobody would take what it writes.
func (y *Sync) judgeClock() {
	ahead, _ := y.clocks()
	y.s.ahead = ahead > 0 && ahead == len(y.order)
}

// clocks returns how many neighbours say that this node's clock is ahead of theirs, of how many that tell theirs.
func (y *Sync) clocks() (ahead, known int) {
	for _, id := range y.order {
		p := y.peers[id]
		if p.clocked {
			known++
		}
		if p.clocked && p.ahead > maxSkew {
			ahead++
		}
	}
	return ahead, known
}

// MayForget returns from when on this node's clock is good enough for Collect, if nothing happens before; zero: not while its
// neighbours are as they are. A year ahead it would forget every deletion, so most of the neighbours that tell their clock must bear it
// out. Where none tells, it is believed an hour after the replica was made or restored.
func (y *Sync) MayForget() time.Time {
	switch ahead, known := y.clocks(); {
	case known == 0:
		return y.s.opened.Add(lone)
	case 2*ahead <= known:
		return y.s.opened
	}
	return time.Time{}
}
