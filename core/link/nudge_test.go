package link

import (
	"testing"
	"time"

	"x0tta6bl4/mesh"
)

func TestNudgeSaysHelloNow(t *testing.T) {
	p := newPair(t, 1, Config{Hello: time.Second}, Config{Hello: time.Second})
	p.until(mesh.LinkUp, 10*time.Second)
	m := p.m[0]
	at := p.now.Add(time.Millisecond)
	if out := m.Tick(at); len(out.Send) != 0 {
		t.Fatal("a hello was due anyway")
	}
	m.Nudge(at)
	if !m.Deadline().Equal(at) {
		t.Errorf("due in %s", m.Deadline().Sub(at))
	}
	if out := m.Tick(at); len(out.Send) == 0 {
		t.Error("no hello")
	}
	if out := m.Tick(at.Add(time.Millisecond)); len(out.Send) != 0 {
		t.Error("a second hello")
	}
}

// A cut link is down at once, and comes back as after a fall when frames pass again.
func TestCut(t *testing.T) {
	p := newPair(t, 2, Config{}, Config{})
	p.until(mesh.LinkUp, time.Second)
	p.run(10 * time.Second)
	m := p.m[0]
	m.Cut()
	if !m.Deadline().Equal(m.now) {
		t.Error("nothing is due")
	}
	if out := m.Tick(p.now); !out.Changed || p.state(0) != mesh.LinkDown {
		t.Fatalf("state %v", p.state(0))
	}
	m.Cut()
	if out := m.Tick(p.now); out.Changed || m.damp.falls != 1 {
		t.Errorf("cut twice: %+v, %d falls", out, m.damp.falls)
	}
	if took := p.until(mesh.LinkUp, time.Second); took[0] > 500*time.Millisecond {
		t.Errorf("back after %s", took[0])
	}
}
