package flow

import (
	"testing"
	"time"

	"x0tta6bl4/mesh"
)

// A flow that is told to protect packets has a pair at once, and none any more when it is told not to.
func TestProtectionIsTurnedOnAndOff(t *testing.T) {
	b := newBench(t, across(100, 1), across(200, 2))
	off := b.f.cfg
	on := off
	on.Protect = true
	b.pairs()
	b.f.Configure(b.now, on)
	b.pairs(1, 2)
	b.f.Sending(b.now, true)
	if probes := b.f.Tick(b.now); len(probes) != 2 {
		t.Errorf("probes of both paths while protected packets are sent: %v", probes)
	}
	b.f.SetPaths(b.now, []mesh.Path{across(100, 3)}) // of those in use one is kept
	b.f.Configure(b.now, off)
	b.pairs()
	if every := b.f.every(); len(every) != 1 || b.f.hot {
		t.Errorf("%d paths are watched, hot: %t", len(every), b.f.hot)
	}
	b.f.Sending(b.now, true)
	b.pairs()
	b.f.Configure(b.now, on)
	b.pairs(3)
}

// From any mode to any other, flows are soon spread as if it had been the mode all along; off and always at once.
func TestSpreadChanges(t *testing.T) {
	const atRest, congested = 10, 1500 // packets a second
	for _, tc := range []struct {
		from, to Spread
		load     float64
		was, is  int // ways
	}{
		{SpreadAlways, SpreadOff, atRest, 2, 1},
		{SpreadOff, SpreadAlways, atRest, 1, 2},
		{SpreadAlways, SpreadAuto, atRest, 2, 1},
		{SpreadAuto, SpreadAlways, atRest, 1, 2},
		{SpreadAuto, SpreadOff, congested, 2, 1},
		{SpreadAlways, SpreadAuto, congested, 2, 2},
	} {
		pipes := []*pipe{{rate: 1000, room: 200, base: 4 * time.Millisecond}, {rate: 1000, room: 200, base: 6 * time.Millisecond}}
		b := newLoaded(t, 1, Config{Spread: tc.from}, nil, pipes...)
		b.load = tc.load
		b.drive(10 * time.Second)
		was := len(carrying(b.f))
		b.f.Configure(b.now, Config{Spread: tc.to})
		if tc.to == SpreadOff {
			if n := len(carrying(b.f)); n != 1 || len(b.f.left) != 1 || b.f.routes[0].eased || b.f.routes[1].eased {
				t.Errorf("from %s to off: %d ways, %d are left", tc.from, n, len(b.f.left))
			}
		}
		b.drive(10 * time.Second)
		if is := len(carrying(b.f)); was != tc.was || is != tc.is {
			t.Errorf("from %s to %s, %v packets a second: %d ways, then %d, want %d and %d", tc.from, tc.to, tc.load, was, is, tc.was, tc.is)
		}
	}
}
