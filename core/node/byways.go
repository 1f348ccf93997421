package node

import (
	"slices"
	"time"

	"x0tta6bl4/mesh"
)

// What the topology says of a destination's paths can be wrong: a relay answers hellos and loses what it forwards, and neither
// its neighbours nor anybody whose paths avoid it notices. The fast loop does, for the paths that are in use. While all of them
// fail, others are offered besides: byways, which share as little as possible with those that failed. What this rests on is
// what this node saw of its own packets, and it touches nothing but the paths to that destination: who makes paths through itself
// fail is avoided, and can do no more to others than be on a path with them.
const (
	maxByways   = 2
	bywayAfter  = 200 * time.Millisecond // that all paths have failed for: it may be the other end that has no time
	maxFailed   = 16                     // failed paths that are remembered of one destination
	failedLife  = 2 * time.Minute        // for which they are, and for which a path of the set must do before byways go
	quickByways = 8                      // that are looked for without a pause; a path shows that it fails in a tenth of a second
	bywayPause  = time.Second            // before the next one; it doubles
	bywayRest   = time.Minute            // at most, and where there is none
	sunkWait    = time.Second            // before it, where all destinations fail at once: a stall of our own links may be over then
	sunkAgain   = 10 * time.Second       // the least from one such wait to the next

	// A search takes milliseconds in a large mesh, and one link of our own can make all destinations fail at once.
	bywayTurn    = 50 * time.Millisecond
	turnSearches = 4 // that are made in a turn, for all destinations together; others wait for the next one
)

// PathsFail says which of the paths offered to a destination fail now, as far as packets and probes tell.
type PathsFail struct {
	Node  mesh.NodeID
	Paths []mesh.Path
}

func (PathsFail) controlEvent() {}

// AllFail says that all paths to several destinations have begun to fail at once, by all own links, or do not any more.
type AllFail struct{ Begins bool }

func (AllFail) controlEvent() {}

// byways is what is known of a destination whose paths fail. The zero value is that of one whose paths do not.
type byways struct {
	paths   []mesh.Path // offered besides the set, the oldest first
	failing []mesh.Path // of all that are offered
	failed  []failure   // the oldest first
	found   int         // byways, since the set did last
	none    int         // searches since then that found none
	next    time.Time   // before it no other one is looked for
	sunk    time.Time   // nor before this
	retry   time.Time   // before it none is looked for though the topology changes; zero: that is no reason
	stuck   bool        // all that are offered fail
	does    time.Time   // since when a path of the set does not fail; zero: all do, or no byway was ever wanted
}

type failure struct {
	path mesh.Path
	at   time.Time
}

// pathsFail takes what the fast loop says.
func (c *Control) pathsFail(now time.Time, ev PathsFail) {
	p := c.peer(ev.Node)
	if p == nil {
		return
	}
	b := &p.byways
	b.failing = ev.Paths
	for _, x := range ev.Paths {
		b.failed = slices.DeleteFunc(b.failed, func(f failure) bool { return f.path.Same(x) })
		b.failed = append(b.failed, failure{x, now})
	}
	b.failed = b.failed[max(0, len(b.failed)-maxFailed):]
}

// allFail has all byways wait for a while. When it ends they wait a little longer, as not all paths are back at once.
func (c *Control) allFail(now time.Time, begins bool) {
	until := now.Add(sunkWait)
	switch {
	case !begins:
		until = now.Add(bywayAfter)
	case now.Sub(c.sunk) < sunkAgain:
		return
	default:
		c.sunk = now
	}
	for _, p := range c.peers {
		if b := &p.byways; begins || now.Before(b.sunk) {
			b.sunk = until
		}
	}
}

// fails reports whether a path is said to fail.
func (b *byways) fails(p mesh.Path) bool { return slices.ContainsFunc(b.failing, p.Same) }

// stuck reports whether all paths that are offered fail.
func (p *peer) stuck() bool {
	return len(p.paths) > 0 && !slices.ContainsFunc(p.offered(), func(x mesh.Path) bool { return !p.byways.fails(x) })
}

// offered returns the paths of the set and the byways.
func (p *peer) offered() []mesh.Path { return slices.Concat(p.paths, p.byways.paths) }

// settleByways looks for another byway when all paths fail, and withdraws them when they are needed no more.
func (c *Control) settleByways(now time.Time, p *peer) {
	b := &p.byways
	if len(b.failed) == 0 {
		return
	}
	if !slices.ContainsFunc(p.paths, func(x mesh.Path) bool { return !b.fails(x) }) {
		b.does = time.Time{}
	} else if b.does.IsZero() {
		b.does = now
	}
	was := b.stuck
	if b.stuck = p.stuck(); b.stuck && !was && b.found == 0 {
		b.next = later(b.next, now.Add(bywayAfter))
	}
	switch {
	case !b.does.IsZero() && now.Sub(b.does) >= failedLife:
		had := len(b.paths) > 0
		*b = byways{}
		if had {
			c.tellPeer(p)
		}
	case b.stuck && !now.Before(later(b.next, b.sunk)):
		if at := c.byways.take(now); at.After(now) {
			b.next = at
			return
		}
		c.findByway(now, p)
		b.stuck = p.stuck()
	}
}

// bywayBudget counts the searches of a turn.
type bywayBudget struct {
	from time.Time
	made int
}

// take returns when the next search may be made: now, or when the next turn begins.
func (x *bywayBudget) take(now time.Time) time.Time {
	if now.Sub(x.from) >= bywayTurn {
		*x = bywayBudget{from: now}
	}
	if x.made == turnSearches {
		return x.from.Add(bywayTurn)
	}
	x.made++
	return now
}

// findByway offers one more path.
func (c *Control) findByway(now time.Time, p *peer) {
	b := &p.byways
	b.failed = slices.DeleteFunc(b.failed, func(f failure) bool { return now.Sub(f.at) >= failedLife && !b.fails(f.path) })
	avoid := p.offered()
	for _, f := range b.failed {
		if !slices.ContainsFunc(avoid, f.path.Same) {
			avoid = append(avoid, f.path)
		}
	}
	found, ok := c.graph.Byway(c.cfg.Self, p.node, avoid)
	if !ok {
		b.next, b.retry = now.Add(bywayRest), now.Add(pauseAfter(b.none))
		b.none++
		return
	}
	b.none, b.retry = 0, time.Time{}
	if b.found++; b.found >= quickByways {
		b.next = now.Add(pauseAfter(b.found - quickByways))
	}
	b.paths = append(b.paths[max(0, len(b.paths)+1-maxByways):], found)
	c.tellPeer(p)
}

// pauseAfter returns the pause that has doubled so often.
func pauseAfter(doublings int) time.Duration {
	return min(bywayPause<<min(doublings, 10), bywayRest)
}

// followByways brings byways up to date with the graph, and reports whether any is another now, or gone.
func (c *Control) followByways(now time.Time, p *peer) (changed bool) {
	b := &p.byways
	if len(b.failed) == 0 {
		return false
	}
	if !b.retry.IsZero() && b.next.After(b.retry) {
		b.next = later(now, b.retry) // what was not there may be there now
	}
	var paths []mesh.Path
	for _, x := range b.paths {
		if is, ok := c.graph.Follow(x); ok && !slices.ContainsFunc(p.paths, is.Same) {
			paths = append(paths, is)
		}
	}
	changed = !slices.EqualFunc(paths, b.paths, sameMetrics)
	b.paths = paths
	return changed
}

// bywayDeadline returns when settleByways has something to do for want of which nothing else would call it.
func (p *peer) bywayDeadline() time.Time {
	switch b := &p.byways; {
	case len(b.failed) == 0:
		return time.Time{}
	case !b.does.IsZero():
		return b.does.Add(failedLife)
	case b.stuck:
		return later(b.next, b.sunk)
	}
	return time.Time{}
}
