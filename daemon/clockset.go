package daemon

import (
	"time"

	"x0tta6bl4/core/node"
)

// clockStep is by how much a clock must have been set for others to be told. Slewing and rounding stay far below.
const clockStep = time.Second

// noticeClock tells the slow machine, before it decides anything by the new time, that the clock was set since its last
// step.
func (d *Daemon) noticeClock(now time.Time) {
	last := d.stepped
	d.stepped = now
	if last.IsZero() || wallStep(last, now).Abs() < clockStep {
		return
	}
	d.stepControl(node.ClockSet{})
}

// wallStep is by how much the wall clock went further than time did between two moments.
func wallStep(last, now time.Time) time.Duration {
	return now.Round(0).Sub(last.Round(0)) - now.Sub(last) // Round strips the monotonic reading
}
