package sim

import (
	"fmt"
	"time"

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
		if f.Target.Path && f.Target.A.IsZero() {
			f.At = builtinAt
		}
		s, err := w.strike(f)
		if err != nil {
			return err
		}
		w.after(f.At, func() { w.note('x', 0, 1); s.begin(); w.check.physical(w) })
		if f.For > 0 {
			w.after(f.At+f.For, func() { w.note('x', 0, 2); s.end(); w.check.physical(w) })
		}
	}
	return nil
}

// strike is what a fault does when it begins and when it ends.
type strike struct{ begin, end func() }

func (w *World) strike(f fault.Fault) (strike, error) {
	switch f.Kind {
	case fault.Cut, fault.Blackhole, fault.Oneway, fault.Kill, fault.Restart:
	default:
		return strike{}, fmt.Errorf("%s: %w: the simulator has cut, blackhole, oneway, kill and restart", f, fault.ErrUnsupported)
	}
	find, err := w.target(f)
	if err != nil {
		return strike{}, err
	}
	var hit target
	if f.Kind.OnNode() {
		s := strike{
			begin: func() { hit = find(); w.kill(hit.node) },
			end: func() {
				if !hit.node.alive {
					w.start(hit.node)
				}
			},
		}
		if f.Kind == fault.Restart {
			s.begin = func() { hit = find(); w.restart(hit.node) }
			s.end = func() {}
		}
		return s, nil
	}
	set := func(pass bool) func() {
		return func() {
			if !pass {
				hit = find()
			}
			hit.link.pass[hit.side] = pass
			if f.Kind != fault.Oneway {
				hit.link.pass[1-hit.side] = pass
			}
		}
	}
	return strike{set(false), set(true)}, nil
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

// target is what a fault hits: a node, or a link in the direction from one of its sides.
type target struct {
	node *simNode
	link *wireLink
	side int
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

func (w *World) named(f fault.Fault) (target, bool) {
	if f.Kind.OnNode() {
		i, ok := w.cfg.Map.Find(f.Target.A)
		if !ok {
			return target{}, false
		}
		return target{node: w.nodes[i]}, true
	}
	return w.between(f.Target.A, f.Target.B)
}

// between returns the link that joins two nodes, seen from the first.
func (w *World) between(a, b mesh.NodeID) (target, bool) {
	for _, l := range w.wires {
		for side := range l.ends {
			if l.ends[side].node.id == a && l.ends[1-side].node.id == b {
				return target{link: l, side: side}, true
			}
		}
	}
	return target{}, false
}

// wayInUse returns the nodes that packets from a to b pass now, or those of the shortest way if none does.
func (w *World) wayInUse(a, b int, shortest []int) []mesh.NodeID {
	if p, ok := w.nodes[a].table.Peer(w.nodes[b].id); ok && len(p.Paths) > 0 {
		return p.Paths[0].Nodes
	}
	var way []mesh.NodeID
	for _, i := range shortest {
		way = append(way, w.nodes[i].id)
	}
	return way
}

// middle returns the relay or the link in the middle of a way; an end if there is no relay.
func (w *World) middle(k fault.Kind, way []mesh.NodeID) target {
	if k.OnNode() {
		i, _ := w.cfg.Map.Find(way[len(way)/2])
		return target{node: w.nodes[i]}
	}
	t, _ := w.between(way[(len(way)-1)/2], way[(len(way)-1)/2+1])
	return t
}
