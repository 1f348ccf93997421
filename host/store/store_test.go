package store

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

func mustOpen(t testing.TB, path string) *Store {
	t.Helper()
	s, d, err := Open(path)
	if err != nil || d != nil {
		t.Fatalf("%v, damage %v", err, d)
	}
	return s
}

func mustClose(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func contents(t testing.TB, s *Store) map[string]string {
	t.Helper()
	m := map[string]string{}
	var err error
	last := ""
	for k, v := range s.All(&err) {
		if string(k) <= last {
			t.Errorf("%q behind %q", k, last)
		}
		last = string(k)
		m[last] = string(v)
	}
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// What was written is there after the store was opened again, as a map says.
func TestAgainstMap(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	rnd := rand.New(rand.NewPCG(1, 1))
	want := map[string]string{}
	for range 5 {
		s := mustOpen(t, path)
		for range 20 {
			var pairs []Pair
			for range rnd.IntN(20) {
				k := fmt.Sprint(rnd.IntN(50))
				if rnd.IntN(3) == 0 {
					pairs = append(pairs, Pair{[]byte(k), nil})
					delete(want, k)
				} else {
					v := bytes.Repeat([]byte{byte(rnd.IntN(256))}, rnd.IntN(3000))
					pairs = append(pairs, Pair{[]byte(k), v})
					want[k] = string(v)
				}
			}
			if err := s.Write(pairs); err != nil {
				t.Fatal(err)
			}
		}
		if got := contents(t, s); !maps.Equal(got, want) {
			t.Fatalf("%d pairs, want %d", len(got), len(want))
		}
		mustClose(t, s)
	}
}

// Many writers share what waits for the disk; every one of them is answered.
func TestGroupCommit(t *testing.T) {
	s := mustOpen(t, filepath.Join(t.TempDir(), "db"))
	defer mustClose(t, s)
	hold := make(chan struct{})
	if err := s.Queue([]Pair{{[]byte("first"), []byte("v")}}, func(error) { <-hold }); err != nil {
		t.Fatal(err)
	}
	was := s.db.Stats()
	var wg sync.WaitGroup
	var order []int
	for i := range 200 {
		wg.Add(1)
		err := s.Queue([]Pair{{fmt.Append(nil, i), []byte("v")}}, func(err error) {
			if err != nil {
				t.Error(err)
			}
			order = append(order, i)
			wg.Done()
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	close(hold)
	wg.Wait()
	for i, n := range order {
		if i != n {
			t.Fatalf("answered in the order %v", order)
		}
	}
	is := s.db.Stats()
	diff := is.Sub(&was).TxStats
	if n := diff.GetWrite(); n > 60 {
		t.Errorf("%d pages were written for 200 writes that came together", n)
	}
	if n := len(contents(t, s)); n != 201 {
		t.Errorf("%d pairs", n)
	}
}

func TestRefusals(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	s := mustOpen(t, path)
	for _, p := range []Pair{{nil, nil}, {make([]byte, MaxKey+1), nil}, {[]byte("k"), make([]byte, MaxValue+1)}} {
		if err := s.Write([]Pair{{[]byte("good"), []byte("v")}, p}); !errors.Is(err, ErrPair) {
			t.Errorf("%d and %d bytes: %v", len(p.Key), len(p.Value), err)
		}
	}
	if err := s.Write([]Pair{{make([]byte, MaxKey), make([]byte, MaxValue)}}); err != nil {
		t.Errorf("the largest: %v", err)
	}
	if n := len(contents(t, s)); n != 1 {
		t.Errorf("%d pairs: a part of what was refused was written", n)
	}
	if _, _, err := Open(path); !errors.Is(err, ErrLocked) {
		t.Errorf("opened twice: %v", err)
	}
	mustClose(t, s)
	if err := s.Write([]Pair{{[]byte("k"), nil}}); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if err := s.Close(); !errors.Is(err, ErrClosed) {
		t.Errorf("closed again: %v", err)
	}
}

// Whatever is queued when the store is closed is written and answered.
func TestCloseAnswers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	s := mustOpen(t, path)
	var wg sync.WaitGroup
	var mu sync.Mutex
	done := 0
	for i := range 8 {
		wg.Go(func() {
			for n := 0; ; n++ {
				if err := s.Write([]Pair{{fmt.Append(nil, i, n), []byte("v")}}); errors.Is(err, ErrClosed) {
					return
				} else if err != nil {
					t.Error(err)
				}
				mu.Lock()
				done++
				mu.Unlock()
			}
		})
	}
	for range 3 {
		if err := s.Write(nil); err != nil {
			t.Fatal(err)
		}
	}
	mustClose(t, s)
	wg.Wait()
	s = mustOpen(t, path)
	defer mustClose(t, s)
	if n := len(contents(t, s)); n != done {
		t.Errorf("%d were answered, %d are there", done, n)
	}
}

// Where there is no room, a write is refused as a whole, and after that one that fits is taken.
func TestNoRoom(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	s := mustOpen(t, path)
	s.db.MaxSize = 1 << 20
	var pairs []Pair
	for i := range 8 {
		pairs = append(pairs, Pair{fmt.Append(nil, i), make([]byte, 1<<20)})
	}
	if err := s.Write(pairs); !errors.Is(err, bolterrors.ErrMaxSizeReached) {
		t.Errorf("%v", err)
	}
	s.Resume()
	if err := s.Write([]Pair{{[]byte("k"), []byte("v")}}); err != nil {
		t.Error(err)
	}
	mustClose(t, s)
	s = mustOpen(t, path)
	defer mustClose(t, s)
	if got := contents(t, s); len(got) != 1 || got["k"] != "v" {
		t.Errorf("%d pairs", len(got))
	}
}

// A newer format is refused, and left as it is.
func TestNewerRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	s := mustOpen(t, path)
	err := s.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(headBucket).Put(formatKey, []byte{format + 1}) })
	if err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
	before, _ := os.ReadFile(path)
	if _, _, err := Open(path); !errors.Is(err, ErrNewer) {
		t.Errorf("%v", err)
	}
	if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
		t.Error("it was changed")
	}
}

// What comes after a write that failed is not written, whatever the disk does by then, until the owner says so.
func TestNothingOvertakes(t *testing.T) {
	s := mustOpen(t, filepath.Join(t.TempDir(), "db"))
	var was []byte
	head := func(f func(*bbolt.Bucket) error) {
		if err := s.db.Update(func(tx *bbolt.Tx) error { return f(tx.Bucket(headBucket)) }); err != nil {
			t.Fatal(err)
		}
	}
	head(func(b *bbolt.Bucket) error {
		was = bytes.Clone(b.Get(sumKey))
		return b.Delete(sumKey)
	})
	first, second := []Pair{{[]byte("1"), []byte("v")}}, []Pair{{[]byte("2"), []byte("v")}}
	if err := s.Write(first); !errors.Is(err, ErrDamaged) {
		t.Fatal(err)
	}
	head(func(b *bbolt.Bucket) error { return b.Put(sumKey, was) })
	if err := s.Write(second); !errors.Is(err, ErrDamaged) || len(contents(t, s)) > 0 {
		t.Errorf("%v, and %v is there", err, contents(t, s))
	}
	s.Resume()
	if err := errors.Join(s.Write(first), s.Write(second)); err != nil || len(contents(t, s)) != 2 {
		t.Errorf("%v, and %v is there", err, contents(t, s))
	}
	head(func(b *bbolt.Bucket) error { return b.Delete(sumKey) })
	_ = s.Write(first)
	if err := s.Close(); !errors.Is(err, ErrDamaged) {
		t.Errorf("closed with %v", err)
	}
}
