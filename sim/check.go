package sim

import (
	"fmt"
	"time"

	"x0tta6bl4/core/path"
	"x0tta6bl4/mesh"
	"x0tta6bl4/mesh/topology"
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
	// flight is how long databases may differ because an announcement is on its way.
	flight = 2 * time.Second
	// busyEvents and busyTicks are how much may happen in one instant: more is a machine whose deadline does not
	// move on when it is called at it, a busy loop in the daemon.
	busyEvents = 100_000
	busyTicks  = 1000
)

// checker holds the invariants and the first violation.
//
//	no lasting loop        a frame never meets the same node twice, but in the time that news travels
//	no one-way link used   no data enters a link that has been dead in a direction for oneWay
//	disjoint as claimed    paths of a set that is called node- or link-disjoint share nothing
//	equal databases        when nothing has changed for settled, all digests of a connected part are equal
//	progress               time goes on: no machine asks to be called at once again and again
//	delivery               when nothing has changed for settled and a way exists, every packet arrives
type checker struct {
	err       error
	carriages map[uint64]*carriage
	changed   time.Time // last change of the physical network
	part      []int     // connected part of each node now; -1 while it is down
	deadSince map[int]time.Time
	compared  time.Time
	equal     time.Time     // last time that all databases were equal
	converged time.Duration // first time that all databases were equal, from the start
	alarms    int
	crowd     int                   // events at this instant
	ticks     map[tickedMachine]int // of each machine at this instant
}

// tickedMachine names one machine of one node.
type tickedMachine struct {
	node    int
	machine string
}

func (c *checker) init(w *World) {
	c.carriages = map[uint64]*carriage{}
	c.deadSince = map[int]time.Time{}
	c.ticks = map[tickedMachine]int{}
	c.changed = w.now
	c.converged = -1
	c.part = make([]int, len(w.nodes))
}

// fail notes the first violation.
func (c *checker) fail(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf(format, args...)
	}
}

// instant runs before every event.
func (c *checker) instant(w *World, at time.Time) {
	if !at.Equal(w.now) {
		c.crowd = 0
		clear(c.ticks)
	}
	if c.crowd++; c.crowd > busyEvents {
		c.fail("more than %d events at one instant", busyEvents)
	}
}

// ticked counts a machine's calls by its own deadline.
func (c *checker) ticked(s *simNode, machine string) {
	k := tickedMachine{s.index, machine}
	if c.ticks[k]++; c.ticks[k] > busyTicks {
		c.fail("%s of %v has a deadline that does not move on: ticked more than %d times at one instant", machine, s.id, busyTicks)
	}
}

func (c *checker) alarm(s *simNode, text string) {
	c.alarms++
	c.fail("node %v raised an alarm: %s", s.id, text)
}

// physical notes that the network itself changed.
func (c *checker) physical(w *World) {
	c.changed = w.now
	broken := w.broken()
	c.part = w.cfg.Map.Components(broken)
	for _, f := range w.flows {
		hops, ok := w.cfg.Map.ShortestHops(f.from.index, f.to.index, broken)
		f.joined = ok && f.to.alive && hops <= path.MaxLongHops
		f.service.possible(w.now, f.joined, w.cfg.Packet)
	}
	for _, l := range w.wires {
		dead := !l.ends[0].passes() || !l.ends[1].passes()
		if _, known := c.deadSince[l.index]; dead && !known {
			c.deadSince[l.index] = w.now
		} else if !dead && known {
			delete(c.deadSince, l.index)
		}
	}
}

// step runs after every event: what holds at all times is checked where it happens, what holds when it is quiet here.
func (c *checker) step(w *World) {
	if w.now.Sub(c.compared) < 50*time.Millisecond {
		return
	}
	c.compared = w.now
	if c.converged < 0 || w.now.Sub(c.changed) >= settled {
		c.compareDatabases(w)
	}
}

func (c *checker) compareDatabases(w *World) {
	digests := map[int][32]byte{}
	for i, s := range w.nodes {
		if !s.alive {
			continue
		}
		d := s.control.Database().Digest()
		if first, ok := digests[c.part[i]]; ok && first != d {
			if w.now.Sub(c.changed) >= settled+flight && w.now.Sub(c.equal) > flight {
				c.fail("the database of %v differs from its neighbours' for %v although nothing has changed for %v", s.id, flight, settled)
			}
			return
		}
		digests[c.part[i]] = d
	}
	c.equal = w.now
	if c.converged < 0 && w.allUp() {
		c.converged = w.now.Sub(epoch)
	}
}

// broken returns what does not work now.
func (w *World) broken() (b topology.Broken) {
	for i, l := range w.wires {
		if !l.ends[0].passes() || !l.ends[1].passes() {
			b.Links = append(b.Links, i)
		}
	}
	for i, s := range w.nodes {
		if !s.alive {
			b.Nodes = append(b.Nodes, i)
		}
	}
	return b
}

// allUp reports whether every node runs and has every working link of its own up and announced.
func (w *World) allUp() bool {
	for _, s := range w.nodes {
		if !s.alive || len(s.control.Database().Nodes()) < len(w.nodes) {
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

// loop notes a frame that met node s twice.
func (c *checker) loop(w *World, s *simNode, trail []int) {
	w.stats.Looped++
	if w.now.Sub(c.changed) >= flight {
		c.fail("a frame met %v twice on its way by %v although nothing has changed for %v", s.id, trail, flight)
	}
}

// calm reports whether a packet of a flow sent now must arrive.
func (c *checker) calm(w *World, f *trafficFlow) bool {
	return w.now.Sub(c.changed) >= settled && w.lossless && f.joined
}

// stillCalm reports whether nothing changed while a packet was under way.
func (c *checker) stillCalm(w *World, sent time.Time) bool { return !c.changed.After(sent) }

// waiting checks that a session does not stay away where it could be.
func (c *checker) waiting(w *World, f *trafficFlow) {
	if c.calm(w, f) && w.now.Sub(c.changed) >= settled+patience {
		c.fail("%v has no session with %v although nothing has changed for %v", f.from.id, f.to.id, settled+patience)
	}
}

// crossing checks a frame that enters a wire.
func (c *checker) crossing(w *World, e *wireEnd, frame []byte) {
	f, err := wire.ParseFrame(frame)
	if err != nil || f.Type != wire.TypeData {
		return
	}
	if since, dead := c.deadSince[e.link.index]; dead && w.now.Sub(since) > oneWay {
		c.fail("%v sends data into a link to %v that has been dead in a direction for %v", e.node.id, e.other().node.id, w.now.Sub(since))
	}
}

// table checks what a node has just published: links and sessions exist, paths are paths.
func (c *checker) table(w *World, s *simNode) {
	for _, p := range s.table.Peers {
		for _, q := range p.Paths {
			if !q.Valid() || q.Nodes[0] != s.id || q.Nodes[len(q.Nodes)-1] != p.Node {
				c.fail("%v publishes %v as a path to %v", s.id, q.Nodes, p.Node)
			}
		}
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
