package lsdb

import (
	"testing"
	"time"

	"x0tta6bl4/mesh"
)

// After the clock was set, the next announcement comes at once although the links are the same, above the last one, and
// only once.
func TestRedate(t *testing.T) {
	s := newSelf(t, "self", epoch)
	l := link("a", 1, 1, 10)
	s.wait(epoch, time.Second, l)
	was := s.own.seq
	now := epoch.Add(time.Minute)
	if _, ok := s.Originate(now, []mesh.Adjacency{l}); ok {
		t.Fatal("announced without a reason")
	}
	s.Redate()
	if d := s.wait(now, time.Second, l); d != 0 {
		t.Errorf("announced after %v", d)
	}
	if o := s.origins[s.self].lsa; s.own.seq != was+1 || !o.lsa.Time.Equal(now) {
		t.Errorf("sequence %d after %d, dated %s", s.own.seq, was, o.lsa.Time)
	}
	if d := s.wait(now.Add(time.Second), time.Minute, l); d >= 0 {
		t.Errorf("announced again after %v", d)
	}
}
