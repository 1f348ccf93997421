package link

import (
	"time"

	"x0tta6bl4/mesh"
)

// roundTrip estimates the round-trip time as RFC 6298 §2 does, and keeps the least of the last minute or two.
type roundTrip struct {
	smooth time.Duration
	dev    time.Duration
	known  bool
	n      int              // samples, up to settled
	least  [2]time.Duration // of the current minute and of the one before; 0 = none
	minute time.Time        // when the current one began
}

func (t *roundTrip) add(now time.Time, r time.Duration) {
	if !t.known {
		t.known = true
		t.smooth, t.dev = r, r/2
	} else {
		t.dev += ((t.smooth - r).Abs() - t.dev) / 4 // β = 1/4
		t.smooth += (r - t.smooth) / 8              // α = 1/8
	}
	if t.minute.IsZero() || now.Sub(t.minute) >= time.Minute {
		t.minute = now
		t.least = [2]time.Duration{r, t.least[0]}
	}
	t.least[0] = min(t.least[0], r)
	t.n = min(t.n+1, settled)
}

// settled is how many samples make the average worth something: the first ones of a link are taken while its two ends
// are busy with handshakes, and would make a good link look like a detour.
const settled = 32

func (t *roundTrip) min() time.Duration {
	if t.least[1] > 0 {
		return min(t.least[0], t.least[1])
	}
	return t.least[0]
}

// The hysteresis of what is announced: a cost must differ by this, and by more than scheduling noise, for this long.
const (
	costShare   = 5 // one part in five
	costNoise   = mesh.Cost(100)
	persistence = time.Second
	classMargin = 0.02 // a class is improved on only when its bound is passed by this much
)

// announcement is the difference between what is measured and what Status shows, and since when.
type announcement struct{ since time.Time }

// measure renews the status and reports whether cost or class were changed in it. When the link has just come up
// they are taken as they are.
func (m *Machine) measure(changed bool) bool {
	s := &m.status
	s.RTT, s.Jitter, s.MinRTT = m.rtt.smooth, m.rtt.dev, m.rtt.min()
	s.LossIn, s.LossOut = m.losses()
	if s.State != mesh.LinkUp || !m.rtt.known {
		m.announce.since = time.Time{}
		return false
	}
	cost, class := m.worth()
	if cost == s.Cost && class == s.Quality {
		m.announce.since = time.Time{}
		return false
	}
	fresh := changed && s.Since.Equal(m.damp.upSince)
	diff := max(cost, s.Cost) - min(cost, s.Cost)
	if !fresh && class == s.Quality && (diff <= s.Cost/costShare || diff <= costNoise) {
		m.announce.since = time.Time{}
		return false
	}
	if m.announce.since.IsZero() {
		m.announce.since = m.now
	}
	if !fresh && m.now.Sub(m.announce.since) < persistence {
		return false
	}
	s.Cost, s.Quality = cost, class
	m.announce.since = time.Time{}
	return true
}

// losses returns the loss in both directions, counting hellos that are overdue but not yet known to be lost.
func (m *Machine) losses() (in, out float64) {
	lost, n := m.in.lost()
	late := m.overdue(m.echo.at, m.peer)
	in = min(ratio(lost+late, n+late), 1)
	lost, n = m.out.lost()
	late = 0
	if m.status.State != mesh.LinkDown {
		late = m.overdue(m.life.confirmed.Add(m.peer+m.rtt.smooth), m.hello)
	}
	return in, min(ratio(lost+late, n+late), 1)
}

// overdue returns how many hellos sent each interval should have come since the last sign.
func (m *Machine) overdue(last time.Time, every time.Duration) int {
	if last.IsZero() || m.now.Before(last) {
		return 0
	}
	return int(min(max((m.now.Sub(last)-m.allowance())*10/(every*11), 0), windowLen))
}

// worth returns the cost of the link, which is the time that a frame is expected to take, in microseconds, and its class:
//
//	(half the least round trip + load) / delivery of the worse direction
//
// The least round trip, of the last minute or two, is the way without its queues, and what they add is the load.
func (m *Machine) worth() (mesh.Cost, mesh.Quality) {
	delivery := max(1-max(m.status.LossIn, m.status.LossOut), 0.01)
	way := m.rtt.min() / 2
	load := time.Duration(0)
	if m.rtt.n == settled {
		load = m.load.settle(m.now, way, (m.rtt.smooth-m.rtt.min())/2)
	}
	us := float64((way + load).Microseconds()) / delivery
	cost := mesh.Cost(min(max(us, 1), float64(mesh.MaxCost)))
	class := mesh.QualityOf(delivery)
	if old := m.status.Quality; old != mesh.QualityUnknown && class > old {
		class = max(old, mesh.QualityOf(delivery-classMargin))
	}
	return cost, class
}
