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
