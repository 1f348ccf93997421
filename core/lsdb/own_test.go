package lsdb

import (
	"errors"
	"testing"
	"time"

	"x0tta6bl4/mesh"
)

// self is a database with the author that signs for it.
type self struct {
	*DB
	t *testing.T
	a *author
}

func newSelf(t *testing.T, name string, now time.Time) *self {
	a := newAuthor(name, now)
	s := &self{New(a.id, Config{Incarnation: a.incarnation, Boot: a.boot}), t, a}
	s.record(now)
	return s
}

func (s *self) record(now time.Time) Outcome {
	s.t.Helper()
	s.a.recordSeq = s.NextRecordSeq() - 1
	out, err := s.SetSelf(now, KindRecord, s.a.record(now), s.a.end)
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

// announce is what the node's loop does: originate, sign, set.
func (s *self) announce(now time.Time, links ...mesh.Adjacency) (Outcome, bool) {
	s.t.Helper()
	l, ok := s.Originate(now, links)
	if !ok {
		return Outcome{}, false
	}
	out, err := s.SetSelf(now, KindLSA, s.a.signed(l), s.a.end)
	if err != nil {
		s.t.Fatal(err)
	}
	check(s.t, s.DB)
	return out, true
}

// wait calls announce at each deadline until an LSA is out and returns when.
func (s *self) wait(from time.Time, limit time.Duration, links ...mesh.Adjacency) time.Duration {
	s.t.Helper()
	for now := from; now.Sub(from) <= limit; {
		s.Expire(now)
		if _, ok := s.announce(now, links...); ok {
			return now.Sub(from)
		}
		at := s.Deadline()
		if !at.After(now) {
			s.t.Fatalf("deadline %v is not after %v", at, now)
		}
		now = at
	}
	return -1
}

func TestPaceOfOwnLSAs(t *testing.T) {
	s := newSelf(t, "self", epoch)
	now := epoch
	if d := s.wait(now, time.Second); d >= 0 {
		t.Error("announced before there was a link")
	}
	l1, l2 := link("a", 1, 1, 10), link("b", 2, 2, 10)
	if d := s.wait(now, time.Second, l1); d != bundle {
		t.Errorf("the first after %v", d)
	}
	now = now.Add(100 * time.Millisecond)
	if d := s.wait(now, 5*time.Second, l1, l2); d != bundle {
		t.Errorf("a new link after %v", d)
	}
	now = now.Add(time.Second)
	if d := s.wait(now, 5*time.Second, l2); d != 0 {
		t.Errorf("a lost link after %v", d)
	}
	now = now.Add(10 * time.Millisecond)
	l2.Suspect = true
	if d := s.wait(now, 10*time.Second, l2); d < stands || d > young {
		t.Errorf("a suspicion that stays after %v", d)
	}
	now = now.Add(6 * time.Second)
	l2.Suspect = false
	if d := s.wait(now, 10*time.Second, l2); d < 500*time.Millisecond || d > paceClear {
		t.Errorf("the end of a suspicion after %v", d)
	}
	now = now.Add(10 * time.Minute)
	if d := s.wait(now, time.Hour, l2); d > Lifetime/3 {
		t.Errorf("renewed after %v", d)
	}
}

// A link that comes and goes is announced at most twice a second, however long it goes on, and every time it is back
// within a second: it may be the only way to somebody.
func TestLinkThatComesAndGoes(t *testing.T) {
	s := newSelf(t, "self", epoch)
	l1, l2 := link("a", 1, 1, 10), link("b", 2, 2, 10)
	s.wait(epoch, time.Second, l1)
	n, now := 0, epoch
	for k := 0; now.Sub(epoch) < 2*time.Minute; k++ {
		now = now.Add(50 * time.Millisecond)
		links := []mesh.Adjacency{l1, l2}[:1+k/2%2]
		if _, ok := s.announce(now, links...); ok {
			n++
		}
	}
	if n > 2*120+urgentBurst {
		t.Errorf("%d LSAs in two minutes", n)
	}
	s.wait(now, time.Minute, l1)
	if d := s.wait(now.Add(time.Millisecond), time.Minute, l1, l2); d > paceLeast {
		t.Errorf("a link that is back after much flapping is announced after %v", d)
	}
}

func TestShortSuspicionIsNotAnnounced(t *testing.T) {
	s := newSelf(t, "self", epoch)
	l := link("a", 1, 1, 10)
	s.wait(epoch, time.Second, l)
	now := epoch.Add(time.Minute)
	l.Suspect = true
	s.announce(now, l)
	l.Suspect = false
	if _, ok := s.announce(now.Add(5*time.Millisecond), l); ok {
		t.Error("announced")
	}
	if d := s.Deadline().Sub(now); d < time.Minute {
		t.Errorf("something is due in %v", d)
	}
}

// On a machine that is too busy links are suspected all the time, for a moment each. That is no news for the whole mesh, which
// would only make its machines busier; and it does not hold up the news of a loss.
func TestManySuspicionsAreNotAnnounced(t *testing.T) {
	s := newSelf(t, "self", epoch)
	l1, l2 := link("a", 1, 1, 10), link("b", 2, 2, 10)
	s.wait(epoch, time.Second, l1, l2)
	now, n := epoch.Add(time.Minute), 0
	for end := now.Add(2 * time.Minute); now.Before(end); now = now.Add(50 * time.Millisecond) {
		l1.Suspect = !l1.Suspect
		if _, ok := s.announce(now, l1, l2); ok {
			n++
		}
	}
	if n > 0 {
		t.Errorf("%d LSAs in two minutes", n)
	}
	if d := s.wait(now, time.Second, l1); d > time.Millisecond {
		t.Errorf("a loss after %v", d)
	}
}

func TestUnstableNodeSlowsDown(t *testing.T) {
	s := newSelf(t, "self", epoch)
	var at []time.Duration
	links := []mesh.Adjacency{link("a", 1, 1, 1000)}
	for now := epoch; now.Sub(epoch) < time.Hour; now = now.Add(100 * time.Millisecond) {
		links[0].Cost++ // never quiet
		if _, ok := s.announce(now, links...); ok {
			at = append(at, now.Sub(epoch))
		}
	}
	if len(at) > 80 || len(at) < 55 {
		t.Errorf("%d LSAs in an hour of restlessness", len(at))
	}
	now := epoch.Add(time.Hour + 10*time.Minute)
	links[0].Cost++
	if d := s.wait(now, time.Minute, links...); d > bundle {
		t.Errorf("after ten quiet minutes: %v", d)
	}
	// A link that flaps ten times a second stays below what receivers allow an origin.
	n := 0
	for end := now.Add(time.Minute); now.Before(end); now = now.Add(50 * time.Millisecond) {
		links[0].Suspect = !links[0].Suspect
		if _, ok := s.announce(now, links...); ok {
			n++
		}
	}
	if n > 100 {
		t.Errorf("%d LSAs in a minute of flapping", n)
	}
}

func TestRotationIsAnnounced(t *testing.T) {
	s := newSelf(t, "self", epoch)
	l := link("a", 1, 1, 10)
	s.wait(epoch, time.Second, l)
	now := epoch.Add(time.Hour)
	s.wait(now, time.Hour, l)
	now = now.Add(time.Minute)
	s.a.rotate(2, now.Add(24*time.Hour))
	if out := s.record(now); len(out.Flood) != 1 {
		t.Error("the new record is not flooded")
	}
	if d := s.wait(now, time.Minute, l); d < 0 || d > paceClear {
		t.Errorf("announced under the new SVID after %v", d)
	}
	n, _ := s.Node(s.a.id)
	if !n.NotAfter.Equal(s.a.end) {
		t.Error("the LSA names the old SVID")
	}
}

func TestUnsignedLSAIsGivenAgain(t *testing.T) {
	s := newSelf(t, "self", epoch)
	l := []mesh.Adjacency{link("a", 1, 1, 10)}
	s.Originate(epoch, l)
	now := epoch.Add(bundle)
	if _, ok := s.Originate(now, l); !ok {
		t.Fatal("not due")
	}
	if _, ok := s.Originate(now.Add(time.Millisecond), nil); ok {
		t.Fatal("two at once")
	}
	if _, err := s.SetSelf(now, KindLSA, nil, time.Time{}); err != nil {
		t.Fatal(err)
	}
	if d := s.wait(now, 10*time.Second, l...); d < 0 || d > 2*time.Second {
		t.Errorf("given again after %v", d)
	}
	// And if the answer never comes.
	now = now.Add(time.Minute)
	l[0].Cost = 99
	if _, ok := s.Originate(now, l); ok {
		t.Fatal("a change is not bundled")
	}
	now = now.Add(stands)
	if _, ok := s.Originate(now, l); !ok {
		t.Fatal("not due")
	}
	if d := s.wait(now, time.Minute, l...); d < 0 || d > 3*time.Second {
		t.Errorf("given again after %v", d)
	}
}

func TestJumpsOverAnEarlierLife(t *testing.T) {
	cases := []struct {
		name  string
		alarm bool
		make  func(s *self) (at time.Time, a *author)
	}{
		{"its clock was ahead", false, func(s *self) (time.Time, *author) {
			a := *s.a
			a.boot += 3_600_000
			return epoch.Add(-time.Minute), &a
		}},
		{"its state is lost and its clock was ahead", false, func(s *self) (time.Time, *author) {
			a := *s.a
			a.boot += 10
			a.incarnation = 99
			return epoch.Add(-time.Minute), &a
		}},
		{"a live twin", true, func(s *self) (time.Time, *author) {
			a := *s.a
			a.boot += 5000
			a.incarnation = 99
			return epoch.Add(time.Minute), &a
		}},
		{"a clone of the same life", true, func(s *self) (time.Time, *author) {
			a := *s.a
			a.seq = 1 << 62
			return epoch.Add(time.Minute), &a
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := newSelf(t, "self", epoch)
			l := link("a", 1, 1, 10)
			s.wait(epoch, time.Second, l)
			at, other := c.make(s)
			raw := other.raw(at)
			now := epoch.Add(2 * time.Minute)
			out, err := take(t, s.DB, now, KindLSA, raw)
			if err != nil || !out.Reoriginate || len(out.Flood) != 0 {
				t.Fatalf("%v %+v", err, out)
			}
			if errors.Is(out.Alarm, ErrTwin) != c.alarm {
				t.Errorf("alarm: %v", out.Alarm)
			}
			if d := s.wait(now, time.Second, l); d != 0 {
				t.Errorf("announced again after %v", d)
			}
			// A third node, which holds the other's LSA, takes ours for newer.
			db := newDB("third")
			for _, rec := range s.origins[s.self].records {
				if _, err := take(t, db, now, KindRecord, rec.Raw); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := take(t, db, now, KindLSA, raw); err != nil {
				t.Fatal(err)
			}
			if out, err := take(t, db, now, KindLSA, s.origins[s.self].lsa.Raw); err != nil || len(out.Flood) != 1 {
				t.Errorf("a third node refuses the new one: %v", err)
			}
			if _, err := take(t, s.DB, now, KindLSA, raw); !errors.Is(err, ErrStale) {
				t.Errorf("the old one again: %v", err)
			}
		})
	}
}

func TestOwnRecordSequenceJumpsToo(t *testing.T) {
	s := newSelf(t, "self", epoch)
	before := newAuthor("self", epoch)
	before.rotate(8, epoch.Add(time.Hour))
	before.recordSeq = 1 << 50
	if _, err := take(t, s.DB, epoch, KindRecord, before.record(epoch)); err != nil {
		t.Fatal(err)
	}
	if n := s.NextRecordSeq(); n != 1<<50+2 {
		t.Errorf("next record %d", n)
	}
}

func TestSetSelfRefusesForeign(t *testing.T) {
	s := newSelf(t, "self", epoch)
	b := newAuthor("bob", epoch)
	stray := *s.a
	stray.rotate(5, epoch.Add(time.Hour))
	clone := *s.a
	clone.incarnation++
	cases := []struct {
		name string
		kind Kind
		raw  []byte
		end  time.Time
		want error
	}{
		{"record of another", KindRecord, b.record(epoch), b.end, ErrNotOwn},
		{"LSA of another", KindLSA, b.raw(epoch), b.end, ErrNotOwn},
		{"LSA of another incarnation", KindLSA, clone.raw(epoch), b.end, ErrNotOwn},
		{"LSA of an SVID without record", KindLSA, stray.raw(epoch), b.end, ErrNoRecord},
		{"ended record", KindRecord, stray.record(epoch), epoch, ErrExpired},
		{"old record", KindRecord, s.origins[s.self].records[0].Raw, b.end, ErrStale},
		{"garbage", KindRecord, []byte("x"), b.end, ErrMalformed},
		{"garbage", KindLSA, []byte("x"), b.end, ErrMalformed},
		{"unknown kind", 9, []byte("x"), b.end, ErrMalformed},
	}
	for _, c := range cases {
		if _, err := s.SetSelf(epoch, c.kind, c.raw, c.end); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}
