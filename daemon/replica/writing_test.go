package replica

import (
	"bytes"
	"errors"
	"testing"
	"testing/synctest"
	"time"
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
