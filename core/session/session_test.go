package session

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"x0tta6bl4/mesh"
)

var (
	alpha = mesh.MustNodeID("alpha")
	beta  = mesh.MustNodeID("beta")
	t0    = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
)

func at(d time.Duration) time.Time { return t0.Add(d) }

func add(p *Peer, id mesh.ConnID, opener mesh.NodeID, when, end time.Duration, boot uint64) {
	p.Add(Conn{ID: id, Opener: opener, Established: at(when), HardEnd: at(end)})
	p.Confirm(id, boot)
}

func TestBothBeginAtOnce(t *testing.T) {
	for _, self := range []mesh.NodeID{alpha, beta} {
		p := New(self)
		add(p, 1, beta, 0, time.Hour, 7)
		add(p, 2, alpha, time.Second, time.Hour, 7)
		add(p, 3, beta, 2*time.Second, time.Hour, 7)
		d := p.Decide(at(2 * time.Second))
		if d.Use != 2 {
			t.Errorf("seen from %v: use = %d, want 2, which the smaller ID opened", self, d.Use)
		}
		if len(d.Close) != 0 {
			t.Errorf("closed %v at once: packets in flight would be lost", d.Close)
		}
		d = p.Decide(at(2*time.Second + linger))
		if wantClosed := self == beta; (len(d.Close) == 2) != wantClosed {
			t.Errorf("seen from %v after the linger time: closed %v", self, d.Close)
		}
		d = p.Decide(at(2*time.Second + lingerOther))
		if len(p.Conns()) != 1 || d.Use != 2 {
			t.Errorf("seen from %v at last: connections %v, use %d", self, p.Conns(), d.Use)
		}
	}
}

func TestRenewalMakesBeforeBreak(t *testing.T) {
	p := New(alpha)
	add(p, 1, alpha, 0, 20*time.Second, 1)
	if d := p.Decide(at(time.Second)); d.Use != 1 || d.Renew {
		t.Fatalf("fresh session: %+v", d)
	}
	p.RenewAt(at(10 * time.Second))
	if d := p.Decide(at(9 * time.Second)); d.Renew {
		t.Fatal("renewed before the time asked for")
	}
	if !p.RenewDue().Equal(at(10 * time.Second)) {
		t.Fatalf("deadline %v, want the renewal", p.RenewDue())
	}
	if d := p.Decide(at(10 * time.Second)); !d.Renew || d.Use != 1 {
		t.Fatalf("at the time asked for: %+v", d)
	}
	p.Add(Conn{ID: 2, Opener: alpha, Established: at(11 * time.Second), HardEnd: at(60 * time.Second)})
	if d := p.Decide(at(11 * time.Second)); d.Use != 1 {
		t.Fatalf("uses %d before the peer's index is known", d.Use)
	}
	p.Confirm(2, 1)
	if d := p.Decide(at(11 * time.Second)); d.Use != 2 || d.Renew || len(d.Close) != 0 {
		t.Fatalf("with the successor: %+v", d)
	}
	if d := p.Decide(at(11*time.Second + linger)); len(d.Close) != 1 || d.Close[0] != 1 {
		t.Fatalf("the old one was not closed: %+v", d)
	}
}

// One end stands still after both dialled, before it knows of the winner: the other one uses that, and keeps what it knows.
func TestStoodStillBetweenTwo(t *testing.T) {
	stop := 20 * time.Second // core/node, sleptLong: after a longer one it makes new ones
	there, here := New(beta), New(alpha)
	for _, p := range []*Peer{there, here} {
		add(p, 1, beta, 0, time.Hour, 1)
		p.Decide(at(0))
		p.Add(Conn{ID: 2, Opener: alpha, Established: at(time.Second), HardEnd: at(time.Hour)})
	}
	there.Confirm(2, 1)
	if d := there.Decide(at(time.Second)); d.Use != 2 {
		t.Fatalf("the other end uses %d", d.Use)
	}
	if d := there.Decide(at(time.Second + stop)); len(d.Close) != 0 {
		t.Fatalf("the other end closed %v, by which this one will send", d.Close)
	}
	d := here.Decide(at(time.Second + stop))
	if d.Use != 1 || len(d.Close) != 1 || d.Close[0] != 2 {
		t.Fatalf("back again: %+v", d)
	}
	there.Closed(2)
	if d := there.Decide(at(2*time.Second + stop)); d.Use != 1 || !there.Valid() {
		t.Errorf("the other end is left with %+v", d)
	}
}

// A renewal by the end with the larger ID comes within seconds of one by the smaller: the longer life wins.
func TestLongerLifeWinsOverTieBreak(t *testing.T) {
	p := New(alpha)
	add(p, 1, alpha, 0, 20*time.Second, 1)
	add(p, 2, beta, 2*time.Second, 30*time.Second, 1)
	if d := p.Decide(at(3 * time.Second)); d.Use != 2 {
		t.Fatalf("use = %d", d.Use)
	}
}

func TestSuccessorWithoutRotation(t *testing.T) {
	p := New(alpha)
	add(p, 1, alpha, 0, 24*time.Hour, 1)
	p.Decide(at(0))
	if !p.RenewDue().Equal(at(maxAge)) {
		t.Fatalf("a session of a day is renewed at %v, want after %v", p.RenewDue().Sub(t0), maxAge)
	}
	if d := p.Decide(at(maxAge)); !d.Renew {
		t.Fatal("not renewed within the hour")
	}
	p = New(alpha)
	add(p, 1, alpha, 0, 16*time.Second, 1)
	if d := p.Decide(at(14 * time.Second)); !d.Renew {
		t.Fatal("a short session asks at seven eighths of its life")
	}
}

func TestEnds(t *testing.T) {
	p := New(alpha)
	add(p, 1, alpha, 0, 10*time.Second, 5)
	p.Add(Conn{ID: 2, Opener: beta, Established: at(0), HardEnd: at(time.Hour)})
	if d := p.Decide(at(10 * time.Second)); d.Use != 0 || len(d.Close) != 2 {
		t.Errorf("at the hard end of one, and with the other never confirmed: %+v", d)
	}
	add(p, 3, alpha, 0, time.Hour, 5)
	add(p, 4, beta, time.Minute, time.Hour, 5)
	if dead := p.Confirm(4, 6); len(dead) != 1 || dead[0] != 3 {
		t.Errorf("a restart of the peer ends older sessions: %v", dead)
	}
	if dead := p.EndBefore(9); len(dead) != 1 || !p.Empty() {
		t.Errorf("EndBefore: %v", dead)
	}
	if !p.Deadline().IsZero() || !p.Established().IsZero() {
		t.Errorf("an empty peer: deadline %v", p.Deadline())
	}
	if d := p.Decide(at(time.Minute)); d.Use != 0 {
		t.Errorf("use %d of an empty peer", d.Use)
	}
	if p.Confirm(77, 1) != nil || p.Has(77) {
		t.Error("an unknown connection was confirmed")
	}
}

// Both ends see the same connections, in different orders and with different delays: they settle on the same one,
// neither ever holds more than the bound, and at no time is there none to use while a living one is confirmed.
func TestAgreement(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ends := [2]*Peer{New(alpha), New(beta)}
		now := time.Duration(0)
		n := rapid.IntRange(1, 12).Draw(t, "connections")
		for i := range n {
			now += time.Duration(rapid.IntRange(0, 8000).Draw(t, "gap")) * time.Millisecond
			opener := []mesh.NodeID{alpha, beta}[rapid.IntRange(0, 1).Draw(t, "opener")]
			end := now + time.Duration(rapid.IntRange(20, 40).Draw(t, "life"))*time.Second
			for _, e := range ends {
				add(e, mesh.ConnID(i+1), opener, now, end, 1)
				d := e.Decide(at(now))
				if d.Use == 0 || !e.Valid() || len(e.Conns()) > maxConns {
					t.Fatalf("after connection %d: %+v, %v", i+1, d, e.Conns())
				}
			}
		}
		var use [2]mesh.ConnID
		for step := time.Duration(0); step < 16*time.Second; step += time.Second {
			for i, e := range ends {
				use[i] = e.Decide(at(now + step)).Use
			}
		}
		if use[0] != use[1] {
			t.Fatalf("one end uses %d, the other %d", use[0], use[1])
		}
	})
}

// Of more connections than are kept that goes which serves nobody: neither the one in use, nor the first that lost, by which an end
// sends that stood still, nor the last ones, nor the successor that is being made.
func TestWhichConnectionGoes(t *testing.T) {
	lives := func(p *Peer) (ids []mesh.ConnID) {
		p.Decide(at(40 * time.Second))
		if !p.Valid() {
			t.Fatalf("%+v", p)
		}
		return p.Conns()
	}
	flapping := func(n int, of func(i int) time.Duration) *Peer {
		p := New(beta) // the other end of it opens
		for i := range n {
			add(p, mesh.ConnID(i+1), alpha, of(i), time.Hour, 1)
			p.Decide(at(of(i)))
		}
		return p
	}
	often := func(i int) time.Duration { return 10*time.Second + time.Duration(i)*2500*time.Millisecond }
	for _, tt := range []struct {
		name string
		make func() *Peer
		want []mesh.ConnID
	}{
		{"a link that comes and goes", func() *Peer { return flapping(12, often) }, []mesh.ConnID{1, 6, 7, 8, 9, 10, 11, 12}},
		{"what the peer does not know first", func() *Peer {
			p := flapping(8, often)
			p.Doubt(7)
			p.Doubt(4)
			add(p, 9, alpha, 39*time.Second, time.Hour, 1)
			return p
		}, []mesh.ConnID{1, 2, 3, 5, 6, 7, 8, 9}},
		{"but not if it is the best there is", func() *Peer {
			p := flapping(8, often)
			for id := range mesh.ConnID(9) {
				p.Doubt(id)
			}
			p.Add(Conn{ID: 9, Opener: alpha, Established: at(39 * time.Second), HardEnd: at(time.Hour)})
			return p
		}, []mesh.ConnID{2, 3, 4, 5, 6, 7, 8, 9}},
		{"a successor is kept", func() *Peer {
			p := flapping(8, often)
			p.Add(Conn{ID: 9, Opener: alpha, Established: at(39 * time.Second), HardEnd: at(time.Hour)})
			return p
		}, []mesh.ConnID{1, 3, 4, 5, 6, 7, 8, 9}},
		{"but one", func() *Peer {
			p := flapping(6, often)
			for id := mesh.ConnID(7); id < 11; id++ {
				p.Add(Conn{ID: id, Opener: alpha, Established: at(39 * time.Second), HardEnd: at(time.Hour)})
			}
			return p
		}, []mesh.ConnID{1, 2, 3, 4, 5, 6, 9, 10}},
	} {
		if got := lives(tt.make()); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v are left, want %v", tt.name, got, tt.want)
		}
	}
}

// The rules are an order: of three connections the best does not depend on which two are compared first.
func TestBetterIsAnOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(id mesh.ConnID) Conn {
			return Conn{
				ID:          id,
				Opener:      []mesh.NodeID{alpha, beta}[rapid.IntRange(0, 1).Draw(t, "opener")],
				Established: at(time.Duration(rapid.IntRange(0, 24).Draw(t, "established")) * 500 * time.Millisecond),
				HardEnd:     at(time.Hour + time.Duration(rapid.IntRange(0, 6).Draw(t, "end"))*500*time.Millisecond),
			}
		}
		a, b, c := draw(1), draw(2), draw(3)
		if better(a, b) == better(b, a) {
			t.Fatalf("%+v and %+v are not ordered", a, b)
		}
		if better(a, b) && better(b, c) && !better(a, c) {
			t.Fatalf("%+v, %+v, %+v go round", a, b, c)
		}
	})
}

// What is pending and when something is due, through the life of one connection.
func TestDeadlines(t *testing.T) {
	p := New(alpha)
	if p.Use() != 0 || p.Pending() || !p.RenewDue().IsZero() {
		t.Error("something is due of nothing")
	}
	first := Conn{ID: 1, Opener: alpha, Established: at(0), HardEnd: at(time.Hour)}
	p.Add(first)
	p.Add(first) // again: nothing
	p.Decide(at(0))
	if !p.Pending() || len(p.Conns()) != 1 || !p.Deadline().Equal(at(confirmLimit)) || !p.Established().IsZero() {
		t.Errorf("unconfirmed: deadline %v, connections %v", p.Deadline(), p.Conns())
	}
	p.Confirm(1, 1)
	p.Decide(at(time.Second))
	if p.Pending() || p.Use() != 1 || !p.Deadline().Equal(at(time.Hour)) || !p.Established().Equal(at(0)) {
		t.Errorf("in use: deadline %v", p.Deadline())
	}
	add(p, 2, alpha, 10*time.Second, 2*time.Hour, 1)
	p.Decide(at(10 * time.Second))
	if p.Use() != 2 || !p.Deadline().Equal(at(10*time.Second+linger)) {
		t.Errorf("superseded: use %d, deadline %v", p.Use(), p.Deadline())
	}
	p.Closed(2) // before the other's time is over: that is in use again
	if d := p.Decide(at(11 * time.Second)); d.Use != 1 || !p.Valid() {
		t.Errorf("after the loss of the better one: %+v", d)
	}
	if d := p.Decide(at(11*time.Second + lingerOther)); len(d.Close) != 0 {
		t.Errorf("closed what is in use again: %+v", d)
	}
}

func TestBackoff(t *testing.T) {
	r := rand.New(rand.NewChaCha8([32]byte{1}))
	b := Backoff{First: 100 * time.Millisecond, Max: time.Second}
	longest := time.Duration(0)
	for i := range 50 {
		w := b.Next(r)
		longest = max(longest, w)
		if w < 50*time.Millisecond || w > time.Second {
			t.Fatalf("wait %d is %v", i, w)
		}
	}
	if longest < 800*time.Millisecond {
		t.Errorf("never waited longer than %v", longest)
	}
	b.Reset()
	if w := b.Next(r); w > 100*time.Millisecond {
		t.Errorf("after a success: %v", w)
	}
}

func TestIndices(t *testing.T) {
	r := rand.New(rand.NewChaCha8([32]byte{2}))
	var x Indices
	seen := map[uint32]bool{}
	for range 1000 {
		i := x.Take(r)
		if i == 0 || seen[i] {
			t.Fatalf("index %d twice, or zero", i)
		}
		seen[i] = true
	}
	x.Release(1)
}
