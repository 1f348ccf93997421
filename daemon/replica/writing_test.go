package replica

import (
	"bytes"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"x0tta6bl4/api"
	"x0tta6bl4/host/store"
)

// hold has the store write nothing until it is let.
func (m *member) hold() (let func()) {
	m.tb.Helper()
	held := make(chan struct{})
	if err := m.store.Queue(nil, func(error) { <-held }); err != nil {
		m.tb.Fatal(err)
	}
	return func() { close(held) }
}

// in has the loop call f.
func (m *member) in(f func(now time.Time)) {
	m.tb.Helper()
	if err := m.do(m.tb.Context(), f); err != nil {
		m.tb.Fatal(err)
	}
}

// The chain of a write that is on its way to the disk is not forgotten, though nothing else needs it.
func TestChainOfADraftIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDomain(t)
		a := d.member(t, "a")
		defer a.close()
		let := a.hold()
		go a.put("k", "v")
		synctest.Wait()
		a.in(func(now time.Time) { a.collect.due = now })
		synctest.Wait()
		let()
		synctest.Wait()
		var b bytes.Buffer
		if _, err := a.Snapshot(t.Context(), &b); err != nil {
			t.Error(err)
		}
		if _, err := Verify(&b); err != nil {
			t.Error(err)
		}
		a.close()
		next := d.identity(a.id, 1000*time.Hour)
		a.cfg.Identity = func() Identity { return next }
		a.open()
		if i := a.info(); a.get("k") != "v" || len(i.Warnings) > 0 {
			t.Errorf("after a restart with another SVID: %q %+v", a.get("k"), i)
		}
	})
}

// A snapshot that could not be read again is none.
func TestSnapshotWithoutAChain(t *testing.T) {
	a := newDomain(t).member(t, "a")
	defer a.close()
	a.put("k", "v")
	a.in(func(time.Time) { clear(a.chains.kept) })
	var b bytes.Buffer
	if _, err := a.Snapshot(t.Context(), &b); !errors.Is(err, errUnproven) || b.Len() > 0 {
		t.Errorf("%d bytes, %v", b.Len(), err)
	}
}

// broken has the store fail once and then work again.
func (m *member) broken(f func()) {
	m.tb.Helper()
	if err := m.store.Close(); err != nil {
		m.tb.Fatal(err)
	}
	f()
	again, damage, err := store.Open(m.cfg.Path)
	if err != nil || damage != nil {
		m.tb.Fatal(damage, err)
	}
	m.in(func(time.Time) { m.store = again })
	time.Sleep(2 * retryEvery)
	synctest.Wait()
}

// A number whose write was given up is not shown to stand for nothing: after a restart another change would have it.
func TestNumberGivenUpAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newDomain(t).member(t, "a")
		defer a.close()
		a.put("one", "1")
		a.broken(func() {
			if _, err := a.KVPut(t.Context(), []byte("lost"), nil); code(err) != api.CodeUnavailable {
				t.Error(err)
			}
		})
		l, err := a.KVList(t.Context(), api.KVListRequest{})
		if err != nil {
			t.Fatal(err)
		}
		a.close()
		a.open()
		a.put("two", "2")
		want(t, "what came after the list", lines(a.watch(1, api.KVWatchRequest{From: l.Revision})), "two=2 ")
	})
}

// What the journal forgot with a write that was given up is forgotten on disk as well, or a watch would skip what is between.
func TestForgottenWithWhatIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newDomain(t).member(t, "a")
		defer a.close()
		a.in(func(time.Time) { a.journal.room = 3 })
		first := a.put("one", "1").Revision
		a.put("two", "2")
		a.put("three", "3")
		a.broken(func() { _, _ = a.KVPut(t.Context(), []byte("lost"), nil) })
		for _, key := range []string{"four", "five", "six", "seven"} {
			a.put(key, "v")
		}
		a.close()
		a.open()
		cs := a.watch(8, api.KVWatchRequest{From: first})
		if !cs[0].Reset || !cs[1].Current || !cs[7].Current {
			t.Errorf("a watch of what is forgotten: %s", lines(cs))
		}
	})
}

// While the store answers nothing, the loop rests, also if the disk failed before.
func TestLoopRestsWhileTheDiskFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newDomain(t).member(t, "a")
		defer a.close()
		a.in(func(now time.Time) {
			a.disk.out, a.disk.retry = 1, now.Add(-time.Second)
			if next := a.next(now); !next.After(now) {
				t.Errorf("it is to turn again %v from now", next.Sub(now))
			}
			a.disk.out, a.disk.retry = 0, time.Time{}
		})
	})
}

// A watch from the revision of an empty replica is told changes, not what stands.
func TestWatchFromTheBeginning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newDomain(t).member(t, "a")
		defer a.close()
		l, err := a.KVList(t.Context(), api.KVListRequest{})
		if err != nil {
			t.Fatal(err)
		}
		a.put("k", "v")
		if cs := a.watch(1, api.KVWatchRequest{From: l.Revision}); cs[0].Current {
			t.Errorf("%+v", cs)
		}
	})
}
