package daemon

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"x0tta6bl4/core/node"
	"x0tta6bl4/mesh"
)

// How much is logged and kept of links.
const (
	lineBurst  = 5                // lines about one thing that need not wait
	linePause  = 10 * time.Second // and then one for each of these
	maxHistory = 256              // links that are remembered, those that are gone included
)

// linkLog tells the operator when a link changes its state, and counts. It belongs to the slow loop.
type linkLog struct {
	log   *slog.Logger
	known map[mesh.Label]*linkHistory
}

// linkHistory is what is remembered of a link while it comes and goes.
type linkHistory struct {
	neighbour mesh.NodeID
	remote    netip.AddrPort
	state     mesh.LinkState
	flaps     uint64    // changes from up to anything else
	downs     uint64    // changes from anything else to down
	at        time.Time // of the last change, which the next three are about
	was       mesh.LinkState
	lasted    string // how long it was that; "" = not known
	cause     string
	told      mesh.LinkState // by the last line
	omitted   int            // changes that no line told
	losses    lineGate       // of lines about a link that goes down or comes back
	doubts    lineGate       // of all others: a lossy link has many
}

// lineGate lets so many lines pass as a reader can take in.
type lineGate struct {
	tokens  float64
	filled  time.Time
	omitted int // since the last line that passed
}

// pass reports whether a line may be written now, and how many were not since the last one.
func (g *lineGate) pass(now time.Time) (omitted int, ok bool) {
	if g.filled.IsZero() {
		g.tokens = lineBurst
	} else {
		g.tokens = min(lineBurst, g.tokens+now.Sub(g.filled).Seconds()/linePause.Seconds())
	}
	g.filled = now
	if g.tokens < 1 {
		g.omitted++
		return 0, false
	}
	g.tokens--
	omitted, g.omitted = g.omitted, 0
	return omitted, true
}

func newLinkLog(l *slog.Logger) *linkLog { return &linkLog{l, map[mesh.Label]*linkHistory{}} }

// flaps returns how often a link ceased to be up.
func (l *linkLog) flaps(label mesh.Label) uint64 {
	if h := l.known[label]; h != nil {
		return h.flaps
	}
	return 0
}

// downs returns how often a link went down.
func (l *linkLog) downs(label mesh.Label) uint64 {
	if h := l.known[label]; h != nil {
		return h.downs
	}
	return 0
}

// after takes an event that the slow machine has just had; links asks for those that there are now. Most events cannot
// have changed a link's state, and then nothing is asked.
func (l *linkLog) after(now time.Time, ev node.ControlEvent, links func() []node.LinkView) {
	switch ev := ev.(type) {
	case node.LinkReport:
		if h := l.known[ev.Label]; h == nil || h.state != ev.Status.State {
			l.note(now, links(), "")
		}
	case node.ConnDown:
		l.note(now, links(), ev.Reason)
	}
}

// note logs what has changed. A cause that is not given follows from the state.
func (l *linkLog) note(now time.Time, links []node.LinkView, cause string) {
	there := make(map[mesh.Label]bool, len(links))
	for _, v := range links {
		there[v.Label] = true
		h := l.known[v.Label]
		if h == nil {
			h = &linkHistory{state: mesh.LinkDown}
			l.known[v.Label] = h
		}
		h.neighbour, h.remote = v.Neighbour, v.Remote
		l.change(now, v.Label, h, v.Status.State, cause)
	}
	for label, h := range l.known {
		if !there[label] {
			l.change(now, label, h, mesh.LinkDown, cause)
			if len(l.known) > maxHistory {
				delete(l.known, label)
			}
		}
	}
}

func (l *linkLog) change(now time.Time, label mesh.Label, h *linkHistory, to mesh.LinkState, cause string) {
	if h.state != to {
		if h.state == mesh.LinkUp {
			h.flaps++
		}
		if to == mesh.LinkDown {
			h.downs++
		}
		if cause == "" || to != mesh.LinkDown {
			cause = causeOf(to)
		}
		h.was, h.lasted, h.cause = h.state, "", cause
		if !h.at.IsZero() {
			h.lasted = now.Sub(h.at).Round(time.Millisecond).String()
		}
		h.state, h.at = to, now
		if h.told == to {
			h.omitted++ // it was something else meanwhile, which was not told
		}
	}
	if h.told != to {
		l.tell(now, label, h)
	}
}

// tell writes the line about a link's last change, or leaves it for later: what the last line says ends up to be true.
func (l *linkLog) tell(now time.Time, label mesh.Label, h *linkHistory) {
	gate := &h.doubts
	if h.state == mesh.LinkDown || h.told == mesh.LinkDown {
		gate = &h.losses
	}
	if _, ok := gate.pass(now); !ok {
		if h.at.Equal(now) {
			h.omitted++
		}
		return
	}
	h.told = h.state
	attrs := []slog.Attr{
		slog.Any("neighbour", h.neighbour), slog.Int("link", int(label)), slog.Any("remote", h.remote), slog.Any("state", h.state),
		slog.Any("was", h.was), slog.String("cause", h.cause),
	}
	if h.lasted != "" {
		attrs = append(attrs, slog.String("lasted", h.lasted))
	}
	if h.omitted > 0 {
		attrs = append(attrs, slog.Int("omitted", h.omitted))
	}
	h.omitted = 0
	l.log.LogAttrs(context.Background(), slog.LevelInfo, "link "+h.state.String(), attrs...)
}

func causeOf(s mesh.LinkState) string {
	switch s {
	case mesh.LinkUp:
		return "frames pass both ways"
	case mesh.LinkSuspect:
		return "nothing came for longer than a hello may take"
	}
	return "silence, and no answer to probes"
}
