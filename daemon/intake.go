package daemon

import (
	"time"

	"x0tta6bl4/core/node"
	"x0tta6bl4/mesh"
)

// intake is what came for the fast loop since its last turn. It belongs to that loop, which uses the memory again.
type intake struct {
	hellos []node.HelloHeard
	heard  []node.Heard
	others []node.ReflexEvent       // what else frames and the slow loop say
	last   map[mesh.Label]time.Time // when each link was last heard, as the fast machine was told
}

// takeIn begins a turn of the fast loop, which was due at a time: the machine is given all that links heard before it looks at
// any of them, or one whose hello is the last of many would pass for silent. What comes meanwhile waits for the turn
// after: a neighbour that sends without end must not hold the loop here.
func (d *Daemon) takeIn(now, due time.Time) {
	in := &d.intake
	in.hellos, in.heard = in.hellos[:0], in.heard[:0]
	for range len(d.calm) {
		in.hellos = append(in.hellos, <-d.calm) // nobody else receives, of either
	}
	for range len(d.frames) {
		switch ev := (<-d.frames).(type) {
		case node.HelloHeard:
			in.hellos = append(in.hellos, ev)
		default:
			in.others = append(in.others, ev)
		}
	}
	if !due.IsZero() && !now.Before(due) {
		d.hear() // links that data keeps alive must not pass for silent either
	}
	in.others = append(in.others, d.orders.take()...)
	d.effect(d.reflex.Turn(now, in.hellos, in.heard, in.others...))
	clear(in.others)
	in.others = in.others[:0]
}

// hear notes which links had traffic since the machine last looked.
func (d *Daemon) hear() {
	in, table := &d.intake, d.table.Load()
	for i := range table.Links {
		l := table.Links[i].Label
		if at := d.plane.LastHeard(l); at.After(in.last[l]) {
			in.last[l] = at
			in.heard = append(in.heard, node.Heard{Label: l, At: at})
		}
	}
	if len(in.last) > 2*len(table.Links)+16 {
		clear(in.last)
	}
}
