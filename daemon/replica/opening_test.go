package replica

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"

	"x0tta6bl4/host/store"
)

// asked is a context that ends when it was asked so often whether it has.
type asked struct {
	context.Context
	left int
}

func (c *asked) Err() error {
	if c.left--; c.left < 0 {
		return context.Canceled
	}
	return nil
}

// Who does not wait any more for a replica to be opened leaves its file as it was: what was read until then is not all of it.
func TestOpeningIsGivenUp(t *testing.T) {
	a := newDomain(t).member(t, "a")
	var puts sync.WaitGroup
	for i := range 3 * lookUp {
		puts.Go(func() { a.put(fmt.Sprint(i), "v") })
	}
	puts.Wait()
	digest := a.info().Digest
	a.close()
	file, err := os.ReadFile(a.cfg.Path)
	if err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for left := range 6 { // three looks while the store checks the file, and three while it is read
		if _, err := OpenContext(&asked{ended, left}, a.cfg); !errors.Is(err, context.Canceled) {
			t.Fatalf("%d looks: %v", left, err)
		}
		if now, err := os.ReadFile(a.cfg.Path); err != nil || !bytes.Equal(now, file) {
			t.Fatalf("%d looks: the file is another now, %v", left, err)
		}
	}
	a.open()
	defer a.close()
	if i := a.info(); i.Digest != digest || len(i.Warnings) > 0 {
		t.Errorf("%+v", i)
	}
}

// A founder's file of a release that left no mark in it is still the founder's if it is whole, also after a step back to that release.
// One that was lost, emptied or damaged, with a mark or without, is none, however often it is opened after that.
func TestFounderWithoutAMark(t *testing.T) {
	d := newDomain(t)
	unmark := func(m *member) {
		t.Helper()
		s, damage, err := store.Open(m.cfg.Path)
		if err != nil || damage != nil {
			t.Fatal(damage, err)
		}
		if err := errors.Join(s.Write([]store.Pair{{Key: []byte("F")}}), s.Close()); err != nil {
			t.Fatal(err)
		}
	}
	opened := func(m *member, when string, settled bool) {
		t.Helper()
		m.open()
		if m.info().Settled != settled {
			t.Errorf("%s: settled %t", when, !settled)
		}
		m.close()
	}
	change := func(path string) error {
		file, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(path, bytes.ReplaceAll(file, []byte("a value"), []byte("a wrong")), 0o600)
	}
	damages := map[string]func(path string) error{
		"lost":    os.Remove,
		"emptied": func(path string) error { return os.Truncate(path, 0) },
		"damaged": change,
		"damaged, and made anew by a process that came no further": func(path string) error {
			if err := change(path); err != nil {
				return err
			}
			s, damage, err := store.Open(path)
			if damage == nil {
				return fmt.Errorf("no damage is found: %w", err)
			}
			return s.Close()
		},
	}
	for what, damage := range damages {
		for _, marked := range []bool{false, true} {
			a := d.member(t, "a")
			a.put("k", "a value")
			a.close()
			a.cfg.Founder, a.cfg.Began = false, true
			unmark(a)
			if marked {
				opened(a, "whole", true)
				opened(a, "whole, again", true)
				unmark(a)
				opened(a, "after a step back", true)
			}
			if err := damage(a.cfg.Path); err != nil {
				t.Fatal(err)
			}
			for range 3 {
				opened(a, what, false)
			}
		}
	}
	b := d.member(t, "b", notFounder)
	b.close()
	opened(b, "who began nothing", false)
}
