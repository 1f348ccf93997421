package daemon

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"x0tta6bl4/api"
	"x0tta6bl4/daemon/replica"
	"x0tta6bl4/host/store"
	"x0tta6bl4/wire/trust"
)

// A state directory of the previous release has no shared state yet. Who began the domain founds it, once: not if what it knew is gone,
// emptied or damaged since, unless its operator says so.
func TestFounderOfThePreviousRelease(t *testing.T) {
	for name, want := range previous {
		d, _, err := started(copyState(t, name))
		if err != nil {
			t.Fatal(err)
		}
		defer d.identity.Close()
		path := filepath.Join(d.store.Path(), "shared", stateFile)
		settled := func(when string, want bool) {
			t.Helper()
			r, err := d.openReplica(t.Context())
			if err != nil {
				t.Fatalf("%s, %s: %v", name, when, err)
			}
			if info, err := r.State(t.Context()); info.Settled != want || err != nil {
				t.Errorf("%s, %s: settled %t, %v", name, when, info.Settled, err)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		}
		settled("the first time", want.authority)
		settled("again", want.authority)
		s, damage, err := store.Open(path)
		if err != nil || damage != nil {
			t.Fatal(damage, err)
		}
		if err := errors.Join(s.Write([]store.Pair{{Key: []byte("F")}}), s.Close()); err != nil { // as a release writes it that does not know it
			t.Fatal(err)
		}
		settled("without a mark", want.authority)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		settled("lost", false)
		if err := os.Truncate(path, 0); err != nil {
			t.Fatal(err)
		}
		settled("emptied", false)
		if err := os.WriteFile(path, bytes.Repeat([]byte("#"), 64<<10), 0o600); err != nil {
			t.Fatal(err)
		}
		settled("destroyed", false)
		settled("destroyed, again", false)
		if want.authority {
			if err := os.Remove(filepath.Join(d.store.Path(), foundingFile)); err != nil {
				t.Fatal(err)
			}
		}
		settled("begun anew", want.authority)
	}
}

// While there is no replica, everybody is told why, and it is tried again.
func TestSharedStateThatCannotBeOpened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s := newShared(testAlpha, slog.New(slog.NewTextHandler(&log, nil)), nil)
		if _, err := s.KVGet(t.Context(), []byte("k")); codeOf(err) != api.CodeUnavailable || !strings.Contains(err.Error(), "being read") {
			t.Errorf("before the first attempt: %v", err)
		}
		if w := s.troubles(); len(w) != 0 {
			t.Errorf("warnings before the first attempt: %q", w)
		}
		tries := 0
		ctx, cancel := context.WithCancel(t.Context())
		over := make(chan bool)
		go func() {
			over <- s.keepOpening(ctx, func() (*replica.Replica, error) {
				if tries++; tries < 3 {
					return nil, errors.New("disk on fire")
				}
				return &replica.Replica{}, nil
			})
		}()
		synctest.Wait()
		if _, err := s.KVPut(t.Context(), []byte("k"), nil); codeOf(err) != api.CodeUnavailable || !strings.Contains(err.Error(), "disk on fire") {
			t.Errorf("a write meanwhile: %v", err)
		}
		if w := s.troubles(); len(w) != 1 || !strings.Contains(w[0], "disk on fire") {
			t.Errorf("warnings: %q", w)
		}
		if opened := <-over; !opened || tries != 3 {
			t.Errorf("opened %t after %d attempts", opened, tries)
		}
		if n := strings.Count(log.String(), "cannot be opened"); n != 1 || !strings.Contains(log.String(), "is open now") {
			t.Errorf("said %d times:\n%s", n, log.String())
		}
		if _, err := s.use(); err != nil {
			t.Error(err)
		}
		cancel()
	})
	synctest.Test(t, func(t *testing.T) {
		s := newShared(testAlpha, slog.New(slog.DiscardHandler), nil)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if s.keepOpening(ctx, func() (*replica.Replica, error) { return nil, errors.New("no") }) {
			t.Error("opened what cannot be")
		}
		s.close()
	})
}

// With an SVID that has ended nothing is signed, and a member's entries count within the life of its SVID.
func TestAuthorsOfSharedState(t *testing.T) {
	d, _, err := started(copyState(t, "alpha"))
	if err != nil {
		t.Fatal(err)
	}
	defer d.identity.Close()
	m := d.identity
	old := m.Source.Current()
	if id := m.author(); time.Now().After(old.NotAfter()) != (id.Signer == nil) {
		t.Errorf("an SVID to %s signs: %t", old.NotAfter(), id.Signer != nil)
	}
	if err := d.renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	id := m.author()
	if id.Signer == nil {
		t.Fatal("a new SVID does not sign")
	}
	now := time.Now()
	if err := m.verifyAuthor(id.Chain, testAlpha, now, now.Add(time.Minute)); err != nil {
		t.Error(err)
	}
	if err := m.verifyAuthor(id.Chain, testBeta, now, now); err == nil || !strings.Contains(err.Error(), "not of beta") {
		t.Errorf("alpha's SVID for beta: %v", err)
	}
	if err := m.verifyAuthor(id.Chain, testAlpha, now.Add(-time.Hour), now); !errors.Is(err, trust.ErrNotYetValid) {
		t.Errorf("dated back: %v", err)
	}
	if err := m.verifyAuthor(nil, testAlpha, now, now); !errors.Is(err, trust.ErrChain) {
		t.Errorf("no chain: %v", err)
	}
}

func codeOf(err error) api.Code {
	if e, ok := errors.AsType[*api.Error](err); ok {
		return e.Code
	}
	return ""
}
