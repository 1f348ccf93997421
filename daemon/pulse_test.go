package daemon

import (
	"testing"
	"time"

	"x0tta6bl4/core/node"
)

// A node is unseen while it has a link and nobody confirms one, and the time counts from the first look at that.
func TestUnseen(t *testing.T) {
	p := newPulse()
	confirmed := []node.Observation{{By: beta, Mutual: true}}
	oneSided := []node.Observation{{By: beta}}
	for _, step := range []struct {
		now  int
		c    census
		want time.Duration
	}{
		{0, census{}, 0},
		{5, census{up: 1}, 0},
		{15, census{up: 1, observers: oneSided}, 10 * time.Second},
		{20, census{up: 1, observers: confirmed}, 0},
		{25, census{up: 1}, 0},
		{30, census{}, 0}, // no link at all is another matter
		{35, census{up: 1}, 0},
		{36, census{up: 1}, time.Second},
	} {
		if got := p.unseenFor(at(step.now), step.c); got != step.want {
			t.Errorf("at %d: %s, want %s", step.now, got, step.want)
		}
	}
}

// A clock that is set, and a machine that slept, show as wall time without time; the lapse of time does not.
func TestClockSteps(t *testing.T) {
	p := newPulse()
	real := time.Now() // with a monotonic reading
	if d := p.stepped(real); d != 0 {
		t.Errorf("the first look says %s", d)
	}
	if d := p.stepped(real.Add(5 * time.Second)); d != 0 {
		t.Errorf("five seconds that passed are taken for a step of %s", d)
	}
	// A time without monotonic reading compares by the wall: as if both clocks had gone on, so nothing can be told.
	if d := p.stepped(real.Add(10 * time.Second).Round(0)); d != 0 {
		t.Errorf("%s", d)
	}
}

// Errors make a socket dead only when there are many and nothing passes beside them.
func TestDeadSockets(t *testing.T) {
	was := socketLook{in: 10, inErrors: 5, out: 10, outErrors: 5}
	for _, tc := range []struct {
		name string
		is   socketLook
		dead bool
	}{
		{"quiet", was, false},
		{"busy", socketLook{20, 5, 20, 5}, false},
		{"reads fail", socketLook{10, 5 + deadReads, 10, 5}, true},
		{"reads fail at times", socketLook{10, 5 + deadReads - 1, 10, 5}, false},
		{"reads fail and succeed", socketLook{11, 5 + deadReads, 10, 5}, false},
		{"writes fail", socketLook{10, 5, 10, 5 + deadWrites}, true},
		{"writes fail to one neighbour", socketLook{10, 5, 11, 5 + deadWrites}, false},
	} {
		if why := tc.is.ails(was); (why != "") != tc.dead {
			t.Errorf("%s: %q", tc.name, why)
		}
	}
}
