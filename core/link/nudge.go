package link

import (
	"time"

	"x0tta6bl4/mesh"
)

// Nudge has the next Tick send a hello: the neighbour shall see now by which address we come.
func (m *Machine) Nudge(now time.Time) {
	m.nextSend = now
	m.slowAt = later(m.slowAt, now.Add(quickTime)) // something changed: worth the full rate
	m.wake = true
}

// Cut says that nothing can go out by the link's interface: it is down at the next Tick, without doubts. The neighbour
// is found again as after any fall, should there be another way to it.
func (m *Machine) Cut() {
	if m.status.State != mesh.LinkDown {
		m.cut = true
		m.wake = true
	}
}
