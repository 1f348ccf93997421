// Package link watches one link of a node: is the neighbour there, in both directions, and how well does the link
// carry. It is a pure machine: hellos heard and the time go in, hellos to send and a status come out.
//
// Every end sends a hello each interval H and echoes the newest hello that it heard, with the time that it held
// it. So each end learns, without comparing clocks, the round-trip time, the loss of either direction, and
// whether its own hellos still arrive. Silence makes a link suspect long before it is dead; a burst of probe
// hellos, which the neighbour answers at once, then settles the matter.
//
// The order of use: pass frames in with Heard and Hello, then call Tick whenever Deadline has come (calling it
// more often is harmless). The state changes inside Tick only.
package link

import (
	"math/rand/v2"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// The bounds of a hello interval, and the default.
const (
	DefaultHello = 50 * time.Millisecond
	MinHello     = 10 * time.Millisecond
	MaxHello     = 10 * time.Second
)

const (
	quickTime = 10 * time.Second // a down link is tried at the full rate this long, then slowly
	slowHello = time.Second      // the interval after that, if it is longer than ours
)

// Config is what the two ends need not agree on.
type Config struct {
	Hello  time.Duration // our hello interval; 0 = DefaultHello, clamped to MinHello…MaxHello
	MaxMTU int           // bytes of UDP payload beyond which no frame is tried; 0 = wire.MaxFrame, never less than wire.MinLinkMTU
	Beat   *Beat         // of all links of the node; nil = one of its own
}

// Machine is the liveness of one link. Its states are those of mesh.LinkState:
//
//	  ┌───────────────────── enough confirmed hellos ─────────────────────────┐
//	  │                                                                       ▼
//	┌─┴────┐                            ┌─────────┐  silent > 1.5 H, or    ┌────┐
//	│ Down │◄── burst unanswered, and ──┤ Suspect │◄── unechoed > 3 H ─────┤ Up │
//	└──────┘    silent > 3 H or         └────┬────┘                        └────┘
//	            still unechoed               └─── heard and echoed again ─────▲
//
// A hello is confirmed when the neighbour echoes it soon after it was sent. A fresh link needs one, a link that
// was up before two, and one that flaps twice as many each time (see damping).
//
// Invariants: a probe burst runs only while Suspect; a machine that is Up has been heard and echoed.
type Machine struct {
	hello    time.Duration // our configured interval
	peer     time.Duration // the neighbour's interval, as it last said
	beat     *Beat
	start    time.Time // zero of the clock in our hellos
	now      time.Time // of the last Tick
	status   mesh.LinkStatus
	nextSend time.Time
	slowAt   time.Time // while Down: from here on hellos go out slowly
	seq      uint32    // of our last hello
	stamp    uint64    // SentAt of our last hello, padded or not: no two have the same
	answer   bool      // the neighbour's probe waits for an answer
	cut      bool      // the link's interface has gone: it is down
	wake     bool      // an input may have changed the state: Tick is due at once
	in       arrivals  // the neighbour's hellos
	out      reports   // what the neighbour says of ours
	echo     echo      // of the neighbour's newest hello
	rtt      roundTrip
	late     time.Duration // by which hellos of the neighbour's have come later than they were due
	life     life
	doubt    suspicion
	damp     damping
	announce announcement
	mtu      pathMTU
	load     load
	sends    [2]Outgoing // what Output.Send lies in
	log      *sendLog    // of what was sent, for Rest; nil = nobody asks
}

// echo is what the next hello of ours says about the neighbour's newest.
type echo struct {
	seq    uint32
	sentAt uint64
	at     time.Time // when it came
}

// life is when the link last showed signs of it.
type life struct {
	heard     time.Time // any fresh frame
	confirmed time.Time // send time of our newest hello that the neighbour echoed
	stalled   time.Time // our own loop was late then: silence before this is not the neighbour's
	graceEnd  time.Time // no suspicion before this
}

// New returns the machine of a link that is down until the neighbour is heard. The first hello is due at once.
func New(cfg Config, r *rand.Rand, now time.Time) *Machine {
	h := cfg.Hello
	if h <= 0 {
		h = DefaultHello
	}
	h = min(max(h, MinHello), MaxHello)
	if cfg.Beat == nil {
		cfg.Beat = NewBeat(r)
	}
	return &Machine{
		hello: h, peer: h, beat: cfg.Beat, start: now, now: now, nextSend: now,
		slowAt: now.Add(quickTime),
		seq:    r.Uint32(), // random, so that a neighbour that outlives us sees the restart as a jump
		status: mesh.LinkStatus{State: mesh.LinkDown, Since: now, Cost: mesh.MaxCost},
		in:     arrivals{prior: priorLoss}, out: reports{prior: priorLoss},
		damp: damping{need: 1}, mtu: pathMTU{max: clampMTU(cfg.MaxMTU)},
	}
}

// Status returns what is believed of the link as of the last Tick.
func (m *Machine) Status() mesh.LinkStatus { return m.status }

// Heard says that a fresh authenticated frame came from the neighbour at the time at, which may be earlier than
// the last Tick.
func (m *Machine) Heard(at time.Time) {
	if !at.After(m.life.heard) {
		return
	}
	m.life.heard = at
	if m.status.State == mesh.LinkSuspect {
		m.wake = true
	}
}

// Late says that our own loop ran late by this much. Beyond half a hello interval the silence may be our own, so
// nothing is suspected for two intervals from now, and nothing that is suspect is given up.
func (m *Machine) Late(now time.Time, by time.Duration) {
	if by <= m.hello/2 {
		return
	}
	m.life.stalled = later(m.life.stalled, now)
	m.life.graceEnd = later(m.life.graceEnd, now.Add(2*max(m.hello, m.peer)))
}

// Outgoing is one hello to send.
type Outgoing struct {
	Hello wire.Hello
	Size  int // bytes of UDP payload to pad its frame to; 0 = none
}

// Output is what a Tick wants done and told.
type Output struct {
	Send     []Outgoing // to the neighbour, in order; valid until the next Tick
	Changed  bool       // Status().State is another
	Measured bool       // Status().MTU or Thin is another, or Cost or Quality by more than noise
}

// Tick brings the machine to the time now.
func (m *Machine) Tick(now time.Time) Output {
	m.now = later(m.now, now)
	m.wake = false
	was := m.status.State
	m.step()
	out := Output{Changed: m.status.State != was}
	out.Measured = m.measure(out.Changed)
	out.Measured = m.stepMTU() || out.Measured
	out.Send = m.due()
	return out
}

// step moves the state; at most one arrow per call.
func (m *Machine) step() {
	if m.cut {
		m.cut = false
		m.damp.fell(m.now.Sub(m.damp.upSince), m.hello)
		m.enter(mesh.LinkDown)
		m.forget()
		return
	}
	switch m.status.State {
	case mesh.LinkDown:
		if m.now.Sub(m.life.heard) > m.downAfter() {
			m.damp.confirmed = 0
		}
		if m.damp.passed(m.now) && !m.silent() && !m.unechoed() {
			m.enter(mesh.LinkUp)
		}
	case mesh.LinkUp:
		if !m.now.Before(m.suspectAt()) {
			m.enter(mesh.LinkSuspect)
			m.doubt = m.newSuspicion()
		}
	case mesh.LinkSuspect:
		switch {
		case !m.silent() && !m.unechoed():
			m.enter(mesh.LinkUp)
		case m.dead():
			m.damp.fell(m.now.Sub(m.damp.upSince), m.hello)
			m.enter(mesh.LinkDown)
			m.forget()
		}
	}
}

func (m *Machine) enter(s mesh.LinkState) {
	if m.status.State == mesh.LinkDown {
		m.damp.upSince = m.now
	}
	m.status.State = s
	m.status.Since = m.now
}

// forget drops the measurements of the life that has just ended; what it lost on the way is remembered as the
// expectation that the next life starts with.
func (m *Machine) forget() {
	m.in.reset()
	m.out.reset()
	m.damp.confirmed = 0
	m.slowAt = m.now.Add(quickTime)
	m.mtu.reset()
	m.status.MTU, m.status.Thin = 0, false
}

// NewPath says that the way to the neighbour is another one from now on, such as after it changed its address: its MTU and
// its least delay are to be found anew. The smoothed delay stays, for want of a better guess of when answers are due.
func (m *Machine) NewPath() {
	m.rtt.least, m.rtt.minute, m.rtt.n = [2]time.Duration{}, time.Time{}, 0
	m.load = load{}
	m.mtu.reset()
	m.wake = true
}

// Deadline returns when Tick must be called at the latest.
func (m *Machine) Deadline() time.Time {
	if m.wake || m.answer {
		return m.now
	}
	at := m.undoubted()
	switch m.status.State {
	case mesh.LinkUp:
		at = earlier(at, m.suspectAt())
	case mesh.LinkSuspect:
		at = earlier(at, m.verdictAt())
	}
	return at
}

// undoubted returns when Tick is due whatever is heard or not.
func (m *Machine) undoubted() time.Time {
	at := m.nextSend
	if m.status.State == mesh.LinkUp {
		if due := m.mtu.deadline(m); !due.IsZero() {
			at = earlier(at, due)
		}
	}
	return at
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
