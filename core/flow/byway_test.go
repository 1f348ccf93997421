package flow

import (
	"slices"
	"testing"
	"time"

	"x0tta6bl4/mesh"
)

// Where every path is dead packets go by the one that only silence speaks against; a relay's error makes another one worse, and
// no path is worse than one whose own link is down.
func TestDeadPathsByRank(t *testing.T) {
	b := newBench(t, way(1, 1000), way(2, 1500))
	b.f.Suspect(b.now, way(1, 0))
	b.f.Suspect(b.now, way(2, 0))
	b.f.routes[1].unheard = true // silence began it
	b.pass(time.Second)
	b.uses(2)
	b.states(Dead, Suspect)
	if b.f.Ways()[0].Copy.Valid() {
		t.Error("packets that are not expected to arrive are copied")
	}
	b.f.Link(b.now, 2, mesh.LinkDown)
	b.uses(1)
	b.states(Suspect, Dead)

	b = newBench(t, way(1, 1000), way(2, 1500))
	b.f.Suspect(b.now, way(1, 0))
	b.f.Suspect(b.now, way(2, 0))
	for range 60 {
		b.f.Sending(b.now, false)
		b.pass(time.Second)
	}
	b.uses(1)
	b.copies(0)
}

// While packets are sent that no path is known to deliver, the dead are tried each second, and else more and more rarely.
func TestDeadPathsAreTriedWhilePacketsAreSent(t *testing.T) {
	b := newBench(t, way(1, 1000), way(2, 1500))
	b.f.Suspect(b.now, way(1, 0))
	b.f.Suspect(b.now, way(2, 0))
	b.pass(time.Minute)
	if n := len(b.pass(time.Minute)); n > 14 {
		t.Errorf("%d probes of two dead paths in a minute without packets", n)
	}
	b.uses(1)
	var other []Probe // by the path that is not in use
	send := func(d time.Duration) int {
		other = other[:0]
		for end := b.now.Add(d); b.now.Before(end); {
			b.f.Sending(b.now, false)
			for _, p := range b.pass(50 * time.Millisecond) {
				if p.Path.Labels[0] == 2 {
					other = append(other, p)
				}
			}
		}
		return len(other)
	}
	if n := send(time.Minute); n < 55 || n > 61 {
		t.Errorf("%d probes in a minute of packets, want one a second", n)
	}
	b.f.ProbeReply(b.now, other[len(other)-1].ID, Counts{})
	b.uses(2)
	b.f.Suspect(b.now, way(1, 0)) // dead as it is
	n := len(b.pass(time.Minute))
	if n > 9 {
		t.Errorf("%d probes of a dead path in a minute though another one works", n)
	}
}

func (b *bench) failing(want ...mesh.Label) {
	b.Helper()
	var got []mesh.Label
	for _, p := range b.f.Failing() {
		got = append(got, p.Labels[0])
	}
	if !slices.Equal(got, want) {
		b.Fatalf("after %v: paths by %v fail, want %v", b.now.Sub(start), got, want)
	}
}

// What fails is what packets and probes met, not what a relay says or what the own link shows.
func TestFailing(t *testing.T) {
	b := newTrip(t, 1, 200, &road{loss: 1}, &road{}, &road{})
	b.failing()
	b.f.Suspect(b.now, way(2, 0))
	b.f.Doubt(b.now, way(3, 0))
	b.failing()
	b.until(2, time.Second)
	b.failing(1)
	b.drive(time.Second)
	b.roads[2].loss = 0.3
	b.drive(time.Second)
	b.failing(1, 2)
	b.f.Link(b.now, 1, mesh.LinkDown)
	b.failing(2)
	b.f.Link(b.now, 1, mesh.LinkUp)
	b.roads[1].loss, b.roads[2].loss = 0, 0
	b.drive(10 * time.Second)
	b.failing()
}

// The other end has no time for a while: all paths are left in turn, and the answers come after all, with counts that show no
// loss. Such paths do not fail, though they are tried before they are fit.
func TestLateAnswersAreNoFailure(t *testing.T) {
	b := newTrip(t, 5, 200, &road{}, &road{})
	b.drive(time.Second)
	var late []answer
	for b.now.Sub(start) < 1500*time.Millisecond {
		b.drive(5 * time.Millisecond)
		late, b.mail = append(late, b.mail...), nil
	}
	b.failing(1, 2)
	b.mail = late
	b.drive(50 * time.Millisecond)
	b.failing()
	if !b.f.routes[0].lossy || !b.f.routes[1].lossy {
		t.Error("no path is tried, though all were silent")
	}
}

// A stall loses what was sent meanwhile. The path fails until it has delivered what was sent for a while, not until it is fit.
func TestStallIsNoLastingFailure(t *testing.T) {
	r := &road{}
	b := newTrip(t, 1, 200, r)
	b.drive(time.Second)
	r.loss = 1
	b.drive(300 * time.Millisecond)
	b.failing(1)
	r.loss = 0
	b.drive(500 * time.Millisecond)
	b.failing()
	if !b.f.routes[0].lossy || !b.f.routes[0].proven {
		t.Error("the path is fit, or its loss was not seen: the test shows nothing")
	}
	r.loss = 0.3
	b.drive(500 * time.Millisecond)
	b.failing(1)
}

// detour offers the first paths of a trip and the last one as a byway.
func (b *trip) detour() {
	var paths []mesh.Path
	for i := range len(b.roads) {
		paths = append(paths, way(mesh.Label(i+1), mesh.Cost(1000*(i+1))))
	}
	b.f.SetPaths(b.now, paths[:len(paths)-1], paths[len(paths)-1])
}

// A byway carries packets at once if nothing else delivers any. If another path delivers some it has to be better, which is
// tried first; that it is being tried is no failure.
func TestBywayIsTried(t *testing.T) {
	for _, c := range []struct {
		name         string
		loss, byway  float64
		soon, finale mesh.Label // the path in use 100 ms after the byway is offered, and later
	}{
		{"nothing else delivers", 1, 0, 2, 2},
		{"half is lost, the byway is clean", 0.5, 0, 1, 2},
		{"half is lost, the byway loses more", 0.5, 0.8, 1, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newTrip(t, 3, 200, &road{loss: c.loss}, &road{loss: c.byway})
			b.f.SetPaths(b.now, []mesh.Path{way(1, 1000)})
			b.drive(time.Second)
			b.failing(1)
			b.detour()
			b.failing(1)
			b.drive(100 * time.Millisecond)
			b.uses(c.soon)
			b.drive(10 * time.Second)
			b.uses(c.finale)
			if fails := c.byway > 0; fails {
				b.failing(1, 2)
			}
		})
	}
}

// A path in use that is offered as a byway, or no longer as one, goes on as it was.
func TestBywayBecomesAPath(t *testing.T) {
	b := newTrip(t, 4, 200, &road{loss: 1}, &road{})
	b.f.SetPaths(b.now, []mesh.Path{way(1, 1000)})
	b.drive(time.Second)
	b.detour()
	b.until(2, time.Second)
	number := b.f.Ways()[0].Number
	b.f.SetPaths(b.now, []mesh.Path{way(1, 1000), way(2, 2000)})
	if w := b.f.Ways()[0]; w.Number != number || w.Labels[0] != 2 {
		t.Errorf("way %+v", w)
	}
	b.f.SetPaths(b.now, []mesh.Path{way(1, 1000)})
	b.uses(1)
}

// A byway shares relays with the paths of the set. It is of the pair while none of them delivers, and not beside one that does: the
// other one of the set is apart from that and may be back.
func TestBywayInThePair(t *testing.T) {
	b := newTrip(t, 6, 200, &road{}, &road{}, &road{})
	b.f.cfg.Protect, b.protect = true, true
	paths := []mesh.Path{across(1000, 1, 5), across(2000, 2, 6)}
	byway := across(3000, 3, 5) // by a relay of the first
	b.f.SetPaths(b.now, paths)
	b.roads[1].loss, b.roads[2].loss = 1, 1
	b.drive(time.Second)
	b.failing(1, 2)
	b.f.SetPaths(b.now, paths, byway)
	b.drive(500 * time.Millisecond)
	pair := func() (ls []mesh.Label) {
		for _, p := range b.f.Pair() {
			ls = append(ls, p.Labels[0])
		}
		slices.Sort(ls)
		return ls
	}
	if p := pair(); len(p) != 2 || !slices.Contains(p, 3) {
		t.Fatalf("pair by %v while all paths of the set fail", p)
	}
	b.roads[1].loss = 0
	for b.f.routes[0].grade() >= accused {
		b.drive(5 * time.Millisecond)
	}
	if !b.f.routes[0].lossy {
		t.Error("a path that was silent is fit with its first answer")
	}
	if p := pair(); !slices.Equal(p, []mesh.Label{1, 2}) {
		t.Errorf("pair by %v, with a relay in common, though the set has two apart", p)
	}
	b.f.Link(b.now, 2, mesh.LinkDown)
	if p := pair(); !slices.Equal(p, []mesh.Label{1, 3}) {
		t.Errorf("pair by %v where the set has one", p)
	}
}
