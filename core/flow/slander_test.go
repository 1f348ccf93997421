package flow

import (
	"testing"
	"time"

	"x0tta6bl4/mesh"
)

// slander has who is on some paths accuse the one in use, once in 50 ms, for a time; all probes are answered after 20 ms. It returns
// how often packets moved, and for how long they went by a path that was accused, alone.
func (b *bench) slander(d time.Duration, on ...mesh.Label) (moves int, alone time.Duration) {
	b.Helper()
	var sent []Probe
	var at []time.Time
	was := b.f.Ways()[0].Labels[0]
	for end, i := b.now.Add(d), 0; b.now.Before(end); i++ {
		if i%5 == 0 {
			b.f.Sending(b.now, false)
			for _, l := range on {
				if b.f.Ways()[0].Labels[0] == l {
					b.f.Suspect(b.now, b.f.Ways()[0].Path)
				}
			}
		}
		for _, p := range b.pass(10 * time.Millisecond) {
			sent, at = append(sent, p), append(at, b.now)
		}
		for len(sent) > 0 && b.now.Sub(at[0]) >= 20*time.Millisecond {
			b.f.ProbeReply(b.now, sent[0].ID, Counts{})
			sent, at = sent[1:], at[1:]
		}
		if now := b.f.Ways()[0].Labels[0]; now != was {
			was = now
			moves++
		}
		if b.f.current.grade() >= accused && !b.f.Ways()[0].Copy.Valid() {
			alone += 10 * time.Millisecond
		}
	}
	return moves, alone
}

// Who is on both paths and accuses whichever is in use moves packets once in Hold at most; while they stay in spite of an
// accusation they are copied. A path that he is not on is found, and kept.
func TestSlanderDoesNotSwingPackets(t *testing.T) {
	b := newBench(t, way(1, 1000), way(2, 1050))
	if moves, alone := b.slander(20*time.Second, 1, 2); moves > 20+2 || alone > 100*time.Millisecond {
		t.Errorf("%d moves in 20 s, %v alone by a path that was accused", moves, alone)
	}
	b = newBench(t, way(1, 1000), way(2, 1050), way(3, 1080))
	if moves, _ := b.slander(20*time.Second, 1, 2); moves > 4 {
		t.Errorf("%d moves in 20 s though there is a path apart", moves)
	}
	b.uses(3)

	b = newBench(t, way(1, 1000), way(2, 1050))
	b.f.routes[1].condemn(b.now)
	moves := 0
	for range 20 {
		b.f.routes[1].loss.recent = tally{100, 20} // it is no better yet
		b.f.routes[1].trialFrom = time.Time{}
		n, _ := b.slander(time.Second, 1)
		moves += n
	}
	if moves > 20+2 || !b.f.routes[1].lossy {
		t.Errorf("%d moves in 20 s beside a lossy path", moves)
	}
}

// An accusation that is true is believed within the time that the probes have, however often others were false before; until then
// every packet goes by the other path, too.
func TestTrueAccusationAfterFalseOnes(t *testing.T) {
	b := newBench(t, way(1, 1000), way(2, 1050))
	b.slander(5*time.Second, 1, 2)
	for b.f.current.health != alive {
		b.answer(10 * time.Millisecond)
	}
	fails := b.f.Ways()[0].Path
	other := 3 - fails.Labels[0]
	b.f.moved = b.now // the worst moment
	b.f.Suspect(b.now, fails)
	for end := b.now.Add(500 * time.Millisecond); b.now.Before(end); {
		for _, p := range b.pass(10 * time.Millisecond) {
			if p.Path.Labels[0] == other {
				b.f.ProbeReply(b.now, p.ID, Counts{})
			}
		}
		if w := b.f.Ways()[0]; w.Labels[0] != other && (!w.Copy.Valid() || w.Copy.Labels[0] != other) {
			t.Fatalf("packets go by %v alone", w.Labels)
		}
	}
	b.uses(other)
}

// accusedAnew returns paths that were both accused for nothing lately, the packets having just moved, and the path in use, which an
// error accuses now.
func accusedAnew(t *testing.T, rtt time.Duration, spread Spread) (*bench, mesh.Path) {
	t.Helper()
	b := newBench(t, way(1, 1000), way(2, 1050))
	b.f.Configure(b.now, Config{Spread: spread})
	b.answer(3 * time.Second)
	for _, r := range b.f.routes {
		r.rtt, r.heard, r.cleared = rtt, true, b.now
	}
	b.f.moved = b.now
	path := b.f.current.path
	b.f.Suspect(b.now, path)
	if !b.f.current.path.Same(path) {
		t.Fatal("packets are not held: this tests nothing")
	}
	return b, path
}

// Packets that are held on a path in spite of an error, and that there is no room to copy, are lost for no longer than the answer takes
// that would disprove the error. Where packets go by the other path already, all do from then on.
func TestHeldPacketsLeaveWhenTheAnswerIsLate(t *testing.T) {
	for _, spread := range []Spread{SpreadOff, SpreadAlways} {
		for _, rtt := range []time.Duration{5 * time.Millisecond, 20 * time.Millisecond, 100 * time.Millisecond, 300 * time.Millisecond} {
			b, fails := accusedAnew(t, rtt, spread)
			last, from := b.now, b.now
			for b.now.Sub(from) < 2*time.Second {
				for _, p := range b.pass(5 * time.Millisecond) {
					if !p.Path.Same(fails) {
						b.f.ProbeReply(b.now, p.ID, Counts{})
					}
				}
				for _, w := range carrying(b.f) {
					if w.Path.Same(fails) {
						last = b.now
					}
				}
			}
			if d := last.Sub(from); d > rtt+linkAnswer {
				t.Errorf("spread %s, rtt %v: packets go by the dead path for %v", spread, rtt, d)
			}
		}
	}
}

// While the answer may still come nothing changes, and when it comes nothing does.
func TestHeldPacketsStayUntilTheAnswer(t *testing.T) {
	b, path := accusedAnew(t, 100*time.Millisecond, SpreadOff)
	sent := b.pass(90 * time.Millisecond)
	if w := b.f.Ways()[0]; !w.Path.Same(path) || !w.Copy.Valid() {
		t.Errorf("packets go by %v, copied to %v", w.Labels, w.Copy.Labels)
	}
	b.f.ProbeReply(b.now, sent[0].ID, Counts{})
	b.answer(Hold)
	if w := b.f.Ways()[0]; !w.Path.Same(path) || w.Copy.Valid() {
		t.Errorf("packets go by %v, copied to %v", w.Labels, w.Copy.Labels)
	}
}

// The deadline says when the answer is late.
func TestLateAnswerHasADeadline(t *testing.T) {
	b, path := accusedAnew(t, 100*time.Millisecond, SpreadOff)
	at := b.now.Add(100*time.Millisecond + linkAnswer)
	b.pass(100 * time.Millisecond)
	if d := b.f.Deadline(); !d.Equal(at) {
		t.Errorf("the deadline is %v, want %v", d.Sub(b.now), at.Sub(b.now))
	}
	b.pass(linkAnswer)
	if w := b.f.Ways()[0]; w.Path.Same(path) || !w.Copy.Same(path) {
		t.Errorf("packets go by %v, copied to %v", w.Labels, w.Copy.Labels)
	}
}

// Where a relay doubts its link for longer than a doubt may last, and packets are held, the loop does not turn for nothing until the
// hold ends.
func TestHeldDoubtIsNoDeadline(t *testing.T) {
	b := newBench(t, way(1, 1000), way(2, 1050))
	b.answer(time.Second)
	for _, r := range b.f.routes {
		r.cleared = b.now
	}
	from := b.now
	for b.now.Sub(from) < doubtMost+100*time.Millisecond {
		b.f.moved = from.Add(doubtMost / 2)
		b.f.Doubt(b.now, b.f.current.path)
		b.answer(50 * time.Millisecond)
	}
	if at := b.f.Deadline(); !b.f.held || !at.After(b.now) {
		t.Errorf("held: %t; the deadline is %v", b.f.held, at.Sub(b.now))
	}
}
