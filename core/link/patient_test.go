package link

import (
	"testing"
	"time"

	"x0tta6bl4/mesh"
)

// A link lets hellos wait while all is well, and while nobody is there; not while something is in doubt or looked for.
func TestPatience(t *testing.T) {
	p := thin(t, 1, 1400)
	m := p.m[0]
	if m.Patient() {
		t.Error("patient before anybody was heard")
	}
	p.until(mesh.LinkUp, time.Second)
	searched := false
	for m.mtu.phase != mtuComplete {
		searched = true
		if m.Patient() {
			t.Fatalf("patient in phase %d of the search", m.mtu.phase)
		}
		p.run(ms)
	}
	if !searched {
		t.Error("there was no search: the test shows nothing")
	}
	p.onEach = func(side int, _ Output) {
		if side == 0 && !m.Patient() {
			t.Fatalf("impatient at rest: %v, %+v", m.status.State, m.mtu)
		}
	}
	p.run(20 * time.Second) // several confirmations
	p.onEach = nil
	p.lose = func(int, time.Time) float64 { return 1 }
	p.until(mesh.LinkSuspect, time.Second)
	if m.Patient() {
		t.Error("patient in doubt")
	}
	p.until(mesh.LinkDown, time.Second)
	if m.Patient() {
		t.Error("patient right after a fall")
	}
	p.run(quickTime + time.Second)
	if !m.Patient() {
		t.Error("impatient where nobody is")
	}
}
