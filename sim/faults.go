package sim

import (
	"fmt"
	"slices"
	"time"

	"x0tta6bl4/mesh/fault"
)

// addFaults puts the script on the clock.
func (w *World) addFaults() error {
	for _, f := range w.cfg.Faults {
		begin, end, err := w.effect(f)
		if err != nil {
			return err
		}
		w.after(f.At, func() { w.note('x', 0, 1); begin(); w.check.physical(w) })
		if f.For > 0 {
			w.after(f.At+f.For, func() { w.note('x', 0, 2); end(); w.check.physical(w) })
		}
	}
	return nil
}

// effect returns what a fault does when it begins and when it ends.
func (w *World) effect(f fault.Fault) (begin, end func(), err error) {
	if f.Kind.OnNode() {
		i := slices.IndexFunc(w.nodes, func(s *simNode) bool { return s.id == f.Target.A })
		if i < 0 || f.Target.Path {
			return nil, nil, fmt.Errorf("%w: %s: the simulator needs the name of a node of the map", fault.ErrSyntax, f)
		}
		s := w.nodes[i]
		switch f.Kind {
		case fault.Kill:
			return func() { w.kill(s) }, func() { w.start(s) }, nil
		case fault.Restart:
			return func() { w.kill(s); w.after(100*time.Millisecond, func() { w.start(s); w.check.physical(w) }) }, func() {}, nil
		}
		return nil, nil, fmt.Errorf("%w by the simulator: %s", fault.ErrUnsupported, f.Kind)
	}
	l, side := w.between(f)
	if l == nil {
		return nil, nil, fmt.Errorf("%w: %s: the simulator needs two nodes of the map that a link joins", fault.ErrSyntax, f)
	}
	switch f.Kind {
	case fault.Cut, fault.Blackhole:
		return func() { l.up = false }, func() { l.up = true }, nil
	case fault.Oneway:
		return func() { l.pass[side] = false }, func() { l.pass[side] = true }, nil
	}
	return nil, nil, fmt.Errorf("%w by the simulator: %s", fault.ErrUnsupported, f.Kind)
}

// between returns the link that a fault names, and which of its directions.
func (w *World) between(f fault.Fault) (*wireLink, int) {
	for _, l := range w.wires {
		for side := range l.ends {
			if l.ends[side].node.id == f.Target.A && l.ends[1-side].node.id == f.Target.B && !f.Target.Path {
				return l, side
			}
		}
	}
	return nil, 0
}
