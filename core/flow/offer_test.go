package flow

import (
	"testing"
	"time"

	"x0tta6bl4/mesh"
)

// relabelled returns the first path of a trip after its relay gave the onward link another label.
func relabelled(i int) mesh.Path {
	p := way(1, 1000)
	p.Labels = []mesh.Label{1, mesh.Label(100 + i)}
	return p
}

// A relay that swallows packets and gives its link a new label is the same relay: its path is tried before it carries any again.
func TestNewLabelsAreNoNewPath(t *testing.T) {
	for _, every := range []time.Duration{500 * time.Millisecond, 2 * time.Second, 5 * time.Second} {
		b := newTrip(t, 3, 200, &road{loss: 1}, &road{})
		for i := range int(time.Minute / every) {
			b.drive(every)
			b.f.SetPaths(b.now, []mesh.Path{relabelled(i), way(2, 2000)})
		}
		b.uses(2)
		if share := float64(b.lost) / (60 * 200); share > 0.01 {
			t.Errorf("relabelled every %v: %.3f of the packets are lost", every, share)
		}
		if len(b.f.past) > 1 {
			t.Errorf("%d paths by the same nodes are remembered", len(b.f.past))
		}
	}
}

// The same where the new label comes after a time without the path, and where both are offered at once.
func TestNewLabelsAfterATime(t *testing.T) {
	b := newTrip(t, 3, 200, &road{loss: 1}, &road{})
	b.until(2, time.Second)
	b.f.SetPaths(b.now, []mesh.Path{way(2, 2000)})
	b.drive(10 * time.Second)
	b.f.SetPaths(b.now, []mesh.Path{relabelled(1), way(2, 2000), relabelled(2)})
	b.states(Suspect, Active, Suspect)
	b.lost = 0
	b.drive(10 * time.Second)
	b.uses(2)
	if b.lost > 0 {
		t.Errorf("%d packets are lost", b.lost)
	}
	b.roads[1].loss = 0 // it is no liar any more
	b.until(1, 30*time.Second)
}

// Errors speak against a path as silence does: once they may be the link's, then it is tried.
func TestStrikesAreRemembered(t *testing.T) {
	for strikes, want := range []State{Standby, Standby, Suspect} {
		b := newBench(t, way(1, 1000), way(2, 500))
		b.uses(1)
		b.f.SetPaths(b.now, []mesh.Path{way(2, 500), way(1, 1000)})
		b.answer(2 * time.Second)
		b.uses(2)
		for range strikes {
			b.f.Suspect(b.now, way(1, 0))
			b.answer(time.Second)
		}
		b.f.SetPaths(b.now, []mesh.Path{way(2, 500)})
		b.f.SetPaths(b.now, []mesh.Path{way(2, 500), relabelled(1)})
		b.states(Active, want)
	}
}

// However many paths fail and go, few of them are remembered, the newest.
func TestFewPathsAreRemembered(t *testing.T) {
	b := newBench(t, way(1, 1000))
	for i := mesh.Label(2); i < 50; i++ {
		last := way(i-1, 0)
		for range 2 {
			b.f.Suspect(b.now, last)
			b.answer(time.Second)
		}
		b.f.SetPaths(b.now, []mesh.Path{way(i, 1000)})
		if n := len(b.f.past); n > maxPast || n == 0 || !b.f.past[n-1].path.Same(last) {
			t.Fatalf("%d paths are remembered after %d", n, i)
		}
	}
}
