package node

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"x0tta6bl4/core/link"
	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// restEnd is the fast loop of one of two nodes with a link between them, as a simulator runs it.
type restEnd struct {
	r      *Reflex
	due    time.Time
	inbox  []HelloHeard // hellos that change nothing before the next turn
	urgent []HelloHeard
	far    *restEnd
}

const restDelay = 3 * time.Millisecond

// next returns when something happens at an end.
func (e *restEnd) next() time.Time {
	at := e.due
	if whole := at.Truncate(time.Microsecond); whole.Before(at) {
		at = whole.Add(time.Microsecond)
	}
	if len(e.urgent) > 0 && !e.urgent[0].At.After(at) {
		return e.urgent[0].At
	}
	return at
}

// turn takes the turn of a time, and the hello that came at it if that asks for an answer.
func (e *restEnd) turn(now time.Time) {
	n := 0
	for n < len(e.inbox) && e.inbox[n].At.Before(now) {
		n++
	}
	e.take(now, e.r.Turn(now, e.inbox[:n], nil))
	e.inbox = slices.Delete(e.inbox, 0, n)
	for len(e.urgent) > 0 && !e.urgent[0].At.After(now) {
		ev := e.urgent[0]
		e.urgent = e.urgent[1:]
		e.take(now, e.r.Step(now, ev))
	}
	e.due = e.r.Deadline()
}

func (e *restEnd) take(now time.Time, out ReflexEffects) {
	for _, h := range out.Hellos {
		ev := HelloHeard{Label: 1, Hello: h.Hello, At: now.Add(restDelay)}
		if h.Hello.Probe || e.far.r.links[0].state != mesh.LinkUp {
			e.far.urgent = append(e.far.urgent, ev)
			continue
		}
		e.far.inbox = append(e.far.inbox, ev)
	}
}

// atRest returns two nodes whose link has just been put to rest, always the same ones, and when that was.
func atRest(t *testing.T) (ends [2]*restEnd, s *link.Steady, now time.Time) {
	t.Helper()
	shared := NewShared()
	for i := range ends {
		ends[i] = &restEnd{r: NewReflex(Config{Self: self, Rand: seeded(byte(i)), Shared: shared}), due: epoch}
	}
	ends[0].far, ends[1].far = ends[1], ends[0]
	for _, e := range ends {
		e.r.Step(epoch, LinkSet{Label: 1, Neighbour: zeta, Session: 1, Remote: netip.MustParseAddrPort("192.0.2.1:1"), MTU: wire.MaxFrame})
	}
	for now = epoch; now.Before(epoch.Add(time.Minute)); {
		e := ends[0]
		if ends[1].next().Before(e.next()) {
			e = ends[1]
		}
		now = e.next()
		e.turn(now)
		if len(ends[0].urgent)+len(ends[1].urgent) > 0 {
			continue
		}
		var flying [2][]link.Flight
		for side := range ends {
			for _, h := range ends[1-side].inbox {
				flying[side] = append(flying[side], link.Flight{Outgoing: link.Outgoing{Hello: h.Hello}, At: h.At})
			}
		}
		if s = Rest(LinkEnd{ends[0].r, 1}, LinkEnd{ends[1].r, 1}, restDelay, flying); s != nil {
			return ends, s, now
		}
	}
	t.Fatal("the link never rests")
	return ends, nil, now
}

// Turns that are taken late, all at once, leave both nodes as if each had been taken at its time: the same hellos are on their
// way with the same echoes, and the next turns are due at the same moments. Whose are taken first does not matter.
func TestCatchUp(t *testing.T) {
	type outcome struct {
		flying [2][]link.Flight
		due    [2]time.Time
		sent   [2]int
	}
	run := func(first int, lazy bool) (o outcome) {
		ends, s, now := atRest(t)
		until := ends[0].r.Doze()
		if span := until.Sub(now); span < time.Second || span > 5*time.Second || ends[1].r.Doze() != until {
			t.Fatalf("a link that has just come to rest is quiet for %v", span)
		}
		for !lazy {
			e := ends[0]
			if e.due = e.r.Deadline(); ends[1].r.Deadline().Before(e.due) {
				e = ends[1]
			}
			e.due = e.r.Deadline()
			if now = e.next(); !now.Before(until) {
				break
			}
			if out := e.r.Turn(now, nil, nil); len(out.Hellos)+len(out.Stirs) > 0 {
				t.Fatalf("a quiet link does something: %+v", out)
			}
		}
		if lazy {
			for _, side := range [...]int{first, 1 - first} {
				if last := ends[side].r.CatchUp(until, time.Microsecond); last.Before(until.Add(-60*time.Millisecond)) || !last.Before(until) {
					t.Fatalf("the last turn before %v was %v", until, last)
				}
				if last := ends[side].r.CatchUp(until, time.Microsecond); !last.IsZero() {
					t.Fatalf("a turn is left at %v", last)
				}
			}
		}
		for side, e := range ends {
			o.sent[side], _, _ = s.Take(side)
			o.due[side] = e.r.Deadline()
		}
		o.flying = Wake(s, LinkEnd{ends[0].r, 1}, LinkEnd{ends[1].r, 1})
		return o
	}
	want := run(0, false)
	for first := range 2 {
		got := run(first, true)
		same := got.due == want.due && got.sent == want.sent
		for side := range got.flying {
			same = same && slices.Equal(got.flying[side], want.flying[side])
		}
		if !same || want.sent[0] < 15 {
			t.Errorf("caught up:\n%+v\nstep by step:\n%+v", got, want)
		}
	}
}

// A node with destinations, or with a link that does not rest, does not doze.
func TestDoze(t *testing.T) {
	ends, s, now := atRest(t)
	r := ends[0].r
	if r.Doze().IsZero() {
		t.Fatal("it does not doze")
	}
	r.Step(now, PeerSet{Node: zeta})
	if !r.Doze().IsZero() {
		t.Error("it dozes with a destination")
	}
	r.Step(now, PeerGone{Node: zeta})
	if r.Doze().IsZero() {
		t.Error("it does not doze any more")
	}
	Wake(s, LinkEnd{ends[0].r, 1}, LinkEnd{ends[1].r, 1})
	if !r.Doze().IsZero() || !ends[1].r.Doze().IsZero() {
		t.Error("it dozes with a link that does not rest")
	}
}
