package flow

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"x0tta6bl4/mesh"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// way returns the path to "d" by one relay, whose first link has this label.
func way(first mesh.Label, cost mesh.Cost) mesh.Path {
	return mesh.Path{
		Nodes:  []mesh.NodeID{mesh.MustNodeID("s"), mesh.MustNodeID(fmt.Sprint("r", first)), mesh.MustNodeID("d")},
		Labels: []mesh.Label{first, 9}, Cost: cost, MTU: 1452,
	}
}

// bench is a flow and a clock.
type bench struct {
	*testing.T
	f   *Flow
	now time.Time
}

func newBench(t *testing.T, paths ...mesh.Path) *bench {
	b := &bench{t, New(mesh.MustNodeID("d"), Config{Spread: SpreadOff}), start}
	b.f.SetPaths(b.now, paths)
	return b
}

// pass ticks at every deadline until d has passed and returns the probes.
func (b *bench) pass(d time.Duration) (out []Probe) {
	end := b.now.Add(d)
	for steps := 0; ; steps++ {
		if steps > 10_000 {
			b.Fatal("the deadline does not move")
		}
		out = append(out, b.f.Tick(b.now)...)
		at := b.f.Deadline()
		if at.IsZero() || at.After(end) {
			break
		}
		b.now = at
	}
	b.now = end
	return append(out, b.f.Tick(b.now)...)
}

// carrying returns the ways that flows are given to.
func carrying(f *Flow) []mesh.Way {
	return slices.DeleteFunc(slices.Clone(f.Ways()), func(w mesh.Way) bool { return w.Share == 0 })
}

// leaving checks the first labels of the ways that are being left.
func (b *bench) leaving(want ...mesh.Label) {
	b.Helper()
	var got []mesh.Label
	for i, w := range b.f.Ways() {
		if w.Share == 0 {
			got = append(got, w.Labels[0])
		} else if len(got) > 0 {
			b.Fatalf("way %d has a share, but stands behind those that are left", i)
		}
	}
	if !slices.Equal(got, want) {
		b.Fatalf("after %v: ways by %v are being left, want %v", b.now.Sub(start), got, want)
	}
}

// answer lets time pass, in steps of 10 ms, and answers all probes.
func (b *bench) answer(d time.Duration) {
	for end := b.now.Add(d); b.now.Before(end); {
		for _, p := range b.pass(min(10*time.Millisecond, end.Sub(b.now))) {
			b.f.ProbeReply(b.now, p.ID, Counts{})
		}
	}
}

// uses checks the first label of the path in use; 0 = none.
func (b *bench) uses(want mesh.Label) {
	b.Helper()
	got := mesh.Label(0)
	if w := carrying(b.f); len(w) == 1 {
		got = w[0].Labels[0]
	} else if len(w) > 1 {
		b.Fatalf("%d paths in use", len(w))
	}
	if got != want {
		b.Fatalf("after %v: path by %d in use, want %d", b.now.Sub(start), got, want)
	}
}

func (b *bench) states(want ...State) {
	b.Helper()
	var got []State
	for _, s := range b.f.States() {
		got = append(got, s.State)
	}
	if !slices.Equal(got, want) {
		b.Fatalf("after %v: states %v, want %v", b.now.Sub(start), got, want)
	}
}

func TestNoPaths(t *testing.T) {
	b := newBench(t)
	b.uses(0)
	b.f.SetPaths(b.now, []mesh.Path{{}, way(1, 100), way(1, 100)})
	b.uses(1)
	b.states(Active)
	b.f.SetPaths(b.now, nil)
	b.uses(0)
	if !b.f.Deadline().IsZero() || b.f.Dest().String() != "d" {
		t.Error("a flow without paths waits for something")
	}
}

func TestErrorMovesPacketsAtOnce(t *testing.T) {
	b := newBench(t, way(1, 1000), way(2, 1500))
	b.states(Active, Standby)
	b.f.Suspect(b.now, way(1, 1000))
	b.uses(2)
	b.states(Suspect, Active)
	probes := b.f.Tick(b.now)
	if len(probes) != 1 || !probes[0].Path.Same(way(1, 0)) {
		t.Fatalf("probes %v, want one over the suspect", probes)
	}
	b.now = b.now.Add(3 * time.Millisecond)
	b.f.ProbeReply(b.now, probes[0].ID, Counts{})
	b.states(Standby, Active) // cleared, but packets stay
	if rtt := b.f.States()[0].RTT; rtt != 3*time.Millisecond {
		t.Errorf("RTT %v, want what was measured", rtt)
	}
	b.pass(Hold - time.Millisecond)
	b.uses(2)
	b.pass(time.Millisecond)
	b.uses(1) // a third cheaper for the hold time
}

// An answer that waited while this process stood still says that the path works, and nothing of how long it takes: else the
// path's probes would be given seconds from then on.
func TestStandstillIsNoRoundTrip(t *testing.T) {
	b := newBench(t, way(1, 1000))
	b.f.Suspect(b.now, way(1, 0))
	first := b.f.Tick(b.now)[0]
	b.now = b.now.Add(3 * time.Millisecond)
	b.f.ProbeReply(b.now, first.ID, Counts{})
	b.f.Suspect(b.now, way(1, 0))
	b.now = b.now.Add(time.Millisecond)
	second := b.f.Tick(b.now)[0]
	b.now = b.now.Add(13 * time.Second)
	b.f.Late(b.now)
	b.f.ProbeReply(b.now, second.ID, Counts{})
	b.states(Active)
	if rtt := b.f.States()[0].RTT; rtt != 3*time.Millisecond {
		t.Errorf("RTT %v", rtt)
	}
}

func TestSuspectDies(t *testing.T) {
	b := newBench(t, way(1, 1000), way(2, 1500))
	b.f.Suspect(b.now, way(1, 1000))
	probes := b.pass(299 * time.Millisecond)
	if len(probes) != 3 {
		t.Fatalf("%d probes, want 3", len(probes))
	}
	b.states(Suspect, Active)
	b.pass(time.Millisecond) // 50 + 50 + 200 ms
	b.states(Dead, Active)

	probes = b.pass(10 * time.Minute)
	if n := len(probes); n < 60 || n > 70 {
		t.Errorf("%d probes of a dead path in 10 minutes, want one each 10 s", n)
	}
	b.f.ProbeReply(b.now, probes[len(probes)-1].ID, Counts{})
	b.states(Standby, Active)
	if len(b.pass(500*time.Millisecond)) != 0 {
		t.Error("a path that is back is still probed")
	}
}

func TestLastSuspectStaysInUse(t *testing.T) {
	b := newBench(t, way(1, 1000), way(2, 1500))
	b.f.Suspect(b.now, way(1, 0))
	b.f.Suspect(b.now, way(2, 0))
	b.uses(2) // as bad as the other one: no reason to move
	if s := b.f.States()[1]; s.State != Suspect || !s.InUse {
		t.Errorf("%+v, want a suspect in use", s)
	}
	b.f.Link(b.now, 2, mesh.LinkSuspect)
	b.uses(1) // less bad
	b.pass(time.Second)
	b.uses(1) // dead like the other one, and nothing is better
	b.states(Suspect, Dead)
	b.f.Link(b.now, 1, mesh.LinkDown)
	b.uses(2)
	b.f.Link(b.now, 2, mesh.LinkDown)
	b.uses(0) // nothing can leave
	b.states(Dead, Dead)
}

func TestSlowPathHasTime(t *testing.T) {
	b := newBench(t, way(1, 500_000))
	b.f.Suspect(b.now, way(1, 0))
	probe := b.pass(0)[0]
	b.pass(time.Second)
	b.f.ProbeReply(b.now, probe.ID, Counts{}) // 1 s round trip: 3 s for an answer
	b.f.Suspect(b.now, way(1, 0))
	b.pass(4 * time.Second)
	if h := b.f.routes[0].health; h != suspected {
		t.Errorf("health %v before the last answer had its time", h)
	}
	b.pass(time.Second)
	if h := b.f.routes[0].health; h != lost {
		t.Errorf("health %v after it", h)
	}
}

// What a path costs is many times its delay where links have lost frames: a path that was never measured is not waited for as
// long as that, and what it takes is learnt all the same.
func TestCostIsNoRoundTrip(t *testing.T) {
	b := newBench(t, way(1, 1_000_000), way(2, 2_000_000))
	first := b.now
	for i := 0; len(carrying(b.f)) == 1 && carrying(b.f)[0].Labels[0] == 1; i++ {
		if i > 1000 {
			t.Fatal("a path that swallows everything is not left")
		}
		b.f.Sending(b.now, false)
		b.pass(10 * time.Millisecond)
	}
	b.uses(2)
	if took := b.now.Sub(first); took < firstTimeout || took > firstTimeout+2500*time.Millisecond {
		t.Errorf("left after %v", took)
	}
	slow := newBench(t, way(1, 1_000_000))
	slow.f.Suspect(slow.now, way(1, 0))
	probes := slow.pass(0)
	slow.pass(1500 * time.Millisecond)
	slow.f.ProbeReply(slow.now, probes[0].ID, Counts{})
	if got := slow.f.States()[0]; got.RTT != 1500*time.Millisecond || got.State != Active {
		t.Errorf("after an answer of 1.5 s: %+v", got)
	}
}

func TestOwnLink(t *testing.T) {
	b := newBench(t, way(1, 1000), way(2, 1050))
	b.f.Link(b.now, 1, mesh.LinkSuspect)
	b.uses(1)
	b.states(Suspect, Standby)
	if len(b.pass(time.Second)) != 0 {
		t.Error("end-to-end probes for a silent own link: the link's own probes judge that")
	}
	b.uses(2)
	b.states(Suspect, Active)
	b.f.Link(b.now, 1, mesh.LinkDown)
	b.states(Dead, Active)
	b.f.Link(b.now, 2, mesh.LinkDown)
	b.uses(0)
	b.f.Link(b.now, 1, mesh.LinkUp)
	b.uses(1)
	b.f.Link(b.now, 2, mesh.LinkUp)
	b.pass(time.Minute)
	b.uses(1)

	// The state of a link is known before a path uses it.
	b.f.Link(b.now, 3, mesh.LinkDown)
	b.f.SetPaths(b.now, []mesh.Path{way(3, 10), way(1, 1000)})
	b.uses(1)
}

func TestJudgementWaitsForTheLink(t *testing.T) {
	b := newBench(t, way(1, 1000))
	b.f.Suspect(b.now, way(1, 0))
	b.f.Link(b.now, 1, mesh.LinkDown)
	if len(b.pass(time.Second)) != 0 {
		t.Error("probes over a link that is down")
	}
	b.f.Link(b.now, 1, mesh.LinkUp)
	b.uses(1)
	if n := len(b.pass(time.Second)); n < 3 {
		t.Errorf("%d probes after the link came back, want a new burst", n)
	}
	if h := b.f.routes[0].health; h != lost {
		t.Errorf("health %v after the burst", h)
	}
}

func TestStaysUnlessMateriallyBetter(t *testing.T) {
	b := newBench(t, way(1, 1000), way(2, 2000))
	b.f.SetPaths(b.now, []mesh.Path{way(2, 900), way(1, 1000)})
	b.pass(time.Minute)
	b.uses(1) // 10 %, not more

	b.f.SetPaths(b.now, []mesh.Path{way(2, 899), way(1, 1000)})
	b.pass(Hold / 2)
	b.uses(1)
	b.f.SetPaths(b.now, []mesh.Path{way(2, 950), way(1, 1000)}) // not better after all: the hold starts anew
	b.f.SetPaths(b.now, []mesh.Path{way(2, 899), way(1, 1000)})
	b.pass(Hold - time.Millisecond)
	b.uses(1)
	b.pass(time.Millisecond)
	b.uses(2)

	b.f.SetPaths(b.now, []mesh.Path{way(3, 899), way(1, 1000)}) // the current one is not offered any more
	b.uses(3)
	if n := b.f.Switches(); n != 2 {
		t.Errorf("%d switches, want 2", n)
	}
}

// A path that is left for a better one keeps its flows until they pause, for a second; one that something speaks against does
// not.
func TestLeavingForABetterPath(t *testing.T) {
	move := func() *bench {
		b := newBench(t, way(1, 1000), way(2, 2000))
		b.f.SetPaths(b.now, []mesh.Path{way(2, 800), way(1, 1000)})
		b.pass(Hold)
		b.uses(2)
		b.leaving(1)
		return b
	}
	b := move()
	b.pass(leaveTime - time.Nanosecond)
	b.leaving(1)
	b.pass(time.Nanosecond)
	b.leaving()
	for name, end := range map[string]func(*bench){
		"silent":   func(b *bench) { b.f.Link(b.now, 1, mesh.LinkSuspect) },
		"down":     func(b *bench) { b.f.Link(b.now, 1, mesh.LinkDown) },
		"accused":  func(b *bench) { b.f.Suspect(b.now, way(1, 0)) },
		"doubted":  func(b *bench) { b.f.Doubt(b.now, way(1, 0)) },
		"gone":     func(b *bench) { b.f.SetPaths(b.now, []mesh.Path{way(2, 800)}) },
		"in use":   func(b *bench) { b.f.Link(b.now, 2, mesh.LinkDown) },
		"too late": func(b *bench) { b.pass(leaveTime) },
	} {
		if end(b); len(b.f.Ways()) != 1 {
			t.Errorf("%s: %+v", name, b.f.Ways())
		}
		b = move()
	}
	b.f.Suspect(b.now, way(2, 0)) // packets flee: nothing keeps them
	b.uses(1)
	b.leaving()
}

// A path that answers probes and loses packets is held off for longer each time.
func TestHoldGrowsWithSuspicions(t *testing.T) {
	b := newBench(t, way(1, 1000), way(2, 2000))
	for _, want := range []time.Duration{Hold, 2 * Hold, 4 * Hold} {
		b.f.Suspect(b.now, way(1, 0))
		b.f.ProbeReply(b.now, b.f.Tick(b.now)[0].ID, Counts{})
		b.pass(want - time.Millisecond)
		b.uses(2)
		b.pass(time.Millisecond)
		b.uses(1)
	}
	b.pass(calm)
	b.f.Suspect(b.now, way(1, 0))
	b.f.ProbeReply(b.now, b.f.Tick(b.now)[0].ID, Counts{})
	b.pass(Hold)
	b.uses(1)
}

func TestUnknownReportsAreIgnored(t *testing.T) {
	b := newBench(t, way(1, 1000))
	b.f.Suspect(b.now, way(7, 0))
	b.f.ProbeReply(b.now, 99, Counts{})
	b.states(Active)
	b.f.Suspect(b.now, way(1, 0))
	at := b.f.Deadline()
	b.pass(100 * time.Millisecond)
	b.f.Suspect(b.now, way(1, 0)) // again: the burst under way goes on
	b.pass(200 * time.Millisecond)
	if h := b.f.routes[0].health; h != lost {
		t.Errorf("health %v: the second report put the verdict off", h)
	}
	if !at.Equal(start) {
		t.Errorf("first probe due at %v, want at once", at)
	}
}

func TestStateNames(t *testing.T) {
	for s, want := range map[State]string{Dead: "dead", Suspect: "suspect", Standby: "standby", Active: "active", 9: "state(9)"} {
		if b, err := s.MarshalText(); err != nil || string(b) != want {
			t.Errorf("%s, %v; want %s", b, err, want)
		}
	}
}

// valid checks the invariants of Flow.
func (f *Flow) valid(now time.Time) error {
	allDead, best := true, dead
	for _, r := range f.routes {
		best = min(best, r.grade())
		allDead = allDead && r.grade() == dead
		if r.health != alive && r.link != mesh.LinkDown && r.next.IsZero() {
			return fmt.Errorf("a route under judgement waits for nothing")
		}
		if r.health == alive && !r.lossy && !r.next.IsZero() {
			return fmt.Errorf("a healthy route is probed")
		}
		if r.lossy && r.link != mesh.LinkDown && r.next.IsZero() {
			return fmt.Errorf("a lossy route is not tried")
		}
		if r.path.Number == 0 || r.path.Number > maxNumber {
			return fmt.Errorf("a route has the number %d", r.path.Number)
		}
		for _, o := range f.routes {
			if o != r && o.path.Number == r.path.Number {
				return fmt.Errorf("two routes have the number %d", o.path.Number)
			}
		}
		if (r.shown == Active) != (slices.Contains(f.ways(), r) && r.grade() <= leaky) {
			return fmt.Errorf("shown %v, current %v, grade %d", r.shown, r == f.current, r.grade())
		}
	}
	switch {
	case (f.current == nil) != allDead:
		return fmt.Errorf("current %v although all dead is %v", f.current, allDead)
	case f.current != nil && !slices.Contains(f.routes, f.current):
		return fmt.Errorf("current is not offered")
	case f.current != nil && f.current.grade() != best && !(f.held && (now.Before(f.moved.Add(Hold)) || !f.Deadline().After(now))) &&
		(f.current.grade() != undecided || f.Deadline().After(now) && !now.Before(f.current.decideAt)):
		return fmt.Errorf("current has grade %d, best is %d", f.current.grade(), best)
	case (f.rival == nil) != f.moveAt.IsZero():
		return fmt.Errorf("rival %v, time %v", f.rival, f.moveAt)
	case f.rival != nil && !slices.Contains(f.routes, f.rival):
		return fmt.Errorf("rival is not offered")
	}
	for _, r := range f.routes {
		switch c := r.copyTo; {
		case c == nil:
		case c == r || !slices.Contains(f.ways(), r) || !r.doubtful() || !slices.Contains(f.routes, c):
			return fmt.Errorf("packets are copied without a doubt, or to nowhere")
		case c.grade() > max(r.grade(), leaky):
			return fmt.Errorf("packets are copied to a path of grade %d", c.grade())
		}
	}
	return f.validSets(now)
}

// validSets checks the ways and the pair.
func (f *Flow) validSets(now time.Time) error {
	late := !f.Deadline().After(now)
	for i, r := range f.spread.extra {
		if r == f.current || !slices.Contains(f.routes, r) || !late && !r.serves() || r.part == 0 || slices.Contains(f.spread.extra[:i], r) {
			return fmt.Errorf("a further way is none: grade %d, part %d", r.grade(), r.part)
		}
	}
	if len(f.spread.extra) > 0 && (!f.spread.on || f.current == nil) || f.spread.on && f.cfg.Spread == SpreadOff {
		return fmt.Errorf("flows are spread for no reason")
	}
	for _, l := range f.left {
		if !late && (f.carries(l.route) || !slices.Contains(f.routes, l.route) || l.route.grade() != fit) {
			return fmt.Errorf("a way of grade %d is being left", l.route.grade())
		}
	}
	ways := f.Ways()
	for i, w := range ways {
		if w.Copy.Valid() && w.Copy.Same(w.Path) || slices.ContainsFunc(ways[:i], func(o mesh.Way) bool { return o.Number == w.Number || o.Same(w.Path) }) {
			return fmt.Errorf("way %d is another one as well", w.Number)
		}
		if last := i > 0 && ways[i-1].Share == 0; w.Share > 0 && last || w.Share == 0 && i == 0 {
			return fmt.Errorf("way %d of share %d stands at %d", w.Number, w.Share, i)
		}
	}
	living := 0
	for _, r := range f.routes {
		if r.grade() != dead {
			living++
		}
	}
	if f.kept != nil {
		living++
		if slices.Contains(f.routes, f.kept) || len(f.pair) == 0 || f.pair[0] != f.kept || !f.cfg.Protect || !late && f.kept.grade() != fit {
			return fmt.Errorf("a path is kept that is offered, not of the pair, or of grade %d", f.kept.grade())
		}
	}
	if want := min(living, 2); f.cfg.Protect && len(f.pair) != want || !f.cfg.Protect && len(f.pair) > 0 {
		return fmt.Errorf("a pair of %d, of %d paths", len(f.pair), living)
	}
	for i, r := range f.pair {
		if r.grade() == dead || !slices.Contains(f.every(), r) || slices.Contains(f.pair[:i], r) {
			return fmt.Errorf("the pair has a path that is dead, not offered, or twice")
		}
	}
	return nil
}

func TestInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f, now := New(mesh.MustNodeID("d"), Config{Protect: rapid.Bool().Draw(t, "protect"), Spread: Spread(rapid.IntRange(0, 2).Draw(t, "spread"))}), start
		var sent []Probe
		var lastMove time.Time
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 400).Draw(t, "ms")) * time.Millisecond)
			label := mesh.Label(rapid.IntRange(1, 4).Draw(t, "label"))
			before := f.current
			event := rapid.IntRange(0, 8).Draw(t, "event")
			switch event {
			case 0:
				var paths []mesh.Path
				for range rapid.IntRange(0, 3).Draw(t, "n") {
					paths = append(paths, way(mesh.Label(rapid.IntRange(1, 4).Draw(t, "l")), mesh.Cost(rapid.IntRange(100, 100_000).Draw(t, "cost"))))
				}
				n := rapid.IntRange(0, len(paths)).Draw(t, "byways")
				f.SetPaths(now, paths[n:], paths[:n]...)
			case 1:
				f.Link(now, label, mesh.LinkState(rapid.IntRange(0, 2).Draw(t, "state")))
			case 2:
				f.Suspect(now, way(label, 0))
			case 3:
				if len(sent) > 0 {
					c := Counts{
						Known: rapid.Bool().Draw(t, "counted"), Series: rapid.Uint32Max(1).Draw(t, "series"),
						Sent: rapid.Uint32Max(200).Draw(t, "out"), Received: rapid.Uint32Max(200).Draw(t, "in"),
					}
					f.ProbeReply(now, sent[rapid.IntRange(max(0, len(sent)-4), len(sent)-1).Draw(t, "probe")].ID, c)
				}
			case 5, 6:
				f.Sending(now, event == 6)
			case 7:
				f.Late(now)
			case 8:
				f.Doubt(now, way(label, 0))
			}
			if err := f.valid(now); err != nil {
				t.Fatal(err)
			}
			probes := f.Tick(now)
			sent = append(sent, probes...)
			if err := f.valid(now); err != nil {
				t.Fatal(err)
			}
			if at := f.Deadline(); !at.IsZero() && !at.After(now) {
				t.Fatalf("deadline %v is not after %v", at, now)
			}
			ways, pair, failing := f.Ways(), f.Pair(), f.Failing()
			f.given = given{}
			if !reflect.DeepEqual(ways, f.Ways()) || !reflect.DeepEqual(pair, f.Pair()) || !reflect.DeepEqual(failing, f.Failing()) {
				t.Fatalf("ways %v, pair %v or what fails, %v, are old", ways, pair, failing)
			}
			// Only health or topology moves packets twice within the hold time.
			if event == 4 && f.current != before && before != nil && f.current != nil && before.grade() == f.current.grade() {
				if now.Sub(lastMove) < Hold {
					t.Fatal("packets move to and fro")
				}
			}
			if f.current != before {
				lastMove = now
			}
		}
		for i := range sent {
			if i > 0 && sent[i].ID <= sent[i-1].ID {
				t.Fatal("a probe's ID is used twice")
			}
		}
	})
}
