package store

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// On a file system without hard links a damaged store is copied aside before another takes its place; if that cannot be done either, it
// stays where it is, and the next attempt says again that it is damaged.
func TestRebuiltWithoutLinks(t *testing.T) {
	file, _, _ := sample(t)
	file = bytes.ReplaceAll(file, []byte("key 1"), []byte("key !"))
	path := filepath.Join(t.TempDir(), "db")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	none := errors.New("this file system has no links")
	d := &Damage{Reason: ErrDamaged}
	if _, err := rebuild(t.Context(), path, d, func(_, to string) error { return errors.Join(none, os.Mkdir(to, 0o700)) }); !errors.Is(err, none) || !errors.Is(err, os.ErrExist) {
		t.Errorf("where nothing can be put aside: %v", err)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, file) {
		t.Fatalf("the damaged file is not there any more: %v", err)
	}
	db, err := rebuild(t.Context(), path, d, func(string, string) error { return none })
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(d.Kept); err != nil || !bytes.Equal(got, file) || d.Good == 0 {
		t.Errorf("put aside are %d bytes of %d, %d pairs are kept: %v", len(got), len(file), d.Good, err)
	}
	if st, err := os.Stat(d.Kept); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
	s, again, err := Open(path)
	if err != nil || again == nil || again.Kept != d.Kept || again.Good != d.Good {
		t.Fatal(again, err)
	}
	mustClose(t, s)
}

// counted is a context that ends when it was asked so often whether it has.
type counted struct {
	context.Context
	left int
}

func (c *counted) Err() error {
	if c.left--; c.left < 0 {
		return context.Canceled
	}
	return nil
}

// Who does not wait any more for a store to be opened leaves it as it was, sound or damaged, and not in use.
func TestOpeningIsGivenUp(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	s := mustOpen(t, path)
	var pairs []Pair
	for i := range 5 * lookUp {
		pairs = append(pairs, Pair{Key: []byte{byte(i >> 8), byte(i)}, Value: []byte("a value " + strings.Repeat("x", i%50))})
	}
	if err := s.Write(pairs); err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
	sound, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	broken := bytes.Clone(sound)
	broken[bytes.LastIndex(broken, []byte("a value"))] ^= 1
	for name, file := range map[string][]byte{"sound": sound, "damaged": broken} {
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		said := 0
		for left := range 4 {
			ctx, cancel := context.WithCancelCause(t.Context())
			cancel(context.Canceled)
			_, _, err := OpenContext(&counted{ctx, left}, path)
			if errors.Is(err, context.Canceled) {
				said++
			}
			if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, file) {
				t.Errorf("%s: the file is another now, %v", name, err)
			}
		}
		if said != 4 {
			t.Errorf("%s: given up %d times of 4", name, said)
		}
	}
	for range 2 { // nothing is written: whoever comes next must know as well
		s, d, err := Open(path)
		if err != nil || d == nil || !errors.Is(d.Reason, ErrDamaged) || d.Good != len(pairs)-1 {
			t.Fatal(d, err)
		}
		if kept, err := os.ReadFile(d.Kept); err != nil || !bytes.Equal(kept, broken) {
			t.Errorf("%s is not what was damaged: %v", d.Kept, err)
		}
		mustClose(t, s)
	}
	s, _, err = Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Write(pairs[:1]); err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
	mustClose(t, mustOpen(t, path))
}
