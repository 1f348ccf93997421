package sim

import (
	"fmt"
	"slices"
	"time"

	"x0tta6bl4/core/lsdb"
	"x0tta6bl4/core/path"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// Bounds that the invariants allow the protocol.
const (
	// settled is how long after the last change of the physical network everything must be as if it had never been
	// different: longer than any dial back-off and announcement pause together.
	settled = 20 * time.Second
	// oneWay is how long a link that is dead in one direction may still be used: detection, announcement and
	// its flooding.
	oneWay = 3 * time.Second
	// travel is how long databases may differ because an announcement is on its way.
	travel = 2 * time.Second
	// busyEvents and busyTicks are how much may happen in one instant: more is a machine whose deadline does not
	// move on when it is called at it, a busy loop in the daemon.
	busyEvents = 100_000
	busyTicks  = 1000
)

// checker holds the invariants and the first violation.
//
//	no lasting loop        a frame never meets the same node twice, but in the time that news travels; once more if a relay
//	                       sent it by a detour, or what it goes back by the way of
//	no one-way link used   no data enters a link that has been dead in a direction for oneWay
//	disjoint as claimed    paths of a set that is called node- or link-disjoint share nothing
//	equal databases        when nothing has changed for settled, all digests of a connected part are equal, unless links
//	                       that lose frames keep somebody learning: a difference may travel, and never stays
//	progress               time goes on: no machine asks to be called at once again and again
//	delivery               when nothing has changed for settled and a way exists, every packet arrives
type checker struct {
	err       *Violation
	carriages map[uint64]*carriage
	changed   time.Time     // last change of the physical network
	part      []int         // connected part of each node now; -1 while it is down
	equal     time.Time     // last time that all databases were equal
	held      []lsdb.Sum    // what each node's held at the last look
	learnt    time.Time     // last time that one of them was another
	converged time.Duration // first time that all databases were equal, from the start
	alarms    int
	crowd     int     // events at this instant
	unsteady  int     // faults at work in whose presence nothing can be said of rest
	reach     reacher // finds physical ways
	promises  promises
}

func (c *checker) init(w *World) {
	c.carriages = map[uint64]*carriage{}
	c.reach.init(w)
	c.promises.init(w)
	c.changed = w.now
	c.converged = -1
	c.part = make([]int, len(w.nodes))
	c.held = make([]lsdb.Sum, len(w.nodes))
}

// Violation is how an invariant was violated.
type Violation struct {
	What string        // the sentence, without names and numbers: the same of two violations that are alike
	At   time.Duration // since the start
	text string
}

func (v *Violation) Error() string { return v.text }

// fail notes the first violation.
func (c *checker) fail(format string, args ...any) {
	if c.err == nil {
		c.err = &Violation{What: format, text: fmt.Sprintf(format, args...)}
	}
}

// instant runs before every event.
func (c *checker) instant(w *World, at int64) {
	if at != w.at {
		c.crowd = 0
	}
	if c.crowd++; c.crowd > busyEvents {
		c.fail("more than %d events at one instant", busyEvents)
	}
}

// ticked counts a machine's calls by its own deadline.
func (c *checker) ticked(w *World, s *simNode, a *alarm, machine string) {
	if a.instant != w.at {
		a.instant, a.calls = w.at, 0
	}
	if a.calls++; a.calls > busyTicks {
		c.fail("%s of %v has a deadline that does not move on: ticked more than %d times at one instant", machine, s.id, busyTicks)
	}
}

func (c *checker) alarm(s *simNode, text string) {
	c.alarms++
	c.fail("node %v raised an alarm: %s", s.id, text)
}

// agree reports whether the clocks of two nodes differ by no more than members allow each other: what one announces whose clock
// is wrong by more the others refuse, and he what they do.
func agree(a, b *simNode) bool { return (a.clock - b.clock).Abs() <= lsdb.MaxAhead }

// physical notes that the network itself changed.
func (c *checker) physical(w *World) {
	c.changed = w.now
	c.promises.physical(w)
	c.part = c.reach.parts(w, c.part)
	for _, f := range w.flows {
		hops := c.reach.hops(w, f.from.index, f.to.index)
		f.joined = hops >= 0 && hops <= path.MaxLongHops && agree(f.from, f.to)
		f.service.possible(w.now, f.joined, w.cfg.Packet)
	}
	for _, l := range w.wires {
		dead := !l.ends[0].passes() || !l.ends[1].passes()
		switch {
		case !dead:
			l.dead = time.Time{}
		case l.dead.IsZero():
			l.dead = w.now
		}
	}
}

// lookEvery is how often what holds at rest is looked at. What holds at all times is checked where it happens.
const lookEvery = 50 * time.Millisecond

// look compares the databases, now and from then on.
func (c *checker) look(w *World) {
	if c.converged < 0 || c.calmFor(w) >= settled {
		c.compareDatabases(w)
	}
	c.promises.look(w)
	w.after(lookEvery, func() { c.look(w) })
}

func (c *checker) compareDatabases(w *World) {
	holds := map[int]lsdb.Sum{}
	var odd *simNode // the first whose database differs from another's of its part
	for i, s := range w.nodes {
		if !s.alive {
			continue
		}
		d := s.control.Database().Holds()
		if c.held[i] != d {
			c.held[i], c.learnt = d, w.now
		}
		if first, ok := holds[c.part[i]]; ok && first != d && odd == nil {
			odd = s
		}
		holds[c.part[i]] = d
	}
	if odd != nil {
		if c.calmFor(w) >= settled+travel && w.now.Sub(c.equal) > travel && w.now.Sub(c.learnt) > travel {
			c.fail("the database of %v differs from its neighbours' for %v although nothing has changed for %v", odd.id, travel, settled)
		}
		return
	}
	c.equal = w.now
	if c.converged < 0 && w.allUp() {
		c.converged = w.now.Sub(epoch)
		w.mark()
		w.after(tail, w.mark)
	}
}

// calmFor returns how long nothing has changed; not at all while a fault is at work that changes things by itself.
func (c *checker) calmFor(w *World) time.Duration {
	if c.unsteady > 0 {
		c.changed = w.now
	}
	return w.now.Sub(c.changed)
}

// lossy reports whether any link loses frames by itself.
func (w *World) lossy() bool { return slices.ContainsFunc(w.wires, (*wireLink).loses) }

// allUp reports whether every node runs and has every working link of its own up and announced.
func (w *World) allUp() bool {
	for _, s := range w.nodes {
		if !s.alive || s.control.Database().Len() < len(w.nodes) {
			return false
		}
		up := 0
		for _, l := range s.table.Links {
			if l.Usable {
				up++
			}
		}
		if up < len(s.ends) {
			return false
		}
	}
	return true
}

// met checks a frame that has come to node s. A detour, of which a frame takes one, may lead it back to where it was.
func (c *checker) met(w *World, s *simNode, g *flight) {
	times := 0
	for _, i := range g.trail {
		if i == s.index {
			times++
		}
	}
	if times == 0 || times <= g.detours {
		return
	}
	w.stats.Looped++
	if c.calmFor(w) >= travel {
		c.fail("a frame met %v twice on its way by %v although nothing has changed for %v", s.id, g.trail, travel)
	}
}

// calm reports whether a packet of a flow sent now must arrive.
func (c *checker) calm(w *World, f *trafficFlow) bool {
	return c.calmFor(w) >= settled && f.joined && !w.lossy()
}

// stillCalm reports whether nothing changed while a packet was under way.
func (c *checker) stillCalm(w *World, sent time.Time) bool { return !c.changed.After(sent) }

// waiting checks that a session does not stay away where it could be.
func (c *checker) waiting(w *World, f *trafficFlow) {
	if c.calm(w, f) && w.now.Sub(c.changed) >= settled+patience {
		c.fail("%v has no session with %v although nothing has changed for %v", f.from.id, f.to.id, settled+patience)
	}
}

// crossing checks a frame that enters a wire. A process that stood still has to find out anew.
func (c *checker) crossing(w *World, e *wireEnd, frame []byte) {
	since := e.link.dead
	if since.IsZero() || w.now.Sub(since) <= oneWay || w.now.Sub(e.node.thawedAt) <= oneWay {
		return
	}
	if f, err := wire.ParseFrame(frame); err == nil && f.Type == wire.TypeData {
		c.fail("%v sends data into a link to %v that has been dead in a direction for %v", e.node.id, e.other().node.id, w.now.Sub(since))
	}
}

// table checks what a node has just published: links and sessions exist, paths are paths, detours lead around.
func (c *checker) table(w *World, s *simNode) {
	for _, p := range s.table.Peers {
		for _, q := range p.Ways {
			c.path(s, p.Node, &q.Path)
			if len(q.Copy.Labels) > 0 {
				c.path(s, p.Node, &q.Copy)
			}
		}
		for i := range p.Pair {
			c.path(s, p.Node, &p.Pair[i])
		}
	}
	for i := range s.table.Links {
		l := &s.table.Links[i]
		for j := range l.Detours {
			if d := l.Detours[j].Labels; len(d) == 0 || len(d) > path.MaxDetour || d[0] == l.Label || s.link(d[0]) == nil || !s.link(d[0]).Usable {
				c.fail("%v publishes %v as a detour around its link %d", s.id, d, l.Label)
			}
		}
	}
}

func (c *checker) path(s *simNode, to mesh.NodeID, p *mesh.Path) {
	if !p.Valid() || p.Nodes[0] != s.id || p.Nodes[len(p.Nodes)-1] != to {
		c.fail("%v publishes %v as a path to %v", s.id, p.Nodes, to)
	}
}

// session checks the paths that a flow's source has for it against what they are called.
func (c *checker) session(w *World, f *trafficFlow) {
	if f.number%50 != 1 {
		return
	}
	r := f.from.control.PathsTo(f.to.id)
	if h := w.cfg.hooks.claim; h != nil {
		r = h(f, r)
	}
	if len(r.Paths) < 2 || r.Disjoint < path.LinkDisjoint {
		return
	}
	links, relays := map[mesh.NodeID]map[mesh.Label]bool{}, map[mesh.NodeID]int{}
	for i, p := range r.Paths {
		for h, l := range p.Labels {
			n := p.Nodes[h]
			if links[n] == nil {
				links[n] = map[mesh.Label]bool{}
			}
			if links[n][l] {
				c.fail("paths from %v to %v are called %v and share a link of %v", f.from.id, f.to.id, r.Disjoint, n)
			}
			links[n][l] = true
			if h > 0 {
				if first, met := relays[n]; met && first != i && r.Disjoint == path.NodeDisjoint {
					c.fail("paths from %v to %v are called node-disjoint and share %v", f.from.id, f.to.id, n)
				}
				relays[n] = i
			}
		}
	}
}
