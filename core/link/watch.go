package link

import (
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// Watch is when a machine is due, for who lets hellos wait until then. What the machine knows of its neighbour is as old as
// its last Tick; a deadline that looks no further would, for most phases of the neighbour's hellos, call it between any two
// of its own, only to find that all is well. A Watch takes notice of the hellos that wait.
type Watch struct {
	other     time.Time // whatever else the machine is due for
	doubted   bool      // it is up: silence makes it due
	heard     time.Time
	confirmed time.Time
	graceEnd  time.Time
	silence   time.Duration
	unechoed  time.Duration
	peer      uint32 // the neighbour's interval, in microseconds
	start     time.Time
	seq       uint32
	echo      uint32 // the newest hello of ours that an echo was of
}

// Watch returns the watch of the machine as it is now.
func (m *Machine) Watch() Watch {
	w := Watch{other: m.Deadline()}
	if m.wake || m.answer || m.status.State != mesh.LinkUp {
		return w
	}
	w.other = m.undoubted()
	w.doubted = true
	w.heard, w.confirmed, w.graceEnd = m.life.heard, m.life.confirmed, m.life.graceEnd
	w.silence, w.unechoed = m.suspectAfter(), m.unechoedAfter()
	w.peer = uint32(m.peer / time.Microsecond) // #nosec G115 -- at most MaxHello
	w.start, w.seq, w.echo = m.start, m.seq, m.out.newest()
	return w
}

// Hello takes notice of a hello that came at a time and that the machine has yet to be given.
func (w *Watch) Hello(at time.Time, h *wire.Hello) {
	if !w.doubted || h.Interval != w.peer {
		return // what silence means is for the machine to say
	}
	w.heard = later(w.heard, at)
	sent, ok := sentAt(w.start, w.seq, at, h)
	if ok && int32(h.EchoSeq-w.echo) > 0 {
		w.echo = h.EchoSeq
		w.confirmed = later(w.confirmed, sent)
	}
}

// Deadline returns when the machine has to be called at the latest.
func (w *Watch) Deadline() time.Time {
	if !w.doubted {
		return w.other
	}
	return earlier(w.other, doubtAt(w.heard.Add(w.silence), w.confirmed.Add(w.unechoed), w.graceEnd))
}
