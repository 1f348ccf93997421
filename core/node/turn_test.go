package node

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"x0tta6bl4/mesh"
	"x0tta6bl4/wire"
)

// calmLoop is a fast loop that lets hellos wait for its next turn, and the links that it has.
type calmLoop struct {
	r      *Reflex
	due    time.Time
	inbox  []HelloHeard
	far    map[mesh.Label]*calmLoop // who is at the other end
	theirs map[mesh.Label]mesh.Label
	up     int
	turns  int
}

// star runs a node with so many neighbours, each of which has no other, for a time, and returns how often each loop
// turned in the second half of it. putOff says whether hellos that wait put a turn off.
func star(t *testing.T, neighbours int, d time.Duration, putOff bool) (centre, leaf float64) {
	const way = time.Millisecond
	start := epoch
	loops := make([]*calmLoop, neighbours+1)
	for i := range loops {
		loops[i] = &calmLoop{
			r: NewReflex(Config{Self: mesh.MustNodeID(fmt.Sprintf("n%d", i)), Rand: seeded(byte(i))}), due: start,
			far: map[mesh.Label]*calmLoop{}, theirs: map[mesh.Label]mesh.Label{},
		}
	}
	join := func(a, b *calmLoop, la, lb mesh.Label, at time.Time) {
		a.far[la], a.theirs[la] = b, lb
		a.r.Step(at, LinkSet{Label: la, Neighbour: mesh.MustNodeID("x"), Session: mesh.ConnID(la), Remote: netip.MustParseAddrPort("192.0.2.1:1"), MTU: wire.MaxFrame})
	}
	for i := 1; i <= neighbours; i++ {
		at := start.Add(time.Duration(i) * 7 * time.Millisecond)
		join(loops[0], loops[i], mesh.Label(i), 1, at)
		join(loops[i], loops[0], 1, mesh.Label(i), at)
		loops[i].due = at
	}
	for now := start; now.Before(start.Add(d)); now = now.Add(100 * time.Microsecond) {
		for _, l := range loops {
			var come []HelloHeard
			for _, h := range l.inbox {
				if h.At.Before(now) {
					come = append(come, h)
				}
			}
			asked := len(come) > 0 && (come[len(come)-1].Hello.Probe || l.up < len(l.far))
			if now.Before(l.due) && !asked {
				continue
			}
			if putOff && !asked {
				var w Waits
				l.r.Waits(&w)
				for i := range come {
					w.Hello(&come[i])
				}
				if l.due = w.Deadline(); now.Before(l.due) {
					continue
				}
			}
			l.inbox = l.inbox[len(come):]
			if l.turns++; now.Before(start.Add(d / 2)) {
				l.turns = 0
			}
			out := l.r.Turn(now, come, nil)
			for _, h := range out.Hellos {
				far := l.far[h.Label]
				far.inbox = append(far.inbox, HelloHeard{Label: l.theirs[h.Label], Hello: h.Hello, At: now.Add(way)})
			}
			for _, ev := range out.Report {
				if r, ok := ev.(LinkReport); ok && r.Status.State != mesh.LinkUp && now.Sub(start) > time.Second {
					t.Errorf("%v: %v", now.Sub(start), r)
				}
			}
			l.up = 0
			for _, x := range l.r.links {
				if x.state == mesh.LinkUp {
					l.up++
				}
			}
			l.due = l.r.Deadline()
		}
	}
	for _, l := range loops[1:] {
		leaf += float64(l.turns) / float64(neighbours) / (d.Seconds() / 2)
	}
	return float64(loops[0].turns) / (d.Seconds() / 2), leaf
}

// A node at rest turns once for each round of its own hellos, however its neighbours' come in between.
func TestNodeAtRestTurnsOnceForEachHello(t *testing.T) {
	for _, n := range []int{1, 4, 8} {
		if centre, leaf := star(t, n, 20*time.Second, true); centre > 23 || leaf > 23 || leaf < 18 {
			t.Errorf("%d neighbours: %.1f turns a second with hellos 20 times a second, %.1f at each neighbour", n, centre, leaf)
		}
	}
	if centre, _ := star(t, 8, 10*time.Second, false); centre < 30 {
		t.Errorf("%.1f turns a second without putting off: the test shows nothing", centre)
	}
}

// Hellos can wait only where turns are frequent and no link is in doubt.
func TestReflexIsPatientAtRestOnly(t *testing.T) {
	f := newFast(t)
	if f.r.Patient() {
		t.Error("patient without a link")
	}
	f.do(linkSet(1, mesh.MustNodeID("a"), 11))
	if f.r.Patient() {
		t.Error("patient before the link is up")
	}
	f.pass(5 * time.Second)
	if !f.r.Patient() {
		t.Error("impatient at rest")
	}
	f.do(linkSet(2, mesh.MustNodeID("b"), 12))
	if f.r.Patient() {
		t.Error("patient while a link comes up")
	}
	f.pass(5 * time.Second)
	f.broken[2] = true
	f.pass(time.Second)
	if f.r.Patient() {
		t.Error("patient right after a link fell")
	}
	f.pass(12 * time.Second)
	if !f.r.Patient() {
		t.Error("impatient for a neighbour that is long gone")
	}
	slow := linkSet(1, mesh.MustNodeID("a"), 11)
	slow.Hello = 2 * patience
	f.do(slow)
	if f.r.Patient() {
		t.Error("patient with hellos that are seldom")
	}
}
