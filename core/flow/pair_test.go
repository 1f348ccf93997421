package flow

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"x0tta6bl4/mesh"
)

// across returns the path to "d" over these relays; label i leads to relay i, 99 to d.
func across(cost mesh.Cost, relays ...int) mesh.Path {
	p := mesh.Path{Nodes: []mesh.NodeID{mesh.MustNodeID("s")}, Cost: cost, MTU: 1452}
	for _, i := range relays {
		p.Nodes = append(p.Nodes, mesh.MustNodeID(fmt.Sprint("r", i)))
		p.Labels = append(p.Labels, mesh.Label(i))
	}
	p.Nodes, p.Labels = append(p.Nodes, mesh.MustNodeID("d")), append(p.Labels, 99)
	return p
}

func protected(t *testing.T, paths ...mesh.Path) *bench {
	b := &bench{t, New(mesh.MustNodeID("d"), Config{Protect: true, Spread: SpreadOff}), start}
	b.f.SetPaths(b.now, paths)
	return b
}

// pairs checks the first labels of the pair, ascending.
func (b *bench) pairs(want ...mesh.Label) {
	b.Helper()
	var got []mesh.Label
	for _, p := range b.f.Pair() {
		got = append(got, p.Labels[0])
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		b.Fatalf("after %v: protected packets go by %v, want %v", b.now.Sub(start), got, want)
	}
}

func TestNothingProtectedHasNoPair(t *testing.T) {
	b := newBench(t, way(1, 1), way(2, 1))
	b.f.Sending(b.now, true)
	b.pairs()
	if probes := b.f.Tick(b.now); len(probes) != 1 {
		t.Errorf("probes %v", probes)
	}
}

func TestOverlap(t *testing.T) {
	for _, c := range []struct {
		a, b          mesh.Path
		links, relays int
	}{
		{across(1, 1), across(1, 2), 0, 0},
		{across(1, 1, 3), across(1, 2, 3), 1, 1}, // the last link is one
		{across(1, 1, 3, 2), across(1, 4, 3), 0, 1},
		{across(1, 1), across(1, 1), 2, 1},
	} {
		links, relays := overlap(c.a, c.b)
		back, too := overlap(c.b, c.a)
		if links != c.links || relays != c.relays || back != links || too != relays {
			t.Errorf("%v and %v: %d links, %d relays, want %d and %d", c.a, c.b, links, relays, c.links, c.relays)
		}
	}
}

// The pair are the two paths that share least, of those that nothing speaks against; then the first in order.
func TestPairIsFittest(t *testing.T) {
	b := protected(t, across(100, 1, 5), across(110, 2, 5), across(300, 3), across(400, 4))
	b.pairs(1, 3)
	b.f.Suspect(b.now, across(0, 1, 5))
	b.pairs(2, 3) // 3 stays
	b.f.Link(b.now, 3, mesh.LinkDown)
	b.pairs(2, 4)
	b.f.Link(b.now, 4, mesh.LinkDown)
	b.pairs(1, 2) // what is accused is better than nothing
	b.f.Link(b.now, 1, mesh.LinkDown)
	b.pairs(2)
	b.f.Link(b.now, 2, mesh.LinkDown)
	b.pairs()
	for l := mesh.Label(1); l <= 4; l++ {
		b.f.Link(b.now, l, mesh.LinkUp)
	}
	if len(b.f.Pair()) != 2 {
		t.Errorf("pair %v", b.f.Pair())
	}
	// A cheaper path is no reason to change; one that is not offered any more is.
	b = protected(t, across(300, 3), across(400, 4))
	b.f.SetPaths(b.now, []mesh.Path{across(10, 1), across(300, 3), across(400, 4)})
	b.pairs(3, 4)
	b.f.SetPaths(b.now, []mesh.Path{across(10, 1), across(400, 4)})
	b.pairs(1, 4)
	for _, s := range b.f.States() {
		if !s.Protected {
			t.Errorf("%+v", s)
		}
	}
}

// While protected packets are sent both paths are probed; a second after the last one only that which carries others.
func TestPairIsKeptHot(t *testing.T) {
	b := protected(t, across(100, 1), across(200, 2), across(300, 3))
	probes := map[mesh.Label]int{}
	send := func(protected bool) {
		b.f.Sending(b.now, protected)
		for _, p := range b.f.Tick(b.now) {
			probes[p.Path.Labels[0]]++
			b.f.ProbeReply(b.now, p.ID, Counts{})
		}
		b.now = b.now.Add(50 * time.Millisecond)
	}
	for range 20 {
		send(false)
	}
	if probes[1] != 20 || probes[2]+probes[3] != 0 {
		t.Errorf("probes while nothing protected is sent: %v", probes)
	}
	for range 20 {
		send(true)
	}
	if probes[1] != 40 || probes[2] != 20 || probes[3] != 0 {
		t.Errorf("probes while protected packets are sent: %v", probes)
	}
	for range 40 {
		send(false)
	}
	if probes[2] > 40 || probes[2] < 38 {
		t.Errorf("probes after that: %v", probes)
	}
}

// Of two paths that both could be better one changes first, and the other when that has answered.
func TestPairChangesOneByOne(t *testing.T) {
	b := protected(t, across(100, 1, 5), across(110, 2, 5))
	b.f.Sending(b.now, true)
	for _, p := range b.f.Tick(b.now) {
		b.f.ProbeReply(b.now, p.ID, Counts{})
	}
	paths := []mesh.Path{across(100, 1, 5), across(110, 2, 5), across(50, 3, 6), across(60, 4, 7)}
	b.f.SetPaths(b.now, paths)
	b.pairs(1, 3) // as apart as 3 and 4, and one of them is known to work
	b.f.SetPaths(b.now, paths[1:])
	b.pairs(2, 3) // 1 is not offered any more: at once
	b.f.SetPaths(b.now, []mesh.Path{across(110, 2, 6), across(50, 3, 6), across(60, 4, 7)})
	b.pairs(3, 4)

	b = protected(t, across(100, 1, 5), across(110, 2, 5))
	b.f.Sending(b.now, true)
	shared := []mesh.Path{across(100, 1, 5, 6), across(110, 2, 5, 6), across(50, 3, 5), across(60, 4, 6)}
	b.f.SetPaths(b.now, shared)
	b.pairs(1, 4) // nothing of the old is offered: one path is kept
	b.f.Sending(b.now, true)
	probes := b.f.Tick(b.now)
	b.f.SetPaths(b.now, append(shared, across(10, 7, 8), across(20, 9, 8)))
	b.pairs(1, 4)
	for _, p := range probes {
		if p.Path.Labels[0] == 4 {
			b.f.ProbeReply(b.now, p.ID, Counts{})
		}
	}
	b.pairs(3, 4)
}

// A path of the pair that is not offered any more is kept until another one has answered, but not for ever, nor when something
// speaks against it, and it is a path like any other when it is offered again.
func TestPathOfThePairIsKept(t *testing.T) {
	begin := func() *bench {
		b := protected(t, across(100, 1, 5), across(110, 2, 6))
		b.f.Sending(b.now, true)
		b.answer(10 * time.Millisecond)
		b.f.SetPaths(b.now, []mesh.Path{across(100, 3, 7), across(110, 4, 8)})
		b.pairs(1, 3)
		return b
	}
	numbers := map[uint8]bool{}
	b := begin()
	for _, r := range b.f.every() {
		numbers[r.path.Number] = true
	}
	if len(numbers) != 3 {
		t.Errorf("numbers %v of three paths", numbers)
	}
	for range 3 { // packets go on, and nothing answers: the kept one is not kept for ever
		b.pass(500 * time.Millisecond)
		b.f.Sending(b.now, true)
	}
	b.pass(keptLife)
	b.pairs(3, 4)

	for name, end := range map[string]func(*bench){
		"its link is down": func(b *bench) { b.f.Link(b.now, 1, mesh.LinkDown) },
		"it is accused":    func(b *bench) { b.f.Suspect(b.now, across(0, 1, 5)) },
		"it is in doubt":   func(b *bench) { b.f.Doubt(b.now, across(0, 1, 5)) },
		"the other answered": func(b *bench) {
			b.f.Sending(b.now, true)
			b.answer(10 * time.Millisecond)
		},
		"no protected packet is sent": func(b *bench) { b.pass(hotLife) },
	} {
		b := begin()
		end(b)
		if b.f.kept != nil {
			t.Errorf("%s: it is kept", name)
		}
		b.pairs(3, 4)
	}
	b = begin()
	b.f.SetPaths(b.now, []mesh.Path{across(100, 3, 7), across(100, 1, 5)})
	b.pairs(1, 3)
	if b.f.kept != nil || len(b.f.States()) != 2 {
		t.Errorf("offered again: %+v", b.f.States())
	}
}

// Whatever single path fails, and whatever is offered, every protected packet arrives by one of the pair.
func TestNoSingleFailureLosesProtectedPackets(t *testing.T) {
	for seed := range uint64(12) {
		r := rand.New(rand.NewPCG(seed, 3))
		b := newTrip(t, seed, 100, &road{}, &road{}, &road{}, &road{})
		all := []mesh.Path{way(1, 1000), way(2, 2000), way(3, 3000), way(4, 4000)}
		b.f = New(mesh.MustNodeID("d"), Config{Protect: true, Spread: SpreadOff})
		b.f.SetPaths(b.now, all)
		b.protect = true
		b.drive(time.Second)
		for range 15 {
			bad := mesh.Label(1 + r.IntN(4))
			b.roads[bad].loss = []float64{1, 0.5, 0.2}[r.IntN(3)]
			b.drive(time.Duration(r.IntN(2000)) * time.Millisecond)
			if r.IntN(2) == 0 { // the topology learns of it, and may offer the others in another order
				rest := slices.DeleteFunc(slices.Clone(all), func(p mesh.Path) bool { return p.Labels[0] == bad })
				r.Shuffle(len(rest), func(i, j int) { rest[i], rest[j] = rest[j], rest[i] })
				b.f.SetPaths(b.now, rest)
				b.drive(time.Duration(r.IntN(1000)) * time.Millisecond)
			}
			b.roads[bad].loss = 0
			b.f.SetPaths(b.now, all)
			b.drive(time.Duration(r.IntN(1000)) * time.Millisecond)
			if b.lostBoth > 0 {
				t.Fatalf("seed %d: %d protected packets lost by the failure of path %d", seed, b.lostBoth, bad)
			}
		}
	}
}
