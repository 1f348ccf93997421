package sim

import (
	"fmt"
	"slices"
	"time"

	"x0tta6bl4/core/node"
	"x0tta6bl4/mesh"
	"x0tta6bl4/mesh/fault"
	"x0tta6bl4/mesh/topology"
)

// Times of faults.
const (
	// builtinAt is when a builtin fault strikes: every mesh that can has converged by then.
	builtinAt = 10 * time.Second
	// restartTime is how long a restarted daemon is away.
	restartTime = 100 * time.Millisecond
)

// addFaults puts the script on the clock.
func (w *World) addFaults() error {
	for _, f := range w.cfg.Faults {
		if f.Target == (fault.Target{Path: true}) {
			f.At = builtinAt
		}
		find, err := w.target(f)
		if err != nil {
			return err
		}
		w.addFault(f, find)
	}
	return nil
}

// addFault has a fault strike what find finds by then.
func (w *World) addFault(f fault.Fault, find func() target) {
	w.after(f.At-time.Duration(w.at), func() {
		s := strike{fault: &f, hit: find()}
		w.note('x', 0, 1)
		s.begin(w)
		w.check.physical(w)
		if f.For > 0 {
			w.after(f.For, func() { w.note('x', 0, 2); s.end(w); w.check.physical(w) })
		}
	})
}

// strike is a fault and what it has hit.
type strike struct {
	fault *fault.Fault
	hit   target
	over  bool
	cut   bool // of a flap: the link is down now
}

// target is what a fault hits: a node, or links, the first in the direction from one of its sides.
type target struct {
	node  *simNode
	links []*wireLink
	side  int
}

func (s *strike) begin(w *World) {
	switch n := s.hit.node; s.fault.Kind {
	case fault.Kill:
		w.kill(n)
	case fault.Restart:
		w.restart(n)
	case fault.Freeze:
		w.freeze(n)
	case fault.Greydrop:
		n.drops = 1 - (1-n.drops)*(1-s.fault.Param.P)
		w.check.unsteady++
	case fault.Clock:
		w.setClock(n, n.clock+s.fault.Param.D)
		w.check.unsteady++
	case fault.Flap:
		s.flap(w)
	default:
		s.onLinks(w, 1)
	}
}

func (s *strike) end(w *World) {
	s.over = true
	switch n := s.hit.node; s.fault.Kind {
	case fault.Kill:
		if !n.alive {
			w.start(n)
		}
	case fault.Restart:
	case fault.Freeze:
		w.thaw(n)
	case fault.Greydrop:
		n.drops = max(0, 1-(1-n.drops)/(1-s.fault.Param.P))
		if s.fault.Param.P == 1 {
			n.drops = 0
		}
		w.check.unsteady--
	case fault.Clock:
		w.setClock(n, n.clock-s.fault.Param.D)
		w.check.unsteady--
	case fault.Flap:
		if s.cut {
			s.onLinks(w, -1)
		}
	default:
		s.onLinks(w, -1)
	}
}

// onLinks adds the fault to its links, or takes it away.
func (s *strike) onLinks(w *World, by int) {
	w.changes++
	for _, l := range s.hit.links {
		for _, e := range l.ends {
			w.landAt(e)
		}
		switch s.fault.Kind {
		case fault.Cut, fault.Flap, fault.Blackhole, fault.Partition:
			l.down += by
		case fault.Oneway:
			l.block[s.hit.side] += by
		default:
			if by > 0 {
				l.extra.active = append(l.extra.active, s.fault)
			} else {
				l.extra.active = slices.DeleteFunc(l.extra.active, func(f *fault.Fault) bool { return f == s.fault })
			}
			l.extra.sum()
		}
	}
}

// flap cuts and mends a link in turn until the fault is over.
func (s *strike) flap(w *World) {
	if s.over {
		return
	}
	s.cut = !s.cut
	wait := s.fault.Param.Up
	if s.cut {
		s.onLinks(w, 1)
		wait = s.fault.Param.Down
	} else {
		s.onLinks(w, -1)
	}
	w.note('x', 0, 3)
	w.check.physical(w)
	w.after(wait, func() { s.flap(w) })
}

// restart kills a node and starts it again a moment later.
func (w *World) restart(s *simNode) {
	w.kill(s)
	w.after(restartTime, func() {
		if !s.alive {
			w.start(s)
			w.check.physical(w)
		}
	})
}

// freeze stops a process where it is, as SIGSTOP does.
func (w *World) freeze(s *simNode) {
	if s.runs() {
		w.land(s)
		s.frozen, s.frozenAt = true, w.now
		w.changes++
	}
}

// The daemon says that it stood still if that took longer than this.
const standstill = 2 * time.Second

// thaw lets a process go on. Its loops find out how late they are before they look at what came meanwhile.
func (w *World) thaw(s *simNode) {
	if !s.alive || !s.frozen {
		return
	}
	s.frozen, s.thawedAt = false, w.now
	w.changes++
	slept := w.now.Sub(s.frozenAt)
	late := s.backlog
	s.backlog = nil
	if slept > w.cfg.Hello/2 {
		w.turn(s, node.Late{By: slept})
	}
	for i := range late {
		w.happen(&late[i])
	}
	if slept > standstill {
		w.control(s, node.Woke{Slept: slept})
	}
}

// setClock sets a node's wall clock; its timers go by how much time passes.
func (w *World) setClock(s *simNode, ahead time.Duration) {
	s.clock = ahead
	if s.runs() {
		w.scheduleControl(s)
	}
}

// target returns how to find what a fault names when it strikes. A path is watched by flows between its ends.
func (w *World) target(f fault.Fault) (func() target, error) {
	if !f.Target.Path {
		t, ok := w.named(f)
		if !ok {
			return nil, fmt.Errorf("%w: %s: the simulator needs a node of the map, or two that a link joins", fault.ErrSyntax, f)
		}
		return func() target { return t }, nil
	}
	a, b, _ := w.cfg.Map.FarthestPair()
	if !f.Target.A.IsZero() {
		a, _ = w.cfg.Map.Find(f.Target.A)
		b, _ = w.cfg.Map.Find(f.Target.B)
	}
	if a < 0 || b < 0 {
		return nil, fmt.Errorf("%w: %s: no way leads there", fault.ErrSyntax, f)
	}
	shortest := w.cfg.Map.ShortestPath(a, b, topology.Broken{})
	if shortest == nil || f.Kind.OnNode() && len(shortest) < 3 {
		return nil, fmt.Errorf("%w: %s: there is no relay between %s and %s", fault.ErrSyntax, f, w.nodes[a].id, w.nodes[b].id)
	}
	w.addFlow(w.nodes[a], w.nodes[b])
	w.addFlow(w.nodes[b], w.nodes[a])
	return func() target { return w.middle(f.Kind, w.wayInUse(a, b, shortest)) }, nil
}

// named returns what a fault names by its name.
func (w *World) named(f fault.Fault) (target, bool) {
	switch {
	case f.Kind == fault.Partition:
		var t target
		for _, l := range w.wires {
			if f.Sides.Parts(l.ends[0].node.id, l.ends[1].node.id) {
				t.links = append(t.links, l)
			}
		}
		return t, len(t.links) > 0
	case f.Kind.OnNode():
		s := w.byID[f.Target.A]
		return target{node: s}, s != nil
	}
	return w.between(f.Target.A, f.Target.B)
}

// between returns the link that joins two nodes, seen from the first; the first of several.
func (w *World) between(a, b mesh.NodeID) (target, bool) {
	for _, l := range w.wires {
		for side := range l.ends {
			if l.ends[side].node.id == a && l.ends[1-side].node.id == b {
				return target{links: []*wireLink{l}, side: side}, true
			}
		}
	}
	return target{}, false
}

// wayInUse returns the nodes that packets from a to b pass now, or those of the shortest way if none does.
func (w *World) wayInUse(a, b int, shortest []int) []mesh.NodeID {
	if p, ok := w.nodes[a].table.Peer(w.nodes[b].id); ok && len(p.Ways) > 0 {
		return p.Ways[0].Nodes
	}
	var way []mesh.NodeID
	for _, i := range shortest {
		way = append(way, w.nodes[i].id)
	}
	return way
}

// middle returns the relay or the link in the middle of a way; an end if there is no relay. A partition is a cut through
// that link: it parts the nodes that come before it on the way from those behind.
func (w *World) middle(k fault.Kind, way []mesh.NodeID) target {
	if k.OnNode() {
		return target{node: w.byID[way[len(way)/2]]}
	}
	half := (len(way) - 1) / 2
	t, _ := w.between(way[half], way[half+1])
	if k == fault.Partition {
		return w.parted(way[0], way[len(way)-1])
	}
	return t
}

// parted returns the links between the nodes that are nearer to a and those that are nearer to b.
func (w *World) parted(a, b mesh.NodeID) (t target) {
	i, j := w.byID[a].index, w.byID[b].index
	toA, toB := w.cfg.Map.Hops(i, topology.Broken{}), w.cfg.Map.Hops(j, topology.Broken{})
	near := func(s *simNode) bool { return toA[s.index] <= toB[s.index] }
	for _, l := range w.wires {
		if near(l.ends[0].node) != near(l.ends[1].node) {
			t.links = append(t.links, l)
		}
	}
	return t
}
