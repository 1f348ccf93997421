package crdt

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"x0tta6bl4/mesh"
)

// However full the store is of other keys, and its author's quota, there is room for vital ones; and of those nobody may write
// more than a small part.
func TestReserveForVitalKeys(t *testing.T) {
	const size = 64 << 10
	s := New(epoch, Config{
		Self: mesh.MustNodeID("a"), Incarnation: 1, Founder: true, MaxBytes: size, MaxAuthorBytes: size, MaxVitalBytes: 2 << 10,
		Vital: func(k []byte) bool { return bytes.HasPrefix(k, []byte("vital/")) },
	})
	fill := func(prefix string) (err error) {
		for n := 0; err == nil; n++ {
			err = perform(s, epoch, Put(fmt.Append(nil, prefix, n), make([]byte, 200)))
		}
		return err
	}
	if err := fill("users/"); !errors.Is(err, ErrFull) || s.Bytes() > size-size/vitalShare {
		t.Fatalf("%v, %d bytes", err, s.Bytes())
	}
	if err := fill("vital/"); !errors.Is(err, ErrQuota) || s.usedVital[s.cfg.Self] < 1<<10 || s.usedVital[s.cfg.Self] > 2<<10 {
		t.Fatalf("%v, %d bytes of vital keys", err, s.usedVital[s.cfg.Self])
	}
	if _, err := give(s, epoch, pieceBy("b", 1, 1, put(epoch, "vital/b", "1"))); err != nil {
		t.Error(err)
	}
	reads(t, s, "vital/b", "1")
	if _, err := give(s, epoch, pieceBy("b", 1, 2, put(epoch, "users/b", "1"))); err != nil {
		t.Error(err)
	}
	reads(t, s, "users/b", "")
	counted(t, s, "full", 1)
	for i := range 100 {
		_, _ = give(s, epoch, pieceBy(fmt.Sprint("c", i), 1, 1, put(epoch, fmt.Sprint("vital/c", i), string(make([]byte, 900)))))
		if s.Bytes() > size {
			t.Fatalf("%d bytes", s.Bytes())
		}
	}
	if err := s.valid(); err != nil {
		t.Error(err)
	}
}

// Who has written all that one may of other keys can still write vital ones.
func TestVitalKeysHaveAQuotaOfTheirOwn(t *testing.T) {
	s := New(epoch, Config{
		Self: mesh.MustNodeID("a"), Incarnation: 1, Founder: true, MaxAuthorBytes: 4 << 10,
		Vital: func(k []byte) bool { return bytes.HasPrefix(k, []byte("vital/")) },
	})
	var err error
	for n := 0; err == nil; n++ {
		err = perform(s, epoch, Put(fmt.Append(nil, n), make([]byte, 200)))
	}
	if !errors.Is(err, ErrQuota) {
		t.Fatal(err)
	}
	if err := perform(s, epoch, Put([]byte("vital/log"), make([]byte, 240<<10))); err != nil {
		t.Error(err)
	}
	if err := perform(s, epoch, Put([]byte("vital/more"), make([]byte, 900<<10))); !errors.Is(err, ErrQuota) {
		t.Error(err)
	}
	if err := perform(s, epoch, Put([]byte("other"), nil)); !errors.Is(err, ErrQuota) {
		t.Errorf("another key: %v", err)
	}
}
