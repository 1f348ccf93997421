package crdt

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"x0tta6bl4/mesh"
)

// However full the store is of other keys, and its author's quota, there is room for the mesh's own; and of those nobody may write
// more than a small part.
func TestReserveForOwnKeys(t *testing.T) {
	const size = 64 << 10
	s := New(epoch, Config{
		Self: mesh.MustNodeID("a"), Incarnation: 1, Founder: true, MaxBytes: size, MaxAuthorBytes: size, MaxOwnBytes: 2 << 10,
		Own: func(k []byte) bool { return bytes.HasPrefix(k, []byte("own/")) },
	})
	fill := func(prefix string) (err error) {
		for n := 0; err == nil; n++ {
			err = perform(s, epoch, Put(fmt.Append(nil, prefix, n), make([]byte, 200)))
		}
		return err
	}
	if err := fill("users/"); !errors.Is(err, ErrFull) || s.Bytes() > size-size/ownShare {
		t.Fatalf("%v, %d bytes", err, s.Bytes())
	}
	if err := fill("own/"); !errors.Is(err, ErrQuota) || s.usedOwn[s.cfg.Self] < 1<<10 || s.usedOwn[s.cfg.Self] > 2<<10 {
		t.Fatalf("%v, %d bytes of own keys", err, s.usedOwn[s.cfg.Self])
	}
	if _, err := give(s, epoch, pieceBy("b", 1, 1, put(epoch, "own/b", "1"))); err != nil {
		t.Error(err)
	}
	reads(t, s, "own/b", "1")
	if _, err := give(s, epoch, pieceBy("b", 1, 2, put(epoch, "users/b", "1"))); err != nil {
		t.Error(err)
	}
	reads(t, s, "users/b", "")
	counted(t, s, "full", 1)
	for i := range 100 {
		_, _ = give(s, epoch, pieceBy(fmt.Sprint("c", i), 1, 1, put(epoch, fmt.Sprint("own/c", i), string(make([]byte, 900)))))
		if s.Bytes() > size {
			t.Fatalf("%d bytes", s.Bytes())
		}
	}
	if err := s.valid(); err != nil {
		t.Error(err)
	}
}

// Who has written all that one may of other keys can still write the mesh's own.
func TestOwnKeysHaveAQuotaOfTheirOwn(t *testing.T) {
	s := New(epoch, Config{
		Self: mesh.MustNodeID("a"), Incarnation: 1, Founder: true, MaxAuthorBytes: 4 << 10,
		Own: func(k []byte) bool { return bytes.HasPrefix(k, []byte("own/")) },
	})
	var err error
	for n := 0; err == nil; n++ {
		err = perform(s, epoch, Put(fmt.Append(nil, n), make([]byte, 200)))
	}
	if !errors.Is(err, ErrQuota) {
		t.Fatal(err)
	}
	if err := perform(s, epoch, Put([]byte("own/log"), make([]byte, 240<<10))); err != nil {
		t.Error(err)
	}
	if err := perform(s, epoch, Put([]byte("own/more"), make([]byte, 900<<10))); !errors.Is(err, ErrQuota) {
		t.Error(err)
	}
	if err := perform(s, epoch, Put([]byte("other"), nil)); !errors.Is(err, ErrQuota) {
		t.Errorf("another key: %v", err)
	}
}
