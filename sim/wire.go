package sim

import (
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/mesh/fault"
)

// The model of a link's packets.
const (
	underlay     = 28                     // bytes of IPv4 and UDP around a frame
	quicDatagram = 1200                   // what a handshake's datagram, or the longest of a stream, has
	queueTime    = 100 * time.Millisecond // how much waits before a link of limited rate; more is dropped
	overtaken    = 10 * time.Millisecond  // by how much a reordered packet is late
)

// impairment is what faults make of a link beside cutting it.
type impairment struct {
	active    []*fault.Fault
	loss      float64
	delay     time.Duration
	jitter    time.Duration
	rate      mesh.BitsPerSecond // 0 = not limited
	mtu       int                // 0 = not limited
	reorder   float64
	duplicate float64
}

// sum makes the impairment that of all its active faults together: what is lost in one is not lost in the next.
func (x *impairment) sum() {
	arrive, order, single := 1.0, 1.0, 1.0
	*x = impairment{active: x.active}
	for _, f := range x.active {
		switch p := f.Param; f.Kind {
		case fault.Loss:
			arrive *= 1 - p.P
		case fault.Delay:
			x.delay += p.D
		case fault.Jitter:
			x.jitter += p.D
		case fault.Rate:
			if x.rate == 0 || p.Rate < x.rate {
				x.rate = p.Rate
			}
		case fault.MTU:
			if x.mtu == 0 || p.MTU < x.mtu {
				x.mtu = p.MTU
			}
		case fault.Reorder:
			order *= 1 - p.P
		case fault.Duplicate:
			single *= 1 - p.P
		}
	}
	x.loss, x.reorder, x.duplicate = 1-arrive, 1-order, 1-single
}

// loses reports whether a frame may vanish on a link that nothing cuts.
func (l *wireLink) loses() bool {
	return l.loss > 0 || l.extra.loss > 0 || l.extra.mtu > 0 || l.extra.rate > 0
}

// limit returns the rate of a link; 0 = not limited.
func (l *wireLink) limit() mesh.BitsPerSecond {
	if l.extra.rate > 0 && (l.rate == 0 || l.extra.rate < l.rate) {
		return l.extra.rate
	}
	return l.rate
}

// transit says when a frame of a size that enters a link at e now comes out at the other end: not at all, once, or
// twice. The result is good until the next call.
func (w *World) transit(e *wireEnd, size int) []int64 {
	w.times = w.times[:0]
	l, x := e.link, &e.link.extra
	if x.mtu > 0 && size+underlay > x.mtu || w.chance(l.loss) || w.chance(x.loss) {
		return nil
	}
	at := w.at + int64(l.delay+x.delay)
	if r := l.limit(); r > 0 {
		wait := max(e.busy-w.at, 0)
		if wait > int64(queueTime) {
			return nil
		}
		e.busy = w.at + wait + sendTime(size+underlay, r)
		at += e.busy - w.at
	}
	if x.jitter > 0 {
		at = max(at+w.rng.Int64N(int64(x.jitter)), e.last)
		e.last = at
	}
	if w.chance(x.reorder) {
		at += int64(overtaken)
	}
	at = ceil(at)
	w.times = append(w.times, at)
	if w.chance(x.duplicate) {
		w.times = append(w.times, at)
	}
	return w.times
}

// stream says how long the bytes of a QUIC stream take to the other end, if they get through at the first attempt: QUIC
// does not overrun a link of limited rate, and repeats what is lost.
func (w *World) stream(e *wireEnd, size int) (time.Duration, bool) {
	l, x := e.link, &e.link.extra
	if !e.answers() || x.mtu > 0 && quicDatagram+underlay > x.mtu || w.chance(l.loss) || w.chance(x.loss) {
		return 0, false
	}
	d := l.delay + x.delay
	if x.jitter > 0 {
		d += time.Duration(w.rng.Int64N(int64(x.jitter)))
	}
	if r := l.limit(); r > 0 {
		e.busy = max(e.busy, w.at) + sendTime(size+underlay, r)
		d += time.Duration(e.busy - w.at)
	}
	return d, true
}

// sendTime is how long so many bytes take at a rate, in ns.
func sendTime(size int, r mesh.BitsPerSecond) int64 {
	return int64(size) * 8 * int64(time.Second) / int64(min(r, 1<<40)) // #nosec G115 -- bounded
}
