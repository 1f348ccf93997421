package flow

import (
	"testing"
	"time"

	"x0tta6bl4/mesh"
)

// copies checks the first label of the path that packets are copied to; 0 = none.
func (b *bench) copies(want mesh.Label) {
	b.Helper()
	got := mesh.Label(0)
	if w := b.f.Ways(); len(w) > 0 && w[0].Copy.Valid() {
		got = w[0].Copy.Labels[0]
	}
	if got != want {
		b.Fatalf("after %v: copies go by %d, want %d", b.now.Sub(start), got, want)
	}
}

// While the own link is silent packets stay and are copied. A sign of life ends that as if nothing had been; the end of the link
// moves them at once.
func TestSilentLinkIsCopied(t *testing.T) {
	b := newBench(t, way(1, 1000), way(2, 1500), way(3, 1200))
	for range 20 {
		b.f.Link(b.now, 1, mesh.LinkSuspect)
		b.uses(1)
		b.copies(2)
		b.pass(10 * time.Millisecond)
		b.uses(1)
		b.copies(2)
		b.f.Link(b.now, 1, mesh.LinkUp)
		b.uses(1)
		b.copies(0)
		b.states(Active, Standby, Standby)
		b.pass(100 * time.Millisecond)
	}
	b.f.Link(b.now, 1, mesh.LinkSuspect)
	b.f.Link(b.now, 1, mesh.LinkDown)
	b.uses(2)
	b.copies(0)
	b.states(Dead, Active, Standby)
}

// A link that does not answer in time is likelier dead: what goes once goes by the other path. When it answers after all
// nothing has been; after a second it is left, and the way back is that of any other.
func TestSilenceThatLasts(t *testing.T) {
	b := newBench(t, way(1, 1000), way(2, 1500)) // round trip 2 ms, as far as is known
	for range 3 {
		b.f.Link(b.now, 1, mesh.LinkSuspect)
		b.pass(2*time.Millisecond + linkAnswer - time.Nanosecond)
		b.uses(1)
		b.copies(2)
		b.pass(time.Nanosecond)
		b.uses(2)
		b.copies(1)
		b.states(Suspect, Standby)
		b.pass(doubtMost - 50*time.Millisecond)
		b.copies(1)
		b.f.Link(b.now, 1, mesh.LinkUp)
		b.uses(1)
		b.copies(0)
	}
	b.f.Link(b.now, 1, mesh.LinkSuspect)
	b.pass(doubtMost - time.Nanosecond)
	b.copies(1)
	b.pass(time.Nanosecond)
	b.uses(2)
	b.copies(0)
	b.states(Suspect, Active)
	b.f.Link(b.now, 1, mesh.LinkUp)
	b.pass(Hold - time.Nanosecond)
	b.uses(2)
	b.pass(time.Nanosecond)
	b.uses(1)

	b = newBench(t, way(1, 1000), way(2, 1500))
	b.f.Link(b.now, 1, mesh.LinkSuspect)
	b.f.Link(b.now, 2, mesh.LinkSuspect)
	b.pass(500 * time.Millisecond)
	b.uses(1)
	b.copies(0)
}

// Copies do not go by the very link that is silent, nor by what is dead or worse; where nothing else is left there are none.
func TestWhereCopiesGo(t *testing.T) {
	twin := way(1, 1100) // by another relay over the same first link
	twin.Labels = []mesh.Label{1, 8}
	b := newBench(t, way(1, 1000), twin)
	b.f.Link(b.now, 1, mesh.LinkSuspect)
	b.uses(1)
	b.copies(0)
	b.f.Link(b.now, 1, mesh.LinkUp)
	b.f.Doubt(b.now, way(1, 0)) // what is in doubt is a relay's link
	b.copies(1)

	b = newBench(t, way(1, 1000), way(2, 1500), way(3, 9000))
	b.f.Link(b.now, 1, mesh.LinkSuspect)
	b.f.Suspect(b.now, way(2, 0))
	b.copies(3)
	b.f.Link(b.now, 3, mesh.LinkSuspect)
	b.copies(0) // perhaps it is this machine
	b.f.Link(b.now, 3, mesh.LinkUp)
	b.f.Doubt(b.now, way(3, 0))
	b.copies(3) // as doubtful as the one in use, for another reason
	b.f.Link(b.now, 3, mesh.LinkDown)
	b.copies(0)
	b.uses(1)
	b.f.Suspect(b.now, way(1, 0))
	b.uses(2)
	b.copies(0) // accused, and the other one worse

	b = newBench(t, across(100, 1, 5), across(110, 2, 5), across(120, 3))
	b.f.Doubt(b.now, across(0, 1, 5))
	b.copies(3) // by other relays

	b = newBench(t, way(1, 1000))
	b.f.Link(b.now, 1, mesh.LinkSuspect)
	b.copies(0)
	b.pass(time.Second)
	b.uses(1)
	b.f.Link(b.now, 1, mesh.LinkDown)
	b.uses(0)
	b.f.Doubt(b.now, way(7, 0)) // not offered
}

// A relay that doubts its link has packets copied for half a second after it said so last, and a probe sent at once. An answer
// settles nothing; that the link is down moves packets at once.
func TestDoubtOfARelay(t *testing.T) {
	b := newBench(t, way(1, 1000), way(2, 1500))
	b.f.Doubt(b.now, way(1, 0))
	b.uses(1)
	b.copies(2)
	b.states(Suspect, Standby)
	probes := b.f.Tick(b.now)
	if len(probes) != 1 || !probes[0].Path.Same(way(1, 0)) {
		t.Fatalf("probes %v, want one over the path in doubt", probes)
	}
	b.f.ProbeReply(b.now, probes[0].ID, Counts{})
	b.copies(2)
	b.pass(hintLife - time.Nanosecond)
	b.copies(2)
	b.pass(time.Nanosecond)
	b.copies(0)
	b.uses(1)
	b.states(Active, Standby)

	b.f.Doubt(b.now, way(1, 0))
	b.pass(2*time.Millisecond + linkAnswer)
	b.uses(1)
	b.f.Doubt(b.now, way(1, 0)) // it still doubts
	b.uses(2)
	b.copies(1)
	b.answer(hintLife)
	b.uses(1)
	b.copies(0)

	b.f.Doubt(b.now, way(1, 0))
	b.f.Suspect(b.now, way(1, 0))
	b.uses(2)
	b.copies(0)
	b.f.Doubt(b.now, way(1, 0)) // nothing new
	b.states(Suspect, Active)
}

// A relay that is always in doubt is left after a second, and for longer each time.
func TestDoubtThatLasts(t *testing.T) {
	b := newBench(t, way(1, 1000), way(2, 1500))
	moves, last := 0, b.f.current
	for begin := b.now; b.now.Sub(begin) < time.Minute; {
		if b.f.current.path.Labels[0] == 1 {
			b.f.Doubt(b.now, way(1, 0))
			if moves == 0 && b.now.Sub(begin) >= doubtMost {
				t.Fatal("packets stay on a path that is always in doubt")
			}
		}
		for _, p := range b.pass(50 * time.Millisecond) {
			b.f.ProbeReply(b.now, p.ID, Counts{})
		}
		if b.f.current != last {
			moves, last = moves+1, b.f.current
		}
	}
	if moves < 3 || moves > 14 {
		t.Errorf("%d moves in a minute", moves)
	}
}

// A probe that is overdue has packets copied until one is answered, or the path is left: a relay that passes nothing on costs no
// packet from the first probe on that should have been answered.
func TestOverdueProbe(t *testing.T) {
	b := newTrip(t, 1, 200, &road{}, &road{})
	b.drive(time.Second)
	b.copies(0)
	b.roads[1].loss = 1
	silent := b.now
	for b.f.current.copyTo == nil {
		b.drive(5 * time.Millisecond)
	}
	if took := b.now.Sub(silent); took > watchPause+minAnswer+15*time.Millisecond {
		t.Errorf("the first copy after %v", took)
	}
	b.uses(1)
	b.copies(2)
	b.lost = 0
	b.until(2, 100*time.Millisecond)
	b.copies(0)
	if b.lost > 0 {
		t.Errorf("%d packets lost although they were copied", b.lost)
	}

	b = newTrip(t, 1, 200, &road{}, &road{})
	b.drive(time.Second)
	b.roads[1].back = 1
	for b.f.current.copyTo == nil {
		b.drive(5 * time.Millisecond)
	}
	b.roads[1].back = 0
	b.drive(50 * time.Millisecond)
	b.uses(1)
	b.copies(0)
}

// What ordinary paths lose costs few copies.
func TestCopiesAreRare(t *testing.T) {
	b := newTrip(t, 5, 200, &road{loss: 0.01, back: 0.01}, &road{})
	b.drive(5 * time.Minute)
	if share := float64(b.doubled) / (200 * 300); share > 0.04 || b.moves > 0 {
		t.Errorf("%.3f of the packets were copied, %d moves", share, b.moves)
	}
}
