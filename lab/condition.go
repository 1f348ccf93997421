package lab

import (
	"slices"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/mesh/fault"
)

// condition is what happens to the packets of one direction of a link. The zero value is a link in order.
type condition struct {
	Loss      float64            `json:"loss,omitempty"`      // probability
	Grey      float64            `json:"grey,omitempty"`      // the same, of data that the sender only forwards
	Delay     time.Duration      `json:"delay,omitempty"`     // more than the link's own
	Jitter    time.Duration      `json:"jitter,omitempty"`    // up to so much more again
	Rate      mesh.BitsPerSecond `json:"rate,omitempty"`      // 0 = no limit
	Reorder   float64            `json:"reorder,omitempty"`   // probability
	Duplicate float64            `json:"duplicate,omitempty"` // probability
	MTU       int                `json:"mtu,omitempty"`       // 0 = no limit; larger IP packets vanish
}

// needsRelay reports whether only the relay process can make c.
func (c condition) needsRelay() bool {
	c.Loss, c.Grey, c.MTU = 0, 0, 0
	return c != condition{}
}

// with adds what one more fault does: several causes of loss are independent of each other, times add up, and of two
// limits the tighter one holds.
func (c condition) with(k Kind, p fault.Param) condition {
	either := func(a, b float64) float64 { return 1 - (1-a)*(1-b) }
	switch k {
	case fault.Loss:
		c.Loss = either(c.Loss, p.P)
	case fault.Greydrop:
		c.Grey = either(c.Grey, p.P)
	case fault.Delay:
		c.Delay += p.D
	case fault.Jitter:
		c.Jitter += p.D
	case fault.Rate:
		if c.Rate == 0 || p.Rate < c.Rate {
			c.Rate = p.Rate
		}
	case fault.Reorder:
		c.Reorder = either(c.Reorder, p.P)
	case fault.Duplicate:
		c.Duplicate = either(c.Duplicate, p.P)
	case fault.MTU:
		if c.MTU == 0 || p.MTU < c.MTU {
			c.MTU = p.MTU
		}
	}
	return c
}

// tally counts the packets that conditions of one direction of a link changed.
type tally struct {
	Lost       uint64 `json:"lost,omitempty"`
	Grey       uint64 `json:"grey,omitempty"`
	Delayed    uint64 `json:"delayed,omitempty"`
	Jittered   uint64 `json:"jittered,omitempty"`
	Limited    uint64 `json:"limited,omitempty"` // held back or dropped by the rate
	Reordered  uint64 `json:"reordered,omitempty"`
	Duplicated uint64 `json:"duplicated,omitempty"`
	Oversize   uint64 `json:"oversize,omitempty"`
	Swallowed  uint64 `json:"swallowed,omitempty"` // by a blackhole
}

// of returns the count that belongs to a kind.
func (t *tally) of(k Kind) *uint64 {
	switch k {
	case fault.Loss:
		return &t.Lost
	case fault.Greydrop:
		return &t.Grey
	case fault.Delay:
		return &t.Delayed
	case fault.Jitter:
		return &t.Jittered
	case fault.Rate:
		return &t.Limited
	case fault.Reorder:
		return &t.Reordered
	case fault.Duplicate:
		return &t.Duplicated
	case fault.MTU:
		return &t.Oversize
	case fault.Blackhole, fault.Oneway, fault.Partition:
		return &t.Swallowed
	}
	return new(uint64)
}

// wireState is how a link is to be. Index 0 is the end, or the direction from the end, that the map names first.
type wireState struct {
	down   [2]bool // interfaces
	silent [2]bool // directions that swallow everything
	dir    [2]condition
}

// from is the index of the end at node n.
func (w *wire) from(n mesh.NodeID) int {
	if w.ends[0].node == n {
		return 0
	}
	return 1
}

// strikes reports whether a fault changes a link.
func (w *wire) strikes(f Fault) bool {
	a, b := w.ends[0].node, w.ends[1].node
	switch {
	case f.Kind == fault.Partition:
		return f.Sides.Parts(a, b)
	case f.Kind == fault.Greydrop:
		return f.Target.A == a || f.Target.A == b
	case f.Kind.OnNode():
		return false
	}
	return w.joins(f.Target.A, f.Target.B)
}

// worsen adds to s what a fault does to w.
func (w *wire) worsen(s wireState, f Fault) wireState {
	if !w.strikes(f) {
		return s
	}
	i := w.from(f.Target.A)
	switch f.Kind {
	case fault.Cut, fault.Flap:
		s.down[i] = true
	case fault.Oneway:
		s.silent[i] = true
	case fault.Blackhole, fault.Partition:
		s.silent = [2]bool{true, true}
	case fault.Greydrop:
		s.dir[i] = s.dir[i].with(f.Kind, f.Param)
	default:
		for i := range s.dir {
			s.dir[i] = s.dir[i].with(f.Kind, f.Param)
		}
	}
	return s
}

// leastMTU is what an IPv6 link carries (RFC 8200 §5); a link that carries less is none for a mesh.
const leastMTU = 1280

// severs reports whether nothing useful passes a struck link: what only degrades it leaves a way.
func severs(f Fault) bool {
	switch f.Kind {
	case fault.Cut, fault.Blackhole, fault.Oneway, fault.Flap, fault.Partition:
		return true
	case fault.Loss:
		return f.Param.P == 1
	case fault.MTU:
		return f.Param.MTU < leastMTU
	}
	return false
}

// harm returns what is physically broken while these faults hold.
func (l *Lab) harm(faults []Fault) damage {
	var d damage
	for _, f := range faults {
		switch f.Kind {
		case fault.Kill, fault.Freeze:
			d.nodes = append(d.nodes, f.Target.A)
		case fault.Greydrop:
			if f.Param.P == 1 {
				d.ends = append(d.ends, f.Target.A)
			}
		}
		for i, w := range l.wires {
			if i < len(l.m.Links) && severs(f) && w.strikes(f) && !slices.Contains(d.links, i) {
				d.links = append(d.links, i)
			}
		}
	}
	return d
}
