package lsdb

import (
	"testing"
	"time"

	"x0tta6bl4/mesh"
)

// Two databases that share hold the same objects, and say the same as two that do not.
func TestSharedSaysTheSame(t *testing.T) {
	now := epoch
	a, b := newAuthor("alice", now), newAuthor("bob", now)
	raws := []struct {
		kind Kind
		raw  []byte
	}{
		{KindRecord, a.record(now)}, {KindRecord, b.record(now)},
		{KindLSA, a.raw(now, link("bob", 1, 2, 10))}, {KindLSA, b.raw(now, link("alice", 2, 1, 10))},
	}
	shared := NewShared()
	var dbs []*DB
	for _, s := range []*Shared{nil, shared, shared} {
		db := New(mesh.MustNodeID("self"), Config{Incarnation: 1, Boot: uint64(now.UnixMilli()), Shared: s})
		for _, x := range raws {
			if _, err := take(t, db, now, x.kind, x.raw); err != nil {
				t.Fatal(err)
			}
		}
		dbs = append(dbs, db)
	}
	for _, db := range dbs[1:] {
		if db.Digest() != dbs[0].Digest() || db.Holds() != dbs[0].Holds() || db.Ways() != dbs[0].Ways() || len(db.Edges()) != 2 {
			t.Error("a database that shares is another")
		}
	}
	if dbs[1].origins[a.id].lsa.Object != dbs[2].origins[a.id].lsa.Object {
		t.Error("the same bytes were taken apart twice")
	}
	if dbs[0].origins[a.id].lsa.Object == dbs[1].origins[a.id].lsa.Object || &dbs[0].origins[a.id].lsa.Raw[0] == &raws[2].raw[0] {
		t.Error("a database that does not share holds what is somebody else's")
	}
	ways := dbs[1].Ways()
	doubtful := link("bob", 1, 2, 10)
	doubtful.Suspect = true
	if _, err := take(t, dbs[1], now.Add(time.Second), KindLSA, a.raw(now.Add(time.Second), doubtful)); err != nil {
		t.Fatal(err)
	}
	if dbs[1].Ways() != ways || dbs[1].Holds() == dbs[2].Holds() {
		t.Error("a suspicion is a change of what is held, and of no way")
	}
	if _, err := take(t, dbs[1], now.Add(2*time.Second), KindLSA, a.raw(now.Add(2*time.Second), link("bob", 1, 2, 11))); err != nil || dbs[1].Ways() == ways {
		t.Errorf("another cost is another way: %v", err)
	}
}

// A Memo keeps the newest answers, and what is asked for, and no more than twice its limit.
func TestMemoIsBounded(t *testing.T) {
	m := NewMemo[int, int](4)
	for i := range 100 {
		m.Put(i, -i)
		if v, ok := m.Get(0); !ok || v != 0 {
			t.Fatalf("after %d others, what is asked for all the time is gone", i)
		}
		if n := len(m.new) + len(m.old); n > 8 {
			t.Fatalf("%d answers are kept", n)
		}
	}
	if _, ok := m.Get(50); ok {
		t.Error("nothing is forgotten")
	}
}
