package daemon

import (
	"errors"
	"time"
)

// While nothing is in doubt, hellos that want no answer wait in the kernel for the fast loop's next turn, which its own hellos
// bring soon. So a node at rest wakes for its own hellos and not for those of each neighbour (host/udp, Gather).

// gathering is what the fast loop knows of it.
type gathering struct {
	on      bool
	flooded time.Time // when more came than a turn can bear
	failed  bool      // the last attempt to change it
}

// floodRest is how long hellos are read by a goroutine of their own after a flood of them.
const floodRest = 5 * time.Second

// collect takes in the hellos that wait in the kernel.
func (d *Daemon) collect() {
	if !d.gathering.on {
		return
	}
	for _, s := range d.sockets {
		if !s.Collect() {
			d.gathering.flooded = time.Now()
		}
	}
}

// gather ends a turn: from now on hellos may wait, or may not.
func (d *Daemon) gather() {
	g := &d.gathering
	on := d.reflex.Patient() && (g.flooded.IsZero() || time.Since(g.flooded) > floodRest)
	if on == g.on {
		return
	}
	var failed error
	for _, s := range d.sockets {
		failed = errors.Join(failed, s.Gather(on))
	}
	if failed != nil && !g.failed {
		d.log.Error("hellos are taken in at each turn only, until this works", "wait", on, "error", failed)
	}
	if g.failed = failed != nil; failed == nil || on {
		g.on = on // while some socket's hellos wait, all are collected
	}
}
