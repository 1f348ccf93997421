package daemon

import (
	"sync"
	"time"

	"x0tta6bl4/core/node"
	"x0tta6bl4/host/alarm"
)

// appointment is when the fast loop has to turn: as of its last turn, or later if hellos that wait for it put it off.
// Without that a neighbour whose hellos come right after our turns would make the loop turn once more between any two of
// them, only to find the hello that waits. The loop makes it, whoever receives a hello puts it off.
type appointment struct {
	mu    sync.Mutex
	due   time.Time
	waits node.Waits
}

// make sets the alarm for the turn after the one that the loop has just taken.
func (a *appointment) make(bell *alarm.Alarm, r *node.Reflex) {
	a.mu.Lock()
	defer a.mu.Unlock()
	r.Waits(&a.waits)
	if a.due = a.waits.Deadline(); a.due.IsZero() {
		a.due = time.Now().Add(time.Second)
	}
	bell.Set(time.Until(a.due))
}

// putOff takes notice of a hello that waits.
func (a *appointment) putOff(bell *alarm.Alarm, ev *node.HelloHeard) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.waits.Hello(ev)
	if at := a.waits.Deadline(); at.After(a.due) && time.Now().Before(a.due) {
		a.due = at
		bell.Defer(time.Until(at))
	}
}

// time returns when the turn is; zero before the first one.
func (a *appointment) time() time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.due
}
